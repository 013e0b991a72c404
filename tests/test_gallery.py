"""The gallery's folder and its scripts name the same pictures; some are drawn anew."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.scripts import script

from relprop.methods.registry import METHODS
from relprop.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "gallery"
BUDGET = 6 * 2**20  # bytes: every clone pays for them
LARGEST = 128 * 2**10  # bytes of one: a page with three of them opens at once on a slow line


@pytest.fixture(scope="module")
def made() -> Any:
    return script("gallery").pictures()


def test_stored_and_made_are_the_same(made: Any) -> None:
    assert sorted(p.name for p in FOLDER.iterdir()) == sorted(made)


def test_small_enough_to_clone() -> None:
    sizes = {p.name: p.stat().st_size for p in FOLDER.iterdir()}
    assert sum(sizes.values()) <= BUDGET
    assert [name for name, size in sizes.items() if size > LARGEST] == []


def test_every_picture_stands_on_a_page(made: Any) -> None:
    pages = "".join(
        p.read_text(encoding="utf-8") for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    )
    assert [name for name in made if f"gallery/{name}" not in pages] == []


def test_every_picture_on_a_page_is_made(made: Any) -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        named = re.findall(r"gallery/([\w.-]+\.webp)", page.read_text(encoding="utf-8"))
        assert [name for name in named if name not in made] == [], page


@pytest.mark.parametrize("folder", ["metrics", "rules", "detectors"])
def test_pages_open_with_a_picture(folder: str) -> None:
    for page in (ROOT / "docs" / folder).glob("*.md"):
        top = page.read_text(encoding="utf-8").split("\n\n")[:3]
        assert any(re.fullmatch(r"!\[.+\]\(\.\./gallery/[\w-]+\.webp\)", part) for part in top), page


def test_every_metric_has_one(made: Any) -> None:
    # These two have a picture of the gallery's page.
    shown = {"randomisation": "randomisation.webp", "perturbation": "deletion.webp"}
    assert [m for m in METRICS if shown.get(m, f"metric-{m}.webp") not in made] == []


def test_every_method_has_one(made: Any) -> None:
    # `recommended` shows its answer's.
    assert [m for m in METHODS if m != "recommended" and f"method-{m}.webp" not in made] == []


@pytest.mark.parametrize("name", ["method-attention-rollout.webp", "metric-energy.webp", "rule-linear.webp"])
def test_drawn_anew_it_is_what_is_stored(made: Any, name: str) -> None:
    stored = np.asarray(Image.open(FOLDER / name).convert("RGB"), dtype=float)
    again = np.asarray(Image.open(io.BytesIO(made[name].data())).convert("RGB"), dtype=float)
    assert again.shape == stored.shape
    # Another machine's rounding moves some pixels; another map moves whole regions.
    assert np.abs(again - stored).mean() < 2
    other = np.asarray(
        Image.open(FOLDER / "method-d-rise.webp").convert("RGB").resize(stored.shape[1::-1]), dtype=float
    )
    assert np.abs(other - stored).mean() > 4


def _note(path: Path) -> str | None:
    with Image.open(path) as picture:
        note: str | None = picture.getexif().get(0x010E)  # ImageDescription
    return note


def test_charts_show_what_their_pages_say(made: Any) -> None:
    # A chart is drawn from a table; whoever changes the table draws it anew.
    noted = {name: picture.note for name, picture in made.items() if picture.note}
    assert noted
    assert [name for name in noted if _note(FOLDER / name) != noted[name]] == []


def test_charts_read_tables(made: Any) -> None:
    from gallery_dots import table

    lines = ["## A", "| | x | y |", "| --- | ---: | --- |"]
    lines += ["| **`rsp`**\\* | −1.5 [−2, 1,068] | |", "| *noise* | 3 / 4 | 5 |"]
    text = "\n".join(lines)
    rsp, noise = table(text, "## A")
    assert (rsp.name, rsp.control, rsp.numbers(0), rsp.numbers(1)) == ("rsp", False, (-1.5, -2, 1068), ())
    assert (noise.name, noise.control, noise.numbers(0)) == ("noise", True, (3, 4))
    with pytest.raises(ValueError, match="no table"):
        table(text, "## B")


def test_a_chart_leaves_no_value_off_its_axis(made: Any) -> None:
    from gallery_charts import CHARTS
    from gallery_dots import draw

    chart = next(c for c in CHARTS if c.name == "chart-many")
    draw(chart)
    with pytest.raises(ValueError, match=r"chart-many: \[.*\] of .* lie outside \(0, 20\)"):
        draw(replace(chart, ends=(0, 20)))


def test_names_are_listed_without_drawing() -> None:
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "gallery.py"), "--only", "nonsense"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "No such picture: nonsense" in run.stderr
