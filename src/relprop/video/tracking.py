"""Tracking: the camera's path, estimated from a clip's frames."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.video.camera import CameraPath

__all__ = ["CUT", "REACH", "estimated_path"]

REACH = 6
"""How far whole-pixel steps are looked for, in pixels of the coarsest picture."""

CUT = 0.4
"""Differences count no further than this many standard deviations of the clip's grey levels."""

_COARSE = 64  # the coarsest picture's shorter side is at most this
_LEAST = 16  # pixels a side, below which turns and zooms aren't looked for
_MOST = 0.2  # the largest angle of a step in radians, and change of its zoom's logarithm
_GAIN = 0.1  # by how much of the cost a richer path must be better
_FAR = 0.5  # by how many pixels a corner must move for a path that isn't of whole pixels
_ROUNDS = 12  # of Gauss and Newton's method at each size


def estimated_path(clip: Tensor) -> CameraPath:
    r"""The path of a clip's camera: still, of whole pixels, or of turns, zooms and shifts, as the frames need.

    Neighbouring frames' grey levels g (mean of the channels, in standard deviations of the clip) are compared by

    .. math:: c(M) = \operatorname{mean}_p \min(|g_{t+1}(M p) - g_t(p)|, 0.4)

    over the pixels p that both see; the cut keeps what moves by itself from counting much. First the best shift
    by whole pixels is taken, out of all up to 6 (or a quarter of the side) along each axis; larger frames are
    halved before until their shorter side is at most 64, and the shift then refined by a pixel at each size.
    A step is 0 unless its cost is 10 % below that of standing still, and below what chance gives of so few pixels.

    Then turn, zoom and shift of each step follow by Gauss and Newton's method with weights (Geman and McClure's)
    that leave out what moves by itself. They are taken where they make the cost of all steps less by as much, and
    move a corner by half a pixel or more from where the whole pixels put it; else the path is of whole pixels, and
    often 0. In frames of less than 16 pixels a side turns and zooms aren't looked for.

    What most of the picture does counts as the camera's: where one thing fills it, its motion is taken for that.

    Args:
        clip: (C, T, H, W).
    """
    grey = clip.detach().to("cpu", torch.float64).mean(0)
    spread = float(grey.std(correction=0))
    still = CameraPath.of(np.zeros((len(grey), 2)), estimated=True)
    if not math.isfinite(spread) or spread <= 1e-12 * float(grey.abs().max()) or min(grey.shape[1:]) < 4:
        return still
    grey = (grey - grey.mean()) / spread
    steps = _whole_steps(grey)
    path = np.concatenate([np.zeros((1, 2)), steps.cumsum(0).double().numpy()])
    whole = CameraPath.of(path, estimated=True)
    if min(grey.shape[1:]) < _LEAST:
        return whole
    smooth = _smoothed(grey)
    first = torch.eye(2, 3, dtype=torch.float64).repeat(len(steps), 1, 1)
    first[:, :, 2] = steps
    found = _affine_steps(smooth, first)
    here, there = smooth[:-1], smooth[1:]
    (before, _), (after, seen) = (_costs(here, there, maps) for maps in (first, found))
    likely = (after < before) & (seen > 0.5) & _mild(found, first, grey.shape)
    found, after = torch.where(likely[:, None, None], found, first), torch.where(likely, after, before)
    chained = _chained(found)
    if _apart(chained.maps, whole.maps, grey.shape) < _FAR:
        return whole
    # What was smoothed counts as a quarter as many pixels.
    return _settled(smooth, chained) if after.mean() < _bar(grey[0].numel() // 4) * before.mean() else whole


def _halved(pictures: Tensor) -> Tensor:
    return F.avg_pool2d(pictures[:, None], 2)[:, 0]


def _smoothed(pictures: Tensor) -> Tensor:
    """With the weights 1 2 1 along both axes: noise and the grid of pixels count less."""
    kernel = torch.tensor([0.25, 0.5, 0.25], dtype=pictures.dtype)
    padded = F.pad(pictures[:, None], (1, 1, 1, 1), "replicate")
    return F.conv2d(padded, (kernel[:, None] * kernel[None, :])[None, None])[:, 0]


def _whole_steps(grey: Tensor) -> Tensor:
    """Content's shift from each frame to the next, right and down, (T - 1, 2) int64."""
    sizes = [grey]
    while min(sizes[-1].shape[1:]) > _COARSE:
        sizes.append(_halved(sizes[-1]))
    coarse = sizes.pop()
    tall, wide = (min(REACH, side // 4) for side in coarse.shape[1:])
    steps = torch.zeros(len(grey) - 1, 2, dtype=torch.int64)
    steps = _best(coarse, steps, wide, tall)
    while sizes:
        steps = _best(sizes.pop(), 2 * steps, 1, 1)
    for t, (dx, dy) in enumerate(steps.tolist()):
        if (dx or dy) and not _better(grey[t], grey[t + 1], dx, dy):
            steps[t] = 0
    return steps


def _best(pictures: Tensor, around: Tensor, wide: int, tall: int) -> Tensor:
    """The shifts of the least cost, so far around the given ones; of equal ones the first, nearest to them."""
    tries = sorted(
        ((x, y) for x in range(-wide, wide + 1) for y in range(-tall, tall + 1)),
        key=lambda d: d[0] ** 2 + d[1] ** 2,
    )
    found = around.clone()
    for t, (dx, dy) in enumerate(around.tolist()):
        costs = [_shift_cost(pictures[t], pictures[t + 1], dx + x, dy + y)[0] for x, y in tries]
        x, y = tries[int(np.argmin(costs))]
        found[t] = torch.tensor([dx + x, dy + y])
    return found


def _shift_cost(a: Tensor, b: Tensor, dx: int, dy: int) -> tuple[float, int]:
    """The cost of b's content being a's, moved right and down; and of how many pixels it is the mean."""
    height, width = a.shape
    if abs(dx) >= width or abs(dy) >= height:
        return math.inf, 0
    there = b[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
    here = a[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
    return float((there - here).abs_().clamp_(max=CUT).mean()), here.numel()


def _better(a: Tensor, b: Tensor, dx: int, dy: int) -> bool:
    """Whether a step is better than none."""
    cost, count = _shift_cost(a, b, dx, dy)
    return cost < _shift_cost(a, b, 0, 0)[0] * _bar(count)


def _bar(count: int) -> float:
    """The part of a plainer path's cost that a richer one must stay below, so that it isn't chance.

    Absolute differences of n pixels spread by about 3/4 of their mean; three times what that makes of the mean is
    asked for, since the best of many steps is looked at.
    """
    return 1 - _GAIN - 3 * 0.75 / math.sqrt(max(count, 1))


def _mild(found: Tensor, first: Tensor, shape: torch.Size) -> Tensor:
    """Which steps are what a camera does from one frame to the next, (n,)."""
    zoom = torch.linalg.det(found[:, :, :2]).clamp(min=1e-9).log() / 2
    angle = torch.atan2(found[:, 1, 0], found[:, 0, 0])
    middle = torch.tensor([(shape[2] - 1) / 2, (shape[1] - 1) / 2], dtype=found.dtype)
    gap = (found[:, :, :2] - first[:, :, :2]) @ middle + found[:, :, 2] - first[:, :, 2]
    return (zoom.abs() < _MOST) & (angle.abs() < _MOST) & (gap.norm(dim=1) < min(shape[1:]) / 4)


def _affine_steps(pictures: Tensor, first: Tensor) -> Tensor:
    """Turn, zoom and shift from each frame to the next, (T - 1, 2, 3), from coarse pictures to fine ones."""
    sizes = [pictures]
    while len(sizes) < 4 and min(sizes[-1].shape[1:]) >= 48:
        sizes.append(_halved(sizes[-1]))
    maps = first
    for level in range(len(sizes) - 1, -1, -1):
        scale = 2**level
        maps = _rescaled(_newton(sizes[level][:-1], sizes[level][1:], _rescaled(maps, 1 / scale)), scale)
    return maps


def _rescaled(maps: Tensor, scale: float) -> Tensor:
    """Maps of pictures that are `scale` times larger; a pixel's centre moves by (scale - 1) / 2 new ones."""
    corner = torch.full((2,), (scale - 1) / 2, dtype=maps.dtype)
    linear = maps[:, :, :2]
    shift = scale * maps[:, :, 2] + corner - linear @ corner
    return torch.cat([linear, shift[:, :, None]], 2)


def _newton(here: Tensor, there: Tensor, maps: Tensor) -> Tensor:
    r"""Gauss and Newton's steps for maps :math:`x' = (1 + a) x - b y + u, y' = b x + (1 + a) y + v`, all at once.

    Args:
        here, there: pictures (n, H, W).
        maps: where a point of each picture in `here` lies in the one in `there`, to begin with, (n, 2, 3).
    """
    height, width = here.shape[1:]
    slopes = torch.stack(torch.gradient(there, dim=(2, 1)), 1)
    grid_x, grid_y = _grid(height, width, maps)
    reach = max(height, width) / 2  # angles and zooms in pixels at the border, so that all steps are alike
    x, y = (grid_x - (width - 1) / 2) / reach, (grid_y - (height - 1) / 2) / reach
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=maps.dtype)
    for _ in range(_ROUNDS):
        at = _mapped(maps, grid_x, grid_y)
        values = _sampled(torch.cat([there[:, None], slopes], 1), at)
        seen = _inside(at, height, width)
        rest = values[:, 0] - here
        size = rest.abs().masked_fill(~seen, float("nan")).flatten(1).nanmedian(1).values
        limit = (1.5 * size).clamp(min=0.05).nan_to_num(1.0)[:, None, None]
        weight = seen / (1 + (rest / limit) ** 2) ** 2
        right, down = values[:, 1], values[:, 2]
        slope = torch.stack([x * right + y * down, x * down - y * right, right, down], -1).flatten(1, 2)
        weighted = slope * weight.flatten(1)[..., None]
        matrix = weighted.transpose(1, 2) @ slope
        size_of = matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        matrix = matrix + (1e-6 * size_of + 1e-12) * torch.eye(4, dtype=maps.dtype)
        step = torch.linalg.solve(matrix, -(weighted.transpose(1, 2) @ rest.flatten(1)[..., None]))[..., 0]
        step = step.clamp(-2, 2)  # in pixels
        a, b, u, v = (step / step.new_tensor([reach, reach, 1, 1])).unbind(1)
        turned = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
        # The step is one of the places in `here`, about its middle: M (p) grows by turned (p - middle) + (u, v).
        maps = maps + torch.cat([turned, (torch.stack([u, v], 1) - turned @ middle)[:, :, None]], 2)
        if float(step.abs().max()) < 1e-3:
            break
    return maps


def _grid(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels' x and y, (H, W) each."""
    rows, columns = (torch.arange(side, dtype=like.dtype) for side in (height, width))
    return columns.expand(height, width), rows[:, None].expand(height, width)


def _mapped(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Where all pixels go, (n, H, W, 2)."""
    points = torch.stack([x, y, torch.ones_like(x)], -1)
    return torch.einsum("nij,hwj->nhwi", maps, points)


def _inside(at: Tensor, height: int, width: int) -> Tensor:
    x, y = at.unbind(-1)
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _sampled(pictures: Tensor, at: Tensor) -> Tensor:
    """Pictures (n, C, H, W) at points (n, h, w, 2) in pixels, bilinear, the border repeated."""
    height, width = pictures.shape[2:]
    scale = at.new_tensor([2 / (width - 1), 2 / (height - 1)])
    return F.grid_sample(pictures, at * scale - 1, padding_mode="border", align_corners=True)


def _costs(here: Tensor, there: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The cost of each map, and the share of pixels that both pictures see, (n,) each."""
    height, width = here.shape[1:]
    at = _mapped(maps, *_grid(height, width, maps))
    seen = _inside(at, height, width)
    gap = (_sampled(there[:, None], at)[:, 0] - here).abs_().clamp_(max=CUT)
    counts = seen.flatten(1).sum(1)
    return (gap * seen).flatten(1).sum(1) / counts.clamp(min=1), counts / (height * width)


def _settled(smooth: Tensor, chained: CameraPath) -> CameraPath:
    """The path with each frame held against the first, where half of it is still seen: errors of steps add up."""
    maps = torch.from_numpy(chained.maps[1:])
    here, there = smooth[:1].expand(len(maps), -1, -1), smooth[1:]
    tried = _newton(here, there, maps)
    (before, seen), (after, still_seen) = _costs(here, there, maps), _costs(here, there, tried)
    better = (after < before) & (seen > 0.5) & (still_seen > 0.5)
    settled = torch.where(better[:, None, None], tried, maps).numpy()
    return CameraPath.of(np.concatenate([chained.maps[:1], settled]), estimated=True)


def _chained(steps: Tensor) -> CameraPath:
    """The path of steps one after another."""
    maps = [np.eye(3)]
    for step in steps.numpy():
        maps.append(np.vstack([step, [0.0, 0.0, 1.0]]) @ maps[-1])
    return CameraPath.of(np.stack(maps)[:, :2], estimated=True)


def _apart(ours: np.ndarray, theirs: np.ndarray, shape: torch.Size) -> float:
    """How far two paths put a corner of the first frame at most, in pixels."""
    height, width = shape[1:]
    corners = np.array([[x, y, 1.0] for x in (0, width - 1) for y in (0, height - 1)])
    return float(np.linalg.norm((ours - theirs) @ corners.T, axis=1).max())
