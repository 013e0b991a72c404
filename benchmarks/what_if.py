"""Does `what_if_effects`, which inpaints boxes, measure what the renderer says? See `what_if_truth.py`, too.

    python benchmarks/what_if.py --scenes 200 --out out/what-if       # stopped and started again, it goes on
    python benchmarks/what_if.py --scenes 200 --out out/what-if --tables-only

For each right detection and each class B that shows within twice its box (1.5 % of the picture), the true
effects of taking the nearest B away, and the detected object, are the renderer's: what stands behind is seen.
Beside them is what `relprop.detectors.what_if_effects` measures with inpainted boxes, of B's true box. Effects
are with less without.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.common import markdown
from benchmarks.crp_scenes import measure, read
from benchmarks.crp_truth import correct, inside_box, without
from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.datasets import Scene, Scenes
from relprop.detectors import Detection, Detector, load, what_if_effects

LEAST = 0.015  # of the picture: what has to be seen of another class near the box


class Measurement:
    """One record a pair of a right detection and another class near it."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        """All pairs of a scene."""
        names = self.detector.classes
        assert names is not None
        made: list[dict[str, Any]] = []
        for d, k in correct(self.detector(scene.image), scene, names):
            near = inside_box(d.box.tolist(), scene.masks.shape[1:], 2.0)
            made += [
                self._record(scene, d, k, name, names.index(name))
                for name in sorted({n for n in scene.names if n != d.name})
                if (scene.class_mask(name) & near).mean() >= LEAST
            ]
        return made

    def _record(self, scene: Scene, d: Detection, k: int, name: str, other: int) -> dict[str, Any]:
        centre = (d.box[:2] + d.box[2:]).numpy() / 2

        def distance(i: int) -> float:
            x0, y0, x1, y1 = scene.boxes[i]
            return float(((centre - [(x0 + x1) / 2, (y0 + y1) / 2]) ** 2).sum())

        b = min((i for i, n in enumerate(scene.names) if n == name), key=distance)
        pictures = [scene.image, without(scene, b), without(scene, k)]
        x = torch.cat([self.detector.prepared(picture).x for picture in pictures])
        said = self.detector.outputs(x)[0][:, d.anchor, [d.label, other]]
        region, box = (said[0] - said[1:]).tolist()
        found = what_if_effects(
            self.detector, scene.image, d, other, torch.from_numpy(scene.boxes[b]).float()
        )
        return {
            "scene": scene.index, "true": {"region": region, "box": box},
            "measured": {"region": found.region, "box": found.box}, "apart": found.apart,
        }  # fmt: skip


def report(done: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """The table as Markdown; intervals are a bootstrap over scenes."""
    resampling = Resampling([f"{i:07d}" for i in done], 1000)
    every = [(i, n, r) for i, records in done.items() for n, r in enumerate(records)]

    def cell(values: Sequence[float], percent: bool = False) -> str:
        rows = [(resampling.index[f"{i:07d}"], n, v) for (i, n, _), v in zip(every, values, strict=True)]
        e = resampling.estimate(Pairs.of(rows), "pair")
        low, mid, high = (f"{100 * v:.0f}" if percent else f"{v:.2f}" for v in (e.low, e.value, e.high))
        return f"{mid} [{low}, {high}]"

    rows = []
    for kind in ("true", "measured"):
        region, box = (np.array([r[kind][part] for *_, r in every]) for part in ("region", "box"))
        rows.append([
            {"true": "by the renderer", "measured": "by inpainted boxes"}[kind],
            cell(region[:, 1]), cell(region[:, 1] > 0, True), cell(box[:, 1]), cell(box[:, 0]),
            cell(np.abs(region[:, 1]) > np.abs(box[:, 1]), True),
        ])  # fmt: skip
    head = ["", "B away: B's logit loses", "it loses anything, %", "object away: B's loses", "its own loses",
            "B moves it more, %"]  # fmt: skip
    agree = []
    for part in ("region", "box"):
        true, said = (np.array([r[kind][part][1] for *_, r in every]) for kind in ("true", "measured"))
        agree.append(
            [part, f"{np.corrcoef(true, said)[0, 1]:.2f}", cell(np.sign(true) == np.sign(said), True)]
        )
    apart = sum(r["apart"] for *_, r in every)
    count = f"{len(done)} scenes, {len(every)} pairs, of which in {apart} B lies apart."
    table = markdown(["effect on B's logit of", "correlation with the renderer's", "same sign, %"], agree)
    return f"{count}\n\n{markdown(head, rows)}\n\n{table}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=71, help="of the scenes; prototypes were chosen on 11")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/what-if"))
    asked = parser.parse_args(argv)
    settings = {"split": asked.split, "seed": asked.seed}
    scenes = Scenes(n=asked.scenes, seed=asked.seed, split=asked.split)
    done = read(asked.out, settings)
    if not asked.tables_only:
        mine = [i for i in range(asked.scenes) if i not in done]
        measure(scenes, mine, Measurement(load("scenes-ssd")), asked.out / "part-1-of-1.jsonl", settings)
        done = read(asked.out, settings)
    print(report({i: records for i, records in done.items() if i < asked.scenes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
