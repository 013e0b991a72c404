"""Sources: what a report is about: pictures with names and folders of their own, and the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor, nn

from relprop.errors import InputError, OutputError
from relprop.explanation.folder import Format
from relprop.explanation.running import run_of
from relprop.explanation.saved import FORMAT
from relprop.models.bundled import BundledModel
from relprop.models.loaded import LoadedModel
from relprop.models.pictures import read_picture
from relprop.models.sources import load_model
from relprop.storage import check_room
from relprop.tracing.view import Key

__all__ = [
    "Model",
    "Picture",
    "check_layers",
    "check_places",
    "folders",
    "heading",
    "listed",
    "loaded",
    "model_facts",
    "read_pictures",
]

#: A loaded model, its specification, a module (its inputs are tensors then), or a function that loads one.
Model = LoadedModel | BundledModel | str | nn.Module | Callable[[], LoadedModel]


@dataclass(frozen=True)
class Picture:
    """A picture to be explained.

    Attributes:
        source: the path that it was read from, or `"picture"`.
        image: the picture, or a finished input (1, C, H, W).
    """

    source: Path
    image: Image.Image | Tensor

    @property
    def name(self) -> str:
        """Its file's name."""
        return self.source.name

    @property
    def photo(self) -> Image.Image:
        """The picture itself.

        Raises:
            InputError: it is a finished input.
        """
        if isinstance(self.image, Tensor):
            raise InputError("Expected pictures as files or PIL pictures but got a tensor.")
        return self.image

    def input(self, model: LoadedModel) -> Tensor:
        """What the model is shown, on its device."""
        return model.to_device(self.image if isinstance(self.image, Tensor) else model.preprocess(self.image))


def read_pictures(images: object) -> list[Picture]:
    """The pictures, read.

    Args:
        images: one or several of: a file, a PIL picture, a tensor (1, C, H, W).

    Raises:
        InputError: a file that is no picture, or something else.
    """
    found = [_picture(image) for image in listed(images)]
    if not found:
        raise InputError("Expected at least one picture but got none.")
    return found


def listed(value: object) -> list[Any]:
    """One thing, or several in a list or tuple, as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _picture(image: object) -> Picture:
    if isinstance(image, (str, Path)):
        return Picture(Path(image), read_picture(image))
    if isinstance(image, Image.Image):
        return Picture(Path(getattr(image, "filename", "") or "picture"), image)
    if isinstance(image, Tensor) and image.dim() == 4 and image.shape[0] == 1:
        return Picture(Path("picture"), image)
    got = f"a tensor {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
    raise InputError(f"Expected pictures as files, PIL pictures or tensors (1, C, H, W) but got {got}.")


def loaded(model: Model, like: Sequence[Picture] = ()) -> LoadedModel:
    """The model with what is known about it.

    Args:
        model: see `Model`.
        like: for a module, whose inputs these are.

    Raises:
        InputError: a specification that can't be used, or a module with pictures in place of inputs.
        RelpropError: the model's own code raised.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, BundledModel):
        return load_model(model.name)
    if isinstance(model, str):
        return load_model(model)
    if not isinstance(model, nn.Module):
        return model()
    if not like or not all(isinstance(picture.image, Tensor) for picture in like):
        raise InputError(
            "Expected inputs (1, C, H, W) with a torch.nn.Module, which doesn't say how pictures become inputs. "
            "Pass tensors, or a model of relprop.models.sources.load_model."
        )
    channels, *size = next(p.image.shape[1:] for p in like if isinstance(p.image, Tensor))
    return LoadedModel(
        spec=type(model).__name__,
        module=model,
        input_size=tuple(size),
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        classes=None,
        multi_label=False,
        preprocess=_no_pictures,
        weights="its own",
    )


def _no_pictures(_: Image.Image) -> Tensor:
    raise InputError("Expected inputs (1, C, H, W) with a torch.nn.Module.")


def heading(source: Path, spec: str, weights: str) -> str:
    """The first line printed of a page."""
    return f"{source} through {spec} (weights: {weights})"


def model_facts(spec: str, weights: str) -> dict[str, str]:
    """The model's entry in a document."""
    return {"spec": spec, "weights": weights}


def folders(out: str | Path | None, sources: Sequence[Path]) -> list[Path]:
    """A folder for each, named after it; equal names get a number.

    Raises:
        OutputError: results can't be written to the folder that is to hold them.
    """
    if out is not None:
        check_room(out)
    taken: dict[str, int] = {}
    found = []
    for path in sources:
        count = taken[path.stem] = taken.get(path.stem, 0) + 1
        found.append(Path(path.stem if count == 1 else f"{path.stem}-{count}"))
    return found


def check_places(
    out: str | Path | None, files: Sequence[Path], numbers: Sequence[Path] = (), form: Format = FORMAT
) -> None:
    """Refuse what stands where results shall go, before they are computed.

    Args:
        out: the folder of the report, or None: nothing is written.
        files: to be written, relative to it.
        numbers: folders of results, likewise; those of earlier runs are replaced.
        form: what these are.

    Raises:
        OutputError: a folder that holds other things, a file in a folder's place or a folder in a file's, or a
            disk that can't be written.
    """
    if out is None:
        return
    for path in (Path(out) / file for file in numbers):
        if path.exists():
            reason = form.why_not_ours(path) if path.is_dir() else f"'{path}' is a file"
            if reason:
                raise OutputError(
                    f"Expected a folder of an earlier run to replace but {reason}. Take another folder for the "
                    "report, or move it away."
                )
    for path in (Path(out) / file for file in files):
        if path.is_dir():
            raise OutputError(
                f"Expected a file to write but '{path}' is a folder. Take another one for the report."
            )
    for folder in dict.fromkeys((Path(out) / file).parent for file in (*files, *numbers)):
        check_room(folder)


def check_layers(model: LoadedModel, x: Tensor, layers: Sequence[str], output: Key = None) -> None:
    """Refuse names of layers that the model doesn't have, before anything is explained.

    Raises:
        UnknownNameError: with the closest and all valid names.
        CaptureError: the model can't be captured.
    """
    if layers:
        graph = run_of(model.module, x, output).trace.graph
        for layer in layers:
            graph.find(layer)
