"""Pictures: whatever pictures come as, one after another, each with its place, its name and its target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.files import read_bytes
from relprop.graph import capture_lock
from relprop.many.listing import listed_pictures
from relprop.models.pictures import read_picture
from relprop.own_file import blame

__all__ = ["OWN", "Failure", "Given", "Preprocess", "Reader", "Ready", "digest", "given", "known_length"]

#: A picture -> the model's input, (C, H, W) or (1, C, H, W).
Preprocess = Callable[[Image.Image], Tensor]

#: The target of a picture that brings none along.
OWN = object()


@dataclass(frozen=True, eq=False)
class Given:
    """A picture as it was given.

    Attributes:
        index: its place among all, from 0.
        name: of its file, or "picture 17".
        what: a path, a picture, or an input (1, C, *spatial).
        target: what it brought along, or `OWN`.
    """

    index: int
    name: str
    what: Path | Image.Image | Tensor
    target: Any = OWN

    @property
    def source(self) -> str:
        """Its path, or its name where it has none."""
        return str(self.what) if isinstance(self.what, Path) else self.name


@dataclass(frozen=True, eq=False)
class Ready:
    """A picture that is ready to be explained.

    Attributes:
        given: what it is of.
        x: the input, (1, C, *spatial).
        target: what is asked of it.
    """

    given: Given
    x: Tensor
    target: Any


@dataclass(frozen=True)
class Failure:
    """A picture that could not be explained.

    Attributes:
        index: its place among all.
        name: as `Given.source`.
        text: why, in a sentence.
    """

    index: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


def given(pictures: Any) -> Iterable[Given]:
    """The pictures, one after another; files, folders and patterns are listed at once, others when asked for.

    Args:
        pictures: as for `relprop.explain_many`.

    Raises:
        InputError: no pictures, or something that holds none.
    """
    if isinstance(pictures, (str, Path)):
        pictures = [pictures]
    if isinstance(pictures, (list, tuple)) and pictures and all(isinstance(p, (str, Path)) for p in pictures):
        return [Given(i, path.name, path) for i, path in enumerate(listed_pictures(pictures))]
    if isinstance(pictures, Tensor):
        pictures = [pictures]
    if isinstance(pictures, Image.Image):
        pictures = [pictures]
    if not isinstance(pictures, Iterable) and not hasattr(pictures, "__getitem__"):
        raise InputError(
            "Expected pictures as files, a folder, a pattern, an iterable of tensors, pictures or (picture, "
            f"target) pairs, or a DataLoader, but got {type(pictures).__name__}."
        )
    return _Counted(pictures)


class _Counted:
    """The pictures of an iterable or a loader, taken apart where they come in batches."""

    def __init__(self, pictures: Iterable[Any]) -> None:
        self._pictures = pictures

    def __len__(self) -> int:
        found: Any = self._pictures
        return len(found.dataset if hasattr(found, "dataset") else found)  # TypeError: nobody knows

    def __iter__(self) -> Iterator[Given]:
        index = 0
        for item in self._pictures:
            for what, target in _apart(item, index):
                file = what if isinstance(what, Path) else getattr(what, "filename", None)
                yield Given(index, Path(file).name if file else f"picture {index}", what, target)
                index += 1


def _apart(item: Any, index: int) -> Iterator[tuple[Any, Any]]:
    """(picture, target) of every picture of an item: a picture, a batch, or a pair of these and targets."""
    what, target = item, OWN
    if isinstance(item, (tuple, list)):
        if len(item) not in (1, 2):
            raise InputError(
                f"Expected pictures, or (picture, target) pairs, but item {index} holds {len(item)} things. Give "
                "pairs."
            )
        what, target = item[0], item[1] if len(item) == 2 else OWN
    if isinstance(what, (str, Path)):
        yield Path(what), target
    elif isinstance(what, Image.Image):
        yield what, target
    elif isinstance(what, Tensor) and what.ndim == 3:
        yield what[None], _plain(target)
    elif isinstance(what, Tensor) and what.ndim > 3:
        for n in range(len(what)):
            yield what[n : n + 1], _of_row(target, n, len(what))
    else:
        got = f"a tensor {tuple(what.shape)}" if isinstance(what, Tensor) else type(what).__name__
        raise InputError(
            f"Expected pictures as tensors (C, H, W) or (N, C, *spatial), files or PIL pictures but item {index} "
            f"is {got}."
        )


def _of_row(target: Any, n: int, count: int) -> Any:
    """The target of one of a batch's pictures."""
    if isinstance(target, Tensor):
        if target.ndim and len(target) == count:
            return _plain(target[n])
        if target.ndim:
            raise InputError(
                f"Expected a target for each of {count} pictures of a batch but got {tuple(target.shape)}."
            )
    if isinstance(target, (list, tuple)) and len(target) == count:
        return _plain(target[n])
    return _plain(target)


def _plain(target: Any) -> Any:
    """Numbers in place of tensors of them."""
    if isinstance(target, Tensor) and not target.is_floating_point() and target.ndim < 2:
        return target.tolist()
    return target


class Reader:
    """Makes pictures ready for a model; in other threads too.

    Args:
        model: whose inputs they become.
        preprocess: a picture -> an input; None where only tensors come.
        target: of pictures that bring none along, and of all if it isn't None.
    """

    def __init__(self, model: nn.Module, preprocess: Preprocess | None, target: Any) -> None:
        self._preprocess, self._target = preprocess, target
        with capture_lock:
            like = next((p for p in model.parameters() if p.is_floating_point()), None)
        self._device = None if like is None else like.device
        self._dtype = torch.float32 if like is None else like.dtype

    def __call__(self, one: Given) -> Ready:
        """Read it.

        Raises:
            InputError: a file that is no picture, or no function that makes it an input.
        """
        x = one.what if isinstance(one.what, Tensor) else self._input(one.what)
        if self._device is not None and x.device != self._device:
            x = x.to(self._device)
        own = one.target is not OWN and self._target is None
        return Ready(one, x, one.target if own else self._target)

    def _input(self, what: Path | Image.Image) -> Tensor:
        if self._preprocess is None:
            raise InputError(
                "Expected preprocess=, a function from a picture to the model's input, with files and a "
                "torch.nn.Module, which doesn't say how pictures become inputs. Give it, or pass a model of "
                "relprop.models.load or relprop.models.sources.load_model."
            )
        image = read_picture(what) if isinstance(what, Path) else what
        # It may run modules, and nobody's modules may run while another thread captures.
        with capture_lock, blame("preprocess"):
            x: Any = self._preprocess(image)
        if not isinstance(x, Tensor) or x.ndim < 3:
            got = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"Expected preprocess to give a tensor (C, H, W) or (1, C, H, W) but got {got}.")
        return (x[None] if x.ndim == 3 else x).to(self._dtype)


def digest(what: Path | Image.Image | Tensor) -> str:
    """Changes with the picture.

    Raises:
        InputError: a file that can't be read.
    """
    if isinstance(what, Path):
        data = read_bytes(what, "a picture file")
    elif isinstance(what, Tensor):
        data = repr((tuple(what.shape), what.dtype)).encode()
        data += what.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    else:
        data = repr((what.size, what.mode)).encode() + what.tobytes()
    return hashlib.sha256(data).hexdigest()


def known_length(pictures: Sequence[Given] | Iterable[Given]) -> int | None:
    """How many there are, where that is known before they are read."""
    try:
        return len(pictures)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None
