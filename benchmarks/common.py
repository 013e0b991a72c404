"""What both benchmarks share: models with random but realistic weights, the machine, tables."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

__all__ = [
    "DTYPES",
    "HUGE",
    "build",
    "code_digest",
    "constructors",
    "environment",
    "markdown",
    "noise",
    "progress",
    "randomise",
    "synchronise",
]

DTYPES = {"float32": torch.float32, "float64": torch.float64}

# Too large for a quick run. Smaller members of the same families are always run.
HUGE = {
    "regnet_y_128gf": "weights of 2.6 GB; run with --huge",
    "vit_h_14": "weights of 2.5 GB; run with --huge",
    "vit_l_16": "weights of 1.2 GB; run with --huge",
    "vit_l_32": "weights of 1.2 GB; run with --huge",
}


def code_digest(*places: Path) -> str:
    """Of the code that decides kept results: files, and all Python files below folders."""
    digest = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def progress(width: int = 0) -> Progress:
    """Bar with counts and time on stderr, behind a description of that many characters."""
    text = TextColumn(f"{{task.description:<{width}}}")
    return Progress(
        text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    )


def constructors() -> list[str]:
    """Names of all of torchvision's classification and video models."""
    from relprop.compat import load_torchvision

    models = load_torchvision().models
    found: list[str] = models.list_models(module=models) + models.list_models(module=models.video)
    return found


def build(
    name: str,
    size: Sequence[int],
    *,
    seed: int = 0,
    batch: int = 4,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> nn.Module:
    """A torchvision model with seeded random weights, biases and batch norms, frozen, in eval mode.

    Args:
        name: a constructor of torchvision.models or torchvision.models.video.
        size: shape of one input (C, *spatial) on which batch norm statistics are estimated.
        seed: of the weights.
        batch: size of those batches.
        dtype, device: of the finished model.
    """
    from relprop.compat import load_torchvision

    torchvision = load_torchvision()
    torch.manual_seed(seed)
    extra = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **extra)
    randomise(model, size, seed=seed, batch=batch)
    return model.to(device=device, dtype=dtype).requires_grad_(False)


def randomise(
    model: nn.Module,
    size: Sequence[int],
    *,
    seed: int = 0,
    batches: int = 3,
    batch: int = 4,
    others: Sequence[Sequence[int]] = (),
) -> None:
    """Move what constructors leave at 0 or 1, so that no operator is a no-op by accident.

    Convolutions and linear layers get biases N(0, 0.02) where they have any, and weights N(0, 0.02) where
    they are all 0 (the head of vision transformers); norms gamma U(0.3, 1.2) and beta N(0, 0.3), layer
    scales U(0.3, 1.2). What parameters are constant after that (class tokens, positions, gains) gets N(0, 0.02)
    where it is 0 and U(0.3, 1.2) elsewhere, and so do the statistics of norms that are no batch norms. Batch
    norms learn theirs from noise: `batches` batches in training mode, averaged. The model is left in eval mode.
    `others` are the sizes of further inputs.
    """
    generator = torch.Generator().manual_seed(seed + 1)

    def uniform(t: Tensor) -> None:
        t.copy_(torch.rand(t.shape, generator=generator) * 0.9 + 0.3)

    def normal(t: Tensor, deviation: float) -> None:
        t.copy_(torch.randn(t.shape, generator=generator) * deviation)

    with torch.no_grad():
        for module in model.modules():
            weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
            if isinstance(module, (_BatchNorm, nn.LayerNorm, nn.GroupNorm)):
                if isinstance(weight, Tensor):
                    uniform(weight)
                if isinstance(bias, Tensor):
                    normal(bias, 0.3)
            elif isinstance(module, (_ConvNd, nn.Linear)):
                if isinstance(bias, Tensor):
                    normal(bias, 0.02)
                if isinstance(weight, Tensor) and not weight.any():
                    normal(weight, 0.02)
            scale = getattr(module, "layer_scale", None)
            if isinstance(scale, nn.Parameter):
                uniform(scale)
        for parameter in model.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
                if parameter.any():
                    uniform(parameter)
                else:
                    normal(parameter, 0.02)
        for module in model.modules():
            if not isinstance(module, _BatchNorm):
                for name, buffer in module.named_buffers(recurse=False):
                    if name == "running_var":
                        uniform(buffer)
                    elif name == "running_mean":
                        normal(buffer, 0.3)
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        model.eval()  # dropout and stochastic depth stay off: only the batch norms learn
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average over the batches
            norm.train()
        if norms:
            for i in range(batches):
                model(*(noise((batch, *s), seed=seed + 2 + i) for s in (size, *others)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    model.eval()


def noise(
    shape: Sequence[int], *, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Tensor:
    """Standard normal noise, the same on every device and in every precision (up to rounding)."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)).to(device, dtype)


def synchronise(device: str) -> None:
    """Wait for the accelerator; nothing to wait for on a CPU."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def environment(device: str) -> dict[str, str | int]:
    """The machine and the versions a measurement was made with."""
    found: dict[str, str | int] = {"python": platform.python_version(), "cpu": _cpu_name()}
    for package in ("torch", "torchvision", "zennit", "captum"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["cores"] = os.cpu_count() or 0
    found["threads"] = torch.get_num_threads()
    found["device"] = torch.cuda.get_device_name() if torch.device(device).type == "cuda" else device
    if hasattr(os, "getloadavg"):
        found["load average"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table with aligned columns.

    >>> print(markdown(["a", "b"], [[1, "x"]]))
    | a | b |
    | - | - |
    | 1 | x |
    """
    cells = [[str(c).replace("|", r"\|") for c in row] for row in rows]
    widths = [max(len(c) for c in column) for column in zip(head, *cells, strict=True)]
    lines = [list(head), ["-" * w for w in widths], *cells]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines
    )
