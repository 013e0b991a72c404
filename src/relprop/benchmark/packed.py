"""Packed: a map as bytes, smaller and without loss, that tell when they were damaged."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relprop.errors import RelpropError

__all__ = ["as_kept", "packed", "unpacked"]

_HEAD = struct.Struct("<4scIII")  # mark, kind of number, height, width, CRC-32 of these and what follows
_MARK = b"map1"
_KINDS: dict[bytes, np.dtype[Any]] = {b"f": np.dtype("<f4"), b"d": np.dtype("<f8")}
_LEVEL = 1  # of zlib: 6 takes two thirds longer and saves 1.3 % (docs/benchmark.md)


def as_kept(values: Tensor) -> Tensor:
    """A map as it comes out of `unpacked`: on the CPU, float64 as it is, every other kind as float32.

    Numbers of 16 bits are numbers of 32 bits, too: nothing is rounded.
    """
    plain = values.detach().cpu()
    return plain if plain.dtype == torch.float64 else plain.float()


def packed(values: Tensor) -> bytes:
    """A map (h, w), packed.

    The first bytes of all numbers stand together, then the second ones, and so on (byte shuffling, as HDF5 does
    it): signs and exponents of neighbours are alike and shrink, which their fractions, being noise, don't.

    >>> values = torch.tensor([[0.1, -2.0], [0.0, 3e-8]])
    >>> torch.equal(unpacked(packed(values)), values)
    True
    """
    numbers = np.ascontiguousarray(as_kept(values).numpy())
    kind = b"d" if numbers.dtype == np.float64 else b"f"
    plain = numbers.astype(_KINDS[kind], copy=False)
    shuffled = plain.reshape(-1).view(np.uint8).reshape(-1, plain.itemsize).T.tobytes()
    data = zlib.compress(shuffled, _LEVEL)
    height, width = numbers.shape
    return _HEAD.pack(_MARK, kind, height, width, _check(kind, height, width, data)) + data


def unpacked(data: bytes) -> Tensor:
    """The map (h, w).

    Raises:
        RelpropError: these aren't the bytes of a map, or not those that were written.
    """
    try:
        mark, kind, height, width, check = _HEAD.unpack_from(data)
        rest = data[_HEAD.size :]
        if mark != _MARK or _check(kind, height, width, rest) != check:
            raise ValueError("other bytes than were written")
        dtype = _KINDS[kind]
        shuffled = np.frombuffer(zlib.decompress(rest), dtype=np.uint8)
        numbers = np.ascontiguousarray(shuffled.reshape(dtype.itemsize, -1).T).view(dtype)
        return torch.from_numpy(numbers.reshape(height, width).astype(dtype.newbyteorder("=")))
    except (ValueError, KeyError, struct.error, zlib.error) as error:
        raise RelpropError(f"Expected the bytes of a kept map but they are damaged: {error}.") from error


def _check(kind: bytes, height: int, width: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_HEAD.pack(_MARK, kind, height, width, 0)))
