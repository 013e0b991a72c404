"""How much of the score is bias, from each layer on, over many pictures."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from relprop.bar import draws_bar
from relprop.explanation.folder import version
from relprop.files import PICTURE, regular_file
from relprop.kept import Kept
from relprop.many.listing import listed_pictures
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.models.state import weights_digest
from relprop.piecewise import BiasByDepth, affine_by_layer
from relprop.precision import full_precision
from relprop.reports.document import Whole
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import Model, check_places, listed, loaded
from relprop.reports.steps import Progress, Steps
from relprop.reports.text import Block, Table, Written, percent
from relprop.reports.works import Drawing
from relprop.viz.bias_depth import DepthLine, bias_by_depth_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from relprop.piecewise.depth import DepthRow

__all__ = ["affine_depth"]

_FIGURE, _NUMBERS, _TOLD = Path("depth.png"), Path("depth.jsonl"), Path("depth.json")


@draws_bar()
@full_precision
def affine_depth(
    models: Model | Sequence[Model],
    images: Any,
    *,
    layers: Sequence[str] = (),
    limit: int = 0,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | bool | None = None,
) -> Report:
    """Measure models on pictures for each one's top class: what `relprop affine --depth` draws and prints.

    Args:
        models: one or several; see `relprop.reports.picture`.
        images: files, and folders of them.
        layers: names; by default the ends of blocks.
        limit: so many of the pictures, drawn with the seed; 0: all.
        seed: of the draw.
        out: a folder for the figure, and for each picture's numbers (``depth.jsonl``), which are kept as they are
            made: the same call goes on where it stopped.
        progress: True for a bar in a notebook or on a terminal; or a function of
            the steps done, their number, and what is being done.

    Raises:
        RelpropError: a picture or a model can't be used; what was measured before is kept.
    """
    paths = _chosen([Path(str(path)) for path in listed(images)], limit, seed)
    for path in paths:
        regular_file(path, PICTURE)
    check_places(out, [_FIGURE, _TOLD])
    wanted: list[Any] = listed(models)
    kept = Kept(None if out is None else Path(out) / _NUMBERS)
    steps = Steps(progress, len(paths) * len(wanted))
    found: dict[str, BiasByDepth] = {}
    for one in wanted:
        model = loaded(one)
        found[model.spec] = _measured(model, paths, layers, kept, steps)
    return gathered({"relprop": version()}, None, _pages(found, paths, out is not None), out, told=str(_TOLD))


def _measured(
    model: LoadedModel, paths: Sequence[Path], layers: Sequence[str], kept: Kept, steps: Steps
) -> BiasByDepth:
    # Numbers of other weights shall not be taken for these.
    digest = weights_digest(model.module)[:16]
    about = [model.spec, digest, model.input_size, model.mean, model.std, list(layers)]
    entries = []
    for path in paths:
        steps.doing(f"{model.spec}: {path.name}")
        key = [*about, str(path)]
        if key not in kept:
            kept.add(key, _one(model, path, layers))
        entries.append(kept[key])
        steps.done()
    return BiasByDepth(
        tuple(entries[0]["layers"]),
        torch.tensor([entry["ratio"] for entry in entries], dtype=torch.float64),
        torch.tensor([entry["share"] for entry in entries], dtype=torch.float64),
        torch.tensor([entry["target"] for entry in entries]),
    )


def _one(model: LoadedModel, path: Path, layers: Sequence[str]) -> dict[str, Any]:
    x = model.to_device(model.preprocess(read_picture(path)))
    forms = affine_by_layer(model.module, x, None, list(layers) or None)
    first = next(iter(forms.values()))
    return {
        "layers": list(forms),
        "ratio": [float(form.bias_ratio) for form in forms.values()],
        "share": [float(form.bias_share) for form in forms.values()],
        "target": int(first.targets),
        "score": float(first.score),
    }


def _chosen(images: Sequence[Path], limit: int, seed: int) -> list[Path]:
    """Pictures, those of folders included; `limit` of them drawn with the seed."""
    found = listed_pictures(images, below=False)
    if limit and limit < len(found):
        found = sorted(random.Random(seed).sample(found, limit))
    return found


def _pages(found: dict[str, BiasByDepth], paths: Sequence[Path], kept: bool) -> Iterator[Page]:
    def draw() -> Figure:
        return bias_by_depth_figure(
            [
                DepthLine(spec, depth.layers, depth.ratio.T.numpy(), depth.share.T.numpy())
                for spec, depth in found.items()
            ]
        )

    document = {
        "images": [str(path) for path in paths],
        "models": {spec: depth.table() for spec, depth in found.items()},
        "figure": Whole(_FIGURE),
    }
    text: list[Block] = [block for spec, depth in found.items() for block in _text(spec, depth)]
    text.append(Written("Figure", _FIGURE))
    if kept:
        text.append(Written("Every picture's numbers", _NUMBERS))
    yield Page({_FIGURE: Drawing(draw)}, document, tuple(text))


def _text(spec: str, depth: BiasByDepth) -> list[Block]:
    rows = [
        [
            str(row["layer"]),
            *(_share(row, name) for name in ("mean", "lower", "median", "upper")),
            *(_share(row, f"bounded_{name}") for name in ("lower", "median", "upper")),
        ]
        for row in depth.table()
    ]
    quartiles = ["quartile", "median", "quartile"]
    headers = ["layer", "b / score: mean", *quartiles, "|b| / all: quartile", *quartiles[1:]]
    head = f"{spec}: bias from each layer on, {len(depth.ratio)} pictures, each for its top class"
    return [head, Table(headers, rows, range(1, 8)), ""]


def _share(row: DepthRow, name: str) -> str:
    value = row[name]
    return "–" if value is None else percent(float(value), 1)
