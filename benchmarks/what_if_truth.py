"""What makes another class B likely where a detector saw something else? The world's own answer, on drawn scenes.

    python benchmarks/what_if_truth.py --scenes 400

For each right detection and each other class B that shows on 1.5 % of the picture within the detection's box at
twice its size, the renderer takes B's objects away, then the detected object instead, and the same output unit is
asked again: B's logit, its logit against the background, and its probability at that anchor. A map that speaks
for B would have to lie where taking something away lowers these. No explanation is made.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from benchmarks.common import markdown
from benchmarks.crp_scenes import LEAST, measure, read
from benchmarks.crp_truth import correct, inside_box, without
from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.datasets import Scene, Scenes
from relprop.detectors import Detector, load

ASKED = ("B's logit", "against the background", "B's probability")


class Measurement:
    """What one scene says."""

    def __init__(self, detector: Detector) -> None:
        assert detector.classes is not None
        self.detector, self.names = detector, detector.classes

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        """One record a pair of a detection and another class."""
        found = []
        for d, k in correct(self.detector(scene.image), scene, self.names):
            near = inside_box(d.box.tolist(), scene.masks.shape[1:], 2.0)
            for name in sorted({n for n in scene.names if n != d.name}):
                own = [i for i, n in enumerate(scene.names) if n == name]
                if (scene.masks[own].any(0) & near).mean() < LEAST:
                    continue
                label = self.names.index(name)
                as_it_is, without_b, without_own = (
                    self._said(picture, d.anchor, label)
                    for picture in (scene.image, without(scene, *own), without(scene, k))
                )
                found.append({
                    "scene": scene.index, "anchor": d.anchor, "class": d.name, "B": name,
                    "B away": [a - b for a, b in zip(as_it_is, without_b, strict=True)],
                    "detected away": [a - b for a, b in zip(as_it_is, without_own, strict=True)],
                })  # fmt: skip
        return found

    @torch.no_grad()
    def _said(self, picture: Any, anchor: int, label: int) -> tuple[float, float, float]:
        logits, _, _ = self.detector.outputs(self.detector.prepared(picture).x)
        here = logits[0, anchor]
        background = 0 if self.detector.background is None else self.detector.background
        return (
            float(here[label]),
            float(here[label] - here[background]),
            float(here.softmax(0)[label]),
        )


def report(done: dict[int, list[dict[str, Any]]]) -> str:
    """What each removal takes from B, as a Markdown table."""
    resampling = Resampling([f"{i:07d}" for i in done], 1000)
    every = [(resampling.index[f"{i:07d}"], n, r) for i, rows in done.items() for n, r in enumerate(rows)]
    rows = []
    for what in ("B away", "detected away"):
        row = [what]
        for column in range(len(ASKED)):
            lost = Pairs.of([(i, n, r[what][column]) for i, n, r in every])
            falls = Pairs.of([(i, n, float(np.heaviside(r[what][column], 0.5))) for i, n, r in every])
            a, b = (resampling.estimate(p, "pair") for p in (lost, falls))
            row.append(f"{a.value:.3f} [{a.low:.3f}, {a.high:.3f}]; {100 * b.value:.0f} %")
        rows.append(row)
    larger = Pairs.of([(i, n, float(r["B away"][1] > r["detected away"][1])) for i, n, r in every])
    share = resampling.estimate(larger, "pair")
    scenes = len({i for i, _, _ in every})
    return (
        f"{len(every)} pairs in {scenes} of {len(done)} scenes. What is lost, and how often something is; 95 % "
        "intervals: bootstrap over scenes.\n\n"
        + markdown(["taken", *ASKED], rows)
        + f"\n\nB's own effect (against the background) is the larger one in {100 * share.value:.1f} % "
        f"[{100 * share.low:.1f}, {100 * share.high:.1f}]."
    )


def main(argv: Sequence[str] | None = None, detector: Detector | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=1717)
    parser.add_argument("--out", type=Path, default=Path("out/what-if-truth"))
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = {"split": asked.split, "seed": asked.seed}
    done = read(asked.out, settings)
    left = [i for i in range(asked.scenes) if i not in done]
    scenes = Scenes(n=asked.scenes, seed=asked.seed, split=asked.split)
    measure(
        scenes, left, Measurement(detector or load("scenes-ssd")), asked.out / "part-1-of-1.jsonl", settings
    )
    done = {i: rows for i, rows in read(asked.out, settings).items() if i < asked.scenes}
    print(report(done))
    return 0


if __name__ == "__main__":
    sys.exit(main())
