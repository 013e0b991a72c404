"""Stored networks: what a training script leaves of one, weights of half the bytes and a card with its scores.

Tensors of two or more axes are stored as float16, which keeps 11 binary digits. Biases, norms and running
statistics are few and stay as they are. A network is rounded first and measured then: a card says what the stored
one scores. `relprop.models.load` gives float32 again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)
NUMBERS = "float16 for tensors of two or more axes, else float32; scores are those of the rounded weights"
_MADE = ("training", "reproducible", "versions", "date")  # what a card says of how its network was made


def rounded(model: Net) -> Net:
    """Round a network, in place, to the numbers that can be stored.

    Raises:
        SystemExit: a weight is too large for float16.
    """
    state = {name: _stored(tensor).to(tensor.dtype) for name, tensor in model.state_dict().items()}
    beyond = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
    if beyond:
        raise SystemExit(f"Weights of {', '.join(beyond)} are too large for float16, or not finite.")
    model.load_state_dict(state)
    return model


def _stored(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor


def save_weights(folder: Path, name: str, model: nn.Module) -> dict[str, Any]:
    """Write a rounded network's weights into a folder; return what its card says of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    data = save({key: _stored(tensor).contiguous() for key, tensor in model.state_dict().items()})
    (folder / f"{name}.safetensors").write_bytes(data)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "numbers": NUMBERS,
    }


def save_card(folder: Path, name: str, card: dict[str, Any]) -> None:
    """Write a card beside its weights, with when and with what its scores were measured."""
    card = card | {"measured": {"versions": versions(), "date": today()}}
    (folder / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def stored(folder: Path, name: str, model: Net) -> tuple[Net, dict[str, Any]]:
    """The network that lies in a folder, loaded into `model`, and what its card says of how it was made."""
    model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    card = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return model.eval(), {key: card[key] for key in _MADE}


def provenance(score: str) -> dict[str, Any]:
    """What every card says of how far its numbers can be had again."""
    return {
        "reproducible": "Same machine, torch version and thread count: equal bits. Elsewhere rounding "
        f"differs, and so will the bits; how far the {score} moves then was not measured.",
        "versions": versions(),
        "date": today(),
    }


def versions() -> dict[str, str]:
    """The versions that numbers may depend on."""
    return {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}


def today() -> str:
    """The date, as 2026-11-29."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
