"""The HTML report: what stands on it, what is escaped, how large it is, what it refuses and never overwrites."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from tests.refusals import assert_refused
from tests.reports.conftest import PICTURE, emptied, photograph

import relprop
from relprop.errors import InputError, OutputError
from relprop.reports import HtmlReport, html_report
from relprop.viz.embedded import csp_hash


class Parsed(HTMLParser):
    """The tags of a page, and its words without style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def whole(made: Path) -> HtmlReport:
    return html_report(made)


@pytest.fixture(scope="module")
def page(whole: HtmlReport) -> Parsed:
    return Parsed(whole.html)


def test_every_kind_stands_on_one_page(whole: HtmlReport, page: Parsed) -> None:
    assert whole.counts == {
        "affine": 1, "benchmark": 1, "depth": 1, "detection": 1, "picture": 4, "clip": 1,
    }  # fmt: skip
    assert whole.skipped == ()
    cards = page.all("article")
    assert len(cards) == sum(whole.counts.values())
    assert {card["data-kind"] for card in cards} == set(whole.counts)
    # Documents beside the results name the models.
    for model in ("scenes-vgg (weights: bundled)", "scenes-ssd (weights: bundled)", "motion-c3d"):
        assert model in page.text


def test_a_ledger_is_a_sentence_and_its_table_is_folded(made: Path, page: Parsed) -> None:
    e = relprop.Explanation.load(made / "explain" / Path(PICTURE).stem / "lrp-epsilon")
    assert e.ledger is not None
    share = 100 * e.ledger.end / e.ledger.start
    assert f"The 2 maps of this explanation together account for {share:.1f} % of their scores" in page.text
    assert f"Operator by operator ({len(e.ledger.rows)})" in page.text
    assert all("open" not in attrs for attrs in page.all("details"))
    shares = {card["data-share"] for card in page.all("article") if card["data-method"] == "lrp-epsilon"}
    assert [float(text or "nan") for text in shares] == [pytest.approx(e.ledger.end / e.ledger.start)]


def test_words_of_others_are_escaped(whole: HtmlReport, page: Parsed) -> None:
    assert PICTURE in page.text  # as words
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert not any(attrs.get("src") == "x" for attrs in page.all("img"))


def test_names_of_classes_are_escaped(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 8, 8)
    evil = '"><script>alert(1)</script>'
    e = relprop.Explanation(
        torch.randn(1, 3, 8, 8), x, torch.rand(1, 2), torch.tensor([1]), "gradient",
        warnings=("<b>bold</b> warning",), settings={"<i>": "</details>"}, name="<u>name</u>",
    )  # fmt: skip
    e.save(tmp_path / "a", labels=["cat", evil])
    found = html_report(tmp_path / "a", title="</title><script>")
    parsed = Parsed(found.html)
    assert len(parsed.all("script")) == 1
    assert evil in parsed.text
    assert "<b>bold</b> warning" in parsed.text
    assert "u" not in {tag for tag, _ in parsed.tags}
    (card,) = parsed.all("article")
    assert card["data-class"] == evil
    assert "data-warned" in card


def test_nothing_is_fetched_and_the_policy_allows_the_script_alone(whole: HtmlReport, page: Parsed) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", whole.html, re.S)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert csp_hash(script) in policy
    links = [a[key] for _, a in page.tags for key in ("src", "href", "action", "poster") if a.get(key)]
    assert links
    assert all(str(link).startswith(("data:image/webp;base64,", "#")) for link in links)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "url(" not in whole.html
    assert "@import" not in whole.html


def test_pictures_have_words_and_controls_have_names(page: Parsed) -> None:
    images = page.all("img")
    assert len(images) > 20
    assert all((attrs.get("alt") or "").strip() for attrs in images)
    labels = {attrs.get("for") for attrs in page.all("label")}
    for attrs in page.all("input"):
        assert attrs.get("aria-label") or attrs.get("id") in labels or attrs.get("name")
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = [str(attrs["href"])[1:] for attrs in page.all("a")]
    assert set(anchors) <= set(ids)
    assert anchors[0] == "results"  # the skip link comes first


