"""The table of grids: means over cells, intervals over grids, quartiles over cells."""

from __future__ import annotations

from pathlib import Path

from benchmarks import grid_pg
from relprop.benchmark.recipe import read_recipe
from relprop.benchmark.record import Record


def of(method: str, shares: dict[str, list[float]]) -> list[Record]:
    return [
        Record(grid, label, method, "grid-pg", {"share": share, "most": float(share > 0.5)})
        for grid, cells in shares.items()
        for label, share in enumerate(cells)
    ]


def test_rows_by_hand() -> None:
    grids = {"a": [0.2, 0.4], "b": [0.6, 0.8], "c": []}
    records = [
        *of("low", grids),
        *of("high", {"a": [0.9] * 4}),
        Record("a", 0, "low", "ledger", {"closes": 1.0}),
    ]
    lines = grid_pg.table(records).splitlines()
    high, low = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])
    assert high == ["high", "90.0 [90.0, 90.0]", "90.0 [90.0, 90.0]", "100.0", "4", "1"]
    # Two grids, of means 0.3 and 0.7: a quarter of the draws takes the same twice.
    assert low == ["low", "50.0 [30.0, 70.0]", "50.0 [35.0, 65.0]", "50.0", "4", "2"]


def test_the_recipe_for_photographs_can_be_read() -> None:
    recipe = read_recipe(Path(grid_pg.__file__).with_name("grid_pg_photographs.toml"))
    assert (recipe.data["name"], recipe.model.geometry) == ("grids", "native")
