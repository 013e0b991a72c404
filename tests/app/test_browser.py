"""The tabs Picture and Compare, used as a person would, in Chromium."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from relprop.datasets import demo_image_path

SLOW = 120_000  # milliseconds: for a machine that does other things too


def opened(browser: Any, address: str, width: int = 1440) -> tuple[Any, list[str], list[str]]:
    """A page, what it asks for, and its errors."""
    asked: list[str] = []
    errors: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_default_timeout(SLOW)
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.locator("#relprop-examples [data-example]").first.wait_for()
    return page, asked, errors


@pytest.mark.parametrize("width", [1440, 390])
def test_upload_choose_point_download(address: str, browser: Any, width: int, tmp_path: Path) -> None:
    page, asked, errors = opened(browser, address, width)
    page.locator("input[type=file]").first.set_input_files(str(demo_image_path()))
    page.locator("#relprop-check p").wait_for()
    assert "the reddest tenth" in page.locator("#relprop-check").inner_text()
    best, second = (page.locator(".relprop-score").nth(i) for i in range(2))
    assert best.get_attribute("aria-pressed") == "true"
    box = page.locator(".relprop-map [data-places]")
    frame = box.bounding_box()
    box.click(position={"x": 0.3 * frame["width"], "y": 0.25 * frame["height"]})
    page.locator(".relprop-place").wait_for()
    assert page.locator(".relprop-place td").first.inner_text() == "dotted ball"
    before = page.locator(".relprop-map figcaption").inner_text()
    second.click()
    page.locator(".relprop-score").nth(1).and_(page.locator("[aria-pressed=true]")).wait_for()
    assert page.locator(".relprop-map figcaption").inner_text() != before
    assert page.locator(".relprop-place").count() == 0  # it was about the other class
    box.focus()
    for key in ("ArrowRight", "ArrowUp", "Enter"):
        page.keyboard.press(key)
    page.locator(".relprop-place").wait_for()
    slider = page.locator(".relprop-map input[type=range]")
    slider.fill("0")
    assert page.locator(".relprop-map img[data-map]").evaluate("e => e.style.opacity") == "0"
    with page.expect_download() as waited:
        page.locator(".relprop-download").first.click()
    waited.value.save_as(tmp_path / "out.zip")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    names = zipfile.ZipFile(tmp_path / "out.zip").namelist()
    assert any(name.endswith("sheet.png") for name in names)
    assert any(name.endswith("manifest.json") for name in names)
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    page.close()


def test_two_models_on_a_narrow_page(address: str, browser: Any) -> None:
    page, _, errors = opened(browser, address, 390)
    page.get_by_role("tab", name="Compare").click()
    page.locator("#relprop-compare-examples [data-example]").first.click()
    page.locator("#relprop-compared img[data-map]").nth(1).wait_for()
    assert "are the same in both maps" in page.locator("#relprop-compared").inner_text()
    page.get_by_role("combobox", name="Class", exact=True).click()
    page.get_by_role("option", name="dotted star").click()
    page.locator("#relprop-compared h3", has_text="scenes-vgg: dotted star").wait_for()
    assert page.locator(".relprop-download:visible").count() == 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []
    page.close()


def test_a_mistake_is_said_and_the_page_goes_on(address: str, browser: Any, tmp_path: Path) -> None:
    page, _, errors = opened(browser, address)
    (tmp_path / "words.png").write_text("no picture")
    page.locator("input[type=file]").first.set_input_files(str(tmp_path / "words.png"))
    page.get_by_role("alert").wait_for()
    assert "no picture format fits" in page.get_by_role("alert").inner_text()
    assert "/" not in page.get_by_role("alert").inner_text()  # nor where it lay
    page.locator("#relprop-examples [data-example]").first.click()
    page.locator(".relprop-map img[data-map]").wait_for()
    assert page.get_by_role("alert").count() == 0
    assert errors == []
    page.close()