def test_a_benchmark_is_a_table_with_intervals(made: Path, page: Parsed) -> None:
    table = json.loads((made / "benchmark" / "table.json").read_text())
    cell = next(c for c in table["cells"] if c["method"] == "beta" and c["low"] is not None)
    values = [attrs.get("data-value") for attrs in page.all("td")]
    assert str(cell["value"]) in values
    assert re.search(r"\d \[[−\d.]+, [−\d.]+\]", page.text)
    assert "Published by others, measured on VGG-16: not comparable" in page.text
    assert "controls, which know nothing of what the network learned" in page.text


def test_detections_have_their_boxes_and_edges(page: Parsed, whole: HtmlReport) -> None:
    for words in (
        "Box 0: dotted ball",
        "Why this box?",
        "left edge: moved",
        "bottom edge: moved",
        "score 1.00",
    ):
        assert words in page.text
    assert whole.html.count("<rect x=") >= 2 * 5  # two lines a box, five maps


def test_a_clip_plays_with_the_frames_that_were_saved(page: Parsed, whole: HtmlReport) -> None:
    assert "data-relprop-player" in whole.html
    assert "because something moves" in page.text
    assert "stand on white" not in page.text


def test_a_score_taken_apart_says_what_its_parts_are(made: Path, page: Parsed) -> None:
    told = json.loads((made / "affine" / "demo_scene" / "affine.json").read_text())
    assert f"Whose bias it is ({len(told['images'][0]['owners'])})" in page.text
    assert "is exactly the input times weights" in page.text
    assert "biases hold" in page.text  # of the study over depth


def test_ten_explanations_of_photographs_fit_into_a_megabyte(tmp_path: Path) -> None:
    for k in range(10):
        photograph(tmp_path, f"photo-{k}", k)
    found = html_report(tmp_path)
    assert found.counts == {"picture": 10}
    assert len(found.html.encode()) <= 1_000_000


def test_what_is_given_twice_is_shown_once(made: Path, tmp_path: Path) -> None:
    folder = made / "explain"
    link = tmp_path / "link"
    link.symlink_to(folder, target_is_directory=True)
    once = html_report(folder)
    assert once.counts == {"picture": 4}
    again = html_report([folder, folder, folder / Path(PICTURE).stem / "gradient", link, made / "explain"])
    assert again.counts == once.counts


def test_a_document_that_was_printed_tells_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = relprop.reports.picture(
        "scenes-vgg", relprop.datasets.demo_image_path(), method="gradient", out=tmp_path / "out"
    )
    (tmp_path / "out" / "demo_scene" / "explain.json").unlink()
    assert "model not known" in Parsed(html_report(tmp_path / "out").html).text
    (tmp_path / "printed.json").write_text(json.dumps(report.document))
    found = Parsed(html_report(tmp_path / "printed.json").html).text
    assert "scenes-vgg (weights: bundled)" in found
    assert re.search(r"p (> 0\.99|0\.\d\d), output", found)
    shutil.move(tmp_path / "out", tmp_path / "elsewhere")
    with pytest.raises(InputError, match="isn't there"):
        html_report(tmp_path / "printed.json")


def test_results_that_moved_are_told_by_the_document_beside_them(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "detect", tmp_path / "sent")
    found = Parsed(html_report(tmp_path / "sent").html).text
    assert "scenes-ssd (weights: bundled)" in found
    assert "left edge: moved" in found
    assert str(tmp_path) not in found


