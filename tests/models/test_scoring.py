"""Average precision against its definition, written out in full."""

from __future__ import annotations

import numpy as np
import pytest
from tests.refusals import assert_refused

from relprop.errors import InputError
from relprop.models.scoring import average_precision, mean_average_precision


def _by_definition(scores: np.ndarray, truth: np.ndarray) -> float:
    """Sum over distinct thresholds of (recall gained) x (precision there), straight from the words."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        said = scores >= threshold
        recall, precision = truth[said].sum() / truth.sum(), truth[said].mean()
        total += (recall - before) * precision
        before = recall
    return float(total)


@pytest.mark.parametrize("distinct", [4, 20, 10_000])
def test_equals_the_definition_with_and_without_ties(distinct: int) -> None:
    rng = np.random.default_rng(distinct)
    for _ in range(20):
        scores = rng.integers(0, distinct, 60) / distinct
        truth = rng.random(60) < 0.3
        truth[0] = True
        assert average_precision(scores, truth) == pytest.approx(_by_definition(scores, truth), abs=1e-12)


def test_known_values() -> None:
    assert average_precision([3, 2, 1], [1, 1, 0]) == 1.0
    assert average_precision([1, 2, 3], [1, 0, 0]) == pytest.approx(1 / 3)
    assert average_precision([5, 5, 5, 5], [1, 0, 0, 0]) == 0.25
    mean, each = mean_average_precision([[3, 1], [2, 2], [1, 3]], [[1, 1], [1, 0], [0, 0]])
    assert each == pytest.approx([1.0, 1 / 3])
    assert mean == pytest.approx(2 / 3)


def test_bad_input() -> None:
    assert_refused(
        InputError,
        (lambda: average_precision([1.0, 2.0], [0, 0]), "at least one positive"),
        (lambda: average_precision([1.0, 2.0], [1]), "one shape"),
        (lambda: mean_average_precision([1.0, 2.0], [1, 0]), "one shape"),
    )
