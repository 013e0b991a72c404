"""Write src/relprop/models/weights/motion-likeness.json: what the clips look like that motion-c3d knows.

    python scripts/measure_motion.py     # measures 2000 training clips, and 1000 test clips by them

A clip's statistics are the means of its frames'. As in training the camera shakes in every fourth clip.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from measure_scenes import TEST_SEED, TRAIN_SEED, measured
from torch import Tensor

import relprop
from relprop.datasets.motion import MotionClips
from relprop.models.likeness import statistics

TARGET = Path(relprop.__file__).parent / "models" / "weights" / "motion-likeness.json"
SIZE, FRAMES, SHAKEN = 48, 16, 4  # as in train_motion.py
COUNT, TESTED = 2000, 1000


def clips(split: str, seed: int, count: int) -> Tensor:
    """Statistics of that many clips, (count, 19)."""
    views = [
        MotionClips(size=SIZE, frames=FRAMES, n=count, seed=seed, split=split, shake=shake)
        for shake in (False, True)
    ]
    drawn = (views[i % SHAKEN == 0][i].frames for i in range(count))
    return torch.stack(
        [statistics(torch.tensor(frames).permute(0, 3, 1, 2) / 255).mean(0) for frames in drawn]
    )


def main() -> None:
    """Measure, write, say how many test clips lie beyond the limit."""
    card = measured(
        "the drawn clips of relprop.datasets.motion",
        "clips",
        clips("train", TRAIN_SEED, COUNT),
        clips("test", TEST_SEED, TESTED),
    )
    TARGET.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(
        f"{card['test']['beyond']} of {TESTED} test clips lie beyond the limit {card['limit']:.1f}: {TARGET}"
    )


if __name__ == "__main__":
    main()
