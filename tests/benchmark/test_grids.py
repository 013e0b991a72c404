"""Grids in a benchmark: the cells of a network's own choice, at its input's size, and what can't be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.benchmark.make import NETS, by_key, recipe
from tests.close import assert_close_to_rounding

import relprop
from relprop.benchmark.keys import data_key
from relprop.benchmark.recipe import Recipe, read_recipe
from relprop.benchmark.worker import Worker
from relprop.datasets import Grids, SceneSamples
from relprop.errors import InputError
from relprop.metrics import grid_pg
from relprop.models.pictures import read_picture

#: A network that sees colours: red is a cat, green a dog, blue an owl, and a grey picture a fox.
COLOURS = """
class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
        self.head = nn.Linear(4, 4)
        with torch.no_grad():
            for p in self.parameters():
                p.zero_()
            for k, weights in enumerate([(2, -1, -1), (-1, 2, -1), (-1, -1, 2), (1, 1, 1)]):
                self.features[0].weight[k, :, 1, 1] = torch.tensor(weights) / 2.0
                self.features[0].weight[k, :, 0, 1] = 0.1
                self.features[2].weight[k, k] = 1.0
                self.head.weight[k, k] = 8.0

    def forward(self, x):
        return self.head(self.features(x).mean(dim=(2, 3)))


class Flat(Colours):
    def forward(self, x):
        assert x.shape[-2:] == (6, 6), "made for 6 x 6"
        return super().forward(x)
"""
SHADES = {"cat": (255, 20, 30), "dog": (10, 250, 0), "owl": (40, 0, 240), "fox": (100, 110, 120)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = ["file,label"]
    for k in range(2):
        for name, shade in SHADES.items():
            picture = Image.new("RGB", (12, 12), shade)
            for x in range(12):  # no two pixels of a row are the same
                for y in range(12):
                    picture.putpixel((x, y), tuple(min(255, v + 3 * ((x + 2 * y + k) % 5)) for v in shade))
            picture.save(tmp_path / f"{name}{k}.png")
            rows.append(f"{name}{k}.png,{name}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (tmp_path / "names.txt").write_text("\n".join(SHADES))
    (tmp_path / "nets.py").write_text(NETS + COLOURS)
    return tmp_path


def grids(folder: Path, net: str = "Colours", **changes: Any) -> Recipe:
    model = {
        "spec": f"{folder / 'nets.py'}:{net}",
        "size": [6, 6],
        "mean": [0.0, 0.0, 0.0],
        "std": [1.0, 1.0, 1.0],
        "geometry": "native",
        **changes.pop("model", {}),
    }
    data = {
        "name": "grids",
        "folder": str(folder),
        "confident": 0.6,
        **changes.pop("data", {}),
    }
    settings = {
        "methods": ["gradient-x-input", "lrp-epsilon", "rsp:hostile=asked"],
        "metrics": ["grid-pg", "energy"],
        "controls": False,
        **changes,
    }
    return recipe(folder, model=model, data=data, **settings)


def same(one: float, other: float, net: torch.nn.Module) -> None:
    """Two shares of maps that were computed in float32."""
    assert_close_to_rounding(torch.tensor(one), torch.tensor(other), net)


def test_every_cell_of_every_grid_is_measured(folder: Path) -> None:
    given = grids(folder)
    worker = Worker(given)
    assert isinstance(worker.data, Grids)
    assert worker.pictures == 2
    result = worker.process(0)
    assert result.problems == ()
    found = by_key(result.records)
    assert len(found) == 2 * 4 * 3 * 2
    for name, names in zip(worker.data.names, worker.data.cells, strict=True):
        cells = [worker.model.preprocess(read_picture(folder / one)) for one in names]
        x = torch.cat([torch.cat(cells[:2], 3), torch.cat(cells[2:], 3)], 2)
        labels = [worker.data.classes.index(one[:3]) for one in names]
        targets = [list(SHADES).index(one[:3]) for one in names]
        for k, (label, target) in enumerate(zip(labels, targets, strict=True)):
            for method in ("gradient-x-input", "lrp-epsilon"):
                heat = relprop.explain(worker.model.module, x, target, method).heatmap()[0].double().numpy()
                value = found[name, label, method, "grid-pg"].values["share"]
                same(value, grid_pg(heat, k, 2), worker.model.module)
                assert found[name, label, method, "energy"].values["inside"] == value
            others = [t for t in targets if t != target]
            rsp = relprop.explain(worker.model.module, x, target, relprop.RSP(hostile=others))
            heat = rsp.heatmap()[0].double().numpy()
            value = found[name, label, "rsp:hostile=asked", "grid-pg"].values["share"]
            same(value, grid_pg(heat, k, 2), worker.model.module)


def test_cells_that_the_network_does_not_know_stay_out(folder: Path) -> None:
    (folder / "names.txt").write_text("\n".join(["dog", "cat", "owl", "fox"]))
    with pytest.raises(InputError, match="at least 4 classes that the network classifies rightly"):
        Worker(grids(folder))
    worker = Worker(grids(folder, data={"side": 1}))
    assert isinstance(worker.data, Grids)
    assert {name[:3] for cells in worker.data.cells for name in cells} == {"owl", "fox"}


def test_what_cannot_be_asked_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match='geometry = "native" for the data set grids'):
        Worker(grids(folder, model={"geometry": "squash"}))
    with pytest.raises(
        InputError, match=r"takes pictures of any size.* 12 x 12 pixels.* no other than 6 x 6"
    ):
        Worker(grids(folder, net="Flat"))
    with pytest.raises(InputError, match=r'targets = "labels"'):
        Worker(grids(folder, targets="top-1"))


def test_the_recipe_takes_a_folder_of_ones_own(folder: Path) -> None:
    from relprop.benchmark.adapted import adapted

    ours = read_recipe("grid-pg")
    assert ours.data["name"] == "grids"
    theirs = adapted("grid-pg", data=folder)
    assert theirs.data == {**ours.data, "folder": str(folder)}
    # Where they lie is no part of what results depend on; what they are is in the data set's fingerprint.
    assert data_key(theirs, SceneSamples(n=1)) == data_key(ours, SceneSamples(n=1))


def test_entries_that_treat_one_map_otherwise_share_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from relprop.explanation.inquiry import Inquiry

    asked: list[str] = []
    answer = Inquiry.answer

    def counted(self: Inquiry, method: Any, *rest: Any, **more: Any) -> Any:
        asked.append(method.name)
        return answer(self, method, *rest, **more)

    monkeypatch.setattr(Inquiry, "answer", counted)
    entries = [
        "lrp-epsilon",
        {"method": "lrp-epsilon", "label": "smooth", "smooth": 0.1},
        {"method": "lrp-epsilon", "label": "layer", "at": "features"},
        "gradient-x-input",
    ]
    result = Worker(grids(folder, methods=entries, data={"n": 1})).process(0)
    assert result.problems == ()
    assert len(result.records) == 4 * 4 * 2
    assert asked == ["lrp-epsilon", "lrp-epsilon", "gradient-x-input"]
