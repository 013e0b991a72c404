"""Camera: the path of a clip's camera, as one map of the plane for each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from relprop.errors import InputError

__all__ = ["Camera", "CameraPath", "camera_note", "read_camera"]

Array = NDArray[np.float64]

Camera = Literal["auto", "still"] | Any
"""What `camera=` takes: "auto", "still", a `CameraPath`, offsets (T, 2), maps (T, 2, 3), for N clips (N, ...)."""

_CLOSE = 1e-9  # what rounding makes of a map that is one of whole pixels


@dataclass(frozen=True, eq=False)
class CameraPath:
    """How a clip's camera moved.

    Attributes:
        maps: (T, 2, 3) float64: a point that lies at (x, y) in the first frame lies at ``maps[t] @ (x, y, 1)`` in
            frame t. In pixels, x to the right, y down, the first pixel's centre at (0, 0).
        estimated: whether it was estimated from the clip.

    >>> CameraPath.of([[0, 0], [2, -1], [3, 0]]).words((48, 48))
    'moved by up to 3 pixels across and 1 down or up'
    """

    maps: Array
    estimated: bool = False

    @classmethod
    def of(cls, path: Any, estimated: bool = False) -> CameraPath:
        """Read a path: content's offsets (T, 2) in pixels, right and down, or maps (T, 2, 3).

        Raises:
            InputError: another shape, no frame, numbers that aren't finite, a map that squashes the plane.
        """
        if isinstance(path, CameraPath):
            return path
        given = np.asarray(path.detach().cpu() if isinstance(path, Tensor) else path)
        if given.dtype.kind not in "iuf" or given.ndim not in (2, 3) or given.shape[1:] not in ((2,), (2, 3)):
            raise InputError(
                "Expected a camera path of offsets (T, 2) or maps (T, 2, 3), numbers in pixels, but got "
                f"{given.dtype} {given.shape}."
            )
        if not len(given):
            raise InputError(
                f"Expected a camera path of a row for each frame but got shape {given.shape}, which has none. "
                "Give as many rows as the clip has frames."
            )
        maps = given.astype(np.float64)
        if maps.ndim == 2:
            maps = np.concatenate([np.broadcast_to(np.eye(2), (len(maps), 2, 2)), maps[:, :, None]], axis=2)
        if not np.isfinite(maps).all() or (np.abs(np.linalg.det(maps[:, :, :2])) < 1e-3).any():
            raise InputError(
                "Expected a camera path of finite maps that can be turned back but one holds NaN or infinity, or "
                "squashes the picture. Offsets are (T, 2), maps (T, 2, 3)."
            )
        whole = np.concatenate([maps, np.broadcast_to([[[0.0, 0.0, 1.0]]], (len(maps), 1, 3))], axis=1)
        return cls(np.asarray((whole @ np.linalg.inv(whole[0]))[:, :2]), estimated)

    @property
    def still(self) -> bool:
        """Whether the camera doesn't move."""
        return bool((np.abs(self.maps - self.maps[:1]) < _CLOSE).all())

    @property
    def offsets(self) -> NDArray[np.int64] | None:
        """Content's offsets (T, 2) in pixels, right and down, where it only shifts by whole ones; else None."""
        moved = self.maps[:, :, 2]
        if (np.abs(self.maps[:, :, :2] - np.eye(2)) > _CLOSE).any() or (
            np.abs(moved - np.rint(moved)) > _CLOSE
        ).any():
            return None
        return np.rint(moved).astype(np.int64)

    def between(self, source: int, to: int) -> Array:
        """Where a point of frame `source` lies in frame `to`, (2, 3)."""
        first, second = (np.vstack([self.maps[t], [0.0, 0.0, 1.0]]) for t in (source, to))
        return np.asarray((second @ np.linalg.inv(first))[:2])

    def words(self, size: tuple[int, int]) -> str:
        """What the camera did, to follow "the camera": its largest shift of the picture's middle, turn and zoom.

        Args:
            size: (H, W) of the frames.
        """
        middle = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
        moved = self.maps[:, :, :2] @ middle + self.maps[:, :, 2] - middle
        across, down = np.ptp(moved, axis=0).tolist()
        turn = np.degrees(np.ptp(np.arctan2(self.maps[:, 1, 0], self.maps[:, 0, 0])))
        zooms = np.sqrt(np.abs(np.linalg.det(self.maps[:, :, :2])))
        zoom = 100 * (zooms.max() / zooms.min() - 1)
        parts = []
        if max(across, down) >= 0.05:
            parts.append(f"moved by up to {across:.2g} pixels across and {down:.2g} down or up")
        if turn >= 0.05:
            parts.append(f"turned by up to {turn:.2g} degrees")
        if zoom >= 0.05:
            parts.append(f"zoomed by up to {zoom:.2g} %")
        if not parts:
            return "stood still"
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def read_camera(camera: Camera, n: int, length: int) -> list[CameraPath] | Literal["auto", "still"]:
    """What `camera=` says, as one path for each of N clips, or a word.

    Raises:
        InputError: no such word, a path of another length, not one path for each clip.
    """
    if isinstance(camera, str):
        if camera == "auto":
            return "auto"
        if camera == "still":
            return "still"
        raise InputError(f"Expected camera as 'auto', 'still' or a path but got {camera!r}.")
    if isinstance(camera, CameraPath):
        paths = [camera]
    elif isinstance(camera, (list, tuple)) and any(isinstance(path, CameraPath) for path in camera):
        paths = [CameraPath.of(path) for path in camera]
    else:
        paths = _of_numbers(camera)
    if len(paths) not in (1, n):
        raise InputError(f"Expected one camera path, or one for each of {n} clips, but got {len(paths)}.")
    for path in paths:
        if len(path.maps) != length:
            raise InputError(
                f"Expected a camera path of {length} frames, as the clip has, but got one of {len(path.maps)}."
            )
    return paths * n if len(paths) == 1 else paths


def camera_note(path: CameraPath, size: tuple[int, int]) -> str:
    """What a reader of a clip has to know whose camera moves."""
    how = "as estimated from its frames" if path.estimated else "as given"
    return f"The camera {path.words(size)}, {how}; temporal relevance is of what moves against the scene."


def _of_numbers(camera: Any) -> list[CameraPath]:
    if not isinstance(camera, (Tensor, np.ndarray, Sequence)):
        raise InputError(
            f"Expected camera as 'auto', 'still' or a path (T, 2) or (T, 2, 3) but got {type(camera).__name__}."
        )
    try:
        given = np.asarray(camera.detach().cpu() if isinstance(camera, Tensor) else camera)
    except ValueError:  # lists of different lengths
        raise InputError(
            "Expected a camera path (T, 2) or (T, 2, 3) but got lists of different lengths."
        ) from None
    several = given.ndim == 4 or (given.ndim == 3 and given.shape[1:] != (2, 3))
    return [CameraPath.of(one) for one in given] if several else [CameraPath.of(given)]
