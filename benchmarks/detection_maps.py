"""Which class map names the object that a detector saw? Maps by many methods on rendered scenes, scored alike.

    python benchmarks/detection_maps.py --scenes 600 --part 1/2 &      # any number of processes share the work
    python benchmarks/detection_maps.py --scenes 600 --part 2/2
    python benchmarks/detection_maps.py --scenes 600 --tables-only

Each scene's numbers are appended to a file in `--out`, and a run that was stopped goes on where it was. At the end
the tables of all scenes measured so far are printed, and written as `detection_maps.csv`.

For each right detection (class, IoU of 0.5 with an object that isn't difficult, one an object) and each map, its
positive part:

- *energy*: the share on the object's visible pixels; *within 3 px*: on or at most 3 pixels from them;
- *rank*: of the n strongest pixels, the share on the object's n pixels (CLEVR-XAI's rank accuracy);
- *hit*: whether the maximum lies on the object.

Energy can be had by an exponent, so margin RSP is there squared, too, which ranks pixels as margin RSP does. *The
world* is what the object is worth to the class's margin, by the renderer: a game of two players, the object and
everything else (the scene without the object; the object alone before another scene's backdrop; that backdrop),
Shapley's values, the object's share of the positive ones. No faithful map need have more on the object than that.

D-RISE and sliding occlusion cost hundreds of forward passes: `--occluded N` takes them on the first N scenes only.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

import relprop
from benchmarks.common import markdown
from benchmarks.crp_maps import Occlusion, head_of
from benchmarks.crp_scenes import measure, read
from benchmarks.crp_truth import Mask, Picture, correct, inside_box
from relprop.benchmark.bootstrap import Estimate, Pairs, Resampling
from relprop.datasets import Scene, Scenes, SceneWorld
from relprop.detectors import Detection, DetectionUnit, Detector, Layout, load
from relprop.detectors.scene_ssd import HEADS
from relprop.methods.margin import margin_slopes
from relprop.methods.method import Request
from relprop.metrics.energy import energy
from relprop.metrics.part_game import PartGame, held, shapley
from relprop.metrics.rank_accuracy import rank_accuracy
from relprop.propagate.composite import Composite
from relprop.propagate.question import Question
from relprop.rules import MaxPool, ZPlus

NEAR = 3.0  # pixels
CELLS = 8  # a side, of sliding occlusion
BLUR = 6.0  # pixels, what a hidden cell shows

NAMED = (
    "margin-rsp",
    "agreement",
    "crp",
    "odam",
    "grad-cam",
    "lrp-composite",
    "lrp-gamma",
    "gradient-x-input",
)
SQUARED, ALONE = "margin-rsp, squared", "margin-rsp of the logit alone"
BOX, TARGET = "evenly over the box", "R[k] alone, z+"
SLIDING, DRISE = "sliding occlusion", "d-rise"
ORDER = (
    "margin-rsp", SQUARED, ALONE, "agreement", "crp", BOX, TARGET, "odam", "grad-cam",
    "lrp-composite", "lrp-gamma", "gradient-x-input", SLIDING, DRISE,
)  # fmt: skip
SCORES = ("energy", "rank", "hit", "within 3 px")
#: Pairs whose difference is of interest.
AGAINST = ("crp", BOX, SQUARED, "margin-rsp")

_PLUS = Composite([("linear", ZPlus()), ("max_pool", MaxPool("first"))], "positive", name="w+")


class Measurement:
    """What one scene says about every method."""

    def __init__(self, detector: Detector, occluded: int, masks: int) -> None:
        assert detector.classes is not None
        self.detector, self.occluded, self.masks = detector, occluded, masks
        self.unit = DetectionUnit(detector.raw, Layout(len(detector.classes), detector.background))

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        """One record a right detection."""
        assert self.detector.classes is not None
        pairs = correct(self.detector(scene.image), scene, self.detector.classes)
        occlusion = None
        if pairs and scene.index < self.occluded:
            seed = 1_000_003 * scene.seed + scene.index
            method = relprop.DRISE(masks=self.masks, grid=CELLS, seed=seed, chunk=25)
            occlusion = Occlusion(self.detector, scene.image, method, half=True)
        return [self._record(scene, d, k, occlusion) for d, k in pairs]

    def _record(self, scene: Scene, d: Detection, k: int, occlusion: Occlusion | None) -> dict[str, Any]:
        x = self.detector.prepared(scene.image).x
        unit = self.unit.at(d.anchor)
        found = relprop.explain(unit, x, d.label, method=list(NAMED), facts=self.detector.facts)
        by_name = dict(zip(NAMED, found, strict=True))
        maps = {name: _heat(e.heatmap(), x) for name, e in by_name.items()}
        maps[SQUARED] = maps["margin-rsp"].clamp(min=0) ** 2
        maps[BOX] = torch.from_numpy(inside_box(d.box.tolist(), scene.masks.shape[1:])).float()
        facts = self.detector.facts
        alone = relprop.explain(unit, x, d.label, relprop.MarginRSP(rivals="none"), facts=facts)
        maps[ALONE] = alone.heatmap()[0]
        run = relprop.trace(unit, x)
        asked = Question(torch.tensor([[d.label]]), True)
        slopes = margin_slopes(Request(unit, run, asked), include_background=True, rivals="softmax")
        one = torch.zeros_like(run.output)
        one[:, d.label] = 1
        maps[TARGET] = run.run(one, _PLUS, ledger=False).relevance.sum(1)[0]
        if occlusion is not None:
            maps[DRISE] = occlusion.maps(d, [d.label]).classes[DRISE][0]
            maps[SLIDING] = self._sliding(scene, d.anchor, slopes)
        mask = scene.masks[k]
        ledger = by_name["margin-rsp"].ledger
        assert ledger is not None
        return {
            "scene": scene.index, "object": k, "name": d.name, "anchor": d.anchor, "score": d.score,
            "pixels": int(mask.sum()),
            "margin": float(by_name["margin-rsp"].extras["margin"]),
            "ledger": ledger.max_error,
            "total": float(by_name["margin-rsp"].relevance.double().sum()),
            "world": self._world(scene, k, d.anchor, slopes),
            "maps": {name: scores_of(heat, mask) for name, heat in maps.items()},
        }  # fmt: skip

    def _margins(self, pictures: Sequence[Picture], anchor: int, slopes: Tensor) -> Tensor:
        """The margin of each picture at an anchor, rivals weighed as in the original."""
        x = torch.cat([self.detector.prepared(picture).x for picture in pictures])
        with torch.no_grad():
            return (self.unit.at(anchor)(x) * slopes[0]).sum(1)

    def _world(self, scene: Scene, k: int, anchor: int, slopes: Tensor) -> float | None:
        """The object's share of the margin, as the renderer tells; None where neither player is worth anything.

        Two players, the object and everything else; `benchmarks/ceilings.py` has every part for itself.
        """
        world = SceneWorld(scene)
        every = range(len(world))

        def score(pictures: Sequence[Picture]) -> np.ndarray:
            return self._margins(pictures, anchor, slopes).double().numpy()

        sets = [every, [j for j in every if j != k], [k], []]
        full, rest, alone, nothing = PartGame(world, score, draws=1).scores(sets)
        return held(shapley(np.stack([nothing, alone, rest, full])), [True, False])

    def _sliding(self, scene: Scene, anchor: int, slopes: Tensor) -> Tensor:
        """What the margin loses when a cell of the picture is blurred, (H, W)."""
        side = scene.image.shape[0]
        soft = gaussian_filter(scene.image.astype(np.float32), (BLUR, BLUR, 0)).round().astype(np.uint8)
        which = np.arange(side) * CELLS // side
        cells = which[:, None] * CELLS + which
        hidden = [np.where((cells == c)[..., None], soft, scene.image) for c in range(CELLS**2)]
        seen = self._margins([scene.image, *hidden], anchor, slopes)
        return (seen[0] - seen[1:])[torch.from_numpy(cells)]


def _heat(heat: Tensor, x: Tensor) -> Tensor:
    """A heatmap as the picture is, (H, W)."""
    if heat.shape[-2:] != x.shape[-2:]:
        heat = F.interpolate(heat[None], size=x.shape[-2:], mode="bilinear", align_corners=False)[0]
    return heat[0]


def scores_of(heat: Tensor, mask: Mask) -> dict[str, float]:
    """The four scores of a map (H, W) against an object's pixels."""
    values = heat.double().numpy()
    near = distance_transform_edt(~mask) <= NEAR
    top = values == values.max()
    found = {
        "energy": energy(values, mask),
        "rank": rank_accuracy(np.maximum(values, 0), mask),
        "hit": float(mask[top].mean()) if values.max() > 0 else 0.0,
        "within 3 px": energy(values, near),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def report(done: Mapping[int, Sequence[Mapping[str, Any]]], path: Path, replicates: int = 1000) -> str:
    """The tables as Markdown; the same numbers as CSV at `path`."""
    rows: dict[tuple[str, str], list[tuple[int, int, float]]] = defaultdict(list)
    resampling = Resampling([f"{i:07d}" for i in done], replicates)
    for i, records in done.items():
        at = resampling.index[f"{i:07d}"]
        for n, record in enumerate(records):
            head = f"{head_of(record['anchor']).cells}"
            for method, scores in record["maps"].items():
                for score, value in scores.items():
                    rows[method, score].append((at, n, value))
                rows[method, f"energy {head}"].append((at, n, scores["energy"]))
                rows[method, f"rank {head}"].append((at, n, scores["rank"]))
            if record["world"] is not None:
                rows["the world", "energy"].append((at, n, record["world"]))
                rows["the world", f"energy {head}"].append((at, n, record["world"]))
    pairs = {key: Pairs.of(values) for key, values in rows.items()}
    made = {key: resampling.estimate(p, "pair") for key, p in pairs.items()}
    order = [m for m in (*ORDER, "the world") if any(key[0] == m for key in made)]
    heads = [str(head.cells) for head in HEADS]
    columns = [*SCORES, *(f"energy {h}" for h in heads), *(f"rank {h}" for h in heads)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(["method", "score", "value", "low", "high", "detections", "scenes"])
        for method in order:
            for score in columns:
                if (method, score) in made:
                    e = made[method, score]
                    out.writerow([method, score, e.value, e.low, e.high, e.pairs, e.images])
    first = [
        [m, *(_cell(made.get((m, s))) for s in SCORES), _heads(made, m, "energy", heads),
         _heads(made, m, "rank", heads), max(e.pairs for key, e in made.items() if key[0] == m)]
        for m in order
    ]  # fmt: skip
    by_head = f"by head {' / '.join(heads)}"
    detections = sum(len(records) for records in done.values())
    every = [r for records in done.values() for r in records]
    blocks = [
        f"{len(done)} scenes, {detections} right detections. Per cent; 95 % intervals: bootstrap over scenes.",
        markdown(["method", *SCORES, f"energy, {by_head}", f"rank, {by_head}", "n"], first),
    ]
    for rival in AGAINST:
        gaps = [
            [m, *(_cell(_gap(resampling, pairs, m, rival, s), sign=True) for s in SCORES)]
            for m in order
            if m not in (rival, "the world")
        ]
        blocks.append(f"**Less {rival}, paired**\n\n{markdown(['method', *SCORES], gaps)}")
    if every:
        error, off = max(r["ledger"] for r in every), max(abs(r["total"] - 1) for r in every)
        blocks.append(
            f"margin-rsp: largest error of a ledger's row {error:.1e}; totals within {off:.1e} of 1."
        )
    return "\n\n".join(blocks)


def _gap(
    resampling: Resampling, pairs: Mapping[tuple[str, str], Pairs], one: str, two: str, score: str
) -> Estimate | None:
    if (one, score) not in pairs or (two, score) not in pairs:
        return None
    return resampling.difference(pairs[one, score], pairs[two, score], "pair")


def _cell(e: Estimate | None, sign: bool = False) -> str:
    if e is None:
        return ""
    plus = "+" if sign else ""
    return f"{100 * e.value:{plus}.1f} [{100 * e.low:{plus}.1f}, {100 * e.high:{plus}.1f}]"


def _heads(made: Mapping[tuple[str, str], Estimate], method: str, score: str, heads: Sequence[str]) -> str:
    found = [made.get((method, f"{score} {head}")) for head in heads]
    return " / ".join("–" if e is None else f"{100 * e.value:.0f}" for e in found) if any(found) else ""


def main(argv: Sequence[str] | None = None, detector: Detector | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=600)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=1717, help="of the scenes; choices were made on others")
    parser.add_argument("--occluded", type=int, default=100, help="scenes that are also occluded")
    parser.add_argument("--masks", type=int, default=400, help="random masks of D-RISE, 8 x 8 cells")
    parser.add_argument("--part", default="1/1", help="this process's share of the scenes, such as 1/2")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/detection-maps"))
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = {k: getattr(asked, k) for k in ("split", "seed", "occluded", "masks")}
    done = read(asked.out, settings)
    if not asked.tables_only:
        part, parts = map(int, asked.part.split("/"))
        mine = [i for i in range(part - 1, asked.scenes, parts) if i not in done]
        measurement = Measurement(detector or load("scenes-ssd"), asked.occluded, asked.masks)
        scenes = Scenes(n=asked.scenes, seed=asked.seed, split=asked.split)
        path = asked.out / f"part-{part}-of-{parts}.jsonl"
        measure(scenes, mine, measurement, path, settings)
        done = read(asked.out, settings)
    done = {i: records for i, records in done.items() if i < asked.scenes}
    print(report(done, asked.out / "detection_maps.csv"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
