"""Panorama: what each frame of a clip looks like from where the camera is at another time."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.video.camera import CameraPath

__all__ = ["Panorama"]

_CLOSE = 1e-9


class Panorama:
    """A clip's frames along its camera's path.

    A path of whole pixels moves pixels as they are; any other samples them by cubic interpolation, kept within the
    frame's own least and largest value.

    Args:
        clip: (C, T, H, W).
        path: of as many frames.
    """

    def __init__(self, clip: Tensor, path: CameraPath) -> None:
        self.clip, self.path = clip, path
        offsets = path.offsets
        # Where each frame's first pixel lies on a canvas that holds all frames; content moved right: further left.
        self._places = None if offsets is None else (offsets.max(0) - offsets)[:, ::-1]

    def frozen(self, frame: int) -> Tensor:
        """One frame, shown all the time from where the camera is, (C, T, H, W).

        Places that the frame doesn't show are taken from the nearest frame in time that does. Where the path is of
        whole pixels and nothing moves but the camera, this is the clip itself, bit for bit.
        """
        length = self.clip.shape[1]
        nearest = sorted(range(length), key=lambda t: abs(t - frame))
        return self._pasted(nearest) if self._places is not None else self._sampled(nearest)

    def neighbours(self) -> tuple[Tensor, Tensor]:
        """What lies at each pixel a frame before and a frame after, (C, T, H, W) each.

        A pixel that the other frame doesn't show, or that has none, stands for itself: it is left out.
        """
        before, after = self.clip.clone(), self.clip.clone()
        for found, step in ((before, -1), (after, 1)):
            for t in range(self.clip.shape[1]):
                if 0 <= t + step < self.clip.shape[1]:
                    found[:, t] = self._from(t + step, t)
        return before, after

    def _pasted(self, nearest: list[int]) -> Tensor:
        assert self._places is not None
        channels, _, height, width = self.clip.shape
        down, right = self._places.max(0).tolist()
        canvas = self.clip.new_empty(channels, height + down, width + right)
        windows = [canvas[:, y : y + height, x : x + width] for y, x in self._places.tolist()]
        for t in reversed(nearest):
            windows[t].copy_(self.clip[:, t])
        return torch.stack(windows, 1)

    def _from(self, source: int, t: int) -> Tensor:
        """Frame `source` as seen from where the camera is at t; else frame t, (C, H, W)."""
        seen = self.clip[:, t].clone()
        height, width = seen.shape[1:]
        if self._places is None:
            y, x = (points.flatten() for points in self._grid())
            a = torch.from_numpy(self.path.between(t, source)).to(x)
            values, there = _read(self.clip[:, source], a[:, :2] @ torch.stack([x, y]) + a[:, 2:])
            return torch.where(there, values, seen.flatten(1)).unflatten(1, (height, width))
        down, right = (self._places[source] - self._places[t]).tolist()
        if abs(down) < height and abs(right) < width:
            here = seen[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
            there = self.clip[:, source, max(-down, 0) : height + min(-down, 0)]
            here.copy_(there[..., max(-right, 0) : width + min(-right, 0)])
        return seen

    def _grid(self) -> tuple[Tensor, Tensor]:
        rows, columns = (
            torch.arange(side, dtype=torch.float64, device=self.clip.device) for side in self.clip.shape[2:]
        )
        height, width = self.clip.shape[2:]
        return rows[:, None].expand(height, width), columns.expand(height, width)

    def _sampled(self, nearest: list[int]) -> Tensor:
        _, length, height, width = self.clip.shape
        found = self.clip.flatten(2).clone()  # a frame always sees its own places
        y, x = (points.flatten() for points in self._grid())
        times = torch.arange(length, device=x.device).repeat_interleave(len(x))
        at = torch.arange(len(x), device=x.device).repeat(length)
        for source in nearest:
            # Every point still open, in the frames whose own turn hasn't come.
            maps = torch.from_numpy(np.stack([self.path.between(t, source) for t in range(length)])).to(x)[
                times
            ]
            places = (maps[:, :, :2] @ torch.stack([x[at], y[at]], 1)[:, :, None])[:, :, 0] + maps[:, :, 2]
            own = times == source
            values, seen = _read(self.clip[:, source], places.T)
            taken = seen & ~own
            found[:, times[taken], at[taken]] = values[:, taken]
            left = ~(seen | own)
            times, at = times[left], at[left]
            if not len(times):
                break
        return found.unflatten(2, (height, width))


def _read(frame: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """A frame's values (C, n) at points (2, n), x and y in pixels, and which of them it shows, (n,)."""
    height, width = frame.shape[1:]
    limit = torch.tensor([[width - 1], [height - 1]], dtype=at.dtype, device=at.device)
    seen = ((at >= -_CLOSE) & (at <= limit + _CLOSE)).all(0)
    grid = (2 * at / limit.clamp(min=1) - 1).T[None, None].to(frame.dtype)
    found = F.grid_sample(frame[None], grid, mode="bicubic", padding_mode="border", align_corners=True)[
        0, :, 0
    ]
    low, high = (v[:, None] for v in torch.aminmax(frame.flatten(1), dim=1))
    return torch.minimum(torch.maximum(found, low), high), seen
