"""Which map says what made it this class, and why this class rather than that one?

    python benchmarks/answers.py --model scenes-resnet --seed 3 --pictures 80 --choice choosing
    python benchmarks/answers.py --model scenes-resnet --pictures 500                  # confirms, on seed 1818
    python benchmarks/answers.py --model scenes-resnet --pictures 500 --tables-only
    RELPROP_ASSETS=... python benchmarks/answers.py --data voc --model efficientnet-lite0 --choice photographs

Each picture's numbers are appended to a file in `--out`, and a run that was stopped goes on where it was. Any
number of processes share the work with `--part 1/2`.

For each class that is in a picture, its map's positive part: *energy* on the class's pixels, *near*: on them or
within 3 pixels (of 112); *rank*: of the n strongest pixels, the share on the class's n; *hit*: whether the
maximum lies on them; *hit near*: within 3 pixels. For two classes of a picture, A and B: what speaks for A is
judged by A's pixels, what speaks for B by B's; *wrong* is what speaks for one and lies on the other.

*The world* is what the class's objects are worth by the renderer (a game of two: they, and everything else;
Shapley's values), to the logit or to the margin over the other classes: the rest is context and contour.
Controls see no network, or only sharpen: the picture's middle, noise, its edges, a map squared; the oracle is
the mask.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from benchmarks.answer_maps import CHOOSING, CONFIRMING, FIRST, PHOTOGRAPHS, Asked, Heat, controls, margin_of
from benchmarks.answer_tables import report
from benchmarks.answer_truth import coalitions, shapley, shares
from benchmarks.crp_scenes import measure, read
from relprop.benchmark.classes import ClassMap
from relprop.datasets import Scene
from relprop.datasets.data_set import DataSet
from relprop.datasets.registry import load_dataset
from relprop.datasets.sample import Sample
from relprop.datasets.scene_samples import SceneSamples
from relprop.datasets.synsets import outputs_of
from relprop.metrics.energy import energy
from relprop.metrics.pointing_game import pointing_game
from relprop.metrics.rank_accuracy import rank_accuracy
from relprop.models.geometry import Geometry
from relprop.models.pictures import Preprocess
from relprop.models.sources import load_model

WORLD = 100  # scenes that the renderer is asked about
NEAR = 3 / 112  # of the picture's shorter side
CHOICES = {"choosing": CHOOSING, "confirming": CONFIRMING, "photographs": PHOTOGRAPHS}


class Truth:
    """A class's pixels, and how a map is judged by them."""

    def __init__(self, mask: NDArray[np.bool_], ignore: NDArray[np.bool_] | None) -> None:
        self.mask, self.ignore = mask, ignore
        self.reach = NEAR * min(mask.shape)
        self.near = distance_transform_edt(~mask) <= self.reach

    def scores(self, heat: Heat) -> dict[str, float]:
        """All scores of a map's positive part, (H, W)."""
        found = {
            "energy": energy(heat, self.mask, self.ignore),
            "rank": rank_accuracy(np.maximum(heat, 0), self.mask, self.ignore),
            "hit": pointing_game(heat, self.mask, 0),
            "hit near": pointing_game(heat, self.mask, self.reach),
            "near": energy(heat, self.near, self.ignore),
        }
        return {name: round(float(value), 5) for name, value in found.items() if value is not None}


