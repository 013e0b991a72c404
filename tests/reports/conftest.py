"""Results of every command on the disk, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, records

import relprop
from relprop.benchmark.bars import bars_page
from relprop.benchmark.formats import to_json
from relprop.benchmark.table import tabulate
from relprop.datasets.demo import demo_clip_path, demo_image_path
from relprop.viz.file import save_figure

PICTURE = "street <img src=x onerror=alert(1)> & co.png"
"""A name of a file that would be read as HTML where it isn't escaped."""


@pytest.fixture(autouse=True)
def _read_once(bundled_networks_are_loaded_once: None) -> None:
    """A report names its networks."""


def _benchmark(folder: Path) -> None:
    table = tabulate(
        records(), METRICS, METHODS, title="scenes: 3 & more", published=PUBLISHED, network="VGG-16",
        controls=["random"], replicates=50,
    )  # fmt: skip
    folder.mkdir()
    (folder / "table.json").write_text(to_json(table), encoding="utf-8")
    (folder / "pairs.csv").write_text("", encoding="utf-8")
    save_figure(bars_page(table), folder / "bars.png")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each kind."""
    pytest.importorskip("av")
    top = tmp_path_factory.mktemp("results")
    picture = top / PICTURE
    shutil.copy(demo_image_path(), picture)
    relprop.reports.picture(
        "scenes-vgg",
        picture,
        method=["lrp-epsilon", "gradient"],
        target=["dotted ball", "dotted star"],
        out=top / "explain",
    )
    relprop.reports.detection(
        "scenes-ssd", demo_image_path(), box=0, method="margin-rsp", measured=False, out=top / "detect"
    )
    relprop.reports.video("motion-c3d", demo_clip_path(), mode="conserving", out=top / "video")
    relprop.reports.affine("scenes-vgg", demo_image_path(), out=top / "affine")
    relprop.reports.affine_depth("scenes-vgg", [demo_image_path(), picture], out=top / "depth")
    _benchmark(top / "benchmark")
    return top


def photograph(folder: Path, name: str, seed: int) -> None:
    """A saved explanation of a picture as hard to pack as a photograph: smooth shapes under noise."""
    torch.manual_seed(seed)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 14, 14), size=224, mode="bicubic")
    x = (smooth + 0.06 * torch.randn(1, 3, 224, 224)).clamp(0, 1)
    e = relprop.Explanation(
        torch.randn(1, 3, 224, 224), x, torch.rand(1, 10), torch.tensor([seed % 10]), "gradient", name=name
    )
    e.save(folder / name, picture=False)


def emptied(path: Path) -> None:
    """A white PNG."""
    Image.new("RGB", (4, 4), "white").save(path)
