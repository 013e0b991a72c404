"""Does a detection's class map hold up? What is lost with its reddest patches hidden, on real detectors.

    RELPROP_ASSETS=... python benchmarks/hide_and_see.py --methods crp gradient-x-input grad-cam
    RELPROP_ASSETS=... python benchmarks/hide_and_see.py --methods odam        # adds one; what is there is kept
    RELPROP_ASSETS=... python benchmarks/hide_and_see.py --tables-only

The detectors are the SSD (MobileNetV1, COCO) and the YOLO (nano, VOC) of the tests; weights and the VOC and COCO
pictures are read from `RELPROP_ASSETS`. Of each picture the likeliest detection is taken. For each map, as many
patches as make up a tenth of the box are hidden (`relprop.detectors.hiding`): the reddest, the bluest, and random
ones inside the box, with two fills; asked is the class's logit at the detection's own unit.

- *red*, *random*, *blue*: mean loss in logits; *red less random*: paired;
- *beats*: share of the random draws that cost less than the reddest patches (50 by chance);
- *holds up*, *blue against*: how often the page would say so (`Check.holds`, `Check.against`).

Three controls: "a random tenth" takes each random draw for red in turn, "centre of the box" never sees the
network, and "cells 5 x 5" are themselves measured by hiding, at 26 runs of the network.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tests.detectors.nets.mobilenet_ssd import mobilenet_ssd
from tests.detectors.nets.yolo_nano import yolo_nano
from torch import Tensor

from benchmarks.common import markdown
from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.detectors import Detection, Detector, Prepared
from relprop.detectors.explain import detection_explained
from relprop.detectors.hiding import Check, Loss, check_map
from relprop.detectors.removal import measured_effects

MAKERS = {"ssd": mobilenet_ssd, "yolo": yolo_nano}
FILLS = ("inpaint", "mean")
RANDOM, CENTRE, CELLS = "random", "centre of the box", "cells 5 x 5"
DRAWS = 16
BESIDE = "crp"  # the method that others are compared with, pair by pair

Maker = Callable[[Detector, Prepared, Detection], Tensor]


def centre(detector: Detector, prepared: Prepared, d: Detection) -> Tensor:
    """A Gaussian in the box's middle, a quarter of its sides wide."""
    x0, y0, x1, y1 = prepared.in_input(d.box).tolist()
    y, x = (torch.arange(n, dtype=torch.float64) + 0.5 for n in prepared.x.shape[2:])
    down = ((y - (y0 + y1) / 2) / ((y1 - y0) / 4)).square()
    across = ((x - (x0 + x1) / 2) / ((x1 - x0) / 4)).square()
    return torch.exp(-(down[:, None] + across) / 2)


def cells(detector: Detector, prepared: Prepared, d: Detection) -> Tensor:
    """The measured effects on the class's logit."""
    return measured_effects(detector, prepared, d).heatmap("class")


def maker(method: str) -> Maker:
    """What makes a method's map (h, w)."""
    if method in (CENTRE, RANDOM):
        return centre
    if method == CELLS:
        return cells

    def explained(detector: Detector, prepared: Prepared, d: Detection) -> Tensor:
        return detection_explained(detector, prepared, d, method=method).heatmap()[0]

    return explained


def pictures(assets: Path, count: int) -> list[Path]:
    """The first `count` pictures of either collection, in turns."""
    voc = sorted((assets / "voc" / "JPEGImages").glob("*.jpg"))[:count]
    coco = sorted((assets / "coco" / "val2017").glob("*.jpg"))[:count]
    return [p for pair in zip(voc, coco, strict=False) for p in pair]


def read(path: Path) -> dict[str, Any]:
    """Picture → record, None where nothing was found in it."""
    found: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        # A line that was cut off when the run was stopped is measured again.
        with contextlib.suppress(json.JSONDecodeError):
            one = json.loads(line)
            found[one["picture"]] = one["record"]
    return found


def measured(detector: Detector, picture: Path, method: str) -> dict[str, Any] | None:
    """What the likeliest detection's log-odds lose, by fill."""
    found = detector(picture)
    if not len(found):
        return None
    d, prepared = found[0], detector.prepared(picture)
    draws = DRAWS if method == RANDOM else 1
    began = time.process_time()
    heat = maker(method)(detector, prepared, d)
    took = time.process_time() - began
    check = check_map(detector, prepared, d, heat, fills=FILLS, draws=draws, batch=8)
    record: dict[str, Any] = {"name": d.name, "score": d.score, "hidden": check.hidden, "seconds": took}
    for loss in check.losses:
        record[loss.fill] = (
            {"random": loss.random} if method == RANDOM else {"red": loss.red, "blue": loss.blue}
        )
    return record


