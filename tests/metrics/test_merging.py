"""Every metric: parts merge to exactly what one pass gives, however the pairs were split and ordered."""

from __future__ import annotations

import copy
import pickle
from functools import cache
from importlib.util import find_spec
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.metrics import make

from relprop.errors import InputError
from relprop.metrics import METRICS, Case, Metric, load_metric
from relprop.metrics.metric import SUBSETS, Tally

SETTINGS = {
    "perturbation": {"steps": 3, "curves": True},
    "masking-fidelity": {"top": 3},
    "randomisation": {"similarities": ("spearman",)},
    "information-curves": {"shares": (0.1, 0.5), "least": 0.0, "mean": (0.5,) * 3, "std": (0.2,) * 3},
    "infidelity": {"patch": 4},
    "max-sensitivity": {"samples": 2},
    "data-randomisation": {"twin": f"{make.__file__}:twin"},
}
PAIRS = 7
BY_QUANTUS = ("infidelity", "max-sensitivity")
NAMES = [name for name in METRICS if find_spec("quantus") is not None or name not in BY_QUANTUS]


def metric(name: str) -> Metric:
    return load_metric(name, **SETTINGS.get(name, {}))


@cache
def cases() -> list[Case]:
    model = make.net()
    return [make.model_case(seed, label=seed % 3, model=model) for seed in range(PAIRS)]


@cache
def whole(name: str) -> tuple[Metric, list[dict[str, float]]]:
    one = metric(name)
    return one, [one.update(case) for case in cases()]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None)  # the first example measures
@given(order=st.permutations(range(PAIRS)), cuts=st.sets(st.integers(1, PAIRS - 1)))
def test_any_split_in_any_order_is_one_pass(name: str, order: list[int], cuts: set[int]) -> None:
    one, measured = whole(name)
    ends = [0, *sorted(cuts), PAIRS]
    total = metric(name)
    for begin, end in pairwise(ends):
        part = metric(name)
        for index in order[begin:end]:
            part.count(measured[index], cases()[index].label, cases()[index].subsets)
        total.merge(part)
    assert total.compute() == one.compute()
    assert one.compute()


@pytest.mark.parametrize("name", NAMES)
def test_measuring_twice_gives_the_same_numbers(name: str) -> None:
    _, measured = whole(name)
    assert metric(name).update(cases()[2]) == measured[2]


@pytest.mark.parametrize("name", NAMES)
def test_keys_belong_to_outcomes_and_metrics_travel(name: str) -> None:
    one, measured = whole(name)
    keys = {o.key for o in one.outcomes}
    assert {key.split("@")[0] for found in measured for key in found} <= keys
    assert keys & set(measured[0])
    away = pickle.loads(pickle.dumps(one))
    assert away.compute() == one.compute()
    assert away.settings() == one.settings()
    away.reset()
    assert away.compute() == {}


@pytest.mark.parametrize("name", NAMES)
def test_metrics_with_subsets_report_them(name: str) -> None:
    one, _ = whole(name)
    with_subsets = {key.split("[")[0] for key in one.compute() if "[" in key}
    assert with_subsets == {o.key for o in one.outcomes if o.subsets}


def test_merging_another_metric_or_other_settings_is_refused() -> None:
    text = r"Expected another PointingGame\(tolerance=15, region='boxes'\) to merge but got Energy\("
    with pytest.raises(InputError, match=text):
        load_metric("pointing-game").merge(load_metric("energy"))
    with pytest.raises(InputError, match=r"PointingGame\(tolerance=5"):
        load_metric("pointing-game").merge(load_metric("pointing-game", tolerance=5))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-1e300, 1e300)), min_size=1), st.integers(0, 2**32))
def test_tallies_are_exact(pairs: list[tuple[int, float]], seed: int) -> None:
    import random

    one, parts = Tally(), [Tally(), Tally(), Tally()]
    for pair in pairs:
        one.add(*pair)
    shuffled = copy.copy(pairs)
    random.Random(seed).shuffle(shuffled)
    for index, pair in enumerate(shuffled):
        parts[index % 3].add(*pair)
    total = Tally()
    for part in parts:
        total.merge(part)
    assert total.count == len(pairs)
    for average in ("class", "pair"):
        assert total.mean(average) == one.mean(average)  # type: ignore[arg-type]


def test_nothing_infinite_is_counted() -> None:
    with pytest.raises(InputError, match="nan for class 3"):
        Tally().add(3, float("nan"))


def test_subsets_of_a_pair() -> None:
    assert cases()[1].subsets == SUBSETS  # predicted, small, in company
    assert cases()[0].subsets == ("all", "dif")
    assert Case(cases()[0].sample, -1, cases()[0].heat).subsets == ("all", "all-p")
