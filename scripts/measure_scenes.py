"""Write src/relprop/models/weights/scenes-likeness.json: what the pictures look like that bundled networks know.

python scripts/measure_scenes.py                    # measures 4000 training scenes, and 4000 test scenes by them
python scripts/measure_scenes.py --photos FOLDER    # how many photographs are told apart; writes nothing
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import relprop
from relprop.datasets import Scenes
from relprop.models.likeness import Likeness, statistics
from relprop.models.pictures import read_picture

TARGET = Path(relprop.__file__).parent / "models" / "weights" / "scenes-likeness.json"
SIZE, COUNT = 112, 4000
TRAIN_SEED, TEST_SEED = 0, 2024  # as in train_scenes.py
SHARE = 0.999  # of the training scenes that lie within the limit


def scenes(split: str, seed: int) -> Tensor:
    """Statistics of that many scenes, (COUNT, 19)."""
    drawn = Scenes(size=SIZE, n=COUNT, seed=seed, split=split)
    blocks = (range(start, start + 100) for start in range(0, COUNT, 100))
    return torch.cat(
        [
            statistics(torch.stack([torch.tensor(drawn[i].image) for i in block]).permute(0, 3, 1, 2) / 255)
            for block in blocks
        ]
    )


def measured(world: str, unit: str, known: Tensor, unseen: Tensor) -> dict[str, Any]:
    """The card of a world: where its statistics lie, and how many unseen ones lie beyond the limit.

    Args:
        world: in words.
        unit: what was measured, in the plural.
        known: statistics (N, 19) of training inputs.
        unseen: those of test inputs, which set nothing.
    """
    centre, precision = known.mean(0), torch.linalg.inv(known.T.cov())
    away, further = known - centre, unseen - centre
    limit = float((away @ precision * away).sum(1).quantile(SHARE))
    beyond = int(((further @ precision * further).sum(1) > limit).sum())
    return {
        "world": world,
        "measured": {"split": "train", "seed": TRAIN_SEED, unit: len(known), "share within": SHARE},
        "test": {"split": "test", "seed": TEST_SEED, unit: len(unseen), "beyond": beyond},
        "limit": round(limit, 4),
        "centre": [float(f"{v:.8g}") for v in centre.tolist()],
        "precision": [[float(f"{v:.10g}") for v in row] for row in precision.tolist()],
    }


def told_apart(folder: Path) -> None:
    """Print how many pictures below a folder lie beyond the limit."""
    model = relprop.models.load("scenes-vgg")
    likeness = model.facts.unlike
    assert isinstance(likeness, Likeness)
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    distances = torch.cat([likeness.distances(model.preprocess(read_picture(p))) for p in files])
    print(
        f"{int((distances > likeness.limit).sum())} of {len(files)} pictures of {folder} lie beyond the limit"
    )


def main() -> None:
    """Measure, write, say how many test scenes lie beyond the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, help="a folder of photographs to tell from scenes")
    options = parser.parse_args()
    if options.photos is not None:
        told_apart(options.photos)
        return
    card = measured(
        "the drawn scenes of relprop.datasets.scenes",
        "scenes",
        scenes("train", TRAIN_SEED),
        scenes("test", TEST_SEED),
    )
    TARGET.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    print(
        f"{card['test']['beyond']} of {COUNT} test scenes lie beyond the limit {card['limit']:.1f}: {TARGET}"
    )


if __name__ == "__main__":
    main()
