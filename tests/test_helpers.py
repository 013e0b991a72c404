"""The helpers of the tests fail where they should."""

from __future__ import annotations

import pytest
import torch
from tests.close import assert_close_to_rounding, rounding, terms_of
from tests.refusals import assert_refused
from torch import nn

from relprop.errors import InputError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_orders_of_a_sum_are_close_to_rounding_and_no_more(dtype: torch.dtype) -> None:
    terms = 1000
    x = torch.rand(20, terms, generator=torch.Generator().manual_seed(0), dtype=dtype)
    one = x.sum(1)
    other = torch.zeros(20, dtype=dtype)
    for k in range(terms):
        other += x[:, k]
    assert not torch.equal(one, other)
    assert_close_to_rounding(other, one, terms)
    for wrong in (
        one * (1 + 3 * rounding(terms, dtype)),
        one[:-1],
        one.half(),
        one.where(one > one[0], torch.nan),
    ):
        with pytest.raises(AssertionError):
            assert_close_to_rounding(wrong, one, terms)


def test_terms_of_a_network() -> None:
    # 3 x 3 x 3 forward and 3 x 3 x 4 back; 5 and 2.
    assert terms_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 2))) == 27 + 36 + 5 + 2


def test_every_call_that_is_not_refused_as_said_is_told() -> None:
    def refuse() -> None:
        raise InputError("Expected keep but got 0.")

    assert_refused(InputError, (refuse, "keep .*0"))
    with pytest.raises(pytest.fail.Exception, match=r"case 1: 'top'.*\ncase 3: nothing was raised"):
        assert_refused(InputError, (refuse, "top"), (refuse, "keep"), (lambda: None, "keep"))
