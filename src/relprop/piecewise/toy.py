"""Toy: a network on the plane, cut into the convex polygons on which it is one affine map."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from relprop.errors import InputError

__all__ = ["Piece", "Toy", "pieces", "toy"]

Array = NDArray[np.float64]

#: Corners nearer to a unit's line than this share of the window's reach count as on it: where lines meet in
#: one point, rounding alone moves them, and cuts would leave slivers without area.
_ON_LINE = 1e-12

_POINTS, _NOISE = 100, 0.12  # points a class, and their scatter about the arc
_UNITS = (2, 5, 5, 5, 2)
_STEPS, _RATE = 200, 0.02
_MARGIN = 0.45  # of the window about the points


@dataclass(frozen=True)
class Piece:
    """A convex polygon of the plane on which the network is F(x) = W x + b.

    Attributes:
        corners: (V, 2), counter-clockwise, cut at the window.
        pattern: whether each ReLU unit is on, in order of execution.
        weight: W, (outputs, 2).
        bias: b, (outputs,).
        owners: (outputs, layers): the part of b that each Linear's bias makes; the rows sum to b.
        units: (units, 3): each ReLU unit's input as u x_0 + v x_1 + w, affine on the piece as well.
    """

    corners: Array
    pattern: tuple[bool, ...]
    weight: Array
    bias: Array
    owners: Array
    units: Array

    @property
    def area(self) -> float:
        """Area of the polygon, by the shoelace formula.

        >>> net = nn.Sequential(nn.Linear(2, 1))
        >>> [piece.area for piece in pieces(net, (0.0, 2.0, 0.0, 3.0))]
        [6.0]
        """
        # About a corner: the products stay small where the polygon is.
        x, y = (self.corners - self.corners[0]).T
        return 0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())

    def predict(self, points: ArrayLike) -> Array:
        """W x + b at points (…, 2): (…, outputs)."""
        return np.asarray(np.asarray(points, dtype=np.float64) @ self.weight.T + self.bias)

    def distance(self, points: ArrayLike) -> Array:
        """How far points (…, 2) inside lie from the nearest border of the piece; the window is none: (…,).

        A circle lies in a convex polygon if it crosses none of its sides' lines, so that the nearest line
        of any unit tells. Infinite where no line bounds the piece.
        """
        return np.asarray(self._distances(points).min(axis=-1, initial=np.inf))

    def nearest(self, point: ArrayLike) -> Array:
        """The border's point nearest to one inside (2,): the foot on the nearest unit's line.

        Raises:
            InputError: where the piece has no border.
        """
        start = np.asarray(point, dtype=np.float64)
        distances = self._distances(start)
        if not np.isfinite(distances).any():
            raise InputError("Expected a piece with a border but got one that fills the plane.")
        u, v, w = self.units[int(distances.argmin())]
        normal = np.array([u, v])
        return start - normal * (normal @ start + w) / (normal @ normal)

    def contains(self, points: ArrayLike, slack: float = 0.0) -> NDArray[np.bool_]:
        """Whether points (…, 2) lie in the polygon, up to ``slack`` outside: (…,)."""
        at = np.asarray(points, dtype=np.float64)[..., None, :]
        along = np.roll(self.corners, -1, axis=0) - self.corners
        from_corner = at - self.corners
        cross = along[:, 0] * from_corner[..., 1] - along[:, 1] * from_corner[..., 0]
        return np.asarray((cross >= -slack * np.hypot(*along.T)).all(axis=-1))

    def _distances(self, points: ArrayLike) -> Array:
        lengths = np.hypot(self.units[:, 0], self.units[:, 1])
        bounding = self.units[lengths > 0]
        at = np.asarray(points, dtype=np.float64) @ bounding[:, :2].T + bounding[:, 2]
        distances = np.full((*at.shape[:-1], len(self.units)), np.inf)
        distances[..., lengths > 0] = np.abs(at) / lengths[lengths > 0]
        return distances


@dataclass(frozen=True)
class Toy:
    """Two classes of points in the plane and a small network that tells them apart.

    Attributes:
        points: (N, 2) float64.
        labels: (N,) int64, 0 or 1.
        network: Linear and ReLU in turn, float64: 2-5-5-5-2.
        accuracy: share of the points that it gets right.
        window: x_0 from and to, x_1 from and to: the part of the plane with the points.
    """

    points: Tensor
    labels: Tensor
    network: nn.Sequential
    accuracy: float
    window: tuple[float, float, float, float]


def toy(seed: int = 0) -> Toy:
    """Draw two interleaved arcs of points and train a network of three hidden layers of five ReLUs on them.

    Deterministic on one machine; takes seconds, and leaves torch's own random state alone.
    Source: the piece-wise affine representation, its figure of a toy network.

    Args:
        seed: of the points and of the first weights.

    Raises:
        InputError: a seed that is no whole number.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"Expected seed to be a whole number but got {seed!r}.")
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.enable_grad():
        points, labels = _arcs(generator)
        network = _network(generator)
        optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
        for _ in range(_STEPS):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(points), labels).backward()
            optimiser.step()
        optimiser.zero_grad()
    network.eval().requires_grad_(False)
    right = network(points).argmax(1) == labels
    low, high = points.amin(0) - _MARGIN, points.amax(0) + _MARGIN
    window = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    return Toy(points, labels, network, float(right.double().mean()), window)


