"""Small pictures, networks and recipes that the runner's tests share."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from relprop.benchmark.recipe import Recipe, recipe_from
from relprop.benchmark.record import Record

NETS = """
import os, signal
from pathlib import Path

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        convs = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.features = nn.Sequential(convs[0], nn.ReLU(), nn.MaxPool2d(2), convs[1], nn.ReLU())
        self.head = nn.Linear(8, classes)

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))


class Gated(Net):
    def forward(self, x):
        return self.head(torch.softmax(self.features(x), dim=1).amax(dim=(2, 3)))


class Clips(Net):
    def forward(self, x):
        return self.features(x)


class Mortal(Net):
    # Dies once: the first process that gets here leaves a mark and is gone.
    def forward(self, x):
        try:
            os.close(os.open(Path(__file__).with_name("died"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().forward(x)
        os.kill(os.getpid(), signal.SIGKILL)


def scenes():
    return Net(8)


def voc():
    return Net(20)
"""

LABELS = ("cat", "dog", "owl")
UNKNOWN = "yak"  # a class that the network doesn't have

#         size (w, h) and the classes of each picture
PICTURES: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "a.png": ((40, 30), ("cat",)),
    "b.png": ((40, 30), ("dog", "owl", "cat")),
    "c.png": ((30, 41), ("owl", "yak")),
    "d.png": ((40, 30), ("dog", "cat")),
    "e.png": ((30, 41), ("cat", "dog")),
    "f.png": ((37, 53), ("owl",)),
    "g.png": ((40, 30), ("owl", "dog", "cat")),
}


def pictures(folder: Path, given: Mapping[str, tuple[tuple[int, int], Sequence[str]]] = PICTURES) -> Path:
    """A folder of noise with a bright box for each class, its labels.csv, names.txt and nets.py."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nets.py").write_text(NETS)
    (folder / "names.txt").write_text("\n".join(LABELS))
    with (folder / "labels.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["file", "label", "x0", "y0", "x1", "y1"])
        for name, ((width, height), labels) in given.items():
            # The name decides the noise: the same picture in a larger or smaller set.
            rng = np.random.default_rng(sum(name.encode()))
            values = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
            for k, label in enumerate(labels):
                x0, y0 = 2 + 9 * k, int(rng.integers(0, height - 12))
                values[y0 : y0 + 10, x0 : x0 + 8, k % 3] += 130
                rows.writerow([name, label, x0, y0, x0 + 8, y0 + 10])
            Image.fromarray(values).save(folder / name)
    return folder


def recipe(folder: Path, **changes: Any) -> Recipe:
    """A recipe of the folder with a method of each kind; `changes` as in TOML."""
    model = {
        "spec": f"{folder / 'nets.py'}:Net",
        "labels": str(folder / "names.txt"),
        "size": [16, 16],
        "mean": [0.4, 0.4, 0.4],
        "std": [0.2, 0.2, 0.2],
    }
    table: dict[str, Any] = {
        "name": "tiny",
        "data": {"name": "folder", "folder": str(folder)},
        "methods": ["center", "random", "gradient-x-input", "lrp-epsilon"],
        "metrics": [{"name": "pointing-game", "tolerance": 3}, "miou", "energy"],
        "controls": False,
        "chunk": 2,
        "replicates": 20,
        **changes,
    }
    table["model"] = {**model, **changes.get("model", {})}
    return recipe_from(table)


def scenes(folder: Path, n: int, **changes: Any) -> Recipe:
    """A recipe of drawn scenes with a network that hasn't learnt them."""
    (folder / "nets.py").write_text(NETS)
    spec = {"spec": f"{folder / 'nets.py'}:scenes", "size": [32, 32], "labels": None}
    metrics = [{"name": "pointing-game", "tolerance": 3, "region": "masks"}, "energy"]
    settings = {"data": {"name": "scenes", "n": n}, "metrics": metrics, "chunk": 1, **changes}
    return recipe(folder, **settings, model=spec)


def by_key(records: Sequence[Record]) -> dict[tuple[str, int, str, str], Record]:
    """Records by (picture, class, method, metric), each once."""
    found = {(r.image, r.label, r.method, r.metric): r for r in records}
    assert len(found) == len(records)
    return found
