"""The idea of the affine form in the plane: a small network in pieces, and points of it taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from relprop.errors import InputError
from relprop.piecewise.toy import Piece, Toy, pieces, toy
from relprop.precision import full_precision
from relprop.reports.document import Whole
from relprop.reports.report import Page, Report, gathered
from relprop.reports.sources import check_places
from relprop.reports.text import Block, Written
from relprop.reports.works import Drawing
from relprop.viz.labels import number
from relprop.viz.toy_figure import AHEAD, ZOOM, Box, Ground, TakenPoint, plane_size, toy_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["affine_toy", "plane_figure"]

Array = NDArray[np.float64]

_FIGURE = Path("toy.png")
_LEAST = 0.02  # radius of a circle that can be seen, as a share of the window's width


@full_precision
def affine_toy(
    seed: int = 0, point: Sequence[float] | None = None, *, out: str | Path | None = None
) -> Report:
    """Train a network of the plane and draw its affine pieces: what `relprop affine --toy` draws and prints.

    Args:
        seed: of the points and of the first weights.
        point: (x_1, x_2), taken apart; None: two that differ most in the bias's share.
        out: a folder for the figure.

    Raises:
        InputError: a point that isn't two numbers, or outside the window.
    """
    if point is not None and len(point) != 2:
        raise InputError(f"Expected --point X,Y but got {len(point)} numbers.")
    check_places(out, [_FIGURE])
    made = toy(seed)
    cut = pieces(made.network, made.window)
    draw = _prepared(made, cut, point, None)
    told = "two points" if point is None else "the point"
    what = f"A network of 2-5-5-5-2 units, {100 * made.accuracy:.1f} % of its points right,"
    text: tuple[Block, ...] = (
        f"{what} cuts the window into {len(cut)} pieces.",
        f"On each the score is W·x + b with the piece's own W and b, exactly. The figure takes {told} apart.",
        Written("Figure", _FIGURE),
    )
    document = {"seed": seed, "accuracy": made.accuracy, "pieces": len(cut), "figure": Whole(_FIGURE)}
    return gathered({}, None, [Page({_FIGURE: Drawing(draw)}, document, text)], out)


def plane_figure(made: Toy, point: Sequence[float] | None = None, target: int | None = None) -> Figure:
    """Draw the plane of a toy network in its affine pieces, and how the score at a point is made.

    Args:
        made: points and network.
        point: (x_1, x_2); None: two points of the toy, classified right and well inside their pieces: the
            one with the largest share of the bias and the one with the least.
        target: the class whose score is drawn and explained; None: class 1's score less class 0's.

    Returns:
        The figure of `relprop.viz.toy_figure.toy_figure`.

    Raises:
        InputError: a point outside the window, or no such class.
    """
    return _prepared(made, pieces(made.network, made.window), point, target)()


def _prepared(
    made: Toy, cut: Sequence[Piece], point: Sequence[float] | None, target: int | None
) -> Callable[[], Figure]:
    """All that is drawn, as plain rows; what is given back draws them."""
    direction = _direction(target)
    chosen = [
        _taken(made, cut, name, at, direction)
        for name, at in zip("AB", _chosen(made, cut, point, direction), strict=False)
    ]
    plane = Ground(
        made.window,
        _image(made, direction, made.window, plane_size(made.window)),
        [piece.corners for piece in cut],
        [_ends(piece, piece.predict(piece.corners) @ np.array([-1.0, 1.0])) for piece in cut],
    )
    points = [made.points[made.labels == label].numpy() for label in (0, 1)]
    units = cut[0].units.shape[0]
    return partial(toy_figure, plane, points, chosen, units=units, accuracy=made.accuracy, target=target)


def _direction(target: int | None) -> Array:
    """What is explained, as a weighting of the two scores."""
    if target is None:
        return np.array([-1.0, 1.0])
    if isinstance(target, bool) or target not in (0, 1):
        raise InputError(f"Expected target 0, 1 or None (class 1 less class 0) but got {target!r}.")
    return np.eye(2)[target]


def _chosen(made: Toy, cut: Sequence[Piece], point: Sequence[float] | None, direction: Array) -> list[Array]:
    """The points that are taken apart."""
    if point is not None:
        at = np.asarray(point, dtype=np.float64)
        if at.shape != (2,) or _holding(cut, at) is None:
            window = ", ".join(map(number, made.window))
            raise InputError(f"Expected a point (x_1, x_2) in the window ({window}) but got {point}.")
        return [at]
    least = _LEAST * (made.window[1] - made.window[0])
    found = []
    for at, label in zip(made.points.numpy(), made.labels.tolist(), strict=True):
        piece = _holding(cut, at)
        if piece is not None and piece.predict(at).argmax() == label and piece.distance(at) > least:
            found.append((_share(piece, at, direction), at))
    if not found:
        raise InputError("Expected a toy with a point well inside its piece but got none. Pass a point.")
    ordered = [at for _, at in sorted(found, key=lambda pair: -pair[0])]
    return ordered if len(ordered) == 1 else [ordered[0], ordered[-1]]


def _holding(cut: Sequence[Piece], at: Array) -> Piece | None:
    return next((piece for piece in cut if piece.contains(at, 1e-12)), None)


def _share(piece: Piece, at: Array, direction: Array) -> float:
    """|b| / (|b| + sum |W x|)."""
    bias, terms = abs(float(direction @ piece.bias)), np.abs(direction @ piece.weight * at).sum()
    total = bias + float(terms)
    return bias / total if total else 0.0


def _taken(made: Toy, cut: Sequence[Piece], name: str, at: Array, direction: Array) -> TakenPoint:
    piece = _holding(cut, at)
    assert piece is not None  # it was chosen for lying in one
    return TakenPoint(
        name,
        at,
        piece.corners,
        direction @ piece.weight,
        float(direction @ piece.bias),
        direction @ piece.owners,
        float(piece.distance(at)),
        _across(piece, at, cut, direction),
        _walk(at, cut, direction),
        _zoom(made, piece, direction),
    )


def _across(piece: Piece, at: Array, cut: Sequence[Piece], direction: Array) -> tuple[Array, float] | None:
    """W and b across the nearest border of the piece, where it lies in the window."""
    if not np.isfinite(piece.distance(at)):
        return None
    border = piece.nearest(at)
    step = border - at
    size = float(np.linalg.norm(step))
    beyond = _holding(cut, border + 1e-9 * step / size) if size else None
    return None if beyond is None else (direction @ beyond.weight, float(direction @ beyond.bias))


def _walk(at: Array, cut: Sequence[Piece], direction: Array) -> list[tuple[float, float]]:
    """The score at the origin, at the point, somewhat beyond, and at each border between."""
    across = np.array([-at[1], at[0]])
    ends = np.concatenate([_ends(piece, piece.corners @ across) for piece in cut])
    shares = ends @ at / max(float(at @ at), np.finfo(np.float64).tiny)
    stops = np.unique(np.concatenate([[0.0, 1.0, AHEAD], shares[(shares > 0) & (shares < AHEAD)]]))
    found = [_holding(cut, t * at) for t in stops]
    return [
        (float(t), float(piece.predict(t * at) @ direction))
        for t, piece in zip(stops, found, strict=True)
        if piece is not None
    ]


def _zoom(made: Toy, piece: Piece, direction: Array) -> Ground:
    """The piece and what is near it, with lines of equal score."""
    low, high = piece.corners.min(axis=0), piece.corners.max(axis=0)
    middle, half = (low + high) / 2, 0.62 * float((high - low).max())
    box = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)
    near = pieces(made.network, box)  # the view may reach beyond the window
    held = [other.predict(other.corners) @ direction for other in near]
    # About seven lines in the piece itself, fewer where those of its steepest neighbour would lie too dense.
    own = float(np.ptp(piece.predict(piece.corners) @ direction))
    steepest = max(float(np.linalg.norm(direction @ other.weight)) for other in near)
    step = min(max(own / 7, steepest * 6 * 2 * half / ZOOM), own / 2)
    lines = [
        _ends(other, values - k * step)
        for other, values in zip(near, held, strict=True)
        if step > 0
        for k in range(int(np.ceil(values.min() / step)), int(np.floor(values.max() / step)) + 1)
    ]
    return Ground(box, _image(made, direction, box, (ZOOM, ZOOM)), [other.corners for other in near], lines)


def _image(made: Toy, direction: Array, box: Box, size: tuple[int, int]) -> Array:
    """The score at the middle of every pixel, (rows, columns), the upper row first."""
    xs = box[0] + (np.arange(size[0]) + 0.5) * (box[1] - box[0]) / size[0]
    ys = box[3] - (np.arange(size[1]) + 0.5) * (box[3] - box[2]) / size[1]
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    with torch.no_grad():
        scores = made.network(torch.from_numpy(grid)).numpy()
    return np.asarray((scores @ direction).reshape(size[1], size[0]))


def _ends(piece: Piece, values: Array) -> Array:
    """The ends, (2, 2), of the line on which values at the corners of a piece pass 0; (0, 2) where none do."""
    following = np.roll(piece.corners, -1, axis=0), np.roll(values, -1)
    ends = [
        here + (there - here) * (a / (a - b))
        for here, there, a, b in zip(piece.corners, following[0], values, following[1], strict=True)
        if (a < 0) != (b < 0)
    ]
    return np.array(ends).reshape(-1, 2)
