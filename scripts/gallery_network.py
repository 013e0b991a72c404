"""A picture for each metric that asks the network again: of other pictures, or of another network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from gallery_made import Made
from gallery_methods import explained, map_of, photograph
from gallery_plates import Plate, plates, stacked
from gallery_tiles import SIDE, Tile
from gallery_truth import NETWORK, number, percent, pixels, seen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import relprop
from relprop.benchmark.ceiling import game_of
from relprop.datasets import demo_image_path, demo_scene
from relprop.datasets.scene_samples import SceneSamples
from relprop.errors import RelpropWarning
from relprop.metrics import Case, load_metric, masking_fidelity, removed_parts, spearman
from relprop.metrics.infidelity import Infidelity
from relprop.metrics.information_curves import InformationCurves, compressed_size
from relprop.metrics.masking import kept
from relprop.metrics.ranking import as_picture
from relprop.metrics.removed_parts import part_sums
from relprop.models import load_twin
from relprop.models.sources import load_model
from relprop.viz import display_picture, render
from relprop.viz.canvas import COLOURS, FAINT, RULE

__all__ = ["STAR", "axes", "figure", "given", "network", "pictures"]

Map = NDArray[np.float64]
STAR = 2  # class of the demo scene that is asked about


def pictures() -> Iterator[Made]:
    """One a metric."""
    for name, what, draw in [
        ("information-curves", "a coarse picture becomes sharp where the map says", _information),
        ("infidelity", "what the map says of each square against what covering it does", _infidelity),
        ("masking-fidelity", "five classes before and after all but the relevant pixels are gone", _masking),
        ("removed-parts", "the scene without each part, what that costs, what maps say", _parts),
        (
            "data-randomisation",
            "maps of a network that learned, and of its twin that learned by heart",
            _twins,
        ),
        ("max-sensitivity", "two almost equal pictures and their maps", _sensitivity),
    ]:
        yield Made(f"metric-{name}", what, draw, quality=75)


@cache
def network() -> Any:
    """The bundled network that looks at scenes."""
    return relprop.models.load(NETWORK)


@cache
def given() -> torch.Tensor:
    """The demo scene as its input."""
    x: torch.Tensor = network().preprocess(Image.open(demo_image_path()).convert("RGB"))
    return x


def asked(net: torch.nn.Module, x: torch.Tensor, method: str) -> Any:
    """Why star, of inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RelpropWarning)
        return relprop.explain(net, x, STAR, method)


def case(method: str, **more: Any) -> Case:
    """The demo scene's star by a method, as a benchmark hands it to a metric."""
    scene, s = demo_scene(), seen(method)
    samples = SceneSamples(n=scene.index + 1, seed=scene.seed, split=scene.split)
    return Case(
        samples[scene.index], STAR, s.heat, s.signed, map=torch.from_numpy(s.heat), x=given(), target=STAR,
        model=network().module, multi_label=True, **more,
    )  # fmt: skip


def figure(wide: float, tall: float) -> Figure:
    """A figure, in pixels of a plate's page."""
    return Figure(figsize=(wide / 200, tall / 200), dpi=200, facecolor="white")


