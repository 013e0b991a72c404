"""Plain: settings as values that can be kept, copied and sent."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["plain"]

_KEPT = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    PurePath,
    Tensor,
    torch.dtype,
    torch.device,
    np.ndarray,
    np.generic,
)


def plain(value: Any) -> Any:
    """The value if it is plain data or made of such; the text of anything else (a composite, a function).

    >>> plain({"bounds": (0, 1.5), "rule": object}), plain([None, "z-box"])
    ({'bounds': (0, 1.5), 'rule': "<class 'object'>"}, [None, 'z-box'])
    """
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(plain(part) for part in value)
    if type(value) is dict:
        return {name: plain(part) for name, part in value.items()}
    return value if isinstance(value, _KEPT) else repr(value)
