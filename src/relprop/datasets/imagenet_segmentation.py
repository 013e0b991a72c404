"""ImageNet segmentation: 4276 ImageNet pictures with foreground masks, from the published MATLAB file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from relprop.datasets._files import digest, unique
from relprop.datasets.data_set import DataSet
from relprop.datasets.sample import Sample
from relprop.errors import InputError
from relprop.files import expanded, regular_file

__all__ = ["ImageNetSegmentation"]


class ImageNetSegmentation(DataSet):
    """`gtsegs_ijcv.mat` (Guillaumin, Küttel, Ferrari: ImageNet Auto-Annotation, IJCV 2014).

    The file is MATLAB 7.3, which is HDF5. MATLAB counts columns first, so arrays come transposed:

    - `value/img` (n, 1): references to pictures, (3, W, H) uint8;
    - `value/gt` (n, 1): references to cells of references to masks, (W, H), 0 or 1; the first one is used,
      as published evaluations do;
    - `value/id` and `value/target` (n, 1): references to texts in UTF-16, the picture's name and its
      WordNet id.

    There is one class, "foreground". There are no boxes.

    Args:
        file: the MATLAB file.

    Raises:
        InputError: no such file, another layout, or h5py is missing.
    """

    name = "imagenet-segmentation"
    summary = "ImageNet pictures with foreground masks (gtsegs_ijcv.mat)"
    places = ("file",)

    def __init__(self, file: str | Path) -> None:
        self.file = expanded(file).absolute()
        self.classes: Sequence[str] = ("foreground",)
        with self._open() as mat:
            try:
                count = len(mat["value/img"])
                if count > self.file.stat().st_size:  # a table that claims to be larger than its file
                    raise ValueError
                if not all(mat[f"value/{key}"].shape == (count, 1) for key in ("img", "gt")):
                    raise KeyError
                named = "id" in mat["value"] and mat["value/id"].shape == (count, 1)
                found = [_text(mat, "id", i) if named else f"{i:04d}" for i in range(count)]
            except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError):
                raise InputError(
                    f"Expected value/img and value/gt, one reference a picture, but '{self.file}' holds "
                    "something else. Is it gtsegs_ijcv.mat?"
                ) from None
        self.names: Sequence[str] = unique(found, f"'{self.file}'")

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Read one picture and its foreground.

        Raises:
            InputError: the picture or its mask is damaged, or they are of different sizes.
        """
        name = self.names[index]
        row = range(len(self))[index]
        where = f"picture {name!r} of '{self.file}'"
        with self._open() as mat:
            try:
                pixels = _array(_followed(mat, mat["value/img"][row, 0]))
                cell = _followed(mat, mat["value/gt"][row, 0])
                mask = _array(_followed(mat, cell[0, 0]))
            except (
                KeyError,
                OSError,
                TypeError,
                ValueError,
                IndexError,
                AttributeError,
                RuntimeError,
            ) as error:
                text = " ".join(str(error).split())
                raise InputError(f"Expected {where} but it can't be read: {text}.") from None
        if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.dtype != np.uint8:
            raise InputError(
                f"Expected uint8 of shape (3, W, H) but {where} is {pixels.dtype} of shape {pixels.shape}."
            )
        if mask.shape != pixels.shape[1:]:
            raise InputError(
                f"Expected a mask of the picture's size {pixels.shape[1]} x {pixels.shape[2]} but that of {where} "
                f"has shape {mask.shape}."
            )
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(2, 1, 0)))
        foreground = np.ascontiguousarray(mask.T != 0)
        return Sample(name=name, image=image, labels=(0,), masks={0: foreground})

    def wnid(self, index: int) -> str:
        """The WordNet id that the file gives for a picture, for example "n01440764".

        Raises:
            InputError: the file has none.
        """
        with self._open() as mat:
            try:
                return _text(mat, "target", range(len(self))[index])
            except (KeyError, TypeError, ValueError, AttributeError, OSError, RuntimeError):
                raise InputError(
                    f"Expected value/target in '{self.file}' but there is none for {self.names[index]!r}."
                ) from None

    def fingerprint(self) -> str:
        """Changes with the pictures' names and the file's size."""
        return digest(self.name, self.names, sizes=[self.file])

    def _open(self) -> Any:
        # Opened for each picture: a handle doesn't survive pickling or a fork.
        try:
            import h5py
        except ImportError:
            raise InputError(
                "Reading gtsegs_ijcv.mat needs `h5py`. Install it with: "
                "pip install 'relprop[imagenet-segmentation]'."
            ) from None
        regular_file(self.file, "gtsegs_ijcv.mat")
        try:
            return h5py.File(self.file, "r")
        except OSError:
            raise InputError(
                f"Expected a MATLAB 7.3 file (HDF5) but '{self.file}' is another file, or is damaged."
            ) from None


def _followed(mat: Any, reference: Any) -> Any:
    from h5py import Reference

    if not isinstance(reference, Reference) or not reference:
        raise ValueError("where a reference was expected there is none")
    return mat[reference]


def _array(found: Any) -> NDArray[Any]:
    """The numbers of a data set. Its header may claim any shape, whatever is in the file."""
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and math.prod(found.shape) > 3 * limit:
        raise ValueError(f"it claims the shape {found.shape}, more than {limit:,} pixels")
    return np.asarray(found)


def _text(mat: Any, key: str, row: int) -> str:
    codes = _array(_followed(mat, mat[f"value/{key}"][row, 0]))
    return codes.astype("<u2").tobytes().decode("utf-16-le").strip()
