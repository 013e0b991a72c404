"""Which side of an object moved the box? Measured cells and bands beside CRP and gradients, on rendered scenes.

    python benchmarks/edges.py --scenes 100 --out out/edges          # stopped and started again, it goes on
    python benchmarks/edges.py --scenes 100 --out out/edges --tables-only

Of each right detection of an object that is seen nearly whole, the left, right, top and bottom quarter of the
object are replaced by what stands behind it, by the renderer: that is the true effect on offsets and edges. Each
method's map is summed over the same quarters.

- *side*: of centre offsets of at least 0.25 in magnitude: whether the quarter on the side that the centre moved
  to has more than the one opposite (as in `crp_scenes.py`); 50 by chance;
- *edge: sign*: of edges whose own quarter and the one opposite differ by half a pixel or more: whether the map's
  difference has the same sign; 50 by chance;
- *edge: top*: whether the map's strongest quarter is the one that moves the edge most; 25 by chance.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import markdown
from benchmarks.crp_maps import head_of
from benchmarks.crp_scenes import WHOLE, measure, read
from benchmarks.crp_tables import LEAST_OFFSET, Values, offset_scores
from benchmarks.crp_truth import correct, strips, without_strips
from relprop.benchmark.bootstrap import Pairs, Resampling
from relprop.datasets import Scene, Scenes
from relprop.detectors import Detection, Detector, load
from relprop.detectors.detector import EDGES
from relprop.detectors.explain import detection_explained
from relprop.detectors.removal import measured_effects
from relprop.methods.registry import resolve

#: Name → settings of `measured_effects`.
MEASURED: dict[str, dict[str, Any]] = {
    "cells 5 x 5 x 1.25": {"cells": (5, 5), "reach": 1.25},
    "cells 5 x 5 x 1.25, blurred": {"cells": (5, 5), "reach": 1.25, "fill": "blur"},
    "cells 5 x 5 x 1.25, mean colour": {"cells": (5, 5), "reach": 1.25, "fill": "mean"},
    "cells 7 x 7 x 1.4": {"cells": (7, 7), "reach": 1.4},
    "cells 4 x 4 x 1": {"cells": (4, 4), "reach": 1.0},
    "four bands": {"cells": "bands"},
}
MAPS = ("crp", "gradient-x-input")
TRUTH = "the true effects"
LEAST_EDGE = 0.5  # pixels

PAIRED = (
    ("cells 5 x 5 x 1.25", "four bands"),
    ("cells 5 x 5 x 1.25", "cells 7 x 7 x 1.4"),
    ("cells 5 x 5 x 1.25", "cells 5 x 5 x 1.25, blurred"),
    ("cells 5 x 5 x 1.25", "cells 5 x 5 x 1.25, mean colour"),
    ("cells 5 x 5 x 1.25", "crp"),
    ("cells 5 x 5 x 1.25", "gradient-x-input"),
    ("four bands", "crp"),
)


class Measurement:
    """What one scene says about every method."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        """One record a right detection of an object seen nearly whole."""
        assert self.detector.classes is not None
        pairs = correct(self.detector(scene.image), scene, self.detector.classes)
        whole = [(d, k) for d, k in pairs if scene.masks[k].sum() >= WHOLE * scene.silhouettes[k].sum()]
        return [self._record(scene, d, k) for d, k in whole]

    def _record(self, scene: Scene, d: Detection, k: int) -> dict[str, Any]:
        detector = self.detector
        prepared = detector.prepared(scene.image)
        pictures = [detector.prepared(image).x for image in (scene.image, *without_strips(scene, k))]
        _, moved, _ = detector.outputs(torch.cat(pictures))
        offsets = moved[:, d.anchor]
        anchor = torch.cat(detector.levels(prepared.x))[[d.anchor]]
        edges = prepared.on_picture(detector.decoded(offsets, anchor.expand(5, 4)))
        values = torch.cat([offsets, edges], 1)  # (5, 8)
        taken = torch.cat([offsets[0], edges[0] - prepared.on_picture(anchor)[0]]).sign()
        regions = torch.from_numpy(strips(scene, k)).double()

        def sums(maps: Tensor) -> list[list[float]]:  # (8, h, w) → (parts, strips)
            return torch.einsum("ohw,shw->os", maps.double(), regions).tolist()

        parts = (*detector.offsets, *EDGES)
        relevance, runs = {}, {}
        for name, settings in MEASURED.items():
            found = measured_effects(detector, prepared, d, batch=16, **settings)
            relevance[name] = sums(torch.stack([found.heatmap(part) for part in parts]))
            runs[name] = found.runs
        for name in MAPS:
            maps = detection_explained(detector, prepared, d, list(parts), method=name).heatmap()[:, 0]
            # Positive for a larger value, as an effect is.
            signs = taken[:, None, None] if resolve(name).pushes else 1.0
            relevance[name] = sums(maps * signs)
        return {
            "scene": scene.index, "anchor": d.anchor, "values": values[0].tolist(),
            "effects": (values[0] - values[1:]).T.tolist(),  # (parts, strips)
            "relevance": relevance, "runs": runs,
        }  # fmt: skip


def values_of(done: Mapping[int, Sequence[Mapping[str, Any]]]) -> Values:
    """Every single value behind the table: (which objects, score, method)."""
    found: Values = defaultdict(list)
    for scene, records in done.items():
        for n, record in enumerate(records):
            head = head_of(record["anchor"])
            groups = ("all", f"{head.cells} x {head.cells}")
            for method, sums in {TRUTH: record["effects"], **record["relevance"]}.items():
                for j, (score, value) in _scores(record["values"], record["effects"], sums):
                    for group in groups:
                        found[group, score, method].append((scene, 16 * n + j, value))
    return found


def _scores(
    values: Sequence[float], effects: Sequence[Sequence[float]], sums: Sequence[Sequence[float]]
) -> list[tuple[int, tuple[str, float]]]:
    made: list[tuple[int, tuple[str, float]]] = []
    for j, offset in enumerate(("cx", "cy")):
        if abs(values[j]) < LEAST_OFFSET:
            continue
        sign = -1.0 if values[j] < 0 else 1.0
        changes = [-e for e in effects[j]]
        scored = offset_scores(
            offset, values[j], changes, [sign * v for v in sums[j]], [abs(v) for v in sums[j]]
        )
        made.append((j, ("side", scored["direction"])))
    for j, (own, opposite) in enumerate(((0, 1), (2, 3), (1, 0), (3, 2)), 4):
        true, said = np.array(effects[j]), np.array(sums[j])
        apart = true[own] - true[opposite]
        if abs(apart) >= LEAST_EDGE:
            made.append((j, ("edge: sign", float(np.heaviside((said[own] - said[opposite]) * apart, 0.5)))))
        if np.abs(true).max() >= LEAST_EDGE:
            made.append((j, ("edge: top", float(np.abs(said).argmax() == np.abs(true).argmax()))))
    return made


def report(done: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """The tables as Markdown."""
    found = values_of(done)
    resampling = Resampling([f"{i:07d}" for i in done], 1000)
    pairs = {
        key: Pairs.of([(resampling.index[f"{i:07d}"], label, v) for i, label, v in rows])
        for key, rows in found.items()
    }
    records = [r for rs in done.values() for r in rs]
    blocks = [f"{len(done)} scenes, {len(records)} objects. Intervals: bootstrap over scenes, 95 %."]
    methods = [TRUTH, *MEASURED, *MAPS]
    for group in dict.fromkeys(key[0] for key in found):
        scores = ("side", "edge: sign", "edge: top")
        rows = []
        for method in methods:
            row = [method]
            for score in scores:
                key = (group, score, method)
                if key not in pairs:
                    row.append("")
                    continue
                e = resampling.estimate(pairs[key], "pair")
                row.append(f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]")
            if group == "all":
                runs = [r["runs"][method] for r in records if method in r["runs"]]
                row.append(f"{np.mean(runs):.1f}" if runs else "")
            rows.append(row)
        counts = [len(found[group, s, TRUTH]) for s in scores]
        head = ["method", *(f"{s} (n = {n})" for s, n in zip(scores, counts, strict=True))]
        if group == "all":
            head.append("forward runs, the picture's own included")
        blocks.append(f"**{group}**\n\n{markdown(head, rows)}")
    gaps = []
    for one, other in PAIRED:
        row = [f"{one} less {other}"]
        for score in ("side", "edge: sign", "edge: top"):
            gap = resampling.difference(pairs["all", score, one], pairs["all", score, other], "pair")
            row.append(f"{100 * gap.value:+.1f} [{100 * gap.low:.1f}, {100 * gap.high:.1f}]")
        gaps.append(row)
    blocks.append(f"**Paired**\n\n{markdown(['', 'side', 'edge: sign', 'edge: top'], gaps)}")
    return "\n\n".join(blocks)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=71, help="of the scenes; prototypes were chosen on 11")
    parser.add_argument("--part", default="1/1", help="this process's share of the scenes, such as 1/2")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/edges"))
    asked = parser.parse_args(argv)
    settings = {
        "split": asked.split, "seed": asked.seed, "measured": json.loads(json.dumps(MEASURED)), "maps": list(MAPS),
    }  # fmt: skip
    scenes = Scenes(n=asked.scenes, seed=asked.seed, split=asked.split)
    done = read(asked.out, settings)
    if not asked.tables_only:
        part, parts = map(int, asked.part.split("/"))
        mine = [i for i in range(part - 1, asked.scenes, parts) if i not in done]
        began = time.perf_counter()
        measure(
            scenes,
            mine,
            Measurement(load("scenes-ssd")),
            asked.out / f"part-{part}-of-{parts}.jsonl",
            settings,
        )
        print(f"{len(mine)} scenes in {time.perf_counter() - began:.0f} s", file=sys.stderr)
        done = read(asked.out, settings)
    text = report({i: records for i, records in done.items() if i < asked.scenes})
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "edges.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