def test_a_damaged_result_is_named_and_the_others_are_shown(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(made / "explain" / Path(PICTURE).stem, folder / "a")
    numbers = folder / "a" / "gradient" / "relevance.safetensors"
    numbers.write_bytes(numbers.read_bytes()[:-8] + b"\0" * 8)
    manifest = json.loads((folder / "a" / "lrp-epsilon" / "manifest.json").read_text())
    shutil.copytree(folder / "a" / "lrp-epsilon", folder / "newer")
    (folder / "newer" / "manifest.json").write_text(json.dumps(manifest | {"format_version": 9}))
    found = html_report(folder)
    assert found.counts == {"picture": 2}
    why = {one.path.name: one.why for one in found.skipped}
    assert "checksum differs" in why["gradient"]
    assert "Expected format version 1 or 2" in why["newer"]
    assert "Left out" in Parsed(found.html).text
    assert "…/a/gradient" in Parsed(found.html).text
    assert str(tmp_path.parent) not in found.html  # the page goes to others
    numbers.unlink()
    with pytest.raises(InputError, match=r"none can.*relevance\.safetensors"):
        html_report(folder / "a" / "gradient")


def test_a_document_that_was_changed_is_named(made: Path, tmp_path: Path) -> None:
    for kind, name, entry in (("video", "demo_clip", "clips"), ("affine", "demo_scene", "images")):
        shutil.copytree(made / kind / name, tmp_path / kind)
        file = tmp_path / kind / f"{kind}.json"
        told = json.loads(file.read_text())
        told[entry][0] |= {"predictions": [{"name": 5, "score": "high"}], "score": {}, "layers": 3}
        file.write_text(json.dumps(told))
    photograph(tmp_path, "good", 0)
    found = html_report(tmp_path)
    assert found.counts["picture"] == 1
    assert {one.path.name for one in found.skipped} == {"video", "affine.json"}
    assert all("fit together" in one.why for one in found.skipped), [one.why for one in found.skipped]


def test_mistakes_of_a_detector_are_a_page_of_their_own(tmp_path: Path) -> None:
    photograph(tmp_path / "wrong", "a", 0)
    (tmp_path / "wrong" / "maps").mkdir(parents=True)
    (tmp_path / "wrong" / "mistakes.json").write_text("{}")
    (tmp_path / "wrong" / "report.html").write_text("<!doctype html><title>What went wrong</title>")
    found = html_report(tmp_path)
    assert [one.path.name for one in found.skipped] == ["mistakes.json"]
    assert found.counts == {"picture": 1}  # what lies beside them is shown
    with pytest.raises(OutputError, match="is another file"):
        html_report(tmp_path / "wrong" / "a", out=tmp_path / "wrong" / "report.html")
    assert "What went wrong" in (tmp_path / "wrong" / "report.html").read_text()


@pytest.fixture
def one(tmp_path: Path) -> Path:
    photograph(tmp_path, "one", 0)
    return tmp_path / "one"


def test_its_own_file_is_replaced_and_no_other(one: Path, tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    first = html_report(one, out=place, title="first")
    assert first.path == place
    assert place.read_text() == first.html
    html_report(one, out=place, title="second")
    assert "<title>second</title>" in place.read_text()
    (tmp_path / "mine.html").write_text("<!doctype html><p>mine")
    with pytest.raises(OutputError, match="is another file"):
        html_report(one, out=tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "<!doctype html><p>mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.html", "one", "page.html"]


def test_places_that_can_t_hold_it_are_refused(one: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.html").mkdir()
    assert_refused(
        OutputError,
        (lambda: html_report(one, out=tmp_path / "page.pdf"), "ends in .html"),
        (lambda: html_report(one, out=tmp_path / "folder.html"), "is a folder"),
        (lambda: html_report(one, out="/proc/nowhere/page.html"), "can be written"),
    )


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "cut.json").write_text("{")
    (tmp_path / "newer.json").write_text('{"format": "relprop-document", "format_version": 7}')
    emptied(tmp_path / "a.png")
    assert_refused(
        InputError,
        (lambda: html_report(tmp_path / "empty"), "found none"),
        (lambda: html_report(tmp_path / "gone"), "no such thing"),
        (lambda: html_report(tmp_path / "gone.json"), "does not exist"),
        (lambda: html_report(tmp_path / "list.json"), "is another JSON file"),
        (lambda: html_report(tmp_path / "cut.json"), "can't be read as JSON"),
        (lambda: html_report(tmp_path / "newer.json"), "version 1"),
        (lambda: html_report(tmp_path / "a.png"), "it is neither"),
        (lambda: html_report([]), "got none"),
        (lambda: html_report(""), "empty name"),
    )


def test_contrasts_claim_no_share(tmp_path: Path) -> None:
    x = torch.rand(1, 3, 32, 32)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(3600, 3)
    )
    relprop.explain(net.eval(), x, 1, "clrp").save(tmp_path / "clrp")
    parsed = Parsed(html_report(tmp_path / "clrp").html)
    assert "says where, not how much" in parsed.text
    (card,) = parsed.all("article")
    assert card["data-share"] == ""


def test_what_is_no_picture_has_a_card_without_a_map(tmp_path: Path) -> None:
    e = relprop.Explanation(
        torch.randn(1, 1, 40), torch.rand(1, 1, 40), torch.rand(1, 2), torch.tensor([1]), "gradient"
    )
    e.save(tmp_path / "signal")
    found = html_report(tmp_path / "signal")
    assert found.counts == {"picture": 1}
    assert "No map is drawn" in Parsed(found.html).text
