"""Contact sheets of a benchmark: its best and worst cases, and maps while a network is randomised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from relprop.benchmark.outline import draw_outline, outline_note
from relprop.errors import InputError
from relprop.viz.panels import Panel, PanelRow, draw_panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ShownCase", "ShownSteps", "case_sheet", "randomisation_sheet"]

MOST_STEPS = 7
"""Steps of a randomisation that are drawn beside the original, evenly picked."""


@dataclass(frozen=True, eq=False)
class ShownCase:
    """One explanation with the truth that it was judged by.

    Attributes:
        title: above the pair of panels, say the picture's name and the class.
        picture: (H, W, 3) float in 0-1.
        heat: (H, W), the map at the picture's size.
        region: (H, W) bool, or None.
        kind: what the region is, in a word: "box" or "mask".
        lines: short lines below the map, say the numbers.
        signed: False where the method gives no negative values by construction.
    """

    title: str
    picture: NDArray[np.floating]
    heat: NDArray[np.floating]
    region: NDArray[np.bool_] | None = None
    kind: str = "region"
    lines: tuple[str, ...] = ()
    signed: bool = True


@dataclass(frozen=True, eq=False)
class ShownSteps:
    """One method's maps of one picture while more and more of the network is randomised.

    Attributes:
        title: above the row, say the method and the picture.
        picture: (H, W, 3) float in 0-1.
        heat: (H, W), the map on the network as it was trained.
        steps: by what was randomised, in order: (H, W).
        lines: for each step, short lines below its map.
        signed: False where the method gives no negative values by construction.
    """

    title: str
    picture: NDArray[np.floating]
    heat: NDArray[np.floating]
    steps: Mapping[str, NDArray[np.floating]]
    lines: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    signed: bool = True


def case_sheet(
    cases: Sequence[ShownCase] | Mapping[str, Sequence[ShownCase]],
    *,
    title: str = "",
    across: int = 3,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw cases in pairs of panels: the picture with its region's outline, and the map beside it.

    Args:
        cases: in the order in which they shall stand; or several lists, by header ("best", "worst").
        title: line on top of the page.
        across: cases side by side.
        notes: sentences for the caption.

    Returns:
        A matplotlib figure that belongs to no pyplot state and needs no display.

    Raises:
        InputError: if there is no case, `across` is below 1, shapes differ or a value is NaN or infinite.
    """
    if across < 1:
        raise InputError(f"Expected at least 1 case across but got {across}.")
    rows: list[PanelRow] = []
    bounded: dict[str, ShownCase] = {}
    groups = cases if isinstance(cases, Mapping) else {"": cases}
    for header, group in groups.items():
        for k in range(0, len(group), across):
            panels: list[Panel | None] = []
            for case in group[k : k + across]:
                _check(case.title, case.picture, case.heat, case.region)
                picture = np.asarray(case.picture, dtype=np.float64)
                if case.region is not None:
                    bounded[f"picture-{len(rows)}-{len(panels)}"] = case
                below = (f"dashes: its {case.kind}",) if case.region is not None else ()
                panels += [
                    Panel(picture=picture, title=case.title, lines=below),
                    Panel(np.asarray(case.heat), picture, lines=case.lines, signed=case.signed),
                ]
            rows.append(PanelRow(panels, header if k == 0 else ""))
    if not rows:
        raise InputError("Expected at least one case to draw but got none.")
    kinds = dict.fromkeys(case.kind for case in bounded.values())
    said = [outline_note(" or ".join(kinds))] if kinds else []
    figure = draw_panels(rows, title=title, notes=[*said, *notes])
    for axes in figure.axes:
        held = bounded.get(str(axes.get_gid()))
        if held is not None and held.region is not None:
            draw_outline(axes, held.region)
    return figure


def randomisation_sheet(
    rows: Sequence[ShownSteps], *, title: str = "", most: int = MOST_STEPS, notes: Sequence[str] = ()
) -> Figure:
    """Draw a row per method and picture: the picture, the map, and the maps after steps of randomisation.

    Of many steps the first, the last and others evenly between them are drawn. Each map has its own scale,
    so that a pattern that only got weaker still shows.

    Args:
        rows: what to draw, all with the same steps.
        title: line on top of the page.
        most: how many steps at most.
        notes: sentences for the caption.

    Raises:
        InputError: if there is nothing to draw, steps or shapes differ, or a value is NaN or infinite.
    """
    if not rows:
        raise InputError("Expected at least one row of maps to draw but got none.")
    if most < 1:
        raise InputError(f"Expected at least 1 step to draw but got {most}.")
    names = list(rows[0].steps)
    for row in rows:
        if list(row.steps) != names:
            raise InputError(
                f"Expected the same steps in every row but {rows[0].title!r} has {len(names)} and "
                f"{row.title!r} has {len(row.steps)} or others. Give each network a sheet of its own."
            )
        for name, heat in [("", row.heat), *row.steps.items()]:
            _check(" ".join(filter(None, [row.title, name])), row.picture, heat)
    picked = [names[k] for k in _evenly(len(names), most)]
    drawn = []
    for row in rows:
        picture = np.asarray(row.picture, dtype=np.float64)
        panels: list[Panel | None] = [
            Panel(picture=picture, title="input"),
            Panel(np.asarray(row.heat), picture, "trained", signed=row.signed),
        ]
        for name in picked:
            below = tuple(row.lines.get(name, ()))
            panels.append(Panel(np.asarray(row.steps[name]), picture, name, below, row.signed))
        drawn.append(PanelRow(panels, row.title))
    left_out = len(names) - len(picked)
    said = [f"{len(picked)} of {len(names)} steps are drawn."] if left_out else []
    return draw_panels(drawn, title=title, side=144, notes=[*said, *notes])


def _evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` indices, the first and the last among them.

    >>> _evenly(16, 4), _evenly(3, 7), _evenly(16, 1)
    ([0, 5, 10, 15], [0, 1, 2], [15])
    """
    if most == 1:
        return [count - 1] if count else []
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, min(count, most))})


def _check(
    title: str,
    picture: NDArray[np.floating],
    heat: NDArray[np.floating],
    region: NDArray[np.bool_] | None = None,
) -> None:
    shape = np.shape(picture)
    if len(shape) != 3 or shape[2] != 3:
        raise InputError(f"Expected a picture (H, W, 3) for {title!r} but got shape {shape}.")
    for what, array in (("map", heat), ("region", region)):
        if array is not None and np.shape(array) != shape[:2]:
            raise InputError(
                f"Expected a {what} of the picture's size {shape[:2]} for {title!r} but got {np.shape(array)}."
            )
