"""How much does the cause hold? What the drawn worlds say of the bundled networks, and how long it takes.

    python benchmarks/ceilings.py scenes-resnet scenes-vgg scenes-vit --items 200
    python benchmarks/ceilings.py scenes-ssd --items 200                       # detections
    python benchmarks/ceilings.py motion-c3d motion-c3d-shake --items 300      # clips; also -turn and -zoom
    python benchmarks/ceilings.py scenes-resnet --items 200 --tables-only

Each item's numbers are appended to a file in `--out`, and a run that was stopped goes on where it was.

For each pair (scene and class; right detection; clip of a motion class that is classified rightly) every part's
Shapley value for the score, by drawing the world again without it; see docs/ceilings.md. The score is the class's
logit; for a detection, at its anchor, also its margin over its rivals, weighed by their probabilities in the
original. Printed are shares of the positive effect, means over pairs with 95 % bootstraps over scenes or clips.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image

import relprop
from benchmarks.common import markdown
from benchmarks.crp_scenes import measure, read
from benchmarks.crp_truth import correct
from relprop.benchmark.bootstrap import Estimate, Pairs, Resampling
from relprop.catalogue import MODELS
from relprop.datasets import MotionClip, MotionClips, MotionWorld, Scene, Scenes, SceneWorld, World
from relprop.detectors import DetectionUnit, Layout, load
from relprop.methods.margin import margin_slopes
from relprop.methods.method import Request
from relprop.metrics import PartGame, held
from relprop.models import bundled_clips
from relprop.propagate.question import Question

CAMERAS = ("shake", "turn", "zoom")
SEEDS = {"scenes-ssd": 1819, "motion-c3d": 1820} | {f"motion-c3d-{camera}": 1820 for camera in CAMERAS}
OTHERS = 1818
#: Shares of the positive effect in tables, in order.
SCENE_SHARES = ("object", "with its shadow", "other objects", "shadows", "backdrop")
CLIP_SHARES = ("decider's motion", "companion's motion", "camera")


def shares(world: World, effects: np.ndarray, groups: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Shares of the positive effect, and the sums behind them."""
    found = {name: held(effects, own) for name, own in groups.items()}
    positive = float(np.maximum(effects, 0).sum())
    return {
        "shares": {name: share for name, share in found.items() if share is not None},
        "total": float(effects.sum()),
        "against": float(-np.minimum(effects, 0).sum()) / positive if positive > 0 else None,
    }


def scene_groups(scene: Scene, own: Sequence[bool]) -> dict[str, list[bool]]:
    """Which parts of a scene are meant by each name.

    Args:
        scene: the scene.
        own: which objects are the cause.
    """
    count, mine = len(scene), list(own)
    no = [False] * count
    return {
        "object": [*mine, *no, False],
        "with its shadow": [*mine, *mine, False],
        "other objects": [*(not k for k in mine), *no, False],
        "shadows": [*no, *[True] * count, False],
        "backdrop": [*no, *no, True],
    }


