"""The HTML report in Chromium, opened from the disk without a network, used as a person would."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.benchmark.reports import METHODS, METRICS, records
from tests.viz.clips import flat, separation

import relprop
from relprop.benchmark.formats import to_json
from relprop.benchmark.table import tabulate
from relprop.reports import html_report

SCORES = {"alpha": 2.0, "beta": 7.0, "gamma": 4.5}
"""Of the class that each picture's explanation is about."""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of three pictures, a clip and a benchmark."""
    top = tmp_path_factory.mktemp("report")
    g = torch.Generator().manual_seed(0)
    for k, (name, score) in enumerate(SCORES.items()):
        x = torch.rand(1, 3, 24, 24, generator=g)
        warnings = ("The map is zero everywhere.",) if name == "gamma" else ()
        method = "gradient" if k % 2 else "rsp"
        e = relprop.Explanation(
            torch.randn(1, 3, 24, 24, generator=g), x, torch.tensor([[0.0, score]]), torch.tensor([1]), method,
            warnings=warnings, name=f"{name}.png",
        )  # fmt: skip
        e.save(top / "pictures" / name, labels=["no", f"class of {name}"], picture=False)
    separation(shape=(1, 4, 16, 16)).save(top / "clip" / "naive_lrp", frames=flat(4, 16, 16))
    table = tabulate(records(), METRICS, METHODS, title="three methods", controls=["random"], replicates=20)
    (top / "benchmark").mkdir()
    (top / "benchmark" / "table.json").write_text(to_json(table), encoding="utf-8")
    (top / "benchmark" / "pairs.csv").write_text("", encoding="utf-8")
    html_report(top, out=top / "report.html", title="A report")
    return top / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed: the report is not tested in a browser")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=arguments)
        yield opened
        opened.close()


@dataclass
class Tab:
    """A page with what its console said and what it asked for."""

    page: Any
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def shown(self) -> list[str]:
        """The titles of the cards that are seen, in order."""
        found: list[str] = self.page.locator("article.card:visible h3").all_inner_texts()
        return found


@pytest.fixture(scope="module")
def context(browser: Any) -> Any:
    return browser.new_context(offline=True, viewport={"width": 1280, "height": 900})


@pytest.fixture
def tab(context: Any, file: Path) -> Iterator[Tab]:
    found = Tab(context.new_page())
    found.page.on("console", lambda said: found.said.append(said.text))
    found.page.on("pageerror", lambda error: found.said.append(str(error)))
    found.page.on("request", lambda request: found.asked.append(request.url))
    found.page.goto(file.as_uri())
    yield found
    assert found.said == []
    assert found.asked
    assert all(url.startswith(("file:", "data:")) for url in found.asked)
    found.page.close()


ALL = ["class of alpha", "class of beta", "class of gamma"]


def test_cards_are_filtered(tab: Tab) -> None:
    whole = tab.shown()
    assert len(whole) == 5
    count = tab.page.locator("#count")
    assert count.inner_text() == "5 shown"
    tab.page.locator("input[name=text]").fill("BETA class")
    assert tab.shown() == ["class of beta"]
    assert count.inner_text() == "1 of 5 shown"
    assert tab.page.locator("section.subject:visible").count() == 1
    tab.page.locator("input[name=text]").fill("nothing of that name")
    assert tab.shown() == []
    tab.page.locator("#none button").click()
    tab.page.locator("#none").wait_for(state="hidden")  # the page shows them once the form is empty
    assert tab.shown() == whole
    tab.page.locator("select[name=kind]").select_option("picture")
    assert tab.shown() == ALL
    tab.page.locator("select[name=method]").select_option("gradient")
    assert tab.shown() == ["class of beta"]
    tab.page.get_by_role("button", name="Show all").first.click()
    tab.page.get_by_label("with warnings").check()
    assert tab.shown() == ["class of gamma"]
    tab.page.get_by_label("with warnings").uncheck()
    tab.page.locator("select[name=class]").select_option("class of alpha")
    assert tab.shown() == ["class of alpha"]


def test_cards_are_sorted_and_put_back(tab: Tab) -> None:
    whole = tab.shown()
    tab.page.locator("select[name=kind]").select_option("picture")
    order = tab.page.locator("select[name=sort]")
    order.select_option("-score")
    assert tab.shown() == sorted(ALL, key=lambda name: -SCORES[name.split()[-1]])
    assert tab.page.locator("#sorted .of:visible").count() == 3  # each says whose it is
    order.select_option("score")
    assert tab.shown() == sorted(ALL, key=lambda name: SCORES[name.split()[-1]])
    order.select_option("method")
    assert tab.shown() == ["class of beta", "class of alpha", "class of gamma"]
    order.select_option("")
    tab.page.locator("select[name=kind]").select_option("")
    assert tab.shown() == whole
    assert tab.page.locator("#sorted").is_hidden()


