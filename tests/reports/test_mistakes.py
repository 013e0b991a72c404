"""The report of mistakes: its numbers in three forms, what it explains, a run that is cut, hostile names."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.detectors.nets import tiny_detector

import relprop
from relprop.detectors import Detector
from relprop.detectors.analysis import positive_inside
from relprop.errors import InputError, RelpropError
from relprop.reports.mistakes import chosen_of

mistakes = import_module("relprop.reports.mistakes")  # the package has a function of that name

SIZE = (24, 40)  # of the pictures
CLASSES = ["nothing", "ball", "cube", "star"]
CHEAP = "gradient-x-input"


@cache
def detector(**settings: Any) -> Detector:
    return replace(
        tiny_detector.detector(), **({"most": 20, "nms_threshold": 0.6, "score_threshold": 0.35} | settings)
    )


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8))


def objects_of(seed: int) -> list[tuple[str, list[float]]]:
    """Objects by which a picture's detections become a hit, a confusion, a poor box, and so on; and a miss."""
    found = detector()(picture(seed))
    objects: list[tuple[str, list[float]]] = []
    for n, d in enumerate(found[:3]):
        x0, y0, x1, y1 = d.box.tolist()
        if n == 1:
            objects.append(("star" if d.name != "star" else "ball", [x0, y0, x1, y1]))
        elif n == 2:
            objects.append((d.name, [x0, y0, x0 + (x1 - x0) * 0.4, y1]))
        else:
            objects.append((d.name, [x0, y0, x1, y1]))
    return [*objects, ("cube", [30.0, 2.0, 39.0, 22.0])]


def coco(folder: Path, seeds: dict[str, int], names: Callable[[str], str] = str) -> Path:
    """Pictures and a COCO instance file in a folder."""
    (folder / "shots").mkdir(parents=True)
    annotations, entries = [], []
    for key, (file, seed) in enumerate(seeds.items(), start=7):
        picture(seed).save(folder / "shots" / file)
        entries.append({"id": key, "file_name": file, "height": SIZE[0], "width": SIZE[1]})
        for name, (x0, y0, x1, y1) in objects_of(seed):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": 10 * CLASSES.index(name),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 10 * k, "name": names(name)} for k, name in enumerate(CLASSES) if k]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": entries, "annotations": annotations, "categories": categories}))
    return path


def voc(folder: Path, seeds: dict[str, int]) -> Path:
    """The same as XML."""
    (folder / "Annotations").mkdir(parents=True)
    for file, seed in seeds.items():
        rows = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0 + 1!r}</xmin><ymin>{y0 + 1!r}</ymin>"
            f"<xmax>{x1!r}</xmax><ymax>{y1!r}</ymax></bndbox></object>"
            for name, (x0, y0, x1, y1) in objects_of(seed)
        )
        (folder / "Annotations" / f"{Path(file).stem}.xml").write_text(f"<annotation>{rows}</annotation>")
    return folder


SEEDS = {"a.png": 1, "b.png": 2, "c.png": 3}


def made(tmp_path: Path, **given: Any) -> relprop.reports.Report:
    truth = tmp_path / "instances.json"
    if not truth.exists():
        coco(tmp_path, SEEDS)
    asked = {"out": tmp_path / "out", "method": CHEAP, "most": 2} | given
    return relprop.reports.mistakes(asked.pop("detector", detector()), tmp_path / "shots", truth, **asked)


