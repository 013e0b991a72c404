"""Random networks of affine maps, ReLUs and maxima: refused by name, or right under every property."""

from __future__ import annotations

import pytest
from tests.fuzz.seeds import EXACT, all_right

CHUNKS = 8


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_right_or_refused(chunk: int) -> None:
    verdicts = all_right(EXACT[chunk::CHUNKS])
    assert len(verdicts) >= 5
    # A fuzzer that everything refuses finds nothing.
    assert sum("lrp-0" in v.explained for v in verdicts) >= len(verdicts) // 5
