"""Do a classifier's maps hold up? What is lost with the reddest and the bluest tenth of a picture hidden.

    python benchmarks/answer_hiding.py --model scenes-resnet --pictures 100
    RELPROP_ASSETS=... python benchmarks/answer_hiding.py --data imagenet --model efficientnet-lite0 --pictures 200
    python benchmarks/answer_hiding.py --model scenes-resnet --pictures 100 --tables-only

Asked is each picture's likeliest class. The picture is cut into 14 x 14 patches; those in which a map's sum is
largest are hidden until a tenth of the picture is gone, then those of the smallest, negative, sums, and random
ones, with two fills. *Red*, *random*, *blue* are logits lost; blue below 0 raises the class. With `--curves`
also the areas under the deletion and insertion curves of the class's probability
(`relprop.metrics.perturbation`).

Controls: the picture's middle, and its edges, never see the network; "occlusion" is itself measured by hiding,
7 x 7 cells, inpainted, and shows what the check can find.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.answer_maps import CENTER, EDGES, RANDOM, UNSIGNED, controls
from benchmarks.answers import asked_of
from benchmarks.common import markdown
from benchmarks.crp_scenes import measure, read
from relprop.benchmark.bootstrap import Estimate, Pairs, Resampling
from relprop.datasets import Scenes
from relprop.detectors.filling import filled
from relprop.errors import RelpropError
from relprop.explanation.inquiry import Inquiry
from relprop.methods.registry import resolve
from relprop.metrics.perturbation import area, perturbation_curves
from relprop.models.geometry import Geometry
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture

FILLS = ("inpaint", "mean")
PATCHES, DRAWS, SHARE = 14, 8, 0.1
OCCLUSION, CELLS = "occlusion", 7
METHODS = (
    "agreement", "margin-rsp", "margin-rsp:ratio=1", "rsp", "contrastive-rsp", "lrp-composite", "lrp-gamma",
    "clrp", "contrastive-excitation-backprop", "grad-cam", "gradient-x-input", "integrated-gradients:steps=16",
)  # fmt: skip


class Hiding:
    """What one picture says about every map."""

    def __init__(
        self, loaded: LoadedModel, geometry: Geometry, pictures: Any, methods: Sequence[str], curves: int
    ) -> None:
        self.loaded, self.geometry, self.pictures = loaded, geometry, pictures
        self.methods, self.curves = methods, curves
        self.refused: dict[str, str] = {}

    def __call__(self, index: int) -> list[dict[str, Any]]:
        """One record: of the likeliest class."""
        x = self.geometry.input(self.pictures[index])
        value = self._logits(x)[0]
        target = int(value.argmax())
        maps = self._maps(x, target, index)
        height, width = x.shape[2:]
        rows, columns = torch.arange(height) * PATCHES // height, torch.arange(width) * PATCHES // width
        label = rows[:, None] * PATCHES + columns
        count = round(SHARE * PATCHES**2)
        random = np.random.default_rng(index)
        draws = [random.permutation(PATCHES**2)[:count].tolist() for _ in range(DRAWS)]
        chosen: dict[tuple[str, str], list[int]] = {}
        for name, heat in maps.items():
            sums = torch.zeros(PATCHES**2, dtype=torch.float64).index_add(
                0, label.flatten(), heat.double().flatten()
            )
            order = sums.argsort(descending=True, stable=True).tolist()
            chosen[name, "red"] = order[:count]
            blue = [p for p in order[::-1][:count] if sums[p] < 0]
            if blue:
                chosen[name, "blue"] = blue
        masks = torch.stack([torch.isin(label, torch.tensor(p)) for p in (*draws, *chosen.values())])
        record: dict[str, Any] = {
            "scene": index, "target": target, "logit": float(value[target]),
            "random": {}, "maps": {name: {} for name in maps}, "curves": {},
        }  # fmt: skip
        for fill in FILLS:
            lost = [
                float(value[target] - row[target])
                for some in masks.split(16)
                for row in self._logits(filled(x, some, fill))
            ]
            record["random"][fill] = [round(v, 5) for v in lost[:DRAWS]]
            for (name, side), one in zip(chosen, lost[DRAWS:], strict=True):
                record["maps"][name][f"{side} {fill}"] = round(one, 5)
        if index < self.curves:
            for name, heat in maps.items():
                c = perturbation_curves(
                    self.loaded.module, x, heat, target, steps=14, multi_label=self.loaded.multi_label
                )
                record["curves"][name] = {
                    "deletion": round(area(c.deletion), 5), "insertion": round(area(c.insertion), 5)
                }  # fmt: skip
        return [record]

    def _logits(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = self.loaded.module(x).double()
        return found

    def _maps(self, x: Tensor, target: int, index: int) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        size = tuple(x.shape[2:])
        with Inquiry(self.loaded.module, x, target, facts=self.loaded.facts, several=True) as inquiry:
            for name in self.methods:
                if name in self.refused:
                    continue
                try:
                    e: Any = inquiry.answer(resolve(name), last=False)
                except RelpropError as error:
                    self.refused[name] = " ".join(str(error).split())
                    continue
                relevance = e.relevance[0].double()
                flat = relevance.abs().amax(0) if name.partition(":")[0] in UNSIGNED else relevance.sum(0)
                if tuple(flat.shape) != size:
                    flat = torch.nn.functional.interpolate(
                        flat[None, None], size=size, mode="bilinear", align_corners=False
                    )[0, 0]
                found[name] = flat
        shown = x[0] - x.amin()
        picture = (255 * shown / shown.amax()).permute(1, 2, 0).byte().numpy()
        made = controls(picture, np.zeros(size, bool), index)
        found |= {name: torch.from_numpy(made[name]) for name in (CENTER, EDGES, RANDOM)}
        cells = (torch.arange(size[0]) * CELLS // size[0])[:, None] * CELLS + torch.arange(
            size[1]
        ) * CELLS // size[1]
        value = self._logits(x)[0, target]
        every = torch.stack([cells == c for c in range(CELLS**2)])
        effects = torch.cat(
            [value - self._logits(filled(x, some, "inpaint"))[:, target] for some in every.split(16)]
        )
        found[OCCLUSION] = effects[cells]
        return found


def report(done: Mapping[int, Sequence[Mapping[str, Any]]]) -> str:
    """The table as Markdown."""
    records = [(i, r) for i, rows in sorted(done.items()) for r in rows]
    resampling = Resampling([f"{i:07d}" for i in sorted(done)])
    place = {i: resampling.index[f"{i:07d}"] for i in done}
    rows: dict[tuple[str, str], list[tuple[int, int, float]]] = defaultdict(list)

    def add(method: str, column: str, i: int, value: float) -> None:
        rows[method, column].append((place[i], 0, value))

    for i, record in records:
        random = {fill: float(np.mean(record["random"][fill])) for fill in FILLS}
        for name, lost in record["maps"].items():
            for fill in FILLS:
                add(name, f"red less random, {fill}", i, lost[f"red {fill}"] - random[fill])
                add(name, f"red, {fill}", i, lost[f"red {fill}"])
                add(name, f"random, {fill}", i, random[fill])
                if f"blue {fill}" in lost:
                    add(name, f"blue, {fill}", i, lost[f"blue {fill}"])
            beaten = [float(lost[f"red {fill}"] > v) for fill in FILLS for v in record["random"][fill]]
            add(name, "beats, %", i, 100 * float(np.mean(beaten)))
            if all(f"blue {fill}" in lost for fill in FILLS):
                against = all(lost[f"blue {fill}"] < 0 for fill in FILLS)
                add(name, "blue raises, %", i, 100.0 * against)
        for name, areas in record["curves"].items():
            for key, value in areas.items():
                add(name, f"{key} x 100", i, 100 * value)
    names = list(dict.fromkeys(name for name, _ in rows))
    columns = [
        *(f"{what}, {fill}" for fill in FILLS for what in ("red", "random", "blue", "red less random")),
        "beats, %", "blue raises, %", "deletion x 100", "insertion x 100",
    ]  # fmt: skip
    columns = [c for c in columns if any((name, c) in rows for name in names)]

    def cell(name: str, column: str) -> str:
        if (name, column) not in rows:
            return ""
        e: Estimate = resampling.estimate(Pairs.of(rows[name, column]), "pair")
        digits = 1 if "%" in column or "100" in column else 2
        return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}]"

    def gain(name: str) -> float:
        return -resampling.estimate(Pairs.of(rows[name, "beats, %"]), "pair").value

    table = [[name, *(cell(name, c) for c in columns)] for name in sorted(names, key=gain)]
    return f"{len(records)} pictures; logits lost; brackets: 95 % bootstraps over pictures.\n\n" + markdown(
        ["map", *columns], table
    )


class _Drawn:
    def __init__(self, scenes: Scenes) -> None:
        self.scenes = scenes

    def __getitem__(self, index: int) -> Image.Image:
        return Image.fromarray(self.scenes[index].image)


class _Files:
    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __getitem__(self, index: int) -> Image.Image:
        return read_picture(self.files[index])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="scenes", choices=("scenes", "imagenet"))
    parser.add_argument("--model", default="scenes-resnet")
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1818)
    parser.add_argument("--curves", type=int, default=0, help="pictures that also get deletion and insertion")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--tables-only", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    settings = {k: getattr(given, k) for k in ("data", "model", "methods")}
    settings["seed"] = given.seed if given.data == "scenes" else 0
    out = given.out or Path("out/answer-hiding") / f"{given.data}-{given.model.rpartition(':')[2]}"
    done = read(out, settings)
    if not given.tables_only:
        asked = asked_of(given.model, "confirming")
        pictures: Any
        if given.data == "scenes":
            pictures = _Drawn(Scenes(n=given.pictures, seed=given.seed, split="test"))
        else:
            pictures = _Files(Path(os.environ["RELPROP_ASSETS"]) / "imagenet")
        hiding = Hiding(asked.loaded, asked.geometry, pictures, given.methods, given.curves)
        mine = [i for i in range(given.pictures) if i not in done]
        measure(range(given.pictures), mine, hiding, out / "part-1-of-1.jsonl", settings)
        done = read(out, settings)
        if hiding.refused:
            print(hiding.refused)
    print(report({i: r for i, r in done.items() if i < given.pictures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
