"""The toy: pieces cut by lines, against the network itself, its hooks, autograd and a dense grid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.piecewise.toy import Piece, Toy, pieces, toy

SEEDS = (0, 1, 2)
EXACT = 1e-12


@pytest.fixture(scope="module", params=SEEDS)
def made(request: pytest.FixtureRequest) -> tuple[Toy, list[Piece]]:
    drawn = toy(request.param)
    return drawn, pieces(drawn.network, drawn.window)


def random_network(seed: int, units: tuple[int, ...] = (2, 6, 5, 3), bias: bool = True) -> nn.Sequential:
    g = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(units):
        linear = nn.Linear(a, b, bias=bias, dtype=torch.float64).requires_grad_(False)
        for parameter in linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def patterns(network: nn.Sequential, points: Tensor) -> list[tuple[bool, ...]]:
    """Which ReLUs are on at each point, by running the network layer by layer."""
    on = []
    for module in network:
        if isinstance(module, nn.ReLU):
            on.append(points > 0)
        points = module(points)
    return [tuple(row) for row in torch.cat(on, dim=1).tolist()]


def inside(piece: Piece, count: int, seed: int = 0) -> Tensor:
    """Random points in a piece: convex mixtures of its corners."""
    mix = np.random.default_rng(seed).dirichlet(np.ones(len(piece.corners)), size=count)
    return torch.from_numpy(mix @ piece.corners)


def scale(network: nn.Sequential, window: tuple[float, ...]) -> float:
    corners = torch.tensor([[x, y] for x in window[:2] for y in window[2:]], dtype=torch.float64)
    return float(network(corners).abs().max())


def test_the_toy_is_learnt_and_no_line_separates_its_classes() -> None:
    for seed in SEEDS:
        drawn = toy(seed)
        assert drawn.accuracy >= 0.98
        right = drawn.network(drawn.points).argmax(1) == drawn.labels
        assert drawn.accuracy == right.double().mean().item()
        ones = torch.cat([drawn.points, torch.ones(len(drawn.points), 1, dtype=torch.float64)], dim=1)
        signs = 2.0 * drawn.labels.double() - 1
        line = torch.linalg.lstsq(ones, signs[:, None]).solution[:, 0]
        assert ((ones @ line).sign() == signs).double().mean() < 0.92
        sizes = [m.weight.shape for m in drawn.network if isinstance(m, nn.Linear)]
        assert sizes == [(5, 2), (5, 5), (5, 5), (2, 5)]
        x0, x1, y0, y1 = drawn.window
        x, y = drawn.points.T
        assert bool(((x0 < x) & (x < x1) & (y0 < y) & (y < y1)).all())


def test_the_toy_is_the_same_each_time_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    first = toy(3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(11)
    with torch.inference_mode():
        second = toy(3)
    torch.set_rng_state(before)
    assert torch.equal(first.points, second.points)
    for one, two in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, two)
        assert one.dtype == torch.float64
        assert not one.requires_grad
        assert one.grad is None
    assert not torch.equal(first.points, toy(4).points)


def test_areas_fill_the_window(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    x0, x1, y0, y1 = drawn.window
    assert sum(p.area for p in cut) == pytest.approx((x1 - x0) * (y1 - y0), rel=EXACT)
    assert min(p.area for p in cut) > 0


def test_the_network_is_affine_in_each_piece(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    size = scale(drawn.network, drawn.window)
    for piece in cut:
        points = inside(piece, 7)
        np.testing.assert_allclose(
            piece.predict(points.numpy()), drawn.network(points).numpy(), rtol=0, atol=EXACT * size
        )
        assert piece.contains(points.numpy(), 1e-12).all()


def test_neighbours_agree_on_their_borders(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    size = scale(drawn.network, drawn.window)
    ends = np.array(drawn.window)
    for piece in cut:
        along = np.roll(piece.corners, -1, axis=0) - piece.corners
        for corner, edge in zip(piece.corners, along, strict=True):
            point = corner + 0.37 * edge
            others = [p for p in cut if p.contains(point, 1e-10)]
            on_window = np.abs(point[[0, 0, 1, 1]] - ends).min() < 1e-12
            assert len(others) >= (1 if on_window else 2)
            values = np.stack([p.predict(point) for p in others])
            assert np.ptp(values, axis=0).max() <= 1e-9 * size


def test_a_dense_grid_finds_the_same_patterns(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    x0, x1, y0, y1 = drawn.window
    xs, ys = np.linspace(x0, x1, 402)[1:-1], np.linspace(y0, y1, 302)[1:-1]
    grid = torch.from_numpy(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2))
    found = set(patterns(drawn.network, grid))
    # Pieces that fall between the grid's points are found at a point of their own.
    found |= set(patterns(drawn.network, torch.cat([inside(p, 1) for p in cut])))
    assert found == {p.pattern for p in cut}
    assert len(found) == len(cut)
    # A convex polygon holds a disc of radius area / perimeter: one as large as a cell's own can't be missed.
    missed = {p.pattern for p in cut} - set(patterns(drawn.network, grid))
    cell = 0.5 * np.hypot(xs[1] - xs[0], ys[1] - ys[0])
    for piece in cut:
        if piece.pattern in missed:
            sides = np.roll(piece.corners, -1, axis=0) - piece.corners
            assert piece.area / np.hypot(*sides.T).sum() < cell


def test_owners_are_bias_times_gradient(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    biases = [m.bias.clone().requires_grad_() for m in drawn.network if isinstance(m, nn.Linear)]
    names = [f"{k}.bias" for k, m in enumerate(drawn.network) if isinstance(m, nn.Linear)]
    for piece in cut:
        size = float(np.abs(piece.owners).sum())
        np.testing.assert_allclose(piece.owners.sum(1), piece.bias, rtol=0, atol=EXACT * size)
        point = inside(piece, 1)
        scores = torch.func.functional_call(drawn.network, dict(zip(names, biases, strict=True)), point)[0]
        for c in range(2):
            gradients = torch.autograd.grad(scores[c], biases, retain_graph=True)
            amounts = [float((b * g).detach().sum()) for b, g in zip(biases, gradients, strict=True)]
            np.testing.assert_allclose(piece.owners[c], amounts, rtol=0, atol=EXACT * size)


def test_units_are_the_inputs_of_the_relus(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    for piece in cut:
        point = inside(piece, 1)
        values, held = point, []
        for module in drawn.network:
            if isinstance(module, nn.ReLU):
                held.append(values)
            values = module(values)
        ones = np.append(point.numpy()[0], 1.0)
        inputs = torch.cat(held, dim=1)[0].numpy()
        np.testing.assert_allclose(
            piece.units @ ones, inputs, rtol=0, atol=EXACT * max(1.0, np.abs(inputs).max())
        )
        assert piece.pattern == tuple((inputs > 0).tolist())


def test_the_circle_is_the_largest_one(made: tuple[Toy, list[Piece]]) -> None:
    drawn, cut = made
    angles = torch.linspace(0, 2 * torch.pi, 61, dtype=torch.float64)
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    for piece in cut:
        point = inside(piece, 1)
        radius = float(piece.distance(point.numpy()[0]))
        assert set(patterns(drawn.network, point + 0.999 * radius * ring)) == {piece.pattern}
        border = piece.nearest(point.numpy()[0])
        assert np.linalg.norm(border - point.numpy()[0]) == pytest.approx(radius, rel=1e-9)
        beyond = torch.from_numpy(border)[None] + 1e-6 * (torch.from_numpy(border)[None] - point)
        (pattern,) = patterns(drawn.network, beyond)
        assert sum(a != b for a, b in zip(pattern, piece.pattern, strict=True)) >= 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bias", [True, False])
def test_other_networks(seed: int, bias: bool) -> None:
    network = random_network(seed, bias=bias)
    window = (-1.5, 2.0, -1.0, 1.0)
    cut = pieces(network, window)
    assert sum(p.area for p in cut) == pytest.approx(7.0, rel=EXACT)
    size = scale(network, window)
    for piece in cut:
        points = inside(piece, 3, seed)
        np.testing.assert_allclose(
            piece.predict(points.numpy()), network(points).numpy(), rtol=0, atol=EXACT * size
        )
    g = torch.Generator().manual_seed(seed)
    drawn = torch.rand(4000, 2, generator=g, dtype=torch.float64) * torch.tensor([3.5, 2.0]) - torch.tensor(
        [1.5, 1.0]
    )
    assert set(patterns(network, drawn)) <= {p.pattern for p in cut}
    if not bias:  # nothing but rays from the origin, and no b anywhere
        assert all(np.abs(p.bias).max() == 0 for p in cut)


@pytest.mark.parametrize("seed", [49, 77, 85, 265])
def test_lines_that_meet_in_one_point_leave_no_slivers(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    network = random_network(0, (2, 6, 6, 4, 2))
    for parameter in network.parameters():
        parameter.copy_(torch.randint(-2, 3, parameter.shape, generator=g))
    cut = pieces(network, (-2, 2, -2, 2))
    assert min(p.area for p in cut) > 1e-6
    assert sum(p.area for p in cut) == pytest.approx(16, rel=EXACT)
    for piece in cut:
        points = inside(piece, 3)
        np.testing.assert_allclose(piece.predict(points.numpy()), network(points).numpy(), rtol=0, atol=1e-11)


def test_a_network_by_hand() -> None:
    # |x| = relu(x) + relu(-x), used twice over one ReLU module: ||x| - 1|.
    relu = nn.ReLU()
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
    last = nn.Linear(2, 1, bias=False)
    first.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    second.weight.data, second.bias.data = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]), torch.tensor([-1.0, 1.0])
    last.weight.data = torch.ones(1, 2)
    cut = pieces(nn.Sequential(first, relu, second, relu, last), (-2, 2, 0, 1))
    found = {
        (p.corners[:, 0].min(), p.corners[:, 0].max()): (p.weight.tolist(), p.bias.tolist(), p.area)
        for p in cut
    }
    assert found == {
        (-2, -1): ([[-1, 0]], [-1], 1),
        (-1, 0): ([[1, 0]], [1], 1),
        (0, 1): ([[-1, 0]], [1], 1),
        (1, 2): ([[1, 0]], [-1], 1),
    }


def test_a_window_within_one_piece() -> None:
    network = nn.Sequential(nn.Linear(2, 3, bias=False))
    (whole,) = pieces(network, (0, 1, 0, 1))
    assert whole.pattern == ()
    assert whole.distance((0.5, 0.5)) == np.inf
    with pytest.raises(InputError, match="a piece with a border"):
        whole.nearest((0.5, 0.5))


def test_the_network_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    pieces(network, (-1, 1, -1, 1))
    assert network.training
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (nn.Linear(2, 2), "nn.Sequential of Linear and ReLU with 2 inputs but got a Linear"),
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), "module '1' is a GELU"),
        (nn.Sequential(nn.Linear(3, 2)), "module '0' takes 3 values where it gets 2"),
        (
            nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(3, 2)),
            "module '2' takes 3 values where it gets 4",
        ),
    ],
)
def test_refuses_other_networks(network: nn.Module, match: str) -> None:
    with pytest.raises(InputError, match=match):
        pieces(network, (0, 1, 0, 1))


def test_refuses_parameters_that_are_not_finite() -> None:
    network = nn.Sequential(nn.Linear(2, 2))
    network[0].bias.data[0] = float("nan")
    with pytest.raises(InputError, match=r"module '0' .*NaN"):
        pieces(network, (0, 1, 0, 1))


@pytest.mark.parametrize("window", [(0, 0, 0, 1), (0, 1, 1, 0), (0, 1, 0), (0, float("inf"), 0, 1)])
def test_refuses_windows_without_area(window: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="window"):
        pieces(random_network(0), window)


@pytest.mark.parametrize("seed", [1.5, True, "0"])
def test_refuses_seeds(seed: object) -> None:
    with pytest.raises(InputError, match="seed"):
        toy(seed)  # type: ignore[arg-type]
