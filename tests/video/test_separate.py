"""separate_motion: the naive split against explanations made one by one, and what every mode promises."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests import nets
from tests.close import assert_close_to_rounding
from torch import Tensor, nn

import relprop
from relprop.errors import InputError, RelpropWarning
from relprop.video import naive
from relprop.video.frozen import freeze
from relprop.video.separation import MotionSeparation

TAYLOR = relprop.DeepTaylor(bounds=(-6.0, 6.0), seed="one")
MODES = ("naive", "conserving", "selective")


@cache
def net() -> nn.Module:
    return nets.video()


def clips(n: int = 2) -> Tensor:
    return nets.pictures(n, 3, 4, 8, 8)


def still(n: int = 1) -> Tensor:
    return clips(n)[:, :, 1:2].expand(n, 3, 4, 8, 8).contiguous()


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-12 * max(float(b.abs().max()), 1e-300))


def by_hand(clip: Tensor, target: int, slice: str, normalise: str | None) -> tuple[Tensor, Tensor]:
    """Original and spatial film of one clip, every explanation made alone."""

    def film(x: Tensor) -> Tensor:
        found = relprop.explain(net(), x, target, TAYLOR).heatmap()[0]
        return found / found.abs().max() if normalise else found

    pick = {
        "same": lambda r, t: r[t],
        "first": lambda r, t: r[0],
        "mean": lambda r, t: r.mean(0),
        "sum": lambda r, t: r.sum(0),
    }[slice]
    frozen = [film(clip[:, :, t : t + 1].repeat(1, 1, 4, 1, 1)) for t in range(4)]
    return film(clip), torch.stack([pick(r, t) for t, r in enumerate(frozen)])


@pytest.mark.parametrize("slice", ["same", "first", "mean", "sum"])
@pytest.mark.parametrize("normalise", [None, "maxabs"])
def test_naive_is_what_it_says(slice: Any, normalise: Any) -> None:
    clip = clips(1)
    s = relprop.separate_motion(net(), clip, 2, TAYLOR, slice=slice, normalise=normalise, chunk=3)
    original, spatial = by_hand(clip, 2, slice, normalise)
    assert close(s.original[0], original)
    assert close(s.spatial[0], spatial)
    assert torch.equal(s.temporal, s.original - s.spatial)
    clamped = relprop.separate_motion(net(), clip, 2, TAYLOR, slice=slice, normalise=normalise, clamp=True)
    assert bool((s.temporal < 0).any())
    assert close(clamped.temporal, s.temporal.clamp(min=0))


def test_mean_of_slices_leaves_a_temporal_film_that_sums_to_nothing() -> None:
    s = relprop.separate_motion(net(), clips(1), 2, TAYLOR, slice="mean")
    assert abs(float(s.temporal.sum())) < 1e-12  # each explanation totals 1: no unit lives by its bias here
    assert float(s.original.sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("target", [2, None, [0, 3], [torch.tensor([4, 1]), 2]], ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_row_of_a_batch_is_the_single_run(mode: Any, target: Any) -> None:
    both = relprop.separate_motion(net(), clips(), target, TAYLOR, mode)
    assert both.original.shape == (*both.targets.shape, 4, 8, 8)
    assert both.relevance["original"].shape == (*both.targets.shape, 3, 4, 8, 8)
    for i in range(2):
        own = (
            [int(t[i]) if isinstance(t, Tensor) else t for t in target]
            if isinstance(target, list)
            else target
        )
        one = relprop.separate_motion(net(), clips()[i : i + 1], own, TAYLOR, mode)
        for name in ("original", "spatial", "temporal"):
            assert close(getattr(both, name)[..., i, :, :, :], getattr(one, name)[..., 0, :, :, :]), name
        assert torch.equal(both.targets[..., i], one.targets[..., 0])


@pytest.mark.parametrize("mode", MODES)
def test_targets_at_once_are_targets_one_by_one(mode: Any) -> None:
    together = relprop.separate_motion(net(), clips(), [3, 0, 2], TAYLOR, mode)
    for k, target in enumerate([3, 0, 2]):
        alone = relprop.separate_motion(net(), clips(), target, TAYLOR, mode)
        for name in ("original", "spatial", "temporal"):
            assert close(getattr(together, name)[k], getattr(alone, name))


def test_no_target_means_the_top_class_of_the_clip_in_the_frozen_clips_too() -> None:
    top = net()(clips()).argmax(1)
    s = relprop.separate_motion(net(), clips(), None, TAYLOR)
    assert torch.equal(s.targets, top)
    assert close(s.spatial, relprop.separate_motion(net(), clips(), top, TAYLOR).spatial)


@pytest.mark.parametrize("chunk", [1, 3, 9])
def test_chunks_change_nothing(chunk: int) -> None:
    seen: list[tuple[int, int]] = []
    s = relprop.separate_motion(
        net(), clips(), 1, TAYLOR, chunk=chunk, progress=lambda done, total: seen.append((done, total))
    )
    usual = relprop.separate_motion(net(), clips(), 1, TAYLOR)
    assert close(s.temporal, usual.temporal)
    assert seen[-1] == (8, 8)
    assert [d for d, _ in seen] == sorted({d for d, _ in seen})
    assert len(seen) == 2 * -(-4 // chunk)


def test_a_still_clip_has_no_temporal_relevance_at_all() -> None:
    batch = torch.cat([clips(1), still()])
    for dtype in (torch.float64, torch.float32):
        model = nets.video().to(dtype)
        s = relprop.separate_motion(model, batch.to(dtype), [0, 2], TAYLOR, chunk=3)
        assert not bool(s.temporal[:, 1].any())
        assert bool(s.temporal[:, 0].any())
        assert torch.equal(s.spatial[:, 1], s.original[:, 1])


def test_equal_frames_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips(1)[:, :, [0, 1, 0, 1]].contiguous()
    ran: list[int] = []

    def counting(model: nn.Module, x: Tensor, *rest: Any, versus: Any) -> relprop.Explanation:
        ran.append(len(x))
        return relprop.explain(model, x, *rest, versus=versus)

    monkeypatch.setattr(naive, "explanation_of", counting)
    s = relprop.separate_motion(net(), clip, 2, TAYLOR)
    assert ran == [2]
    assert close(s.spatial[0], by_hand(clip, 2, "same", None)[1])
    relprop.separate_motion(net(), still(), 2, TAYLOR)
    assert ran == [2]


def test_scores_of_the_frozen_clips() -> None:
    s = relprop.separate_motion(net(), clips(), 1, TAYLOR)
    assert s.frozen_outputs is not None
    assert s.frozen_targets is not None
    assert close(s.outputs, net()(clips()).detach())
    for n in range(2):
        expected = net()(torch.stack([freeze(clips()[n], t) for t in range(4)])).detach()
        assert close(s.frozen_outputs[n], expected)
        assert torch.equal(s.frozen_targets[n], expected.argmax(1))


def test_frames_are_sums_over_each_frame() -> None:
    s = relprop.separate_motion(net(), clips(), [1, 0], TAYLOR)
    curve = s.frames["temporal"]
    assert curve.positive.shape == (2, 2, 4)
    assert close(curve.positive + curve.negative, s.temporal.sum((-2, -1)))
    assert bool((curve.positive >= 0).all() and (curve.negative <= 0).all())


def test_a_named_method_starts_from_one_and_a_configured_one_as_it_says() -> None:
    named = relprop.separate_motion(net(), clips())
    assert named.settings["method"] == {"bounds": "sample", "seed": "one", "negative": "zero"}
    assert close(named.original.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64))
    scored = relprop.separate_motion(net(), clips(), None, relprop.DeepTaylor())
    assert scored.settings["method"]["seed"] == "score"
    scores = net()(clips()).detach().amax(1)
    assert bool((scores > 0).all())
    assert close(scored.original, named.original * scores.reshape(2, 1, 1, 1))


def test_sample_bounds_are_the_clips_in_its_frozen_clips_too() -> None:
    clip = clips(1)
    box = relprop.DeepTaylor(bounds=(float(clip.min()), float(clip.max())), seed="one")
    sample = relprop.separate_motion(net(), clip, 1)
    assert_close_to_rounding(sample.spatial, relprop.separate_motion(net(), clip, 1, box).spatial, net())


@pytest.mark.parametrize("method", ["lrp-epsilon", "gradient-x-input", "lrp-composite", "rap"])
def test_other_methods(method: str) -> None:
    s = relprop.separate_motion(net(), clips(), 1, method)
    assert s.method == method
    assert torch.equal(s.temporal, s.original - s.spatial)
    assert ("original" in s.ledgers) == (s.ledger is not None)
    if s.ledger is not None:
        assert s.ledger.closes
        assert s.ledgers["frozen"].closes


def test_ledgers_hold_all_passes() -> None:
    s = relprop.separate_motion(net(), clips(), 1, TAYLOR, chunk=3)
    assert s.ledgers["original"].closes
    assert s.ledgers["frozen"].closes
    assert s.ledgers["original"].start == pytest.approx(2)
    assert s.ledgers["frozen"].start == pytest.approx(8)


def test_model_and_clip_leave_as_they_came() -> None:
    model, clip = nets.video(), clips()
    before, kept = (
        {k: (v.data_ptr(), v._version, v.clone()) for k, v in model.state_dict().items()},
        clip.clone(),
    )
    for mode in MODES:
        relprop.separate_motion(model, clip, 1, TAYLOR, mode)  # type: ignore[arg-type]
    for k, v in model.state_dict().items():
        assert (v.data_ptr(), v._version) == before[k][:2]
        assert torch.equal(v, before[k][2])
    assert torch.equal(clip, kept)
    assert not model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"clip": torch.zeros(3, 4, 8, 8)}, r"Expected a clip \(N, C, T, H, W\) .* but got shape \(3, 4, 8, 8\)"),
    ({"clip": torch.zeros(0, 3, 4, 8, 8)}, r"with N >= 1 but got shape \(0, 3, 4, 8, 8\)"),
    ({"clip": torch.zeros(1, 3, 1, 8, 8)}, "Expected a clip of at least 2 frames but got 1"),
    ({"clip": [1.0]}, "Expected clip to be a tensor .* but got list"),
    ({"clip": torch.full((1, 3, 4, 8, 8), torch.nan, dtype=torch.float64)}, "Expected a finite input"),
    ({"mode": "clever"}, "Expected mode to be one of 'naive', .* but got 'clever'"),
    ({"slice": "last"}, "Expected slice to be one of 'same', 'first', 'mean', 'sum' but got 'last'"),
    ({"normalise": "sum"}, "Expected normalise to be one of 'maxabs' but got 'sum'"),
    ({"clamp": 0.5}, "Expected clamp to be True or False but got 0.5"),
    ({"chunk": 0}, "Expected chunk to be a whole number from 1 to 4096 but got 0"),
    ({"progress": 3}, "Expected progress to be a function"),
    ({"sigma": 2.0}, "Expected no sigma= with mode='naive': it is a setting of mode='selective'"),
    ({"target": 5}, "Expected targets from 0 to 4 but got 5"),
    ({"target": [0, 9]}, "Expected targets from 0 to 4 but got 9"),
    ({"target": []}, "Expected at least one target"),
    ({"target": torch.tensor([0, 1, 2])}, r"Expected a target tensor of integers with shape \(1,\)"),
    ({"target": "cat"}, "the model has no class names"),
    ({"target": {}}, "Expected target to be a class index"),
    ({"method": "grad-cam"}, "Expected a method with relevance at the input"),
    ({"method": "deep-tailor"}, "Expected a known method but got 'deep-tailor'"),
]


@pytest.mark.parametrize(("given", "text"), BAD, ids=[text[:50] for _, text in BAD])
def test_bad_input(given: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"clip": clips(1), "target": 1} | given
    with pytest.raises(InputError, match=text):
        relprop.separate_motion(net(), **arguments)


def test_training_mode_is_refused() -> None:
    model = nets.OracleC3D()
    with pytest.raises(InputError, match="evaluation mode"):
        relprop.separate_motion(model, torch.zeros(1, 3, 16, 112, 112), 1)


def test_file(oracles: Path) -> None:
    """The authors' script: slice 0, each volume divided by its own maximum; stored in float32."""
    held = load_file(oracles / "tinyc3d.safetensors")
    model = nets.OracleC3D().eval()
    model.load_state_dict({k[6:]: v for k, v in held.items() if k.startswith("model.")})
    clip = held["x"].double()
    method = relprop.DeepTaylor(bounds=(-102, 165), seed="one")
    s = relprop.separate_motion(model.double(), clip, 1, method, slice="first", normalise="maxabs")
    raw = {t: relprop.explain(model, freeze(clip, t).contiguous(), 1, method).heatmap()[0] for t in (3, 12)}
    ours = {"original": s.original[0], "spatial": s.spatial[0], "temporal": s.temporal[0]}
    ours |= {f"spatial_raw.frame{t}": r for t, r in raw.items()}
    for name, film in ours.items():
        theirs = held[f"torchexplain.{name}"].double()
        found = float((film - theirs).abs().max() / theirs.abs().max())
        print(f"{name}: {found:.1e}")
        assert found < 1e-6


