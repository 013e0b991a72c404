"""Masking fidelity: exact shares, ties, fills, top classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.metrics import make
from tests.refusals import assert_refused
from torch import nn

from relprop.errors import InputError
from relprop.metrics import MaskingFidelity, masking_fidelity
from relprop.metrics.masking import kept

X = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(
    arrays(np.float64, (5, 7), elements=st.integers(-3, 3).map(float)), st.sampled_from([0.01, 0.3, 0.5, 1.0])
)
def test_exactly_the_share_by_rank_then_index(heat: np.ndarray, keep: float) -> None:
    chosen = kept(torch.from_numpy(heat), keep)
    order = sorted(range(35), key=lambda i: (-max(0.0, heat.flat[i]), i))
    expected = np.zeros(35, dtype=bool)
    expected[order[: max(1, round(keep * 35))]] = True
    assert chosen.flatten().tolist() == expected.tolist()


def test_30_percent_of_224_squared() -> None:
    assert int(kept(torch.zeros(224, 224)).sum()) == 15053  # 15052.8


class Spy(nn.Module):
    """Notes its inputs; scores are fixed."""

    def __init__(self, *scores: list[float]) -> None:
        super().__init__()
        self.scores, self.seen = list(scores), []  # type: ignore[var-annotated]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return torch.tensor([self.scores[len(self.seen) - 1]])


def test_what_the_network_sees() -> None:
    heat = torch.arange(256.0).reshape(16, 16)
    mask = heat >= 256 - 77  # round(76.8)
    for fill, black, value in (("mean", None, 0.0), ("black", (-2.0, -1.0, 0.5), None)):
        spy = Spy([1.0, 2.0], [2.0, 1.0])
        assert masking_fidelity(spy, X, heat, top=1, fill=fill, black=black) == 0.0  # type: ignore[arg-type]
        covered = X.new_tensor(black or [value] * 3)[None, :, None, None]
        assert torch.equal(spy.seen[0], X)
        assert torch.equal(spy.seen[1], torch.where(mask, X, covered))


def test_overlap_is_of_sets() -> None:
    scores = [[6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [4.0, 5.0, 6.0, 1.0, 0.0, 2.0, 3.0]]
    assert masking_fidelity(Spy(*scores), X, np.eye(16)) == 0.6  # 0, 1, 2 stay; 3, 4 go
    assert masking_fidelity(Spy(*scores), X, np.eye(16), top=3) == 1.0
    assert masking_fidelity(Spy(*scores), X, np.eye(16), top=7) == 1.0


def test_equal_scores_go_by_class_index() -> None:
    assert masking_fidelity(Spy([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]), X, np.eye(16), top=2) == 1.0


def test_everything_kept_changes_nothing() -> None:
    assert masking_fidelity(make.net(), X, np.eye(16), keep=1.0) == 1.0


def test_map_of_a_layer_is_resized_bilinearly() -> None:
    heat = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    large = F.interpolate(heat[None, None], size=(16, 16), mode="bilinear", align_corners=False)[0, 0]
    spy, other = (Spy([1.0, 2.0], [2.0, 1.0]) for _ in range(2))
    masking_fidelity(spy, X, heat, top=1)
    masking_fidelity(other, X, large, top=1)
    assert torch.equal(spy.seen[1], other.seen[1])


@pytest.mark.parametrize("value", [0.0, -3.0, 2.0])
def test_maps_without_an_order_keep_the_first_pixels(value: float) -> None:
    spy = Spy([1.0, 2.0], [2.0, 1.0])
    masking_fidelity(spy, X, np.full((16, 16), value), keep=0.5, top=1)
    assert torch.equal(spy.seen[1][..., :8, :], X[..., :8, :])
    assert not spy.seen[1][..., 8:, :].any()


def test_class() -> None:
    case = make.model_case()
    found = MaskingFidelity().measure(case)
    assert found == {"overlap": masking_fidelity(case.model, case.x, case.map)}
    assert 0 < found["overlap"] <= 1
    assert MaskingFidelity(keep=1).measure(case) == {"overlap": 1.0}


def test_refusals() -> None:
    case = make.model_case()
    assert_refused(
        InputError,
        (lambda: MaskingFidelity(top=7).measure(case), r"top=7 .*has 6"),
        (lambda: MaskingFidelity(fill="black"), r"black=.*fill='black'"),
        (lambda: MaskingFidelity(fill="black", black=[0.0]).measure(case), r"black with 3 values.*got 1"),
        (lambda: MaskingFidelity(fill="black", black=["a"]), r"black .*got \['a'\]"),
        (lambda: MaskingFidelity(keep=0), r"keep .*got 0"),
        (lambda: MaskingFidelity(top=2.5), r"top .*got 2\.5"),
        (lambda: MaskingFidelity(fill="white"), r"fill .*got 'white'"),
        (
            lambda: MaskingFidelity().measure(make.Case(case.sample, 0, case.heat)),
            "'masking-fidelity' but got model=None",
        ),
        (
            lambda: MaskingFidelity().measure(
                make.Case(case.sample, 0, case.heat, model=case.model, x=case.x)
            ),
            "map=None",
        ),
        (lambda: masking_fidelity(make.net(), X, np.full((16, 16), np.nan)), "256 of 256 values"),
        (
            lambda: masking_fidelity(make.net(), X.repeat(2, 1, 1, 1), np.eye(16)),
            r"one input .*\(2, 3, 16, 16\)",
        ),
        (lambda: masking_fidelity(Spy([float("nan")]), X, np.eye(16), top=1), "finite scores but Spy"),
        (lambda: masking_fidelity(nn.Identity(), X, np.eye(16)), r"scores \(1, classes\)"),
    )