class Classifier:
    """One record a scene and class."""

    def __init__(self, name: str, draws: int) -> None:
        self.model, self.draws = relprop.models.load(name), draws

    def score(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """Logits, (n, classes)."""
        x = torch.cat([self.model.preprocess(Image.fromarray(picture)) for picture in pictures])
        with torch.no_grad():
            return self.model.module(x.contiguous(memory_format=torch.channels_last)).double().numpy()

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        begin = time.process_time()
        world = SceneWorld(scene)
        game = PartGame(world, self.score, self.draws)
        effects = game.effects()
        logits = game.scores([range(len(world))])[0]
        spent = time.process_time() - begin
        return [
            {
                "label": c,
                "right": bool(logits[c] > 0),
                "seconds": spent,
                **shares(world, effects[:, c], scene_groups(scene, scene.labels == c)),
            }
            for c in sorted(set(scene.labels[~scene.difficult].tolist()))
        ]


class Detections:
    """One record a right detection: of its class's margin, and of its logit."""

    def __init__(self, draws: int) -> None:
        self.detector, self.draws = load("scenes-ssd"), draws
        assert self.detector.classes is not None
        self.unit = DetectionUnit(
            self.detector.raw, Layout(len(self.detector.classes), self.detector.background)
        )

    def __call__(self, scene: Scene) -> list[dict[str, Any]]:
        assert self.detector.classes is not None
        found = correct(self.detector(scene.image), scene, self.detector.classes)
        if not found:
            return []
        begin = time.process_time()
        x = self.detector.prepared(scene.image).x
        weights = []
        for d, _ in found:
            unit = self.unit.at(d.anchor)
            asked = Question(torch.tensor([[d.label]]), True)
            request = Request(unit, relprop.trace(unit, x), asked)
            weights.append(margin_slopes(request, include_background=True, rivals="softmax")[0].double())
        slopes = torch.cat(weights)  # (detections, units)
        labels = torch.tensor([d.label for d, _ in found])
        every = self.unit.at([d.anchor for d, _ in found])  # one run for all detections

        def score(pictures: Sequence[np.ndarray]) -> np.ndarray:
            with torch.no_grad():
                x = torch.cat([self.detector.prepared(picture).x for picture in pictures])
                seen = every(x.contiguous(memory_format=torch.channels_last))
            units = seen.double().reshape(len(pictures), len(found), -1)
            margins = (units * slopes).sum(2)
            logits = units[:, torch.arange(len(found)), labels]
            return torch.stack([margins, logits], 2).flatten(1).numpy()

        world = SceneWorld(scene)
        effects = PartGame(world, score, self.draws).effects()
        spent = time.process_time() - begin
        records = []
        for n, (d, k) in enumerate(found):
            groups = scene_groups(scene, [j == k for j in range(len(scene))])
            margin, logit = (shares(world, effects[:, 2 * n + which], groups) for which in (0, 1))
            records.append(
                {
                    "label": d.label,
                    "object": k,
                    "right": True,
                    "seconds": spent,
                    **margin,
                    "logit": logit,
                }
            )
        return records


class Clips:
    """One record a clip of a motion class."""

    def __init__(self, draws: int) -> None:
        self.model, self.draws = bundled_clips.load(), draws

    def score(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Logits, (n, classes)."""
        with torch.no_grad():
            return self.model.module(torch.cat([self.model.preprocess(c) for c in clips])).double().numpy()

    def __call__(self, clip: MotionClip) -> list[dict[str, Any]]:
        if clip.kind != "motion":
            return []
        begin = time.process_time()
        world = MotionWorld(clip)
        game = PartGame(world, self.score, self.draws)
        effects = game.effects()[:, clip.label]
        logits = game.scores([range(len(world))])[0]
        spent = time.process_time() - begin
        moving = [k for k, motion in enumerate(clip.motions) if motion != "still"]
        own = [False] * (len(world) - len(moving))  # the camera's part, if it moves
        camera = [False] * len(moving) + [not part for part in own]
        decider = [*(k == clip.decider for k in moving), *own]
        companion = [*(k != clip.decider for k in moving), *own]
        groups = dict(zip(CLIP_SHARES, (decider, companion, camera), strict=True))
        right = bool(logits.argmax() == clip.label)
        return [{"label": clip.label, "right": right, "moving": len(moving), "seconds": spent,
                 **shares(world, effects, groups)}]  # fmt: skip


def camera_of(name: str) -> str:
    """The camera that films a row's clips."""
    return next((camera for camera in CAMERAS if name.endswith(camera)), "still")


def table(name: str, done: Mapping[int, Sequence[Mapping[str, Any]]]) -> list[str]:
    """A row: shares with intervals, over pairs that the network gets right."""
    names = CLIP_SHARES if name.startswith("motion") else SCENE_SHARES
    draws = Resampling([f"{i:07d}" for i in done], 2000)
    rows: dict[str, list[tuple[int, int, float]]] = {n: [] for n in names}
    seconds, pairs = [], 0
    for i, records in done.items():
        seconds += [r["seconds"] for r in records[:1]]
        for n, record in enumerate(records):
            if record["right"] and record["shares"]:
                pairs += 1
                for share, value in record["shares"].items():
                    rows[share].append((draws.index[f"{i:07d}"], n, value))
    cells = [_cell(draws.estimate(Pairs.of(rows[n]), "pair")) for n in names]
    return [name, f"{pairs} / {len(done)}", *cells, f"{np.mean(seconds):.2f}" if seconds else ""]


def _cell(e: Estimate) -> str:
    return f"{100 * e.value:.1f} [{100 * e.low:.1f}, {100 * e.high:.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", choices=[*MODELS, *SEEDS])
    parser.add_argument("--items", type=int, default=200, help="scenes or clips")
    parser.add_argument("--seed", type=int, help="default: 1818 for classifiers, 1819 detections, 1820 clips")
    parser.add_argument("--draws", type=int, default=4, help="other backdrops, or frames to stop in")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=Path("out/ceilings"))
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    lines: dict[bool, list[list[str]]] = {False: [], True: []}
    for name in asked.models:
        seed = asked.seed if asked.seed is not None else SEEDS.get(name, OTHERS)
        settings = {"model": name, "seed": seed, "draws": asked.draws}
        folder = asked.out / f"{name}-{seed}"
        done = read(folder, settings)
        if not asked.tables_only:
            motion = name.startswith("motion")
            items: Any = (
                MotionClips(n=asked.items, seed=seed, split="test", camera=camera_of(name))
                if motion
                else Scenes(n=asked.items, seed=seed, split="test")
            )
            make: Callable[[], Any] = {True: lambda: Clips(asked.draws)}.get(
                motion,
                (lambda: Detections(asked.draws))
                if name == "scenes-ssd"
                else (lambda name=name: Classifier(name, asked.draws)),
            )
            missing = [i for i in range(asked.items) if i not in done]
            measure(items, missing, make(), folder / "part-1-of-1.jsonl", settings)
            done = read(folder, settings)
        done = {i: records for i, records in done.items() if i < asked.items}
        lines[name.startswith("motion")].append(table(name, done))
    for motion, rows in lines.items():
        if rows:
            head = CLIP_SHARES if motion else SCENE_SHARES
            print(markdown(["model", "pairs / items", *head, "CPU s an item"], rows), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
