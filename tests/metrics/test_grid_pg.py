"""GridPG: shares of cells in whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from tests.metrics import make

from relprop.errors import InputError
from relprop.metrics import GridPG, energy, grid_pg

#: 2 × 2 cells of 2 × 2 pixels: positive sums 6, 3, 0 and 1.
HEAT = [[1.0, 2.0, -9.0, 3.0], [3.0, 0.0, 0.0, 0.0], [-1.0, -2.0, 0.5, 0.5], [0.0, -8.0, -7.0, 0.0]]
CELLS = [(0.0, 0.0, 2.0, 2.0), (2.0, 0.0, 4.0, 2.0), (0.0, 2.0, 2.0, 4.0), (2.0, 2.0, 4.0, 4.0)]


def test_shares_by_hand() -> None:
    assert [grid_pg(HEAT, cell, 2) for cell in range(4)] == pytest.approx([0.6, 0.3, 0.0, 0.1], rel=1e-15)


def test_constant_map_has_chance_and_silent_maps_have_nothing() -> None:
    assert grid_pg(np.full((6, 9), 2.0), 4, 3) == pytest.approx(1 / 9, rel=1e-15)
    assert grid_pg(np.zeros((4, 4)), 0, 2) == grid_pg(np.full((4, 4), -1.0), 0, 2) == 0.0


def test_metric_looks_at_the_classs_own_cell() -> None:
    # Class 7 lies in the first cell, 5 in the second, ...
    expected = {7: (0.6, 1.0), 5: (0.3, 0.0), 6: (0.0, 0.0), 4: (0.1, 0.0)}
    metric = GridPG()
    for label, (share, most) in expected.items():
        case = make.boxed_case(HEAT, CELLS, [7, 5, 6, 4], label)
        found = metric.update(case)
        assert found["share"] == pytest.approx(share, rel=1e-15)
        assert found["most"] == most
        region = case.region("boxes")
        assert region is not None
        assert found["share"] == energy(HEAT, region)
    assert metric.compute() == pytest.approx({"share": 0.25, "most": 0.25}, rel=1e-15)


def test_equal_cells_are_no_win_and_one_cell_is() -> None:
    assert GridPG().measure(make.boxed_case(np.ones((4, 4)), CELLS, [0, 1, 2, 3]))["most"] == 0.0
    assert GridPG().measure(make.boxed_case(np.ones((2, 2)), CELLS[:1], [0])) == {"share": 1.0, "most": 1.0}


def test_what_is_no_grid_is_not_counted() -> None:
    assert GridPG().measure(make.boxed_case(HEAT, CELLS, [0, 0, 1, 2], 0)) == {}
    assert GridPG().measure(make.boxed_case(HEAT, CELLS, [0, 1, 2, 3], 9)) == {}


@pytest.mark.parametrize(
    ("shape", "cell", "side", "words"),
    [((4, 5), 0, 2, "2 × 2 equal cells"), ((4, 4), 4, 2, "cell from 0 to 3"), ((4, 4), 0, 0, "equal cells")],
)
def test_refusals(shape: tuple[int, int], cell: int, side: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        grid_pg(np.ones(shape), cell, side)
