"""The tab Picture, used as a person would, in Chromium."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from relprop.datasets import demo_image_path


@pytest.mark.parametrize("width", [1440, 390])
def test_upload_choose_download(address: str, chromium: str, width: int, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    errors: list[Any] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.locator("input[type=file]").first.set_input_files(str(demo_image_path()))
        page.locator(".relprop-map img[data-map]").wait_for(timeout=60_000)
        best, second = (page.locator(".relprop-score").nth(i) for i in range(2))
        assert best.get_attribute("aria-pressed") == "true"
        before = page.locator(".relprop-map figcaption").inner_text()
        second.click()
        page.locator(".relprop-score").nth(1).and_(page.locator("[aria-pressed=true]")).wait_for()
        assert page.locator(".relprop-map figcaption").inner_text() != before
        slider = page.locator(".relprop-map input[type=range]")
        slider.fill("0")
        assert page.locator(".relprop-map img[data-map]").evaluate("e => e.style.opacity") == "0"
        with page.expect_download() as waited:
            page.locator(".relprop-download").click()
        waited.value.save_as(tmp_path / "out.zip")
        page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
        page.get_by_role("button", name="Open the example").wait_for()
        if width > 1000:
            page.get_by_role("tab", name="Compare").click()
            page.get_by_role("button", name="Compare on the example").click()
            page.locator("#relprop-compared img[data-map]").nth(1).wait_for(timeout=60_000)
            assert "are the same in both maps" in page.locator("#relprop-compared").inner_text()
            page.screenshot(path=str(tmp_path / "compare.png"), full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    names = zipfile.ZipFile(tmp_path / "out.zip").namelist()
    assert any(name.endswith("sheet.png") for name in names)
    assert any(name.endswith("manifest.json") for name in names)
    assert errors == []
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert wide <= width
