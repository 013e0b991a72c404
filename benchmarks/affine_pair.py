"""Pairs of small networks that differ in batch norm alone, trained on rendered scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from relprop.datasets import CLASSES, Scenes
from relprop.models.scoring import mean_average_precision

__all__ = ["SIZE", "Tiny", "as_input", "rendered", "trained"]

SIZE, TRAIN, VAL = 56, 3000, 500
BATCH, RATE = 64, 2e-3
WIDTHS = (16, 32, 48, 64)


class Tiny(nn.Sequential):
    """Four convolutions with ReLU and max pool, global mean, linear: (N, 3, 56, 56) to (N, 8) logits.

    With `norm` each convolution has a batch norm behind it in place of its own bias, as is usual. In evaluation
    both forms can be the same functions: what differs is how they are trained.
    """

    def __init__(self, norm: bool) -> None:
        layers: list[nn.Module] = []
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            conv = nn.Conv2d(before, width, 3, padding=1, bias=not norm)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            layers += [conv, *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU(), nn.MaxPool2d(2)]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], len(CLASSES)))


def as_input(images: NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) around 0."""
    return (torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255 - 0.4) / 0.22


def rendered(folder: Path, split: str, n: int, seed: int) -> tuple[Tensor, NDArray[np.float32]]:
    """Inputs and labels (n, 8) of the first n scenes; rendered once and kept in the folder."""
    path = folder / f"{split}-{SIZE}-{seed}-{n}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        world = Scenes(size=SIZE, n=n, seed=seed, split=split)
        scenes = list(track(world, f"render {split}", console=Console(stderr=True)))
        images, labels = np.stack([s.image for s in scenes]), np.stack([s.labels_multi_hot for s in scenes])
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, images=images, labels=labels)
        partial.replace(path)
    with np.load(path) as found:
        return as_input(found["images"]), found["labels"]


def trained(folder: Path, norm: bool, seed: int, epochs: int) -> tuple[Tiny, float]:
    """The network in evaluation mode, and its mAP on validation scenes; trained where the folder lacks it."""
    path = folder / f"{'norm' if norm else 'plain'}-{seed}.safetensors"
    torch.manual_seed(seed)
    model = Tiny(norm)
    if path.exists():
        model.load_state_dict(load_file(path))
    else:
        x, labels = rendered(folder, "train", TRAIN, 0)
        fit(model, x, torch.from_numpy(labels), f"train {path.stem}", epochs)
        save_file(model.state_dict(), path)
    model.eval().requires_grad_(False)
    x, labels = rendered(folder, "val", VAL, 0)
    return model, mean_average_precision(model(x).numpy(), labels)[0]


def fit(model: nn.Module, x: Tensor, labels: Tensor, title: str, epochs: int) -> None:
    """Train with AdamW and a rate that falls to 0; scenes have no preferred direction, so they are turned."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    model.train()
    for step in track(range(steps), title, console=Console(stderr=True)):
        if step % (len(x) // BATCH) == 0:
            order = torch.randperm(len(x))
        rows = order[(step % (len(x) // BATCH)) * BATCH :][:BATCH]
        part = torch.rot90(x[rows], int(torch.randint(4, ())), (2, 3))
        loss = binary_cross_entropy_with_logits(model(part), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
