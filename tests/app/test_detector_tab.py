"""The tab Detector, used as a person would, in Chromium: one server for all of it."""

from __future__ import annotations

import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.app.conftest import running
from typer.testing import CliRunner

import relprop
from relprop.app.detector import detector_lines
from relprop.cli.app import app
from relprop.datasets import demo_image_path
from relprop.datasets.demo import demo_photo_path
from relprop.reports import DetectionConversation, DetectionQuestion

pytest.importorskip("gradio")
pytest.importorskip("playwright")
LONG = 90_000  # milliseconds: a machine may be busy


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is no detector."""
    file = tmp_path_factory.mktemp("own") / "classifier.py"
    file.write_text(
        "import torch\n\ndef make():\n    return torch.nn.Sequential(torch.nn.Linear(3, 2)).eval()\n"
    )
    return file


@pytest.fixture(scope="module")
def served(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("app"), "-m", "scenes-ssd", "-m", f"{own}:make") as (_, where):
        yield where


class Visit:
    """A page that is open, with what went wrong on it."""

    def __init__(self, browser: Any, address: str, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.errors: list[str] = []
        self.asked: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.get_by_role("tab", name="Detector").click()
        self.address = address

    @property
    def tab(self) -> Any:
        return self.page.get_by_role("tabpanel").filter(has=self.page.locator("#relprop-boxes"))

    def open(self, file: Path) -> None:
        self.tab.locator("input[type=file]").set_input_files(str(file))

    def example(self) -> None:
        self.tab.locator('[data-example="0"]').click()

    def code(self) -> str:
        """The lines that give the same: a click opens them."""
        self.tab.get_by_role("button", name="The same in a terminal and in Python").click()
        lines = self.page.locator("#relprop-detector-code .cm-content")
        lines.wait_for(timeout=LONG)
        return str(lines.inner_text())

    def measured(self, name: str) -> None:
        """Wait until all is said about a class."""
        self.page.locator("#relprop-why h3", has_text=f"Why {name}").wait_for(timeout=LONG)
        self.page.locator("#relprop-held strong").wait_for(timeout=LONG)
        self.page.locator("#relprop-edges svg.relprop-cells").nth(3).wait_for(timeout=LONG)

    def close(self) -> None:
        assert self.errors == []
        assert [url for url in self.asked if not url.startswith((self.address, "data:", "blob:"))] == []
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.page.viewport_size["width"]
        self.page.close()


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_click_ask_compare_download(
    browser: Any, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = tmp_path / "my scene.png"
    scene.write_bytes(demo_image_path().read_bytes())
    with DetectionConversation("scenes-ssd", scene) as talk:
        second = talk.measured(DetectionQuestion(1, versus="1"))
        names = [talk.name(d) for d in talk.found]
    rival = talk.loaded.detector.classes[1]  # type: ignore[index]

    visit = Visit(browser, served, 1440)
    page = visit.page
    visit.open(scene)
    visit.measured(names[0])
    listed = [text.split("\n") for text in page.locator(".relprop-found button").all_inner_texts()]
    assert [name for _, name, _ in listed] == names
    page.locator('.relprop-stage button[data-box="1"]').click()
    visit.measured(names[1])
    assert page.locator('[data-box="1"][aria-pressed="true"]').count() == 2  # on the picture and in the list
    assert page.locator('[data-box="0"][aria-pressed="true"]').count() == 0
    visit.tab.get_by_label("rather than which other").click()
    page.get_by_role("option", name=rival).click()
    page.locator("#relprop-why h4", has_text=f"{names[1]} rather than {rival}").wait_for(timeout=LONG)
    page.locator("#relprop-held", has_text=second.what_if).wait_for(timeout=LONG)

    assert second.account in page.locator("#relprop-why").inner_text()
    assert second.checks[0] in page.locator("#relprop-held").inner_text()
    edges = page.locator("#relprop-edges").inner_text()
    assert [words for words in second.edges if words not in edges] == []
    assert second.box in edges
    assert f"unit {second.detection.anchor}." in page.locator("#relprop-unit").inner_text()
    maps = page.locator("#relprop-why img[data-map]")
    page.locator("#relprop-why input[type=range]").first.fill("0")
    assert maps.first.evaluate("e => e.style.opacity") == "0"
    drawn = page.locator("#relprop-boxes img, #relprop-why img, #relprop-edges img")
    assert drawn.count() > 10
    assert drawn.evaluate_all("all => all.filter(i => !i.alt).length") == 0

    # What is downloaded is what the command writes, and what the printed Python gives.
    with page.expect_download(timeout=LONG) as waited:
        visit.tab.locator(".relprop-download").click()
    waited.value.save_as(tmp_path / "out.zip")
    zipfile.ZipFile(tmp_path / "out.zip").extractall(tmp_path / "zip")
    code = detector_lines("my scene.png", "scenes-ssd", DetectionQuestion(1, versus="1"))
    assert visit.code().split() == code.split()
    shell, *python = code.split("\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*shlex.split(shell)[1:], "--out", str(tmp_path / "command")])
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "zip" / "relprop-out") == files(tmp_path / "command")
    known: dict[str, Any] = {}
    exec("\n".join(python), known)
    for name, e in known["report"].numbers.items():
        saved = relprop.Explanation.load(tmp_path / "zip" / "relprop-out" / name)
        assert torch.allclose(saved.relevance, e.relevance, atol=1e-6)

    # The keyboard does it, too, and stays where it was.
    page.locator('.relprop-found button[data-box="2"]').focus()
    page.keyboard.press("Enter")
    visit.measured(names[2])
    assert page.evaluate("document.activeElement.dataset.box") == "2"
    visit.close()


def test_a_place_other_methods_and_layers_on_a_phone(browser: Any, served: str) -> None:
    visit = Visit(browser, served, 390)
    page = visit.page
    visit.example()
    page.locator("#relprop-edges svg.relprop-cells").nth(3).wait_for(timeout=LONG)
    visit.tab.get_by_label("Layer by layer").check()
    page.locator("#relprop-unit table").nth(1).wait_for(timeout=LONG)
    visit.tab.get_by_label("Method").click()
    page.get_by_role("option", name="gradient", exact=True).click()
    page.locator("#relprop-why", has_text="keeps no account").wait_for(timeout=LONG)
    assert "--method gradient --layers" in visit.code()
    picture = page.locator("[data-picture]")
    picture.scroll_into_view_if_needed()
    size = picture.bounding_box()
    picture.click(position={"x": 0.1 * size["width"], "y": 0.8 * size["height"]})
    page.locator("#relprop-unit", has_text="It is no detection").wait_for(timeout=LONG)
    assert page.locator(".relprop-ring").count() == 1
    x, y = map(float, visit.tab.get_by_label("A missed object?").input_value().split(","))
    assert abs(x - 11) <= 2
    assert abs(y - 90) <= 2
    visit.close()


def test_what_can_t_be_answered_is_said_in_a_sentence(
    browser: Any, served: str, own: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (112, 112), (128, 128, 128)).save(tmp_path / "grey.png")
    (tmp_path / "broken.png").write_bytes(demo_image_path().read_bytes()[:300])
    visit = Visit(browser, served, 1440)
    page = visit.page
    visit.open(tmp_path / "grey.png")
    page.locator("#relprop-boxes", has_text="No detection with a score over").wait_for(timeout=LONG)
    place = visit.tab.get_by_label("A missed object?")
    for text, said in (("400,5", "a place x,y in the picture of 112 x 112"), ("here", "such as 120,80")):
        place.fill(text)
        place.press("Enter")
        visit.tab.locator(".relprop-bar p", has_text=said).wait_for(timeout=LONG)
    visit.open(tmp_path / "broken.png")
    visit.tab.locator(".relprop-bar p", has_text="can't be decoded").wait_for(timeout=LONG)
    visit.open(demo_photo_path())
    page.locator("#relprop-boxes .relprop-warning", has_text="drawn scenes").wait_for(timeout=LONG)
    visit.tab.get_by_label("Detector").click()
    page.get_by_role("option", name=f"{own}:make").click()
    visit.example()
    visit.tab.locator(".relprop-bar p.relprop-warning", has_text="Expected").wait_for(timeout=LONG)
    visit.tab.get_by_label("Detector").click()
    page.get_by_role("option", name="scenes-ssd").click()
    visit.example()
    visit.measured("dotted ball")  # the app goes on
    visit.close()
