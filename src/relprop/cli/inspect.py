"""`relprop inspect`: which operator has which rule."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import relprop
from relprop.cli.output import print_json, print_lines
from relprop.models.sources import load_model

__all__ = ["inspect_model"]


def inspect_model(
    spec: str,
    weights: Path | None,
    size: tuple[int, ...] | None,
    device: str,
    json: bool,
) -> None:
    """Print a model's coverage.

    Coverage does not depend on weights, so torchvision's and timm's published ones are not looked for.

    Raises:
        RelpropError: the model can't be loaded or captured.
    """
    published = spec.startswith(("torchvision:", "timm:"))
    model = load_model(
        spec, weights=weights, random_weights=published and weights is None, size=size, device=device
    )
    coverage = relprop.inspect(model.module, model.example())
    if json:
        print_json(
            {"model": spec, "input_size": list(model.input_size), "rows": [_row(r) for r in coverage.rows]}
        )
    else:
        print_lines(str(coverage))


def _row(row: object) -> dict[str, Any]:
    return asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(vars(row))
