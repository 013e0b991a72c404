"""Many pictures are explained as each would be alone, in order, lazily, and one that fails stops no other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.explanation.test_each import assert_same
from tests.nets import pictures, resnet, seeded
from tests.test_contract import assert_same as assert_untouched
from tests.test_contract import snapshot
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import relprop
from relprop.errors import InputError, RelpropWarning, UnknownNameError, UnsupportedOperatorError
from relprop.explanation import Explanation
from relprop.many.batches import Batches
from relprop.many.explain_many import Explanations
from relprop.many.listing import listed_pictures
from relprop.many.pictures import Given, Ready
from relprop.methods.facts import Facts, remember

BOX = Facts(box=(torch.full((3,), -2.5).double(), torch.full((3,), 2.5).double()))
METHODS: dict[str, Any] = {
    "relative stabiliser": relprop.LRP(rule="epsilon", epsilon=0.25),
    "box of each sample": relprop.LRP(rule="z-plus", first="z-box", bounds="sample"),
    "composite": relprop.LRPComposite(),
    "smoothgrad": relprop.SmoothGrad(samples=3),
    "integrated gradients": relprop.IntegratedGradients(steps=4),
    "affine": relprop.Affine(),
}


def mixed(count: int = 11) -> list[Tensor]:
    """Pictures of three sizes in no order, float64."""
    sides = [16, 12, 20]
    return [pictures(3, sides[i * i % 3], 16, seed=i) for i in range(count)]


@pytest.mark.parametrize("method", METHODS)
def test_each_is_explained_as_alone(method: str) -> None:
    model, given = resnet(), mixed()
    found = list(relprop.explain_many(model, given, method=METHODS[method], batch=3))
    assert [(e.index, e.name) for e in found] == [(i, f"picture {i}") for i in range(len(given))]
    for e, x in zip(found, given, strict=True):
        assert_same(e, relprop.explain(model, x[None], method=METHODS[method]), model)


def test_a_box_that_some_pictures_leave_is_each_ones_own() -> None:
    model, given = resnet(), mixed(6)
    given = [x.clamp(-2.5, 2.5) for x in given]
    given[3] = given[3] * 3
    remember(model, BOX)
    found = list(relprop.explain_many(model, given, batch=3))
    for e, x in zip(found, given, strict=True):
        assert_same(e, relprop.explain(model, x[None]), model)
    assert found[0].settings != found[3].settings


def test_remembered_facts_fit_each_picture() -> None:
    loaded = relprop.models.load("scenes-vgg")
    x = torch.cat([loaded.normalise(torch.rand(2, 3, 112, 112)), torch.randn(1, 3, 112, 112) * 9])
    with pytest.warns(RelpropWarning):
        found = list(relprop.explain_many(loaded, x, batch=3))
    for n, e in enumerate(found):
        alone = relprop.explain(loaded.module, x[n : n + 1])
        assert e.settings == alone.settings
        assert e.warnings == alone.warnings


@pytest.mark.parametrize("batch", [1, 2, 4, "auto"])
def test_pairs_bring_their_targets(batch: Any) -> None:
    model, given = resnet(), mixed(7)
    asked: list[Any] = [0, [1, 2], None, [3, 0], 4, 0, 2]
    found = list(relprop.explain_many(model, list(zip(given, asked, strict=True)), batch=batch))
    for e, x, target in zip(found, given, asked, strict=True):
        assert_same(e, relprop.explain(model, x[None], target), model)


def test_a_loader_is_taken_apart() -> None:
    model, x, labels = resnet(), pictures(7, 3, 16, 16), torch.arange(7) % 5
    loader = DataLoader(TensorDataset(x, labels), batch_size=3)
    many = relprop.explain_many(model, loader, batch=2)
    assert many.total == 7
    found = list(many)
    assert [int(e.targets) for e in found] == labels.tolist()
    for n, e in enumerate(found):
        assert_same(e, relprop.explain(model, x[n : n + 1], int(labels[n])), model)
    top = [int(e.targets) for e in relprop.explain_many(model, (x for x, _ in loader))]
    assert top == model(x).argmax(1).tolist()
    assert [int(e.targets) for e in relprop.explain_many(model, loader, 3)] == [3] * 7


def test_batches_run_together(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ran = Batches._together, []

    def counted(self: Batches, ready: Any) -> Any:
        ran.append(len(ready))
        return whole(self, ready)

    monkeypatch.setattr(Batches, "_together", counted)
    list(relprop.explain_many(resnet(), mixed(12), method="lrp-epsilon", batch=4))
    assert sorted(ran) == [4, 4, 4]


def test_nothing_is_computed_or_drawn_before_it_is_asked_for() -> None:
    drawn = []

    def source() -> Iterator[Tensor]:
        for x in mixed(60):
            drawn.append(x)
            yield x

    many = relprop.explain_many(resnet(), source(), method="gradient", batch=2)
    assert drawn == []
    assert next(many).index == 0
    assert len(drawn) < 60
    many.close()
    assert list(many) == []


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("relprop-reader")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures, one of them broken, one in a folder below, and another file."""
    rng = np.random.default_rng(0)
    (tmp_path / "below").mkdir()
    for i, name in enumerate(("a.png", "b.png", "below/c.png", "e.png")):
        Image.fromarray(rng.integers(0, 256, (18 + i, 24, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "d.jpg").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def as_input(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).double() / 255


def test_files_folders_and_patterns(folder: Path) -> None:
    model = resnet()
    many = relprop.explain_many(model, folder, preprocess=as_input)
    with pytest.warns(RelpropWarning, match=r"1 of 5 pictures could not be explained, the first: .*d\.jpg"):
        found = list(many)
    assert [(e.index, e.name) for e in found] == [(0, "a.png"), (1, "b.png"), (2, "c.png"), (4, "e.png")]
    (failure,) = many.failures
    assert (failure.index, Path(failure.name)) == (3, folder / "d.jpg")
    assert "can't be decoded" in failure.text
    for name in (f"{folder}/*.png", [folder / "a.png", folder / "b.png", folder / "e.png"]):
        again = list(relprop.explain_many(model, name, preprocess=as_input))
        assert [e.name for e in again] == ["a.png", "b.png", "e.png"]
    x = as_input(Image.open(folder / "b.png"))[None]
    assert_same(found[1], relprop.explain(model, x), model)
    assert readers() == []


def test_folders_of_results_are_no_pictures(folder: Path) -> None:
    saved = relprop.explain_many(resnet(), f"{folder}/*.png", preprocess=as_input, out=folder / "maps")
    (folder / "maps" / "a.png").write_bytes((folder / "a.png").read_bytes())
    assert saved.computed == 3
    assert [p.name for p in listed_pictures([folder])] == ["a.png", "b.png", "c.png", "d.jpg", "e.png"]
    assert [p.name for p in listed_pictures([folder], below=False)] == ["a.png", "b.png", "d.jpg", "e.png"]


def test_a_loaded_model_knows_how_pictures_become_inputs(folder: Path) -> None:
    (e,) = relprop.explain_many("scenes-vgg", str(folder / "a.png"))
    loaded = relprop.models.load("scenes-vgg")
    x = loaded.preprocess(Image.open(folder / "a.png"))
    assert torch.equal(e.input, x)


def test_pictures_that_fail_are_recorded_and_the_others_go_on() -> None:
    model, given = resnet(), mixed(8)
    given[1] = given[1] * torch.nan
    given[5] = given[5][:, :0]
    many = relprop.explain_many(model, given, batch=4)
    with pytest.warns(
        RelpropWarning, match="2 of 8 pictures could not be explained, the first: picture 1: Ex"
    ):
        found = list(many)
    assert [e.index for e in found] == [0, 2, 3, 4, 6, 7]
    assert [f.index for f in many.failures] == [1, 5]
    assert_same(found[1], relprop.explain(model, given[2][None]), model)


def test_where_all_fail_the_first_is_named() -> None:
    with pytest.raises(InputError, match=r"each of 2 failed, the first so: picture 0: Expected .*finite"):
        list(relprop.explain_many(resnet(), [x * torch.nan for x in mixed(2)]))
    with pytest.raises(InputError, match=r"a picture that can be explained but got nowhere\.png: Expected"):
        list(relprop.explain_many(resnet(), "nowhere.png", preprocess=as_input))


class Stumbles(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.cumprod(torch.relu(x), 1).mean((2, 3)))


def test_what_is_no_pictures_fault_is_raised_at_once() -> None:
    drawn = 0

    def source() -> Iterator[Tensor]:
        nonlocal drawn
        for x in mixed(1000 // 11) * 11:
            drawn += 1
            yield x

    model = resnet()
    with pytest.raises(UnknownNameError):
        relprop.explain_many(model, source(), method="lrp-epsilom")
    with pytest.raises(UnknownNameError):
        next(relprop.explain_many(model, source(), layers=["nowhere"]))
    with pytest.raises(UnsupportedOperatorError):
        next(relprop.explain_many(seeded(Stumbles(), 0), source(), method="lrp-0"))
    with pytest.raises(InputError, match="Expected targets from 0 to 4 but got 17"):
        next(relprop.explain_many(model, source(), 17))
    assert drawn < 400


@pytest.mark.parametrize(
    ("given", "settings", "text"),
    [
        (7, {}, "Expected pictures as files"),
        ([torch.zeros(3)], {}, r"item 0 is a tensor \(3,\)"),
        ([(torch.zeros(3, 4, 4), 1, 2)], {}, "item 0 holds 3 things"),
        ([torch.zeros(3, 4, 4)], {"batch": 0}, "Expected batch to be a whole number"),
        ([torch.zeros(3, 4, 4)], {"batch": "all"}, "Expected batch to be 'auto'"),
        ("a.png", {}, "Expected preprocess="),
        ([(torch.zeros(2, 3, 4, 4), torch.zeros(3).long())], {}, "a target for each of 2 pictures"),
    ],
)
def test_what_cannot_be_used_is_refused(
    given: Any, settings: dict[str, Any], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("a.png")
    with pytest.raises(InputError, match=text):
        list(relprop.explain_many(resnet(), given, **settings))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected pictures in .* but it holds none"):
        relprop.explain_many(resnet(), tmp_path)


def test_the_model_leaves_as_it_came() -> None:
    model, given = resnet(), mixed(7)
    before, kept = snapshot(model), [x.clone() for x in given]
    list(relprop.explain_many(model, given, [0, 1], layers=["conv1"], batch=3))
    assert_untouched(before, snapshot(model))
    assert all(torch.equal(x, y) for x, y in zip(given, kept, strict=True))


def test_memory_that_is_not_enough_makes_batches_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ran = Batches._together, []

    def scarce(self: Batches, ready: Any) -> Any:
        if len(ready) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory")
        ran.append(len(ready))
        return whole(self, ready)

    monkeypatch.setattr(Batches, "_together", scarce)
    model, x = resnet(), pictures(16, 3, 8, 8)
    found = list(relprop.explain_many(model, x, batch=8))
    assert [e.index for e in found] == list(range(16))
    assert ran == [2] * 8


def test_a_network_of_one_batch_size_runs_one_picture_at_a_time() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(48, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.reshape(-1, 48) - x.reshape(-1, 48).mean(0) / 2)

    model = seeded(Fixed(), 0)
    x = pictures(5, 3, 4, 4)
    for n, e in enumerate(relprop.explain_many(model, x, batch=4)):
        assert_same(e, relprop.explain(model, x[n : n + 1]), model)


def test_an_explanation_holds_its_own_picture_alone() -> None:
    found: Explanations = relprop.explain_many(resnet(), pictures(8, 3, 16, 16), layers=["conv1"], batch=8)
    for e in found:
        for t in (e.relevance, e.input, e.outputs, *e.layers.values()):
            assert t.untyped_storage().nbytes() == t.nbytes


def test_progress_is_told() -> None:
    told: list[Any] = []
    list(relprop.explain_many(resnet(), mixed(3), progress=lambda *step: told.append(step)))
    assert told == [(1, 3, "picture 0"), (2, 3, "picture 1"), (3, 3, "picture 2")]


def test_an_interrupt_ends_the_readers(folder: Path) -> None:
    def interrupted(image: Image.Image) -> Tensor:
        return as_input(image)

    many = relprop.explain_many(resnet(), [folder / "a.png"] * 100, preprocess=interrupted, batch=1)
    next(many)
    with pytest.raises(KeyboardInterrupt):
        many._results.throw(KeyboardInterrupt)
    assert readers() == []


def test_each_keeps_its_name_on_the_disk(tmp_path: Path) -> None:
    (e,) = relprop.explain_many(resnet(), mixed(1))
    again = Explanation.load(e.save(tmp_path / "one"))
    assert (again.name, again.index) == ("picture 0", 0)
    assert repr(again).startswith("Explanation(picture 0, lrp-composite")


def test_graphs_and_freed_memory_do_not_pile_up_over_many_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    capturing = import_module("relprop.graph.capture")
    batching = import_module("relprop.many.batches")
    handed = []
    monkeypatch.setattr(capturing, "_MOST_GRAPHS", 3)
    monkeypatch.setattr(batching, "_TIDY", 4)
    monkeypatch.setattr(batching, "give_back_memory", lambda: handed.append(True))
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    given = [torch.rand(3, 8 + i % 6, 8) for i in range(24)]
    for e, x in zip(relprop.explain_many(model, given, method="lrp-epsilon", batch=2), given, strict=True):
        assert e.input.shape[1:] == x.shape
        assert len(capturing._CACHE[model]) <= 3
    assert 3 <= len(handed) <= 6
    handed.clear()
    list(relprop.explain_many(model, torch.rand(24, 3, 8, 8), method="lrp-epsilon", batch=2))
    assert handed == []  # of one size nothing is left over


def test_pictures_by_size_on_a_cpu() -> None:
    batches = Batches(resnet(), {})

    def size(*shape: int) -> int:
        given = Given(0, "one", torch.empty(0))
        return batches.size(Ready(given, torch.empty(1, *shape, device="cpu"), None))

    assert [size(3, 224, 224), size(3, 112, 112), size(3, 32, 32), size(3, 1024, 1024)] == [8, 32, 32, 1]
