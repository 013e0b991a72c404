"""What the measurements of the affine form share: real weights and pictures, resumed results, statistics."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import nn

from relprop.compat import load_torchvision
from relprop.models.pictures import Preprocess

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "cifar_resnet",
    "correlation",
    "imagenet",
    "interval",
    "measured",
    "quartiles",
    "squeezenet",
]

Array = NDArray[np.float64]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def squeezenet(assets: Path) -> tuple[nn.Module, Preprocess]:
    """SqueezeNet 1.1 with its ImageNet weights, frozen, and its preprocessing."""
    model = load_torchvision().models.squeezenet1_1(weights=None)
    state = load_file(assets / "weights" / "squeezenet1_1" / "squeezenet1_1.fp16.safetensors")
    model.load_state_dict({name: value.float() for name, value in state.items()})
    prepare = Preprocess((224, 224), IMAGENET_MEAN, IMAGENET_STD, resize=256)
    return model.eval().requires_grad_(False), prepare


def cifar_resnet(assets: Path, depth: int) -> tuple[nn.Module, Preprocess]:
    """The CIFAR-10 ResNet of 20 or 56 layers with its weights, frozen, and its preprocessing."""
    path = assets / "reference" / "cifar_resnet.py"
    spec = importlib.util.spec_from_file_location("cifar_resnet", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.R((depth - 2) // 6)
    (weights,) = (assets / "weights" / "cifar10_resnet").glob(f"resnet{depth}-*.safetensors")
    model.load_state_dict(load_file(weights), strict=False)
    return model.eval().requires_grad_(False), Preprocess((32, 32), IMAGENET_MEAN, IMAGENET_STD)


def imagenet(assets: Path, n: int) -> list[Path]:
    """The first n of the ImageNet pictures, by name."""
    return sorted((assets / "imagenet").glob("*.jpg"))[:n]


def measured(
    path: Path,
    settings: dict[str, Any],
    keys: Iterable[str],
    measure: Callable[[str], dict[str, Any]],
    title: str,
) -> list[dict[str, Any]]:
    """A record a key, each written to a file of JSON lines as soon as it is there; what the file has is kept.

    Raises:
        SystemExit: the file was measured with other settings.
    """
    head = json.dumps(settings)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    if lines and lines[0] != head:
        raise SystemExit(f"{path} was measured with other settings, {lines[0]}; give another --out.")
    found: dict[str, dict[str, Any]] = {}
    for line in lines[1:]:
        # A line that was cut off when the run was stopped is measured again.
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            found[record["key"]] = record
    keys = list(keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        path.open("w", encoding="utf-8") as file,
        Progress(*columns, console=Console(stderr=True)) as bar,
    ):
        file.write("".join(f"{line}\n" for line in [head, *map(json.dumps, found.values())]))
        file.flush()
        for key in bar.track([key for key in keys if key not in found]):
            found[key] = {"key": key, **measure(key)}
            file.write(json.dumps(found[key]) + "\n")
            file.flush()
    return [found[key] for key in keys]


def interval(values: ArrayLike, draws: int = 2000) -> tuple[float, float, float]:
    """The mean and its 95 % percentile bootstrap interval.

    >>> interval([1.0, 1.0, 1.0])
    (1.0, 1.0, 1.0)
    """
    values = np.asarray(values, dtype=np.float64)
    means = values[_draws(len(values), draws)].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(values.mean()), float(low), float(high)


def correlation(one: ArrayLike, two: ArrayLike, draws: int = 2000) -> tuple[float, float, float]:
    """Spearman's rank correlation and its 95 % percentile bootstrap interval; ties take their mean rank.

    >>> correlation([1.0, 2.0, 3.0, 5.0], [1.0, 4.0, 9.0, 25.0], draws=1)
    (1.0, 1.0, 1.0)
    """
    a, b = np.asarray(one, dtype=np.float64), np.asarray(two, dtype=np.float64)
    rows = _draws(len(a), draws)
    drawn = _spearman(a[rows], b[rows])
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return float(_spearman(a[None], b[None])[0]), float(low), float(high)


def quartiles(values: ArrayLike, style: str = ".3g") -> str:
    """The median, and the quartiles in brackets.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    '3 [2, 4]'
    """
    low, middle, high = np.quantile(np.asarray(values, dtype=np.float64), (0.25, 0.5, 0.75))
    return f"{middle:{style}} [{low:{style}}, {high:{style}}]"


def _draws(n: int, draws: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, n, (draws, n))


def _spearman(a: Array, b: Array) -> Array:
    """Row by row; NaN where a row is constant."""
    a, b = rankdata(a, axis=1), rankdata(b, axis=1)
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.divide((a * b).sum(1), size, out=np.full(len(a), np.nan), where=size > 0)
