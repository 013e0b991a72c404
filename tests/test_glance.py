"""How values show themselves in a notebook: words escaped, no script needed, the numbers those of the values."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from tests.benchmark.reports import METHODS, METRICS, PUBLISHED, records
from tests.kernel import kinds, run_cells
from torch import nn

import relprop
from relprop.benchmark.html import to_html
from relprop.benchmark.table import tabulate
from relprop.benchmark.text import to_text
from relprop.datasets import demo_image_path
from relprop.detectors.prepare import Letterbox, Prepared, thumbnail
from relprop.glance import Entry, framed, table_html
from relprop.video.separation import MotionSeparation
from relprop.viz.boxes_html import BoxRow, Thumbnail, boxes_html


def words_of(page: str) -> str:
    """What a reader sees of a page without scripts, styles and pictures."""
    bare = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", bare))


def picture_of(page: str) -> np.ndarray:
    (data,) = re.findall(r'src="data:image/webp;base64,([^"]*)"', page)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def detections(**more: object) -> relprop.detectors.Detections:
    detector = relprop.detectors.load("scenes-ssd")
    return dataclasses.replace(detector, **more)(demo_image_path())


class TestPieces:
    def test_words_are_escaped(self) -> None:
        evil = "<script>alert(1)</script>"
        page = framed(evil, table_html([evil], [(evil, [[evil], [Entry(evil, faint=evil)]])]), [evil], [evil])
        assert "<script" not in page
        assert page.count("&lt;script&gt;") == 8

    def test_a_bar_is_as_long_as_its_share(self) -> None:
        wide = [
            float(re.findall(r"width:([\d.]+)px", Entry("", bar=v).html())[1]) for v in (0, 0.5, 1, -0.5, 7)
        ]
        assert wide == [0, wide[2] / 2, wide[2], wide[2] / 2, wide[2]]
        assert Entry("", bar=0.5).html() != Entry("", bar=-0.5).html()

    def test_only_the_page_decides_on_the_colour_of_words(self) -> None:
        page = framed("a", table_html(["b"], [("c", [[Entry("d", "e", True)]])]), ["f"], ["g"])
        colours = set(re.findall(r"(?<![-\w])(?:color|background(?:-color)?):([^;\"]*)", page))
        assert colours == {"inherit", "transparent"}


class TestDetections:
    def test_the_picture_its_boxes_and_their_table(self) -> None:
        found = detections()
        page = found._repr_html_()
        assert len(page) < 60_000
        assert "<script" not in page
        said = words_of(page)
        for d in found:
            assert f"{d.name} {d.score:.2f} {' '.join(f'{v:.0f}' for v in d.box.tolist())}" in said
        assert found.picture is not None
        whole = np.asarray(Image.open(demo_image_path()).convert("RGB"))
        assert found.picture.size == whole.shape[:2]
        assert (
            np.abs(found.picture.pixels.astype(int) - whole).max() <= 1
        )  # as the network saw it, not enlarged

    def test_a_box_is_drawn_where_it_is(self) -> None:
        grey = Thumbnail(np.full((50, 100, 3), 128, np.uint8), (500, 1000))
        page = boxes_html("found", [BoxRow((200.0, 100.0, 600.0, 400.0), "cat", 0.9)], grey)
        pixels = picture_of(page)
        changed = (np.abs(pixels - 128) > 40).any(-1)
        rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
        height, width = changed.shape
        found = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
        assert found == pytest.approx([0.2, 0.2, 0.6, 0.8], abs=0.02)
        assert not changed[height // 2, width // 3]  # an outline

    def test_many_and_none(self) -> None:
        many = boxes_html("found", [BoxRow((0.0, 0.0, 1.0, 1.0), f"<{i}>", 0.5) for i in range(40)])
        assert "The first 12 of 40 are shown." in words_of(many)
        assert "<11>" not in many
        assert "&lt;11&gt;" in many
        assert "&lt;12&gt;" not in many
        none = detections(score_threshold=1.0)
        assert len(none) == 0
        assert f"{none.near(1)[0].name} {none.near(1)[0].score:.2f}" in words_of(none._repr_html_())
        assert "best below the threshold" in none._repr_html_()

    def test_one(self) -> None:
        found = detections()[0]
        assert f"{found.name} {found.score:.2f}" in words_of(found._repr_html_())
        assert f"anchor {found.anchor}" in found._repr_html_()

    def test_padding_is_cut_off(self) -> None:
        photo = Image.fromarray(np.full((30, 90, 3), (250, 20, 90), np.uint8))
        prepared = Letterbox((64, 64), centred=True)(photo)
        small = thumbnail(prepared, (0.0,) * 3, (1.0,) * 3)
        assert small is not None
        assert small.size == (30, 90)
        assert small.pixels.shape[1] / small.pixels.shape[0] == pytest.approx(3, rel=0.05)
        assert np.abs(small.pixels.astype(int) - [250, 20, 90]).max() <= 1
        assert thumbnail(Prepared(torch.zeros(1, 1, 4, 4), (1, 1), (4, 4)), (0.0,) * 3, (1.0,) * 3) is None


def test_an_affine_form_tells_its_parts() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 8)).eval()
    form = relprop.affine(net, torch.randn(1, 3, 2, 2), list(range(8)))
    said = words_of(form._repr_html_()).replace("−", "-")
    numbers = [float(n) for n in re.findall(r"-?\d+\.\d+", said)]
    assert len(numbers) == 4 * 6
    for (up, down, bias, score), k in zip(np.reshape(numbers, (6, 4)).tolist(), range(6), strict=True):
        assert up + down + bias == pytest.approx(score, abs=0.003)
        assert score == pytest.approx(float(form.score[k, 0]), abs=0.001)
        assert down <= 0 <= up
    assert "The first 6 of 8 scores are shown." in said
    assert "exact" in said


class TestSeparation:
    @staticmethod
    def made(n: int = 1, **more: object) -> MotionSeparation:
        film = torch.rand(n, 4, 24, 32, generator=torch.Generator().manual_seed(0))
        scores, targets = torch.zeros(n, 3), torch.ones(n, dtype=torch.int64)
        return MotionSeparation(
            film, film / 4, 3 * film / 4, {}, scores, None, targets, "lrp-0", "conserving", **more
        )

    def test_three_films_in_step(self) -> None:
        page = self.made(warnings=("look <here>",))._repr_html_()
        assert page.count("<div data-film") == 3  # and no blank clip
        assert page.count('src="data:image/webp') == 3  # sheets of all frames, which need no script
        said = words_of(page)
        assert "Conserving split of lrp-0: class 1. Motion holds 75 % of the relevance." in said
        assert "⚠ look &lt;here&gt;" in said
        assert len(page) < 200_000

    def test_of_several_the_first(self) -> None:
        assert "The first of several is shown." in self.made(2)._repr_html_()
        assert "The first" not in self.made()._repr_html_()


class TestBenchmark:
    @staticmethod
    def page_and_text(title: str = "a <b> & c") -> tuple[str, str]:
        table = tabulate(
            records(),
            METRICS,
            METHODS,
            title=title,
            published=PUBLISHED,
            controls=["random"],
            notes=["a <note>"],
        )
        return to_html(table), to_text(table, width=1000)

    def test_the_numbers_of_the_text(self) -> None:
        page, text = self.page_and_text()
        number = re.compile(r"−?\d+\.\d+(?:e-?\d+)?")
        body = text.split("\npairs ")[0]
        assert sorted(set(number.findall(body))) == sorted(
            set(number.findall(words_of(page.split("Published")[0])))
        )

    def test_the_best_is_bold_and_words_are_escaped(self) -> None:
        page, _ = self.page_and_text()
        assert "<b>83.3†</b>" in page
        assert "<b>66.7" not in page
        assert "a &lt;b&gt; &amp; c" in page
        assert "a &lt;note&gt;" in page
        for name in ("methods", "controls"):
            assert f"<i>{name}</i>" in page

    def test_nothing_measured(self) -> None:
        assert "Nothing was measured." in words_of(to_html(tabulate([], METRICS, METHODS)))


@pytest.mark.filterwarnings("ignore")  # of the kernel's client
def test_a_kernel_takes_each_as_html() -> None:
    made = f"""
import torch, relprop
from PIL import Image
from relprop.video.separation import MotionSeparation
film = torch.rand(1, 3, 12, 12)
s = MotionSeparation(film, film, 0 * film, {{}}, torch.zeros(1, 3), None, torch.tensor([1]), "lrp-0", "conserving")
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3)).eval()
form = relprop.affine(net, torch.ones(1, 3, 2, 2))
found = relprop.detectors.load("scenes-ssd")({str(demo_image_path())!r})
"""
    _, *shown = run_cells(made, "form", "found", "found[0]", "s")
    html = ("text/html", "text/plain")
    assert [kinds(one) for one in shown[:3]] == [[html]] * 3
    assert kinds(shown[3]) == [("image/png", *html)]
