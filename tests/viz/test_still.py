"""Drawn figures as pieces of HTML: their size, their words, what they refuse."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from relprop.errors import InputError
from relprop.viz.still import folded_html, row_html, still_file, still_html


def embedded(page: str) -> bytes:
    (data,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    return base64.b64decode(data)


def test_few_colours_are_kept_without_loss_and_many_are_packed() -> None:
    plain = Image.new("RGB", (300, 200), (200, 30, 60))
    found = Image.open(io.BytesIO(embedded(still_html(plain, alt="red"))))
    assert found.size == (300, 200)
    assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(plain))
    smooth = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    photograph = Image.fromarray(smooth).resize((2400, 1800), Image.Resampling.BICUBIC)
    data = embedded(still_html(photograph, alt="a photograph", most=90_000))
    assert len(data) <= 90_000
    assert Image.open(io.BytesIO(data)).size == (1200, 900)


def test_words_are_escaped() -> None:
    small = Image.new("RGB", (4, 4))
    page = still_html(small, alt='a "<b>"', caption="<i>")
    page += row_html([page], "<u>") + folded_html(page, "<s>")
    assert not re.search(r"<[bius]>", page)
    assert 'alt="a &quot;&lt;b&gt;&quot;"' in page
    assert page.index("<details><summary>&lt;s&gt;</summary>") > 0


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "whole.png"
    )
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    with pytest.raises(InputError, match="no picture format fits"):
        still_file(tmp_path / "text.png", alt="a figure")
    with pytest.raises(InputError, match="can't be decoded"):
        still_file(tmp_path / "cut.png", alt="a figure")
    assert still_file(tmp_path / "whole.png", alt="a figure").startswith("<figure")