class Page(HTMLParser):
    """What stands in a page: tags, the attributes of rows, texts of cells, links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.items: list[dict[str, str | None]] = []
        self.cells: list[list[str]] = []
        self.buttons: dict[tuple[str, str], int] = {}
        self.links: list[str] = []
        self._cell = False
        self._button: tuple[str, str] | None = None
        self._bold = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        had = dict(attrs)
        self.tags.append(tag)
        self.links += [
            f"{tag} {key}={value}" for key, value in attrs if key in ("src", "href", "srcset", "action")
        ]
        if (had.get("class") or "").split()[:1] == ["item"]:
            self.items.append(had)
            self.cells.append([])
        if had.get("role") == "cell":
            self._cell = True
            self.cells[-1].append("")
        if tag == "button":
            kind = had.get("data-set-kind")
            self._button = None if kind is None else (kind, had.get("data-set-reason") or "")
        self._bold = tag == "b"

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "div"
        self._button = None if tag == "button" else self._button
        self._bold = False

    def handle_data(self, data: str) -> None:
        if self._cell and data.strip():
            self.cells[-1][-1] += data.strip()
        if self._bold and self._button:
            self.buttons.setdefault(self._button, int(data))


def test_json_csv_and_page_say_the_same(tmp_path: Path) -> None:
    report = made(tmp_path)
    out = tmp_path / "out"
    document = json.loads((out / "mistakes.json").read_text())
    assert document["mistakes"] == report.document["mistakes"]
    mistakes = document["mistakes"]
    kinds = {row["kind"] for row in mistakes}
    assert {"confusion", "localisation", "background", "missed"} <= kinds
    rows = list(csv.DictReader((out / "mistakes.csv").read_text().splitlines()))
    assert len(rows) == len(mistakes)
    for row, one in zip(rows, mistakes, strict=True):
        assert (row["picture"], row["id"], row["kind"]) == (one["picture"], one["id"], one["kind"])
        assert float(row["score"]) == one["score"]
        assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == one["box"]
        assert (row["explained"] == "yes") == (one["explained"] is not None)
        assert row["words"] == one["words"]
    page = Page((out / "report.html").read_text())
    shown = {
        (i["data-picture"], i["data-kind"], float(i["data-score"] or 0), float(i["data-iou"] or 0))
        for i in page.items
    }
    assert shown == {(m["picture"], m["kind"], m["score"], m["iou"]) for m in mistakes}
    assert len(page.items) == len(mistakes)
    for item, cells in zip(page.items, page.cells, strict=True):
        assert item["data-said"] == cells[2]
        assert item["data-true"] == ("" if cells[4] == "–" else cells[4])
        assert cells[3] == f"{float(item['data-score'] or 0):.2f}"
        assert cells[7] == item["data-picture"]
    # The counts over the list are those of the rows.
    summary = document["summary"]
    for kind, count in summary["false_positives"].items():
        assert count == sum(m["kind"] == kind for m in mistakes) == page.buttons[kind, ""]
    for reason, count in summary["missed"].items():
        assert count == sum(m["reason"] == reason for m in mistakes) == page.buttons["missed", reason]
    assert page.buttons["missed", ""] == sum(summary["missed"].values())
    assert summary["objects"] == summary["hits"] + sum(summary["missed"].values())
    assert summary["detections"] == (
        summary["hits"] + summary["ignored"] + summary["unjudged"] + sum(summary["false_positives"].values())
    )
    assert sum(c["count"] for c in summary["confusions"]) == summary["false_positives"]["confusion"]
    assert sum(c["found"] for c in summary["classes"]) == summary["hits"]
    sides = [
        ((m["true_box"][2] - m["true_box"][0]) * (m["true_box"][3] - m["true_box"][1])) ** 0.5
        for m in mistakes
        if m["reason"] == "poor box"
    ]
    assert summary["median_side"]["poor box"] == pytest.approx(np.median(sides), rel=1e-5)


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    made(tmp_path)
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert page.links == []
    assert {"link", "iframe", "object", "base", "img"}.isdisjoint(page.tags)
    assert page.tags.count("script") == 1
    sources = re.findall(r"url\(\s*[\"']?([^)\"']{0,30})", text)
    assert len(sources) > 3
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    bare = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", text)
    assert re.findall(r"(?:https?:|ftp:|@import|//[a-z])", bare) == []


def test_hostile_names_stay_words(tmp_path: Path) -> None:
    bad = '</style><script>alert("1")</script>&{{ 7*7 }}'
    file = "a' onmouseover=alert(1) <b>.png"
    truth = coco(tmp_path, {file: 1, "b.png": 2}, lambda name: bad if name == "ball" else name)
    named = replace(detector(), classes=["nothing", bad, "cube", "star"], name="<i>me</i>")
    report = relprop.reports.mistakes(
        named, tmp_path / "shots", truth, out=tmp_path / "o", method=CHEAP, most=1
    )
    text = (tmp_path / "o" / "report.html").read_text()
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("style") == 2
    assert all("onmouseover" not in item for item in page.items)
    assert {item["data-picture"] for item in page.items} == {file, "b.png"}
    names = {item["data-said"] for item in page.items} | {item["data-true"] for item in page.items}
    assert bad in names
    assert "49" not in {*names}
    assert bad in {m["said"] for m in report.document["mistakes"]} | {
        m["true"] for m in report.document["mistakes"]
    }


def test_what_is_explained_of_each_kind(tmp_path: Path) -> None:
    document = made(tmp_path).document
    by_kind = {m["kind"]: m for m in document["mistakes"] if m["explained"]}
    maps = {kind: [one["title"] for one in m["explained"]["maps"]] for kind, m in by_kind.items()}
    confused = by_kind["confusion"]
    said, true = confused["said"], confused["true"]
    assert maps["confusion"] == [f"{said} rather than {true}", f"why {said}", f"what if {true}"]
    assert maps["background"] == [f"why {by_kind['background']['said']}"]
    poor = by_kind["localisation"]
    assert maps["localisation"][4] == f"why {poor['said']}"
    assert sorted(maps["localisation"][:4]) == ["bottom edge", "left edge", "right edge", "top edge"]
    wrong = [abs(a - b) for a, b in zip(poor["box"], poor["true_box"], strict=True)]
    worst = ("left edge", "top edge", "right edge", "bottom edge")[wrong.index(max(wrong))]
    assert maps["localisation"][0] == worst
    assert f"{max(wrong):.0f} px too far" in poor["explained"]["maps"][0]["words"]
    for m in document["mistakes"]:
        if m["explained"]:
            assert all((tmp_path / "out" / f).is_file() for f in m["explained"]["files"])
    # The numbers are those of an explanation of the same unit.
    shot = picture(SEEDS[confused["picture"]])
    d = detector()(shot)[confused["detection"]]
    e = relprop.explain_detection(detector(), shot, d, "class", [said, true], CHEAP)
    heat = e.heatmap()[:, 0]
    box = [v / s for v, s in zip(d.box.tolist(), (40 / 16, 24 / 16) * 2, strict=True)]
    expected = [positive_inside(heat[0] - heat[1], box), *(positive_inside(h, box) for h in heat)]
    assert [one["inside"] for one in confused["explained"]["maps"]] == pytest.approx(expected, rel=1e-5)


def test_most_counts_each_kind(tmp_path: Path) -> None:
    document = made(tmp_path, most=1).document
    explained = [(m["kind"], m["reason"]) for m in document["mistakes"] if m["explained"]]
    assert sorted(explained, key=str) == sorted(set(explained), key=str)
    assert set(explained) == {(m["kind"], m["reason"]) for m in document["mistakes"]}
    assert made(tmp_path, most=0, out=tmp_path / "none").document["summary"]["explained"] == 0


def test_pairs_of_classes_take_turns() -> None:
    def row(said: str, true: str, score: float) -> dict[str, Any]:
        return {"kind": "confusion", "reason": None, "said": said, "true": true, "score": score}

    rows = [
        row("a", "b", 0.9),
        row("a", "b", 0.8),
        row("c", "d", 0.4),
        row("a", "b", 0.95),
        row("c", "d", 0.5),
    ]
    assert chosen_of(rows, 2) == [3, 4]  # the best of each pair
    assert chosen_of(rows, 3) == [0, 3, 4]
    assert chosen_of(rows, 9) == [0, 1, 2, 3, 4]
    big, small = ({"kind": "missed", "reason": "cut", "true": "a", "true_box": [0, 0, s, s]} for s in (9, 2))
    assert chosen_of([small, big], 1) == [1]


def test_a_run_that_was_cut_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(tmp_path, out=tmp_path / "whole").document
    total: list[int] = []

    def cut_after(steps: int) -> Callable[[float, int | None, str], None]:
        def tell(done: float, of: int | None, what: str) -> None:
            total.append(int(of or 0))
            if done >= steps:
                raise KeyboardInterrupt

        return tell

    for steps in (1, 2, 4, 5):  # while detecting, and while explaining
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, progress=cut_after(steps))
        assert not (tmp_path / "out" / "mistakes.json").exists()
    assert max(total) > 3
    lines = (tmp_path / "out" / "pictures.jsonl").read_text().splitlines()
    assert len(lines) == 5
    with (tmp_path / "out" / "pictures.jsonl").open("a") as file:
        file.write('{"key": ["cut o')
    runs: list[str] = []
    own = Detector.__call__
    monkeypatch.setattr(Detector, "__call__", lambda self, image: runs.append("") or own(self, image))
    again = made(tmp_path).document
    assert _without_places(again) == _without_places(whole)
    for file in ("mistakes.csv", "mistakes.json", "report.html"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert 0 < len(runs) <= len(SEEDS)  # to explain; nothing was judged again
    runs.clear()
    made(tmp_path)
    assert runs == []
    # A map that was taken away is made again.
    gone = next((tmp_path / "out" / "maps").iterdir())
    gone.unlink()
    made(tmp_path)
    assert gone.is_file()
    assert len(runs) == 1


def _without_places(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "files"}


def test_other_settings_are_refused_and_more_is_added(tmp_path: Path) -> None:
    made(tmp_path, most=1)
    with pytest.raises(InputError, match="same method"):
        made(tmp_path, method="gradient")
    with pytest.raises(InputError, match="same threshold"):
        made(tmp_path, detector=detector(score_threshold=0.4))
    with pytest.raises(InputError, match="same detector"):
        made(tmp_path, detector=detector(nms_threshold=0.5))
    with pytest.raises(InputError, match="same detector"):
        made(tmp_path, detector=replace(detector(), anchors=tiny_detector.anchors() + 0.5))
    truth = json.loads((tmp_path / "instances.json").read_text())
    before = json.loads((tmp_path / "out" / "mistakes.json").read_text())["summary"]["explained"]
    assert made(tmp_path, most=3).document["summary"]["explained"] > before
    truth["annotations"].pop()
    (tmp_path / "instances.json").write_text(json.dumps(truth))
    with pytest.raises(InputError, match="same truth"):
        made(tmp_path)


def test_voc_and_coco_say_the_same(tmp_path: Path) -> None:
    first = made(tmp_path).document
    truth = voc(tmp_path / "xml", SEEDS)
    shots = tmp_path / "shots"
    second = relprop.reports.mistakes(
        detector(), shots, truth, out=tmp_path / "v", method=CHEAP, most=2
    ).document
    assert second["truth"]["kind"] == "VOC"
    assert second["summary"]["map50"] == first["summary"]["map50"]
    kept = (
        "id",
        "picture",
        "kind",
        "reason",
        "said",
        "true",
        "score",
        "true_score",
        "detection",
        "anchor",
        "by",
    )
    assert [{k: m[k] for k in kept} for m in second["mistakes"]] == [
        {k: m[k] for k in kept} for m in first["mistakes"]
    ]


def test_what_one_side_alone_knows_is_said(tmp_path: Path) -> None:
    coco(tmp_path, SEEDS, lambda name: {"cube": "crate", "star": "STAR"}.get(name, name))
    picture(9).save(tmp_path / "shots" / "stranger.png")
    (tmp_path / "shots" / "b.png").write_bytes(b"no picture")
    report = made(tmp_path)
    document = report.document
    classes = document["truth"]["classes"]
    assert classes["renamed"] == [["STAR", "star"]]
    assert list(classes["only_truth"]) == ["crate"]
    assert classes["only_truth"]["crate"] >= 2
    assert list(classes["only_detector"]) == ["cube"]
    assert classes["only_detector"]["cube"] == document["summary"]["unjudged"]
    assert {m["true"] for m in document["mistakes"] if m["kind"] == "missed"} <= {"ball", "star"}
    assert document["pictures"] == {"given": 4, "judged": 2, "without_truth": 1, "failed": 1}
    assert document["failures"][0]["picture"] == "b.png"
    assert report.open  # the command ends with 1
    said = str(report)
    assert "STAR = star" in said
    assert "doesn't know crate" in said
    assert "FAILED, b.png" in said


def test_what_a_network_raises_at_one_picture_stops_no_other(tmp_path: Path) -> None:
    class Picky(torch.nn.Module):
        def __init__(self, most: float) -> None:
            super().__init__()
            self.raw, self.most = tiny_detector.raw().double(), most

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            if x.mean() > self.most:
                raise ValueError("too bright")
            return self.raw(x)

    means = [float(detector().prepared(picture(seed)).x.mean()) for seed in SEEDS.values()]
    picky = replace(detector(), raw=Picky(sorted(means)[1]).eval())
    document = made(tmp_path, detector=picky, most=0).document
    assert document["pictures"]["judged"] == 2
    assert document["failures"][0]["problem"] == "ValueError: too bright"
    with pytest.raises(ValueError, match="too bright"):  # at every picture it is the network's own
        made(tmp_path, detector=replace(detector(), raw=Picky(-9.0).eval()), most=0, out=tmp_path / "other")


def test_a_mistake_that_cannot_be_explained_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = mistakes.explain_mistake

    def failing(*kinds: str) -> Callable[..., Any]:
        def explain(*given: Any) -> Any:
            if given[4]["kind"] in kinds:
                raise RuntimeError(f"no <{given[4]['kind']}>")
            return own(*given)

        return explain

    monkeypatch.setattr(mistakes, "explain_mistake", failing("background"))
    report = made(tmp_path, most=1)
    assert report.open
    assert {m["problem"] for m in report.document["mistakes"]} == {None, "RuntimeError: no <background>"}
    assert (
        "Not explained: RuntimeError: no &lt;background&gt;" in (tmp_path / "out" / "report.html").read_text()
    )
    monkeypatch.undo()
    assert not made(tmp_path, most=1).open  # the next run makes up for it
    monkeypatch.setattr(
        mistakes,
        "explain_mistake",
        failing("background", "missed", "confusion", "localisation", "both", "duplicate"),
    )
    with pytest.raises((RuntimeError, RelpropError), match="no <"):
        made(tmp_path, most=1, out=tmp_path / "other")


def test_refusals(tmp_path: Path) -> None:
    truth = coco(tmp_path, {"a.png": 1})
    shots = tmp_path / "shots"

    def ask(**given: Any) -> None:
        asked = {"detector": detector(), "images": shots, "truth": truth} | given
        asked |= {"out": tmp_path / "never", "method": CHEAP}
        relprop.reports.mistakes(**asked)

    with pytest.raises(InputError, match="class names"):
        ask(detector=replace(detector(), classes=None))
    with pytest.raises(InputError, match="no name is the same"):
        ask(detector=replace(detector(), classes=["a", "b", "c", "d"]))
    with pytest.raises(InputError, match="does not exist"):
        ask(truth=tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="holds none"):
        ask(truth=shots)
    picture(3).save(tmp_path / "other.png")
    with pytest.raises(InputError, match="knows none of the 1"):
        ask(images=tmp_path / "other.png")
    with pytest.raises(InputError, match="most"):
        ask(most=-1)
    picture(3).resize((50, 50)).save(shots / "a.png")
    with pytest.raises(InputError, match="40 x 24 pixels"):
        ask()


def test_a_crowd_is_no_object(tmp_path: Path) -> None:
    path = coco(tmp_path, {"a.png": 1})
    truth = json.loads(path.read_text())
    for one in truth["annotations"]:
        one["iscrowd"] = 1
    path.write_text(json.dumps(truth))
    document = made(tmp_path).document
    assert document["summary"]["objects"] == 0
    assert document["summary"]["map50"] is None
    assert document["summary"]["ignored"] >= 1