def test_the_slider_moves_by_keys(tab: Tab) -> None:
    card = tab.page.locator("article", has_text="class of alpha").first
    opacity = "map => Number(getComputedStyle(map).opacity)"
    bar, drawn = card.locator("input[type=range]"), card.locator("img[data-map]")
    assert drawn.evaluate(opacity) == pytest.approx(0.65)
    bar.focus()
    for _ in range(2):
        tab.page.keyboard.press("ArrowLeft")
    assert drawn.evaluate(opacity) == pytest.approx(0.55)
    tab.page.keyboard.press("Home")
    assert drawn.evaluate(opacity) == 0
    assert bar.get_attribute("aria-valuetext") == "map 0 %, picture 100 %"


def test_the_clip_plays(tab: Tab) -> None:
    player = tab.page.locator("figure[data-relprop-player]")
    player.get_by_role("button", name="a frame forth").click()
    player.focus()
    tab.page.keyboard.press("Home")
    assert player.locator("output").inner_text() == "frame 1 of 4"
    tab.page.keyboard.press("ArrowRight")
    assert player.locator("output").inner_text() == "frame 2 of 4"


def test_tables_are_sorted_within_their_groups(tab: Tab) -> None:
    table = tab.page.locator("article[data-kind=benchmark] table").first
    rows = "rows => rows.map(row => row.firstElementChild.textContent)"

    def names() -> list[str]:
        found: list[str] = table.locator("tbody tr:not(.group)").evaluate_all(rows)
        return found

    assert names() == ["alpha", "beta", "random"]
    head = table.locator("thead th").nth(1)
    head.locator("button").focus()
    tab.page.keyboard.press("Enter")
    assert names() == ["beta", "alpha", "random"]  # 83 % before 67 %, the control stays among its own
    assert head.get_attribute("aria-sort") == "descending"
    tab.page.keyboard.press("Enter")
    assert names() == ["alpha", "beta", "random"]
    assert head.get_attribute("aria-sort") == "ascending"


def test_keys_lead_through_the_page_and_are_seen(tab: Tab) -> None:
    tab.page.keyboard.press("Tab")
    skip = tab.page.locator("a.skip")
    assert skip.evaluate("link => link === document.activeElement && link.getBoundingClientRect().left >= 0")
    tab.page.keyboard.press("Enter")
    assert tab.page.evaluate("document.activeElement.id") == "results"
    tab.page.keyboard.press("Tab")
    seen = set()
    while tab.page.evaluate("document.activeElement !== document.body"):
        outline, tag = tab.page.evaluate(
            "[getComputedStyle(document.activeElement).outlineStyle, document.activeElement.tagName]"
        )
        assert outline != "none", tag
        seen.add(tag)
        tab.page.keyboard.press("Tab")
    assert {"INPUT", "SUMMARY"} <= seen
    fold = tab.page.get_by_role("button", name="Open all tables")
    fold.focus()
    tab.page.keyboard.press("Enter")
    assert tab.page.locator("details.table:not([open])").count() == 0
    assert tab.page.locator("#fold").inner_text() == "Fold all tables"


def test_paper_has_no_controls(tab: Tab) -> None:
    tab.page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("#controls", "a.skip", ".relprop-bar", "details:not([open])"):
        assert tab.page.locator(f"{hidden}:visible").count() == 0
    assert tab.page.locator("img[data-map]:visible").count() == 3
    assert tab.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    printed = tab.page.pdf(format="A4")
    assert printed.startswith(b"%PDF-")
    assert (
        printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") + printed.count(b"/Type /Page/") >= 1
    )
    assert b"/Subtype /Image" in printed


def test_the_dark_scheme_is_dark_and_a_telephone_needs_no_scrolling_aside(tab: Tab) -> None:
    shade = "Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert tab.page.evaluate(shade) == 255
    tab.page.emulate_media(color_scheme="dark")
    assert tab.page.evaluate(shade) < 40
    tab.page.set_viewport_size({"width": 390, "height": 800})
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_policy_is_in_force(context: Any, file: Path) -> None:
    """What got into the page would neither run nor fetch anything."""
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate(
        """() => {
          window.refused = [];
          const note = event => window.refused.push(event.effectiveDirective);
          document.addEventListener("securitypolicyviolation", note);
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          const image = document.createElement("img");
          image.src = "https://example.org/a.png";
          document.body.append(script, image);
        }"""
    )
    page.wait_for_function("window.refused.length === 2")
    assert page.evaluate("window.ran") is None
    assert sorted(page.evaluate("window.refused")) == ["img-src", "script-src-elem"]
    page.close()
