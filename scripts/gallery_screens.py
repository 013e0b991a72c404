"""Screenshots, taken in Chromium: the app with an answer, and what a notebook shows of one. Needs relprop[app]."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from gallery_made import Made
from gallery_methods import photograph
from PIL import Image

__all__ = ["pictures"]

NOTEBOOKS = Path(__file__).resolve().parents[1] / "examples" / "notebooks"
WIDE, LONG = 1000, 120_000  # pixels of a window; milliseconds that an answer may take
OPTIONS = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]


def pictures() -> Iterator[Made]:
    """A page's picture each."""
    yield Made("app", "the app's answer about a photograph", _app, widest=WIDE)
    yield Made("notebook", "an explanation in a notebook", _notebook, widest=WIDE)


@contextmanager
def _page(wide: int, tall: int) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=OPTIONS)
        yield browser.new_page(viewport={"width": wide, "height": tall}, color_scheme="light")
        browser.close()


def _taken(part: Callable[..., bytes], **how: Any) -> Image.Image:
    return Image.open(io.BytesIO(part(type="png", **how))).convert("RGB")


def _app() -> Image.Image:
    command = [sys.executable, "-u", "-m", "relprop", "app", "--model", "efficientnet-lite0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, _page(WIDE, 1080) as page:
        try:
            assert process.stdout is not None
            page.goto(process.stdout.readline().split()[2])
            page.locator("[role=tabpanel]:visible input[type=file]").first.set_input_files(
                str(photograph("coffee"))
            )
            page.locator(".relprop-map img[data-map]").first.wait_for(timeout=LONG)
            page.wait_for_timeout(8000)  # what hiding does comes after the map
            return _taken(page.screenshot)
        finally:
            process.terminate()


def _notebook() -> Image.Image:
    """The first cell of classifier.ipynb that shows a slider, its code above it."""
    notebook = nbformat.read(NOTEBOOKS / "classifier.ipynb", as_version=4)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if "<img" in html:
                return _cell(cell.source, html)
    raise SystemExit("No cell of classifier.ipynb shows a picture.")


def _cell(source: str, html: str) -> Image.Image:
    from html import escape

    style = "font:14px monospace;background:#f7f7f7;border:1px solid #ddd;padding:10px;margin:8px"
    text = (
        f"<body style='background:white;margin:8px'><pre style='{style}'>{escape(source)}</pre>"
        f"<div style='margin:8px 16px;font:14px sans-serif'>{html}</div>"
    )
    with tempfile.TemporaryDirectory() as folder, _page(700, 100) as page:
        file = Path(folder) / "cell.html"
        file.write_text(f"<!doctype html><meta charset='utf-8'>{text}", encoding="utf-8")
        page.goto(file.as_uri())
        page.wait_for_timeout(500)
        return _taken(page.screenshot, full_page=True)