def _arcs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two half circles that reach into one another, the one the other's reflection at the origin."""
    angle = math.pi * torch.rand(2 * _POINTS, generator=generator, dtype=torch.float64)
    points = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    points[_POINTS:] *= -1
    points += _NOISE * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    return points, torch.arange(2).repeat_interleave(_POINTS)


def _network(generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(_UNITS):
        # skip_init: the ordinary constructor would draw from torch's own random state.
        linear = nn.utils.skip_init(nn.Linear, fan_in, fan_out, dtype=torch.float64)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.uniform_(linear.bias, -0.5, 0.5, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pieces(network: nn.Module, window: Sequence[float]) -> list[Piece]:
    """Cut a window of the plane into the pieces on which a network is affine, without any grid.

    Layer by layer, each polygon is cut along the line on which a unit's input is 0: inside a piece of the
    layers before, that input is affine. Neighbours share their borders up to rounding, and the pieces fill
    the window. No two have one pattern, since the points of one pattern form a convex set.

    Args:
        network: an nn.Sequential of Linear and ReLU with two inputs. It is read, never changed.
        window: x_0 from and to, x_1 from and to.

    Raises:
        InputError: another network, parameters that are not finite, or a window without area.

    >>> net = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    >>> net[0].weight.data, net[0].bias.data = torch.tensor([[1.0, 0.0]]), torch.tensor([-1.0])
    >>> net[2].weight.data, net[2].bias.data = torch.tensor([[2.0]]), torch.tensor([3.0])
    >>> for piece in pieces(net, (0.0, 4.0, 0.0, 1.0)):
    ...     print(piece.area, piece.pattern, piece.weight.tolist(), piece.bias.tolist())
    3.0 (True,) [[2.0, 0.0]] [1.0]
    1.0 (False,) [[0.0, 0.0]] [3.0]
    """
    steps = _steps(network)
    count = sum(parameters is not None for parameters in steps)
    x0, x1, y0, y1 = _window(window)
    start = Piece(
        corners=np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]),
        pattern=(),
        weight=np.eye(2),
        bias=np.zeros(2),
        owners=np.zeros((2, count)),
        units=np.zeros((0, 3)),
    )
    reach = max(map(abs, (x0, x1, y0, y1)))
    found = [start]
    layer = 0
    for parameters in steps:
        if parameters is None:
            found = [cut for piece in found for cut in _relu(piece, reach)]
        else:
            found = [_linear(piece, *parameters, layer) for piece in found]
            layer += 1
    return found