class Measurement:
    """What one picture says about every map."""

    def __init__(self, asked: Asked, data: DataSet, classes: ClassMap) -> None:
        self.asked, self.data, self.classes = asked, data, classes

    def __call__(self, index: int) -> list[dict[str, Any]]:
        """A record a class, and one of two classes where there are so many."""
        sample = self.data[index]
        x = self.asked.geometry.input(sample.image)
        with torch.no_grad():
            scores = self.asked.loaded.module(x)
        known = [
            (label, target, mask)
            for label in sample.labels
            if (target := self.classes.target(label, scores[0])) is not None
            and (mask := sample.region(label, "masks")) is not None
            and mask.any()
        ]
        if not known:
            return []
        scene = self.data.scenes[index] if isinstance(self.data, SceneSamples) else None
        targets = [target for _, target, _ in known]
        first = index < (FIRST if scene is not None else FIRST // 4)
        maps = self.asked.classes(x, targets, sample.size, first)
        picture = np.asarray(sample.image)
        records: list[dict[str, Any]] = []
        truths = [Truth(mask, sample.ignore) for _, _, mask in known]
        for k, (label, target, mask) in enumerate(known):
            alone = maps[k] | controls(picture, mask, 1000 * index + label)
            records.append({
                "kind": "class", "scene": index, "label": label, "target": target,
                "score": float(scores[0, target]),
                "predicted": self.classes.predicts(label, scores[0]), "pixels": int(mask.sum()),
                "world": self._world(scene, label, target, scores) if scene and index < WORLD else None,
                "maps": {name: truths[k].scores(heat) for name, heat in alone.items()},
            })  # fmt: skip
        largest = sorted(range(len(known)), key=lambda k: -int(known[k][2].sum()))[:2]
        asks = index % 4 == 0 or scene is None  # of two classes: every fourth scene
        if asks and len(largest) == 2 and targets[largest[0]] != targets[largest[1]]:
            records.append(self._pair(index, sample, x, known, truths, maps, largest, scene))
        return records

    def _pair(
        self, index: int, sample: Sample, x: torch.Tensor, known: Any, truths: list[Truth], maps: Any,
        which: Sequence[int], scene: Scene | None,
    ) -> dict[str, Any]:  # fmt: skip
        a, b = which
        labels, targets = (known[a][0], known[b][0]), (known[a][1], known[b][1])
        both = self.asked.versus(x, *targets, (maps[a], maps[b]), sample.size)
        with torch.no_grad():
            scores = self.asked.loaded.module(x)[0]
        picture = np.asarray(sample.image)
        for name, heat in controls(picture, known[a][2], index).items():
            both[name] = heat, known[b][2].astype(np.float64) if name == "oracle" else heat
        found = {}
        for name, (forth, back) in both.items():
            own, other = truths[a].scores(forth), truths[b].scores(back)
            wrong = energy(forth, truths[b].mask, sample.ignore), energy(back, truths[a].mask, sample.ignore)
            found[name] = {
                **{f"{key} A": value for key, value in own.items()},
                **{f"{key} B": value for key, value in other.items()},
                "wrong A": round(float(wrong[0] or 0), 5), "wrong B": round(float(wrong[1] or 0), 5),
            }  # fmt: skip
        return {
            "kind": "pair", "scene": index, "labels": labels, "targets": targets,
            "predicted": all(self.classes.predicts(k, scores) for k in labels),
            "world": None if scene is None else self._world_of_two(scene, labels, targets),
            "maps": found,
        }  # fmt: skip

    def _scores(self, pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        x = torch.cat([self.asked.geometry.input(Image.fromarray(picture)) for picture in pictures])
        with torch.no_grad():
            found: torch.Tensor = self.asked.loaded.module(x).double()
        return found

    def _world(self, scene: Scene, label: int, target: int, scores: torch.Tensor) -> dict[str, Any]:
        """The class's share of its logit and of its margin, None where nothing is positive; and the worths."""
        teams = coalitions(scene, [label])
        outputs = self._scores(list(teams.values()))
        values = {"logit": outputs[:, target], "margin": margin_of(scores, [target])(outputs)[0]}
        found: dict[str, Any] = {}
        for name, value in values.items():
            by_team = dict(zip(teams, value.tolist(), strict=True))
            worth = shapley(by_team.__getitem__, 2)
            share = shares(worth)
            found[name] = None if share is None else round(share[0], 5)
            found[f"{name} worth"] = [round(w, 5) for w in worth]
        return found

    def _world_of_two(
        self, scene: Scene, labels: tuple[int, int], targets: tuple[int, int]
    ) -> dict[str, float | None]:
        """A's share of what speaks for A rather than B, and B's of what speaks for B."""
        teams = coalitions(scene, labels)
        outputs = self._scores(list(teams.values()))
        by_team = dict(zip(teams, (outputs[:, targets[0]] - outputs[:, targets[1]]).tolist(), strict=True))
        worth = shapley(by_team.__getitem__, 3)
        forth, back = shares(worth), shares([-w for w in worth])
        return {
            "energy A": None if forth is None else round(forth[0], 5),
            "energy B": None if back is None else round(back[1], 5),
            "wrong A": None if forth is None else round(forth[1], 5),
            "wrong B": None if back is None else round(back[0], 5),
        }


def data_of(name: str, pictures: int, seed: int) -> DataSet:
    """Scenes of the test split, or VOC's or COCO's pictures of `RELPROP_ASSETS`."""
    if name == "scenes":
        return load_dataset("scenes", n=pictures, seed=seed, split="test")
    folder = Path(os.environ["RELPROP_ASSETS"]) / name
    if name == "voc":
        return load_dataset("voc", folder=folder, split=None, masks="SegmentationClassAug")
    return load_dataset("coco", folder=folder, split="val2017")


def asked_of(model: str, choice: str) -> Asked:
    """The network, shown every picture whole, at its own size."""
    settings: dict[str, Any] = {}
    if model == "torchvision:squeezenet1_1":
        weights = Path(os.environ["RELPROP_ASSETS"]) / "weights/squeezenet1_1"
        settings = {"weights": weights / "squeezenet1_1.fp16.safetensors"}
    loaded = load_model(model, **settings)
    own = loaded.preprocess
    if not isinstance(own, Preprocess):
        own = Preprocess(loaded.input_size[-2:], loaded.mean, loaded.std)
    return Asked(loaded, Geometry("squash", own), CHOICES[choice])


def main(argv: Sequence[str] | None = None, asked: Asked | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="scenes", choices=("scenes", "voc", "coco"))
    parser.add_argument("--model", default="scenes-resnet")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1818, help="of the scenes; choices were made on seed 3")
    parser.add_argument("--choice", default="confirming", choices=tuple(CHOICES), help="which maps")
    parser.add_argument(
        "--against", nargs="*", default=[], help="maps that the others are compared with, paired"
    )
    parser.add_argument("--predicted", action="store_true", help="tables of predicted classes alone")
    parser.add_argument("--part", default="1/1", help="this process's share of the pictures, such as 1/2")
    parser.add_argument("--tables-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, help="default: out/answers/DATA-MODEL-SEED")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = {k: getattr(given, k) for k in ("data", "model", "choice")}
    settings["seed"] = given.seed if given.data == "scenes" else 0
    out = (
        given.out or Path("out/answers") / f"{given.data}-{given.model.rpartition(':')[2]}-{settings['seed']}"
    )
    done = read(out, settings)
    if not given.tables_only:
        asked = asked or asked_of(given.model, given.choice)
        data = data_of(given.data, given.pictures, given.seed)
        count = min(given.pictures, len(data))
        part, parts = map(int, given.part.split("/"))
        mine = [i for i in range(part - 1, count, parts) if i not in done]
        if given.data == "scenes":
            classes = ClassMap.by_name(data.classes, asked.loaded.classes, "sigmoid")
        else:
            outputs = outputs_of(data.classes, given.data, asked.loaded.classes)
            classes = ClassMap(tuple(outputs), "top-5")
        path = out / f"part-{part}-of-{parts}.jsonl"
        measure(range(count), mine, Measurement(asked, data, classes), path, settings)
        (out / "refused.json").write_text(json.dumps(asked.refused, indent=1), encoding="utf-8")
        done = read(out, settings)
    done = {i: records for i, records in done.items() if i < given.pictures}
    print(report(done, out, against=given.against, predicted=given.predicted))
    return 0


if __name__ == "__main__":
    sys.exit(main())
