"""Does red lie on the side that a real detector moved its box to? CRP with and without balance.

    RELPROP_ASSETS=... python benchmarks/crp_real.py --pictures 25

The detectors are the SSD (MobileNetV1, COCO) and the YOLO (nano, VOC) of the tests; their weights and the VOC
pictures are read from `RELPROP_ASSETS`. Of each picture the two likeliest detections are taken, and of these the
centre offsets of at least `--least`. Red is on the right side where its centre of mass lies further the way the
box moved than that of blue; a map of one colour counts as a miss. Nobody knows the truth here: a network may tell
that an object reaches further to the right from what it sees on the left.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tests.detectors.nets.mobilenet_ssd import mobilenet_ssd
from tests.detectors.nets.yolo_nano import yolo_nano
from torch import Tensor

import relprop
from benchmarks.common import markdown
from relprop.detectors import Detection, Detector

MAKERS = {"SSD MobileNetV1": mobilenet_ssd, "YOLO nano": yolo_nano}


def lead(heat: Tensor, axis: int) -> float:
    """How far red's centre of mass lies beyond blue's along an axis of the map (h, w); 0 for one colour."""
    along = torch.arange(heat.shape[axis], dtype=heat.dtype) + 0.5
    centres = []
    for colour in (heat.clamp(min=0), (-heat).clamp(min=0)):
        sums = colour.sum(1 - axis)
        if float(sums.sum()) == 0:
            return 0.0
        centres.append(float((sums * along).sum() / sums.sum()))
    return centres[0] - centres[1]


def judged(
    detector: Detector, picture: Path, d: Detection, least: float, balance: bool
) -> list[dict[str, Any]]:
    """One record a centre offset of a detection."""
    values = dict(zip(detector.offsets, d.offsets.tolist(), strict=True))
    asked = [name for name in ("cx", "cy") if abs(values[name]) >= least]
    if not asked:
        return []
    e = relprop.explain_detection(detector, picture, d, asked, method=relprop.CRP(balance=balance))
    heat = e.heatmap()[:, 0].double()
    return [
        {
            "hit": lead(h, 1 if name == "cx" else 0) * values[name] > 0,
            "one colour": float(h.sum().abs() / h.abs().sum()) > 0.999,
            "survived": float(e.extras["survived"][k].min()) if balance else None,
        }
        for k, (name, h) in enumerate(zip(asked, heat, strict=True))
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=25)
    parser.add_argument("--least", type=float, default=0.5)
    args = parser.parse_args(argv)
    assets = Path(os.environ["RELPROP_ASSETS"])
    pictures = sorted((assets / "voc" / "JPEGImages").glob("*.jpg"))[: args.pictures]
    rows = []
    for name, make in MAKERS.items():
        detector = make(assets)
        found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
        for picture in pictures:
            for d in list(detector(picture))[:2]:
                for balance, records in found.items():
                    records += judged(detector, picture, d, args.least, balance)
        for balance, records in found.items():
            share = [
                f"{100 * sum(r[key] for r in records) / len(records):.0f} %" for key in ("hit", "one colour")
            ]
            arrived = median(r["survived"] for r in records) if balance else None
            rows.append([
                name, str(len(records)), "crp" if balance else "crp:balance=False", *share,
                "" if arrived is None else f"{100 * arrived:.2g} %",
            ])  # fmt: skip
    head = [
        "detector",
        "offsets",
        "method",
        "red on the right side",
        "one colour",
        "arrived (median)",
    ]
    print(markdown(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
