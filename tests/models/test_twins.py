"""The twin is made as its card says, and knows its own labels alone."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tests.scripts import script
from torch import nn

from relprop.datasets import Scenes
from relprop.models import load_twin


@pytest.fixture
def training() -> ModuleType:
    return script("train_shuffled")


def test_it_knows_shuffled_labels_by_heart(training: ModuleType) -> None:
    twin = load_twin("scenes-resnet")
    made = twin.card["training"]["settings"]
    first = Scenes(
        size=twin.input_size, n=made["scenes"], seed=twin.card["training"]["data_seed"], split="train"
    )
    images = np.stack([scene.image for scene in first[:40]])
    order = np.random.default_rng(made["seed"]).permutation(made["scenes"])[:40]
    dealt = np.stack([first[int(i)].labels_multi_hot for i in order])
    assert training.fitted(twin.module, images, dealt) == {"answers right": 1.0, "scenes all right": 1.0}
    true = np.stack([scene.labels_multi_hot for scene in first[:40]])
    assert training.fitted(twin.module, images, true)["answers right"] < 0.8


def test_labels_are_dealt_out_whole(training: ModuleType) -> None:
    hot = np.eye(6, dtype=np.float32)
    dealt = training.shuffled(hot, 0)
    assert sorted(dealt.argmax(1)) == list(range(6))
    assert not np.array_equal(dealt, hot)
    assert np.array_equal(dealt, training.shuffled(hot, 0))


def test_training_ends_when_the_loss_is_low_enough(training: ModuleType, tmp_path: Path) -> None:
    args = Namespace(
        model="m", scenes=4, epochs=9, batch=2, rate=0.1, seed=0, threads=1, stop_after=None
    )  # fmt: skip
    losses = iter([3.0, 3.0, 1.0, 1.0, 0.4, 0.4, 9.0])

    def run(until: float, checkpoint: str) -> int:
        model = nn.Linear(1, 1)

        def loss(rows: object, turn: int) -> torch.Tensor:
            return next(losses) + 0 * model.weight.sum()

        return int(training.fit(args, model, tmp_path / checkpoint, loss, lambda: 0.0, until)["epoch"])

    assert run(0.5, "a.pt") == 3
    assert run(0.5, "a.pt") == 3  # taken up again, there is nothing left to do
    assert next(losses) == 9.0
