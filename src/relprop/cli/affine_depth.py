"""`relprop affine --depth`: how much of the score is bias, from each layer on, over many pictures."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from relprop.cli.output import percent, print_json, print_lines, print_table, progress
from relprop.errors import InputError
from relprop.models.pictures import read_picture
from relprop.models.sources import LoadedModel, load_model
from relprop.piecewise import BiasByDepth, affine_by_layer

if TYPE_CHECKING:
    from relprop.piecewise.depth import Row

__all__ = ["Request", "measure_depth"]

_KINDS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Request:
    """The options of `relprop affine --depth`, parsed."""

    images: list[Path]
    models: list[str]
    layers: list[str]
    limit: int
    seed: int
    weights: Path | None
    random_weights: bool
    size: tuple[int, ...] | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    out: Path
    device: str
    json: bool


def measure_depth(request: Request) -> None:
    """Measure every model on every picture for its top class, and draw one line a model.

    Each picture's numbers are kept in `depth.jsonl` as they are made; the same command goes on where it stopped.

    Raises:
        RelpropError: a picture or a model can't be used; what was measured before is kept.
    """
    images = _chosen(request)
    if request.weights is not None and len(request.models) > 1:
        raise InputError("Expected one --model with --weights but got several. Run them one by one.")
    book = _Book(request.out / "depth.jsonl")
    found = {}
    with progress(len(images) * len(request.models), request.json) as steps:
        for spec in request.models:
            model = load_model(
                spec,
                weights=request.weights,
                size=request.size,
                mean=request.mean,
                std=request.std,
                random_weights=request.random_weights,
                device=request.device,
                progress=not request.json,
            )
            about = [spec, _digest(model), model.input_size, model.mean, model.std, request.layers]
            for path in images:
                steps.doing(f"{spec}: {path.name}")
                key = [*about, str(path)]
                if key not in book:
                    book.add(key, _measured(model, path, request.layers))
                steps.done()
            keys = [[*about, str(path)] for path in images]
            found[spec] = _together([book[key] for key in keys])
    figure = _draw(found, request.out)
    if request.json:
        print_json(
            {
                "images": [str(path) for path in images],
                "models": {spec: depth.table() for spec, depth in found.items()},
                "figure": str(figure),
            }
        )
        return
    for spec, depth in found.items():
        _print(spec, depth)
    print_lines(f"Figure: {figure}", f"Every picture's numbers: {request.out / 'depth.jsonl'}")


class _Book:
    """Results by key in a file of JSON lines; a line that was cut off is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: dict[str, Any] = {}
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
                if not line.endswith("\n"):
                    break
                entry = json.loads(line)
                self._held[json.dumps(entry["key"])] = entry
            whole = "".join(json.dumps(entry) + "\n" for entry in self._held.values())
            if whole != path.read_text(encoding="utf-8"):
                path.write_text(whole, encoding="utf-8")

    def __contains__(self, key: Any) -> bool:
        return json.dumps(key) in self._held

    def __getitem__(self, key: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._held[json.dumps(key)]
        return found

    def add(self, key: Any, values: dict[str, Any]) -> None:
        """Keep it, on the disk too."""
        entry = {"key": key, **values}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._held[json.dumps(key)] = entry


def _digest(model: LoadedModel) -> str:
    """Of all parameters and buffers: numbers of other weights shall not be taken for these."""
    found = hashlib.sha256()
    for name, tensor in model.module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def _chosen(request: Request) -> list[Path]:
    """Pictures, those of folders included; `limit` of them drawn with the seed."""
    found: list[Path] = []
    for path in request.images:
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in _KINDS) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"Expected pictures in '{path}' but it holds none ({', '.join(_KINDS)}).")
        found += inside
    if request.limit and request.limit < len(found):
        found = sorted(random.Random(request.seed).sample(found, request.limit))
    return found


def _measured(model: LoadedModel, path: Path, layers: Sequence[str]) -> dict[str, Any]:
    x = model.place(model.preprocess(read_picture(path)))
    forms = affine_by_layer(model.module, x, None, list(layers) or None)
    first = next(iter(forms.values()))
    return {
        "layers": list(forms),
        "ratio": [float(form.bias_ratio) for form in forms.values()],
        "share": [float(form.bias_share) for form in forms.values()],
        "target": int(first.targets),
        "score": float(first.score),
    }


def _together(entries: list[dict[str, Any]]) -> BiasByDepth:
    return BiasByDepth(
        tuple(entries[0]["layers"]),
        torch.tensor([entry["ratio"] for entry in entries], dtype=torch.float64),
        torch.tensor([entry["share"] for entry in entries], dtype=torch.float64),
        torch.tensor([entry["target"] for entry in entries]),
    )


def _draw(found: dict[str, BiasByDepth], out: Path) -> Path:
    from relprop.viz.bias_depth import DepthLine, bias_by_depth_figure
    from relprop.viz.file import save_figure

    lines = [
        DepthLine(spec, depth.layers, depth.ratio.T.numpy(), depth.share.T.numpy())
        for spec, depth in found.items()
    ]
    return save_figure(bias_by_depth_figure(lines), out / "depth.png")


def _print(spec: str, depth: BiasByDepth) -> None:
    print_lines(f"{spec}: bias from each layer on, {len(depth.ratio)} pictures, each for its top class")
    rows = [
        [
            str(row["layer"]),
            *(_share(row, name) for name in ("mean", "lower", "median", "upper")),
            *(_share(row, f"bounded_{name}") for name in ("lower", "median", "upper")),
        ]
        for row in depth.table()
    ]
    headers = [
        "layer",
        "b / score: mean",
        "quartile",
        "median",
        "quartile",
        "|b| / all: quartile",
        "median",
        "quartile",
    ]
    print_table(headers, rows, right=range(1, 8))
    print_lines("")


def _share(row: Row, name: str) -> str:
    value = row[name]
    return "–" if value is None else percent(float(value), 1)