def _linear(piece: Piece, weight: Array, bias: Array, layer: int) -> Piece:
    # The owners go the way that the values go: W' (W x + sum of parts) + b', with b' a part of its own.
    owners = weight @ piece.owners
    owners[:, layer] = bias
    return replace(piece, weight=weight @ piece.weight, bias=weight @ piece.bias + bias, owners=owners)


def _relu(piece: Piece, reach: float) -> list[Piece]:
    """The piece cut by the lines of all units of a layer, with the units that are off set to 0."""
    lines = np.concatenate([piece.weight, piece.bias[:, None]], axis=1)
    cut: list[tuple[Array, tuple[bool, ...]]] = [(piece.corners, ())]
    for line in lines:
        cut = [(corners, (*on, side)) for whole, on in cut for corners, side in _sides(whole, line, reach)]
    made = []
    for corners, on in cut:
        gate = np.array(on, dtype=np.float64)
        made.append(
            Piece(
                corners,
                piece.pattern + on,
                gate[:, None] * piece.weight,
                gate * piece.bias,
                gate[:, None] * piece.owners,
                np.concatenate([piece.units, lines]),
            )
        )
    return made


def _sides(corners: Array, line: Array, reach: float) -> list[tuple[Array, bool]]:
    """A convex polygon's parts where u x + v y + w is positive (True), and where it is not."""
    values = corners @ line[:2] + line[2]
    values[np.abs(values) <= _ON_LINE * reach * np.abs(line[:2]).sum()] = 0
    if not (values > 0).any():
        return [(corners, False)]
    if not (values < 0).any():
        return [(corners, True)]
    above: list[Array] = []
    below: list[Array] = []
    for here, there, a, b in zip(
        corners, np.roll(corners, -1, axis=0), values, np.roll(values, -1), strict=True
    ):
        if a >= 0:
            above.append(here)
        if a <= 0:
            below.append(here)
        if a * b < 0:
            crossing = here + (there - here) * (a / (a - b))
            above.append(crossing)
            below.append(crossing)
    return [(np.stack(above), True), (np.stack(below), False)]


def _steps(network: nn.Module) -> list[tuple[Array, Array] | None]:
    """Weight and bias of each Linear, None for each ReLU, in order."""
    what = "Expected an nn.Sequential of Linear and ReLU with 2 inputs but"
    if not isinstance(network, nn.Sequential):
        raise InputError(f"{what} got a {type(network).__name__}. Use relprop.affine for other networks.")
    steps: list[tuple[Array, Array] | None] = []
    width = 2
    for name, module in network._modules.items():  # named_children leaves out what stands there twice
        if isinstance(module, nn.ReLU):
            steps.append(None)
        elif isinstance(module, nn.Linear):
            if module.in_features != width:
                raise InputError(
                    f"{what} module {name!r} takes {module.in_features} values where it gets {width}."
                )
            weight = module.weight.detach().to("cpu", torch.float64).numpy()
            bias = np.zeros(module.out_features)
            if module.bias is not None:
                bias = module.bias.detach().to("cpu", torch.float64).numpy()
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise InputError(f"Expected finite parameters but module {name!r} holds NaN or infinity.")
            steps.append((weight, bias))
            width = module.out_features
        else:
            raise InputError(f"{what} module {name!r} is a {type(module).__name__}.")
    return steps


def _window(window: Sequence[float]) -> tuple[float, float, float, float]:
    ends = [float(v) for v in window]
    if len(ends) != 4 or not all(map(math.isfinite, ends)) or ends[0] >= ends[1] or ends[2] >= ends[3]:
        raise InputError(
            f"Expected a window (x_0 from, to, x_1 from, to) with from < to but got {tuple(window)}."
        )
    return ends[0], ends[1], ends[2], ends[3]