def axes(made: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Axes with a faint frame and letters as large as the plates'."""
    found = made.add_axes(box)
    found.tick_params(labelsize=7, colors=FAINT, length=0)
    found.grid(color=RULE)
    found.set_axisbelow(True)
    for spine in found.spines.values():
        spine.set_color(RULE)
    return found


def _drawn(made: Figure) -> Image.Image:
    return Image.fromarray(render(made))


def _information() -> Image.Image:
    metric, at = InformationCurves(), 4  # of the pictures in between
    made = figure(946, 400)
    drawn = axes(made, (0.1, 0.2, 0.55, 0.75))
    share, row = f"top {100 * metric.shares[at - 1]:g} % sharp", []
    for colour, letter, method in zip(COLOURS, "BC", ("rsp", "gradient-x-input"), strict=False):
        sharp, x, y, area = _curve(metric, method)
        drawn.plot([0, *x], [0, *y], color=colour, label=f"{method}\narea (SIC) {percent(area)}")
        _letter(drawn, letter, x[at], y[at], colour)
        row.append(Plate(_large(sharp[at]), f"{letter}: {method}", [f"answer {percent(y[at])}", share]))
    for letter, place in (("A", 0), ("D", 1)):
        _letter(drawn, letter, place, place, FAINT)
    row.insert(0, Plate(_large(sharp[0]), "A: coarse", [f"answer {percent(y[0])}", "1 pixel in 100"]))
    row.append(Plate(_large(sharp[-1]), "D: whole", [f"answer {percent(y[-1])}", "all pixels"]))
    drawn.set(xlim=(-0.03, 1.03), ylim=(-0.07, 1.07))
    drawn.set_xlabel("information in the picture (size of its file)", fontsize=7.5)
    drawn.set_ylabel("the network’s answer", fontsize=7.5)
    made.legend(loc="center left", bbox_to_anchor=(0.67, 0.55), frameon=False, fontsize=7.5, labelspacing=1.5)
    return stacked([_drawn(made), plates([row])])


def _letter(drawn: Axes, letter: str, x: float, y: float, colour: str) -> None:
    drawn.annotate(
        letter, (x, y), color="white", fontsize=7, ha="center", va="center", weight="bold",
        bbox={"boxstyle": "circle,pad=0.25", "fc": colour, "ec": "white"}, zorder=5,
    )  # fmt: skip


def _large(picture: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _curve(metric: InformationCurves, method: str) -> tuple[list[NDArray[np.uint8]], Map, Map, float]:
    """The pictures, each one's share of information and answer, and the area that the metric reports."""
    c = case(method)
    assert c.x is not None
    assert c.model is not None
    low, width = metric._scale(c.model, c.x)
    whole = np.asarray(Image.open(demo_image_path()).convert("RGB"))
    sharp = [*metric._pictures(whole, as_picture(c.map, c.x).numpy(), c.sample.name), whole]
    said = metric._answers(c.model, sharp, c.x, low, width)[:, STAR].sigmoid().numpy()
    sizes = np.array([compressed_size(picture) for picture in sharp], dtype=float)
    x, y = (np.clip((v - v[0]) / (v[-1] - v[0]), 0, 1) for v in (sizes, said))
    return sharp, x, np.maximum.accumulate(y), metric.measure(c)["sic"]


def _infidelity() -> Image.Image:
    metric = Infidelity(patch=16)
    squares, pages = _squared(Tile(pixels()).pixels(), 16), []
    for method in ("lrp-composite", "gradient-x-input"):
        c = case(method)
        assert c.x is not None
        assert c.model is not None
        said, done = metric._squares(c.model, c.x, as_picture(c.map, c.x), STAR)
        factor = max(0.0, float(said @ done / (said @ said)))  # the metric's best factor
        left = metric.measure(c)["unexplained"]
        made = figure(400, 400)
        drawn = axes(made, (0.19, 0.2, 0.78, 0.62))
        reach = 1.15 * max(np.abs(factor * said).max(), np.abs(done).max())
        drawn.plot([-reach, reach], [-reach, reach], color=FAINT, linewidth=0.8)
        drawn.scatter(factor * said, done, s=12, color=COLOURS[0], linewidths=0)
        drawn.set(xlim=(-reach, reach), ylim=(-reach, reach))
        drawn.set_title(f"{method}\n{percent(left)} unexplained", fontsize=7, weight="bold")
        drawn.set_xlabel("what the map says of a square", fontsize=7)
        drawn.set_ylabel("what covering it takes away", fontsize=7)
        pages.append(_drawn(made))
    asked_for = plates([[Plate(squares, "the question", ["Why dotted star?", "one square covered"])]])
    return _beside([asked_for, *pages])


def _squared(image: Image.Image, patch: int) -> Image.Image:
    """A tile in squares, one of them covered."""
    made, step = image.copy(), patch * SIDE // 112
    draw = ImageDraw.Draw(made)
    for k in range(0, SIDE, step):
        draw.line((k, 0, k, SIDE), fill=(255, 255, 255))
        draw.line((0, k, SIDE, k), fill=(255, 255, 255))
    x, y = 4 * step, 2 * step  # on the star
    draw.rectangle((x, y, x + step, y + step), fill=(118, 118, 118), outline=(190, 0, 160), width=3)
    return made


def _beside(pages: Sequence[Image.Image]) -> Image.Image:
    tall = max(page.height for page in pages)
    made = Image.new("RGB", (sum(page.width for page in pages), tall), "white")
    left = 0
    for page in pages:
        made.paste(page, (left, (tall - page.height) // 2))
        left += page.width
    return made


def _masking() -> Image.Image:
    model, path = load_model("efficientnet-lite0"), photograph("chelsea")
    row: list[Plate] = []
    for method in ("lrp-composite", "grad-cam", "gradient"):
        e = explained("efficientnet-lite0", path, method, "Egyptian cat")
        x, heat = e.input[:1], map_of(e)
        if not row:
            whole = _shown(model, x)
            row.append(Plate(whole, "the photograph", ["its top five", *_five(model, x)]))
        mask = kept(as_picture(heat, x), 0.3)
        overlap = masking_fidelity(model.module, x, heat, keep=0.3)
        covered = torch.where(mask, x, torch.zeros(()))
        lines = [f"{round(5 * overlap)} of 5 the same", *_five(model, covered)]
        row.append(Plate(_shown(model, covered), method, lines))
    return plates([row])


def _five(model: Any, x: torch.Tensor) -> list[str]:
    with torch.no_grad():
        scores = model.module(x)[0]
    return [model.classes[k] for k in scores.topk(5).indices.tolist()]


def _shown(model: Any, x: torch.Tensor) -> Image.Image:
    picture, _ = display_picture(x[0], model.mean, model.std)
    return Tile(picture).pixels()


def _parts() -> Image.Image:
    found = game_of(case("rsp").sample, network().preprocess, network().module)
    assert found is not None
    effects, world = found.removals()[:, STAR], found.world
    names = [_name(part.name) for part in world.parts]
    order = [k for k in np.argsort(-np.abs(effects)) if world.parts[k].pixels.any()]
    row = [Plate(Tile(pixels()).pixels(), "the scene", ["Why dotted star?"])]
    for k in order[:4]:
        moved = f"{'falls' if effects[k] > 0 else 'rises'} by {abs(effects[k]):.2f}"
        row.append(Plate(_large(world.without(int(k))), f"no {names[k]}", [f"score {moved}"]))
    row[-1] = replace(row[-1], head=row[-1].head.replace("no backdrop", "another backdrop"))
    made = figure(1180, 320)
    columns = [("removing\nit costs", effects)]
    for method in ("clrp", "lrp-composite", "gradient-x-input"):
        sums = part_sums(seen(method).heat, world)
        scores = removed_parts(sums, effects)
        told = f"signs {percent(scores['sign'])}, rank {number(scores['rank'])}"
        columns.append((f"{method}\n{told}", sums))
    for c, (title, values) in enumerate(columns):
        drawn = axes(made, (0.13 + 0.22 * c, 0.06, 0.205, 0.72))
        shown = values[order][::-1] / np.abs(values[order]).max()
        drawn.barh(range(len(order)), shown, color=["#be141e" if v > 0 else "#2a6fc4" for v in shown])
        drawn.set(xlim=(-1.08, 1.08), xticks=[], yticks=range(len(order)))
        drawn.set_yticklabels([names[k] for k in order[::-1]] if not c else [], fontsize=6.5)
        drawn.axvline(0, color=FAINT, linewidth=0.8)
        drawn.set_title(title, fontsize=6.5)
    return stacked([plates([row]), _drawn(made)])


def _name(part: str) -> str:
    """What a part of the scene is to a reader: "object 0" is the star."""
    kind, _, which = part.partition(" ")
    if not which:
        return part
    short = demo_scene().names[int(which)].split()[1]
    return short if kind == "object" else f"{short}’s {kind}"


def _twins() -> Image.Image:
    twin, x = load_twin(NETWORK).module, given()
    one = [Plate(Tile(pixels()).pixels(), "", [_answer(network().module, x), "says the network"])]
    two = [Plate(Tile(pixels()).pixels(), "", [_answer(twin, x), "says its twin"])]
    for method in ("lrp-gamma", "gradient-x-input", "excitation-backprop"):
        here, there = asked(network().module, x, method), asked(twin, x, method)
        one.append(Plate(Tile(pixels(), map_of(here), here.signed).pixels(), method))
        alike = f"correlation {number(spearman(map_of(here), map_of(there)))}"
        two.append(Plate(Tile(pixels(), map_of(there), there.signed).pixels(), "", [alike, "of ranks"]))
    return plates([one, two])


def _answer(net: torch.nn.Module, x: torch.Tensor) -> str:
    with torch.no_grad():
        return f"star {percent(float(net(x)[0, STAR].sigmoid()))}"


def _sensitivity() -> Image.Image:
    columns: list[tuple[Plate, Plate]] = []
    for method in ("lrp-composite", "rsp", "gradient-x-input"):
        noisy: list[tuple[torch.Tensor, torch.Tensor]] = []

        def explain_at(inputs: torch.Tensor, method: str = method, noisy: Any = noisy) -> torch.Tensor:
            maps = asked(network().module, inputs, method).heatmap()
            noisy.extend(zip(inputs, maps, strict=True))
            return maps

        s = seen(method)
        largest = load_metric("max-sensitivity").measure(case(method, explain_at=explain_at))["largest"]
        far = [float((heat.double() - torch.from_numpy(s.heat)).norm()) for _, heat in noisy]
        x, heat = noisy[int(np.argmax(far))]
        after, _ = display_picture(x, network().mean, network().std)
        if not columns:
            columns.append(
                (
                    Plate(Tile(pixels()).pixels(), "the scene", ["the scene"]),
                    Plate(Tile(after).pixels(), "", ["with a little noise"]),
                )
            )
        columns.append(
            (
                Plate(s.tile(), method, ["its map"]),
                Plate(Tile(after, heat.numpy(), s.signed).pixels(), "", [f"changed by {percent(largest)}"]),
            )
        )
    return plates([[up for up, _ in columns], [down for _, down in columns]])
