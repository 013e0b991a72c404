"""Does CRP find what is known? Class and offset maps of a detector on rendered scenes, with baselines.

    python benchmarks/crp_scenes.py --scenes 400 --part 1/2 &      # any number of processes share the work
    python benchmarks/crp_scenes.py --scenes 400 --part 2/2
    python benchmarks/crp_scenes.py --scenes 400 --tables-only

Each scene's numbers are appended to a file in `--out`, and a run that was stopped goes on where it was. At the
end the tables of all scenes measured so far are printed and written as `crp_scenes.csv`.

For each right detection (class, IoU of 0.5 with an object that isn't difficult, one an object):

- *class*: the share of its class map's positive relevance that lies on the object's visible pixels, and
  whether its maximum does;
- *offsets*: the left, right, top and bottom quarter of an object that is seen nearly whole are replaced by what
  stands behind it, which moves the offsets: relevance in each quarter against that true effect.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from benchmarks.crp_maps import OCCLUSION, PROPAGATION, Maps, Occlusion, Propagation
from benchmarks.crp_tables import report
from benchmarks.crp_truth import Mask, correct, inside_box, strips, without_strips
from relprop import DRISE
from relprop.datasets import Scene, Scenes
from relprop.detectors import Detection, Detector, load

WHOLE = 0.9  # of the silhouette: what has to be seen of an object whose quarters are taken away
TRIVIAL = ("evenly over the picture", "evenly over the box")


class Measurement:
    """What one scene says about every method."""

    def __init__(self, detector: Detector, methods: Sequence[str], masks: int, grid: int, half: bool) -> None:
        self.detector, self.methods = detector, methods
        self.masks, self.grid, self.half = masks, grid, half
        self.propagation = Propagation(detector)
        # The channels of a pixel side by side in memory: a CPU then takes half the time.
        self.fast = replace(detector, raw=deepcopy(detector.raw).to(memory_format=torch.channels_last))

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        """One record a right detection."""
        detector = self.detector
        assert detector.classes is not None
        pairs = correct(detector(scene.image), scene, detector.classes)
        if not pairs:
            return []
        occlusion = None
        if set(self.methods) & set(OCCLUSION):
            seed = 1_000_003 * scene.seed + scene.index
            method = DRISE(masks=self.masks, grid=self.grid, seed=seed, chunk=25)
            occlusion = Occlusion(self.fast, scene.image, method, half=self.half)
        return [self._record(scene, d, k, occlusion) for d, k in pairs]

    def _record(self, scene: Scene, d: Detection, k: int, occlusion: Occlusion | None) -> dict[str, Any]:
        x = self.detector.prepared(scene.image).x
        maps = self.propagation.maps(x, d, [d.label])
        if occlusion is not None:
            maps = maps.joined(occlusion.maps(d, [d.label]))
        shape = scene.masks.shape[1:]
        box = torch.from_numpy(inside_box(d.box.tolist(), shape)).float()
        classes = {TRIVIAL[0]: torch.ones(shape), TRIVIAL[1]: box}
        classes |= {m: v[0] for m, v in maps.classes.items() if m in self.methods}
        mask = scene.masks[k]
        return {
            "scene": scene.index, "object": k, "name": d.name, "anchor": d.anchor, "score": d.score,
            "class": {m: _share(v, mask) for m, v in classes.items()},
            "hit": {m: _hit(v, mask) for m, v in classes.items()},
            "offsets": self._offsets(scene, d, k, maps),
        }  # fmt: skip

    def _offsets(self, scene: Scene, d: Detection, k: int, maps: Maps) -> dict[str, Any] | None:
        if scene.masks[k].sum() < WHOLE * scene.silhouettes[k].sum():
            return None
        pictures = [self.detector.prepared(image).x for image in without_strips(scene, k)]
        _, moved, _ = self.detector.outputs(torch.cat(pictures))
        regions = torch.from_numpy(strips(scene, k)).float()

        def sums(v: Tensor) -> list[list[float]]:  # (4, h, w) → (offsets, strips)
            return torch.einsum("ohw,shw->os", v, regions).tolist()

        return {
            "values": d.offsets.tolist(),
            "changes": (moved[:, d.anchor] - d.offsets).T.tolist(),  # (offsets, strips)
            "area": regions.sum((1, 2)).tolist(),
            "relevance": {m: sums(v) for m, v in maps.offsets.items() if m in self.methods},
            "size": {m: sums(v.abs()) for m, v in maps.offsets.items() if m in self.methods},
        }


def _share(relevance: Tensor, region: Mask) -> float:
    """Share of positive relevance in a region; 0 where there is none at all."""
    positive = relevance.double().clamp(min=0)
    total = float(positive.sum())
    return float(positive[torch.from_numpy(region.copy())].sum()) / total if total > 0 else 0.0


def _hit(relevance: Tensor, region: Mask) -> float:
    """Whether the map's maximum lies in a region; of several, how many. 0 where nothing is positive."""
    top = (relevance == relevance.max()).numpy()
    return float(region[top].mean()) if relevance.max() > 0 else 0.0


