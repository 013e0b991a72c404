"""Pictures of what isn't a method: a detection, a clip, the affine form at depths, tests that maps can fail."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import map_of
from gallery_tiles import Pixels, Tile, sheet
from matplotlib.figure import Figure
from PIL import Image

import relprop
from relprop.datasets import Scenes, demo_clip_path, demo_image_path
from relprop.errors import RelpropWarning
from relprop.metrics import perturbation_curves, steps
from relprop.models.sources import load_model
from relprop.piecewise.decomposition import affine_by_layer
from relprop.video.films import reel
from relprop.viz import limits
from relprop.viz.canvas import COLOURS, FAINT, RULE
from relprop.viz.motion_film import overlay_frames

STAR = 2  # class of the drawn scene that is asked about


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("detection", "a detection: why the class, what moved each edge", _detection)
    yield Made("motion", "a clip split into what looks and what moves", _motion, quality=60, fps=5)
    yield Made("video-modes", "one frame of a clip, split in three ways", _modes)
    yield Made("affine-depths", "W·x at depths, with the bias beside", _depths)
    yield Made("randomisation", "maps while the network forgets, layer by layer", _randomised)
    yield Made("deletion", "probability while relevant pixels go", _deletion)


def _detection() -> Image.Image:
    detector, image = relprop.detectors.load("scenes-ssd"), Image.open(demo_image_path()).convert("RGB")
    pixels, star = np.asarray(image) / 255, detector(image)[1]
    of = ["x1", "y1", "x2", "y2"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        why = relprop.explain_detection(detector, image, star, method="agreement")
        edges = relprop.explain_detection(detector, image, star, of=of, method="crp")
    maps = [Tile(pixels, map_of(edges, k)) for k in range(4)]
    found = Tile(pixels, frames=(tuple(map(float, star.box)),))
    row = [found, Tile(pixels, map_of(why), why.signed), *maps]
    return sheet([row], [star.name, "why this class", "left edge", "top edge", "right edge", "bottom edge"])


def _motion() -> Pixels:
    network = load_model("motion-c3d")
    clip = relprop.video.read_clip(demo_clip_path(), network.sampling)
    method = relprop.DeepTaylor(bounds=network.sampling.bounds(), seed="one")
    split = relprop.separate_motion(network.module, clip.x, None, method, mode="conserving")
    return overlay_frames(reel(split, clip.frames), names=network.classes)


def _modes() -> Image.Image:
    network, t = load_model("motion-c3d"), 8
    clip = relprop.video.read_clip(demo_clip_path(), network.sampling)
    method = relprop.DeepTaylor(bounds=network.sampling.bounds(), seed="one")
    frame = np.asarray(clip.frames[t]) / 255
    rows: list[list[Tile | None]] = [[Tile(frame)], [None]]
    for mode in ("naive", "conserving", "selective"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RelpropWarning)
            split = relprop.separate_motion(network.module, clip.x, None, method, mode=mode)
        films = [film[0, t].detach().double().numpy() for film in (split.temporal, split.spatial)]
        (end, *_) = limits(films, scale="shared")
        for row, film in zip(rows, films, strict=True):
            row.append(Tile(frame, film, limit=end.value))
    return sheet(rows, ["frame 8", "naive", "conserving", "selective"], ["temporal", "spatial"])


def _depths() -> Image.Image:
    bundled = relprop.models.load("scenes-vgg")
    image = Image.open(demo_image_path()).convert("RGB")
    names = ["features.conv1_1", "features.conv2_1", "features.conv3_2", "features.conv4_2"]
    forms = affine_by_layer(bundled.module, bundled.preprocess(image), STAR, names)
    pixels = np.asarray(image) / 255
    row, heads = [Tile(pixels)], ["dotted star"]
    for name, form in forms.items():
        share = 100 * float(form.bias.squeeze() / form.score.squeeze())
        heads.append(f"{name.removeprefix('features.')}: bias {share:.0f} %".replace("-", "−"))
        row.append(Tile(pixels, _grown(form.map.detach().double().squeeze(), pixels.shape[0])))
    return sheet([row], heads)


def _grown(values: torch.Tensor, side: int) -> np.ndarray:
    """A layer's map at the picture's size, in squares."""
    return torch.nn.functional.interpolate(values[None, None], size=(side, side), mode="nearest")[
        0, 0
    ].numpy()


def _randomised() -> Image.Image:
    bundled = relprop.models.load("scenes-resnet")
    image = Image.open(demo_image_path()).convert("RGB")
    x, pixels = bundled.preprocess(image), np.asarray(image) / 255
    networks = [("trained", bundled.module)]
    networks += [(name, copy.deepcopy(net)) for name, net in steps(bundled.module, x, seed=0)]
    chosen = [networks[k] for k in np.linspace(0, len(networks) - 1, 5).round().astype(int)]
    methods = {"lrp-composite": "lrp-composite", "grad-cam": "grad-cam", "guided-backprop": "guided BP"}
    rows = [
        [Tile(pixels, _asked(net, x, method), method != "grad-cam") for _, net in chosen]
        for method in methods
    ]
    return sheet(
        rows, [f"… to {name}" if k else name for k, (name, _) in enumerate(chosen)], list(methods.values())
    )


def _asked(net: torch.nn.Module, x: torch.Tensor, method: str) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        return map_of(relprop.explain(net, x, STAR, method))


def _deletion() -> Figure:
    bundled = relprop.models.load("scenes-resnet")
    methods = ["lrp-composite", "grad-cam", "gradient-x-input", "guided-backprop", "noise"]
    found: dict[str, list[Any]] = {name: [] for name in methods}
    noise = torch.Generator().manual_seed(0)
    for scene in Scenes(n=8, seed=3, split="test"):
        x = bundled.preprocess(Image.fromarray(scene.image))
        label = int(scene.labels[0])
        for name in methods:
            heat = (
                torch.rand(x.shape[-2:], generator=noise)
                if name == "noise"
                else _heat(bundled.module, x, label, name)
            )
            curves = perturbation_curves(bundled.module, x, heat, label, multi_label=True)
            found[name].append(curves.deletion)
    return _lines({name: np.mean([np.asarray(c) for c in curves], 0) for name, curves in found.items()})


def _heat(net: torch.nn.Module, x: torch.Tensor, label: int, method: str) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        return relprop.explain(net, x, label, method).heatmap()[0]


def _lines(curves: dict[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(6.4, 3.2), dpi=160, facecolor="white")
    axes = figure.add_axes((0.1, 0.15, 0.62, 0.8))
    ends = []
    for colour, (name, values) in zip(COLOURS, curves.items(), strict=False):
        axes.plot(
            np.linspace(0, 100, len(values)),
            100 * values,
            color="#777777" if name == "noise" else colour,
            label=name,
        )
        ends.append(name)
    axes.set(xlim=(0, 100), ylim=(0, 102), xlabel="% of the pixels hidden", ylabel="mean probability, %")
    axes.grid(color=RULE)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    figure.legend(loc="center left", bbox_to_anchor=(0.73, 0.55), frameon=False, fontsize=9)
    return figure
