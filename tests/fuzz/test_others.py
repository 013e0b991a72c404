"""Random networks over the rest of the table: refused by name, or right under every property."""

from __future__ import annotations

import pytest
from tests.fuzz.seeds import OTHERS, all_right

CHUNKS = 8


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_right_or_refused(chunk: int) -> None:
    verdicts = all_right(OTHERS[chunk::CHUNKS])
    assert len(verdicts) >= 8
    assert sum("gradient" in v.explained for v in verdicts) >= len(verdicts) // 5
