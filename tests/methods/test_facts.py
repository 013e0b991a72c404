"""Facts: what is known of a model, who remembers it, and what wins over it."""

from __future__ import annotations

import copy
import gc
import sys
import weakref

import pytest
import torch
from tests import nets
from tests.close import assert_close_to_rounding

import relprop
from relprop.methods import Facts
from relprop.methods import facts as facts_file
from relprop.methods.facts import facts_of, remember
from relprop.methods.method import Method
from relprop.methods.registry import METHODS
from relprop.models import bundled_clips
from relprop.models.sources import load_model

LOW, HIGH = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([4.0, 5.0, 6.0])
KNOWN = Facts(box=(LOW, HIGH), multi_label=True)
NEEDED = {"lrp": {"composite": "epsilon-plus-box"}}
OPEN = {
    name: method
    for name, method in ((name, METHODS[name](**NEEDED.get(name, {}))) for name in METHODS)
    if "auto" in map(str, method.settings().values())
}


BOXED = [name for name, method in OPEN.items() if "bounds" in method.settings()]


def test_who_asks() -> None:
    asked = {"lrp", "lrp-composite", "lrp-alpha-beta", "deep-taylor", "clrp", "rsp", "contrastive-rsp", "rap"}
    asked |= {"margin-rsp", "agreement"}
    assert set(BOXED) == asked
    assert set(OPEN) == asked | {"odam"}  # tests/methods/test_odam.py


@pytest.mark.parametrize("name", BOXED)
def test_what_is_left_open_is_filled_in(name: str) -> None:
    known, unknown = OPEN[name].informed(KNOWN).settings(), OPEN[name].informed(Facts()).settings()
    boxed = name != "lrp-alpha-beta"  # its first layer is like the others unless it is asked for
    assert known["bounds"] == ((LOW, HIGH) if boxed else "sample")
    assert unknown["bounds"] == "sample"
    if name == "rsp":
        assert (known["hostile"], unknown["hostile"]) == ("predicted", None)
    rest = {key: value for key, value in OPEN[name].settings().items() if key not in ("bounds", "hostile")}
    assert all(known[key] == unknown[key] == value for key, value in rest.items())


@pytest.mark.parametrize("name", BOXED)
def test_what_is_said_wins(name: str) -> None:
    for bounds in ("sample", (0.0, 1.0)):
        method = METHODS[name](bounds=bounds, **NEEDED.get(name, {}))
        assert method.informed(KNOWN).settings()["bounds"] == bounds
    assert relprop.RSP(hostile=None).informed(KNOWN).settings()["hostile"] is None
    assert relprop.LRPAlphaBeta(first="z-box").informed(KNOWN).settings()["bounds"] == (LOW, HIGH)


def test_a_method_that_asks_nothing_stays_itself() -> None:
    method = relprop.LRPEpsilon()
    assert method.informed(KNOWN) is method


def test_a_subclass_may_fix_what_its_base_asks() -> None:
    class Narrow(relprop.RSP):
        name = "narrow"

        def __init__(self, *, hostile: object = "auto") -> None:
            super().__init__(hostile=hostile)  # type: ignore[arg-type]

    found: Method = Narrow().informed(KNOWN)
    assert isinstance(found, Narrow)
    assert found.hostile == "predicted"


def test_facts_reach_the_request() -> None:
    seen = []

    class Asks(relprop.Gradient):
        name = "asks"

        def explain(self, request: relprop.methods.Request) -> relprop.methods.Result:
            seen.append(request.facts)
            return super().explain(request)

    model, x = nets.vgg(), nets.pictures()
    relprop.explain(model, x, 0, Asks())
    relprop.explain(model, x, 0, Asks(), facts=KNOWN)
    assert seen[0].box is None
    assert seen[1] is KNOWN


def test_remembered_for_the_very_module() -> None:
    model = nets.vgg()
    before = dict(vars(model))
    remember(model, KNOWN)
    assert dict(vars(model)) == before
    assert facts_of(model) is KNOWN
    assert facts_of(copy.deepcopy(model)).box is None
    gone, known = weakref.ref(model), len(facts_file._known)
    del model
    gc.collect()
    assert gone() is None
    assert len(facts_file._known) < known


def test_a_model_that_outlives_the_module_is_forgotten_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[object]()
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    model = torch.nn.Linear(1, 1)
    remember(model, KNOWN)
    monkeypatch.setattr(facts_file, "_known", None)  # as the interpreter does at exit
    del model
    gc.collect()
    assert said == []


def test_a_module_that_has_no_hash() -> None:
    class Odd(torch.nn.Linear):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise TypeError("not to be compared")

    model = Odd(2, 2).eval()
    remember(model, KNOWN)
    assert facts_of(model) is KNOWN
    assert facts_of(Odd(2, 2)).box is None


def test_loaded_models_come_with_theirs() -> None:
    loaded = load_model("scenes-vgg", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), multi_label=False)
    facts = facts_of(loaded.module)
    assert facts.box is not None
    assert facts.box[0].tolist() == [-2.0] * 3
    assert facts.multi_label is False
    assert facts.classes == loaded.classes
    clips = bundled_clips.load()
    assert facts_of(clips.module).box[1].tolist() == [255 - m for m in clips.mean]  # type: ignore[index]