def run(detector: Detector, where: Sequence[Path], method: str, path: Path) -> None:
    """Append a line a picture to the file; what it has is not measured again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done = read(path)
    with path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        before = file.read()
        if before and not before.endswith("\n"):
            file.write("\n")
        for picture in where:
            if picture.stem not in done:
                line = json.dumps({"picture": picture.stem, "record": measured(detector, picture, method)})
                file.write(line + "\n")
                file.flush()


def scored(losses: Sequence[Loss]) -> dict[str, float]:
    """What the losses of one detection, by fill, say of its map."""
    check = Check("class", "the logit", True, "", "", 0.0, 0.1, 1, (0.0, 0.0), tuple(losses), 0)
    scores = {"holds up": float(check.holds)}
    if check.against is not None:
        scores["blue against"] = float(check.against)
    for loss in losses:
        mean = float(np.mean(loss.random))
        red = loss.red or 0.0  # nothing red: nothing was hidden
        scores |= {f"{loss.fill}: red": red, f"{loss.fill}: random": mean}
        scores[f"{loss.fill}: red less random"] = red - mean
        scores[f"{loss.fill}: beats"] = float(np.mean([v < red for v in loss.random]))
        if loss.blue is not None:
            scores[f"{loss.fill}: blue"] = loss.blue
    return scores


def rows(random: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """Picture and scores of each detection that both have; `found` may be `random` itself.

    Then each of its draws is what a map would have called red, and the others are random; means over the draws.
    """
    for picture, record in found.items():
        drawn = random.get(picture)
        if record is None or drawn is None:
            continue
        draws = {fill: tuple(drawn[fill]["random"]) for fill in FILLS}
        if found is random:
            each = [
                scored([Loss(f, v[k], None, (*v[:k], *v[k + 1 :])) for f, v in draws.items()])
                for k in range(DRAWS)
            ]
            yield picture, {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        else:
            yield picture, scored([Loss(f, record[f]["red"], record[f]["blue"], draws[f]) for f in FILLS])


def table(folder: Path, methods: Sequence[str]) -> str:
    """A detector's table as Markdown; intervals are a bootstrap over pictures."""
    random = read(folder / f"{RANDOM}.jsonl")
    columns = (
        *(f"{fill}: {s}" for fill in FILLS for s in ("red", "random", "blue", "red less random", "beats")),
        "holds up", "blue against", *(f"{fill}: red less {BESIDE}'s" for fill in FILLS),
    )  # fmt: skip
    beside = dict(rows(random, read(folder / f"{BESIDE}.jsonl")))
    lines = []
    for method in methods:
        each = dict(rows(random, random if method == RANDOM else read(folder / f"{method}.jsonl")))
        if not each:
            continue
        for picture, scores in each.items():
            if picture in beside and method not in (BESIDE, RANDOM):
                for fill in FILLS:
                    gap = scores[f"{fill}: red"] - beside[picture][f"{fill}: red"]
                    scores[f"{fill}: red less {BESIDE}'s"] = gap
        resampling = Resampling(sorted(each), 1000)
        line = ["a random tenth" if method == RANDOM else method, str(len(each))]
        for column in columns:
            values = [(resampling.index[p], 0, s[column]) for p, s in each.items() if column in s]
            if not values:
                line.append("")
                continue
            e = resampling.estimate(Pairs.of(values), "pair")
            percent = column.endswith(("beats", "holds up", "against"))
            low, mid, high = (f"{100 * v:.0f}" if percent else f"{v:.2f}" for v in (e.low, e.value, e.high))
            line.append(f"{mid} [{low}, {high}]")
        lines.append(line)
    return markdown(["method", "n", *columns], lines)


def together(folder: Path, detectors: Sequence[str], methods: Sequence[str]) -> str:
    """What has no unit, over all detectors and fills: a table as Markdown; bootstrap over pictures of each."""

    def scores_of(method: str) -> dict[str, dict[str, float]]:
        each = {}
        for name in detectors:
            random = read(folder / name / f"{RANDOM}.jsonl")
            found = random if method == RANDOM else read(folder / name / f"{method}.jsonl")
            for picture, scores in rows(random, found):
                scores["beats"] = float(np.mean([scores[f"{fill}: beats"] for fill in FILLS]))
                each[f"{name} {picture}"] = scores
        return each

    known = {method: scores_of(method) for method in methods}
    columns = ["beats", "holds up", "blue against", *(f"beats, less {other}'s" for other in (BESIDE, CENTRE))]
    lines = []
    for method, each in known.items():
        resampling = Resampling(sorted(each), 1000)
        line = ["a random tenth" if method == RANDOM else method, str(len(each))]
        for column in columns:
            score, _, other = column.partition(", less ")
            beside = known.get(other.removesuffix("'s"), {}) if other else {}
            values = [
                (resampling.index[p], 0, s[score] - (beside[p][score] if other else 0.0))
                for p, s in each.items()
                if score in s and (not other or p in beside)
            ]
            if not values or (other and beside is each):
                line.append("")
                continue
            e = resampling.estimate(Pairs.of(values), "pair")
            line.append(f"{100 * e.value:.0f} [{100 * e.low:.0f}, {100 * e.high:.0f}]")
        lines.append(line)
    return markdown(["method", "n", *columns], lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=["crp", "gradient-x-input", CENTRE, CELLS])
    parser.add_argument("--detectors", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--pictures", type=int, default=40, help="of VOC, and of COCO")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/hide-and-see"))
    asked = parser.parse_args(argv)
    assets = Path(os.environ["RELPROP_ASSETS"])
    where = pictures(assets, asked.pictures)
    if not asked.tables_only:
        for method in [RANDOM, *asked.methods]:
            for name in asked.detectors:
                run(MAKERS[name](assets), where, method, asked.out / name / f"{method}.jsonl")
    for name in asked.detectors:
        known = sorted(p.stem for p in (asked.out / name).glob("*.jsonl"))
        print(f"**{name}**\n\n{table(asked.out / name, known)}\n")
    every = sorted({p.stem for name in asked.detectors for p in (asked.out / name).glob("*.jsonl")})
    print(f"**together**\n\n{together(asked.out, asked.detectors, every)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