def read(folder: Path, settings: dict[str, Any]) -> dict[int, list[dict[str, Any]]]:
    """Scene → records, from all files of the folder.

    Raises:
        SystemExit: a file was measured with other settings.
    """
    found: dict[int, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("part-*.jsonl")):
        head, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        if head and json.loads(head) != settings:  # empty: another process has just made it
            raise SystemExit(f"{path} was measured with other settings, {head}; give another --out.")
        for line in lines:
            # A scene whose line was cut off when the run was stopped is measured again.
            with contextlib.suppress(json.JSONDecodeError):
                one = json.loads(line)
                found[one["scene"]] = one["records"]
    return found


def measure(
    scenes: Scenes,
    indices: Sequence[int],
    measurement: Callable[[Scene], list[dict[str, Any]]],
    path: Path,
    settings: dict[str, Any],
) -> None:
    """Append a line a scene."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    with path.open("a", encoding="utf-8") as file:
        if not before:
            file.write(json.dumps(settings) + "\n")
            file.flush()
        elif not before.endswith("\n"):
            file.write("\n")
        for i in _shown(indices):
            line = json.dumps({"scene": i, "records": measurement(scenes[i])})
            file.write(line + "\n")
            file.flush()


def _shown(indices: Sequence[int]) -> Iterator[int]:
    bar = Progress(
        TextColumn("scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True),
    )  # fmt: skip
    with bar:
        yield from bar.track(indices)


def main(argv: Sequence[str] | None = None, detector: Detector | None = None) -> int:
    """Measure, print and write."""
    every = (*PROPAGATION, *OCCLUSION)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=11, help="of the scenes; the detector's card has 2024")
    parser.add_argument("--methods", nargs="+", default=list(every), choices=every, metavar="METHOD")
    parser.add_argument("--masks", type=int, default=1000, help="random masks a scene")
    parser.add_argument("--grid", type=int, default=8, help="cells a side of a random mask")
    parser.add_argument("--half", action="store_true", help="run masked pictures in bfloat16")
    parser.add_argument("--part", default="1/1", help="this process's share of the scenes, such as 1/2")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/crp-scenes"))
    asked = parser.parse_args(argv)
    detector = detector or load("scenes-ssd")
    settings = {k: getattr(asked, k) for k in ("split", "seed", "methods", "masks", "grid", "half")}
    done = read(asked.out, settings)
    scenes = Scenes(n=asked.scenes, seed=asked.seed, split=asked.split)
    if not asked.tables_only:
        part, parts = map(int, asked.part.split("/"))
        mine = [i for i in range(part - 1, asked.scenes, parts) if i not in done]
        measurement = Measurement(detector, asked.methods, asked.masks, asked.grid, asked.half)
        measure(scenes, mine, measurement, asked.out / f"part-{part}-of-{parts}.jsonl", settings)
        done = read(asked.out, settings)
    done = {i: records for i, records in done.items() if i < asked.scenes}
    print(report(done, (*TRIVIAL, *asked.methods), asked.out / "crp_scenes.csv"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
