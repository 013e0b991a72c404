"""Do the top classes survive when only the most relevant 30 % are left? Affine contributions against others.

    RELPROP_ASSETS=... python benchmarks/affine_masking.py

The masking test of the piece-wise affine representation on SqueezeNet 1.1 and pictures of ImageNet, for the
model's top class, at the outputs of two fire modules and at the input. `features.7` (27 x 27, before a pool) is
the nearest relative of the VGG-19's conv4 (28 x 28) that the paper measured; `features.12` is the last fire
module. Results go to a file picture by picture; a run that was stopped goes on where it was. Printed are means
over pictures with 95 % bootstrap intervals, and the differences to Grad-CAM over the same pictures.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

import relprop
from benchmarks.affine_common import IMAGENET_MEAN, IMAGENET_STD, imagenet, interval, measured, squeezenet
from benchmarks.common import markdown
from relprop.metrics import masking_fidelity
from relprop.models.pictures import read_picture

LAYERS = ("features.7", "features.12")
PROPAGATED = ("lrp-composite", "lrp-epsilon", "rsp")
CAM = "grad-cam"
# At the input, Grad-CAM stands for that of the last fire module.
CAM_OF = {"features.7": "features.7", "features.12": "features.12", "input": "features.12"}
BLACK = [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
PAPER = "Stated by the paper, VGG-19's conv4, 100 VOC pictures: theirs 35 %, Grad-CAM 17 %."

Maps = dict[str, dict[str, Tensor]]


class Remembering(nn.Module):
    """A model that runs one input only once: its whole picture is asked for beside every masked one."""

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        super().__init__()
        self.model, self.x, self.output = model, x, model(x)

    def forward(self, x: Tensor) -> Tensor:
        """The model's output."""
        out: Tensor = self.output if torch.equal(x, self.x) else self.model(x)
        return out


def maps_of(model: nn.Module, x: Tensor, seed: int, layers: Sequence[str] = LAYERS) -> Maps:
    """Place -> method -> map (h, w) for the model's top class; negative values count as 0 in the test."""
    found: Maps = {place: {} for place in (*layers, "input")}

    def keep(method: str, relevance: dict[str, Tensor]) -> None:
        for place, r in relevance.items():
            found[place][method] = r[0].sum(0)

    affine = relprop.explain(model, x, method="affine", layers=layers)
    parts = {**affine.layers, "input": affine.relevance}
    keep("affine", parts)
    keep("affine, positive parts", {place: r.clamp(min=0) for place, r in parts.items()})
    keep(CAM, relprop.explain(model, x, method=CAM, layers=layers).layers)
    for name in PROPAGATED:
        e = relprop.explain(model, x, method=name, layers=layers)
        keep(name, {**e.layers, "input": e.relevance})
    generator = torch.Generator().manual_seed(seed)
    for of_place in found.values():
        of_place["random"] = torch.rand(of_place["affine"].shape, generator=generator)
    found["input"]["centre"] = centre(x.shape[2], x.shape[3])
    return found


def centre(height: int, width: int) -> Tensor:
    """A map (H, W) that falls with the distance from the middle.

    >>> centre(3, 3).argmax()
    tensor(4)
    """
    y, x = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    away = (y[:, None] ** 2 + x[None] ** 2).sqrt()
    return away.max() - away


def overlaps(model: nn.Module, x: Tensor, maps: Maps) -> dict[str, dict[str, dict[str, float]]]:
    """Fill -> place -> method -> overlap of the top 5."""
    model = Remembering(model, x)
    return {
        fill: {
            place: {
                method: masking_fidelity(model, x, heat, keep=0.3, top=5, fill=fill, black=black)
                for method, heat in of_place.items()
            }
            for place, of_place in maps.items()
        }
        for fill, black in (("mean", None), ("black", BLACK))
    }


def report(records: Sequence[dict[str, Any]]) -> str:
    """The tables, in per cent and points."""
    fills = list(records[0]["overlap"])
    rows = []
    for place, methods in records[0]["overlap"][fills[0]].items():
        for method in methods:
            cells = []
            for fill in fills:
                own = [r["overlap"][fill][place][method] for r in records]
                cam = [r["overlap"][fill][CAM_OF[place]][CAM] for r in records]
                mean, low, high = (100 * v for v in interval(own))
                cells.append(f"{mean:.1f} [{low:.1f}, {high:.1f}]")
                mean, low, high = (100 * v for v in interval([a - b for a, b in zip(own, cam, strict=True)]))
                same = method == CAM
                cells.append("" if same else f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]")
            rows.append([place, method, *cells])
    head = ["at", "map", *[text for fill in fills for text in (f"{fill} fill, %", "less Grad-CAM")]]
    return f"{len(records)} pictures. {PAPER}\n\n{markdown(head, rows)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the random maps")
    parser.add_argument("--out", type=Path, default=Path("out/affine-masking.jsonl"))
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    assets = Path(os.environ["RELPROP_ASSETS"])
    model, prepare = squeezenet(assets)
    pictures = {path.name: path for path in imagenet(assets, args.pictures)}
    order = list(pictures)

    def measure(key: str) -> dict[str, Any]:
        x = prepare(read_picture(pictures[key]))
        maps = maps_of(model, x, seed=1_000_003 * args.seed + order.index(key))
        return {"overlap": overlaps(model, x, maps)}

    print(report(measured(args.out, {"seed": args.seed}, order, measure, "pictures")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
