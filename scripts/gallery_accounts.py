"""A picture for each metric that reads accounts, and for Quantus' metrics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from gallery_made import Made
from gallery_methods import explained, photograph
from gallery_network import STAR, axes, figure, given, network
from gallery_plates import Plate, outlined, plates
from gallery_tiles import Tile
from gallery_truth import number, pixels, seen, star
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import relprop
from relprop.compat import load_torchvision
from relprop.metrics import affine_parts
from relprop.viz.canvas import COLOURS, FAINT

__all__ = ["pictures"]


def pictures() -> Iterator[Made]:
    """One a metric."""
    yield Made("metric-ledger", "where the relevance of four methods went", _ledger, quality=75)
    yield Made("metric-bias-ratio", "a score as values and biases, layer by layer", _bias, quality=75)
    yield Made("metric-quantus", "maps of relprop judged by a metric of Quantus", _quantus, quality=75)


def _bars(drawn: Axes, y: float, parts: dict[str, tuple[float, str]], named: bool) -> None:
    """Shares in percent one after the other from 0, those below 0 to the left."""
    right = left = 0.0
    for name, (share, colour) in parts.items():
        start = right if share >= 0 else left
        drawn.barh(y, share, left=start, color=colour, height=0.62, label=name if named else None)
        if abs(share) >= 9:
            drawn.text(
                start + share / 2, y, f"{share:.0f} %".replace("-", "−"), ha="center", va="center",
                fontsize=7, color="white", weight="bold",
            )  # fmt: skip
        right, left = (right + share, left) if share >= 0 else (right, left + share)


def _finished(made: Figure, drawn: Axes, names: list[str], of: str) -> Figure:
    drawn.axvline(100, color="#222222", linewidth=1)
    drawn.axvline(0, color=FAINT, linewidth=0.8)
    drawn.set_yticks(range(len(names)), names[::-1], fontsize=7.5, color="#222222")
    drawn.set_xlabel(f"% of the score of {of}", fontsize=7.5)
    drawn.grid(visible=False, axis="y")
    made.legend(
        loc="center left", bbox_to_anchor=(0.745, 0.55), frameon=False, fontsize=7.5, handlelength=1.2
    )
    return made


def _ledger() -> Figure:
    methods = ["lrp-0", "lrp-composite", "deep-taylor", "rap"]
    made = figure(946, 330)
    drawn = axes(made, (0.17, 0.22, 0.57, 0.74))
    for y, method in enumerate(reversed(methods)):
        ledger = explained("efficientnet-lite0", photograph("coffee"), method, "espresso").ledger
        parts = {"in the map": (ledger.end, COLOURS[1]), "in biases": (ledger.bias, COLOURS[0])}
        parts["lost"] = (ledger.lost, "#888888")
        _bars(drawn, y, {k: (100 * v / ledger.start, c) for k, (v, c) in parts.items()}, not y)
    return _finished(made, drawn, methods, "“espresso” (EfficientNet-Lite0)")


def _bias() -> Figure:
    bundled = relprop.models.load("scenes-vgg")
    x = bundled.preprocess(Image.open(relprop.datasets.demo_image_path()).convert("RGB"))
    parts = affine_parts(bundled.module, x, STAR)
    made = figure(946, 110 + 52 * len(parts))
    drawn = axes(made, (0.2, 0.2, 0.5, 0.77))
    for y, part in enumerate(reversed(parts)):
        values = 100 * (part.score - part.bias) / part.score
        both = {"weights × values": (values, COLOURS[1]), "biases": (100 - values, COLOURS[0])}
        _bars(drawn, y, both, not y)
    return _finished(made, drawn, ["the pixels", *(p.layer for p in parts[1:])], "“dotted star” (scenes-vgg)")


def _quantus() -> Image.Image:
    load_torchvision()
    import quantus

    row = [Plate(outlined(Tile(pixels()).pixels(), star()), "the question", ["Why dotted star?"])]
    for method in ("lrp-composite", "grad-cam", "gradient-x-input"):
        metric = quantus.Sparseness(disable_warnings=True)
        (score,) = metric(
            model=network().module, x_batch=given().numpy(), y_batch=np.array([STAR]), a_batch=None,
            explain_func=relprop.quantus.explain_func, explain_func_kwargs={"method": method}, device="cpu",
        )  # fmt: skip
        row.append(Plate(seen(method).tile(), method, [f"sparseness {number(score)}", "by Quantus"]))
    return plates([row])
