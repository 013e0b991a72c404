"""ClassFolders: pictures sorted into a folder a class, as ImageNet's often are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from relprop.datasets._files import digest, existing_folder, inside, picture, unique
from relprop.datasets.data_set import DataSet
from relprop.datasets.sample import Sample
from relprop.errors import InputError

__all__ = ["ClassFolders"]

_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".jp2"})


class ClassFolders(DataSet):
    """Pictures in a folder a class; a class's name is its folder's. No boxes and no masks.

    Pictures are the files that end as pictures do, folders in folders aside; classes and pictures are sorted by
    name. Folders named by WordNet ids ("n01440764") are what an ImageNet classifier knows by these.

    Args:
        folder: that holds the classes' folders.

    Raises:
        InputError: no such folder, or no picture in any folder in it.
    """

    name = "class-folders"
    summary = "pictures in a folder a class, such as ImageNet's validation set"
    places: ClassVar[tuple[str, ...]] = ("folder",)

    def __init__(self, folder: str | Path) -> None:
        self.folder = existing_folder(folder, "folders of pictures")
        found = {
            place.name: sorted(
                p.name for p in place.iterdir() if p.suffix.lower() in _ENDINGS and p.is_file()
            )
            for place in sorted(self.folder.iterdir())
            if place.is_dir()
        }
        self.classes: Sequence[str] = tuple(name for name, pictures in found.items() if pictures)
        listed = [(k, file) for k, name in enumerate(self.classes) for file in found[name]]
        if not listed:
            raise InputError(
                f"Expected folders of pictures, one a class, in '{self.folder}' but there are none. Is it the "
                "right folder?"
            )
        self.labels: Sequence[int] = tuple(k for k, _ in listed)
        self.names: Sequence[str] = unique((f"{self.classes[k]}/{file}" for k, file in listed), str(folder))

    def __getitem__(self, index: int) -> Sample:
        """Read one picture.

        Raises:
            InputError: it is missing or damaged.
        """
        name = self.names[index]
        image = picture(inside(self.folder, name, f"the folders of '{self.folder}'"))
        return Sample(name=name, image=image, labels=(self.labels[index],))

    def fingerprint(self) -> str:
        """Changes with the names and the sizes of the pictures."""
        return digest(self.name, self.names, sizes=[self.folder / name for name in self.names])