@pytest.mark.parametrize("mode", ["naive", "conserving", "selective"])
def test_negative_scores_are_said(mode: str, tmp_path: Path) -> None:
    """Once a call, with the clip that it is about; folders keep it."""
    model, clip = nets.video(), nets.pictures(2, 3, 4, 8, 8)
    target = 0
    with torch.no_grad():
        scores = model(clip)[:, target]
        model.head.bias[target] -= scores.mean()  # above 0 for one of the clips, below for the other
    low = int(scores.argmin())
    with pytest.warns(RelpropWarning) as caught:
        s = relprop.separate_motion(model, clip, target, "deep-taylor", mode)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert all(text.startswith(f"Clip {low}: ") for text in s.warnings)
    assert any("explains positive outputs only" in text for text in s.warnings)
    assert "WARNING" in repr(s)
    assert MotionSeparation.load(s.save(tmp_path / "s")).warnings == s.warnings


@pytest.mark.parametrize("mode", MODES)
def test_why_not_another_class(mode: Any) -> None:
    """A split against another class is one of the explanation against it; one alone, of what speaks against."""
    model, clip = net(), clips()
    scores = model(clip).detach()
    top = scores.argmax(1)
    low = scores.argmin(1)
    method = relprop.DeepTaylor(bounds=(-6.0, 6.0), negative="against")
    s = relprop.separate_motion(model, clip, top, method, mode, versus=low)
    e = relprop.explain(model, clip, top, method, versus=low)
    assert s.settings["versus"] == low.tolist()
    assert_close_to_rounding(s.original, e.heatmap(), model)
    assert close(s.original.sum((1, 2, 3)), (scores.amax(1) - scores.amin(1)))
    if mode == "conserving":
        assert bool((s.spatial >= 0).all() and (s.temporal >= 0).all())
        assert bool((s.temporal > 0).any())


def test_a_negative_score_splits_into_what_speaks_against_it() -> None:
    model, clip = nets.video(), clips(1)
    with torch.no_grad():
        model.head.bias[1] -= 1 + model(clip)[0, 1]
        assert float(model(clip)[0, 1]) < 0
    s = relprop.separate_motion(model, clip, 1, "deep-taylor:negative=against", "conserving")
    assert not s.warnings
    assert "blue speaks against it" in s.notes[0]
    assert float(s.original.sum()) == pytest.approx(-1)
    assert bool((s.spatial <= 0).all() and (s.temporal <= 0).all())
    assert bool((s.temporal < 0).any() and (s.spatial < 0).any())
    assert all(ledger.closes for ledger in s.ledgers.values())
    assert close(s.spatial.sum() + s.temporal.sum(), s.original.sum())