def test_an_input_beyond_the_box_is_no_picture() -> None:
    model, x = nets.vgg(), nets.pictures(3, 3, 16, 16)
    x = x.clamp(-0.9, 0.9)
    x[1] *= 100
    remember(model, KNOWN)
    e = relprop.explain(model, x, 1, "deep-taylor")
    for i, bounds in enumerate([(LOW, HIGH), "sample", (LOW, HIGH)]):
        one = relprop.explain(model, x[i : i + 1], 1, relprop.DeepTaylor(bounds=bounds))
        assert float((e.relevance[i] - one.relevance[0]).abs().max()) <= 1e-12 * float(
            one.relevance.abs().max()
        )
    alone = relprop.explain(model, x[1:2], 1, "deep-taylor")
    assert alone.settings["bounds"] == "sample"
    # Facts that were said are not doubted.
    with pytest.raises(relprop.errors.InputError, match="box"):
        relprop.explain(model, x, 1, "deep-taylor", facts=KNOWN)
    assert relprop.explain(model, x[:1], 1, "deep-taylor", facts=Facts()).settings["bounds"] == "sample"


STATISTICS = {
    "photographs": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.0, 1.0),
    "bytes": ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), 0.0, 255.0),
}


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pictures_stay_pictures_in_any_precision(dtype: torch.dtype, name: str) -> None:
    """Every grey level, normalised in that precision or rounded to it afterwards; row by row as alone."""
    mean, std, low, high = STATISTICS[name]
    m, s = (torch.tensor(v).reshape(1, 3, 1, 1) for v in (mean, std))
    levels = torch.linspace(low, high, 256).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    pictures = torch.cat([levels, levels * 0 + low, levels * 0 + high, levels.flip(2)])
    box = relprop.pixel_bounds(mean, std, low, high)
    facts, width = Facts(box=box), float((box[1] - box[0]).max())
    model = nets.vgg().to(dtype)
    remember(model, facts)
    for x in (((pictures - m) / s).to(dtype), (pictures.to(dtype) - m.to(dtype)) / s.to(dtype)):
        known = facts.fitting(x).box
        assert known is not None
        for mine, theirs in zip(known, box, strict=True):
            off = (mine.reshape(-1, 3) - theirs).abs().max()
            assert float(off) <= width * max(1e-4, 2 * torch.finfo(dtype).eps)
        if dtype in (torch.float32, torch.float64):
            assert known is box
        e = relprop.explain(model, x, 1, "deep-taylor")
        assert e.settings["bounds"] != "sample"
        for i in range(4):
            one = relprop.explain(model, x[i : i + 1], 1, "deep-taylor")
            assert_close_to_rounding(e.relevance[i : i + 1], one.relevance, model)
        noise = torch.cat([x[:1], x[:1] * 3])
        assert facts.fitting(noise[1:]).box is None
        mixed = facts.fitting(noise).box
        assert mixed is not None
        # Its own range is that of all channels together.
        own = noise[1].to(mixed[0]).amin()
        assert torch.equal(mixed[0][1].flatten().unique(), own.reshape(1))


def test_a_box_of_other_channels_is_none_of_this_input() -> None:
    for box in ((torch.zeros(4), torch.ones(4)), (torch.zeros(3, 5, 5), torch.ones(3, 5, 5))):
        assert Facts(box=box).fitting(torch.rand(2, 3, 16, 16)).box is None
    per_pixel = Facts(box=(torch.zeros(3, 16, 16), torch.ones(3, 16, 16)))
    assert per_pixel.fitting(torch.rand(2, 3, 16, 16)).box is not None


def test_another_head_has_other_classes() -> None:
    """The box of the pixels stays; what the outputs stand for isn't known any more."""
    names = [f"kind {i}" for i in range(5)]
    facts = Facts(box=(LOW, HIGH), multi_label=True, classes=names)
    x = nets.pictures().clamp(-0.9, 0.9)

    def loaded() -> torch.nn.Sequential:
        model = nets.vgg()
        remember(model, facts)
        return model

    def said(model: torch.nn.Module) -> tuple[object, object, bool]:
        known = facts_of(model)
        return known.classes, relprop.explain(model, x, 1, "rsp").settings["hostile"], known.box is facts.box

    kept = loaded()
    kept[8] = torch.nn.ReLU(inplace=True)  # without weights
    kept.float().double().requires_grad_(False)
    assert said(kept) == (names, "predicted", True)
    for width in (5, 2):
        model = loaded()
        model[9] = torch.nn.Linear(24, width).double()
        assert said(model) == (None, None, True)
    wrapped = loaded()
    wrapped[9] = torch.nn.Sequential(wrapped[9], torch.nn.Linear(5, 5).double())
    assert said(wrapped) == (None, None, True)
    narrow = loaded()  # the same module with other weights: as many as the outputs tell
    narrow[9].weight, narrow[9].bias = (torch.nn.Parameter(p[:3]) for p in (narrow[9].weight, narrow[9].bias))
    assert relprop.explain(narrow, x, 1, "rsp").settings["hostile"] is None
    seen = []

    class Asks(relprop.Gradient):
        name = "asks for names"

        def explain(self, request: relprop.methods.Request) -> relprop.methods.Result:
            seen.append(request.facts.classes)
            return super().explain(request)

    relprop.explain(narrow, x, 1, Asks())
    relprop.explain(narrow, x, 1, Asks(), facts=facts)  # what is said is not doubted
    assert seen == [None, names]


def test_progress_travels_with_the_request() -> None:
    told: list[tuple[int, int]] = []
    facts = Facts(progress=lambda done, total: told.append((done, total)))
    relprop.explain(nets.vgg(), nets.pictures(), 0, "smoothgrad:samples=3,chunk=1", facts=facts)
    assert told[-1] == (3, 3)
    said: list[tuple[int, int]] = []
    method = relprop.IntegratedGradients(steps=2, progress=lambda done, total: said.append((done, total)))
    told.clear()
    relprop.explain(nets.vgg(), nets.pictures(), 0, method, facts=facts)
    assert said[-1] == (2, 2)
    assert told == []
