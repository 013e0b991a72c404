"""The tab Video, used as a person would, in Chromium; and the app opened with a clip."""

from __future__ import annotations

import io
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.app.conftest import running

from relprop.app.desk import Desk
from relprop.app.given import is_clip
from relprop.app.video import clip_model
from relprop.cli import run
from relprop.datasets import demo_clip_path, demo_image_path
from relprop.models.sources import load_model
from relprop.video.clip import read_clip
from relprop.video.separation import MotionSeparation
from relprop.viz.film import save_mp4

Page = Any


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of drawn.mp4, and of files that are refused."""
    folder = tmp_path_factory.mktemp("films")
    sampling = load_model("motion-c3d").sampling
    assert sampling is not None
    frames = read_clip(demo_clip_path(), sampling).frames
    save_mp4(frames, folder / "drawn.mp4", 8)
    save_mp4(np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8), folder / "noise.mp4", 8)
    whole = (folder / "noise.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "words.mp4").write_text("no film at all")
    save_mp4(np.zeros((130, 16, 16, 3), np.uint8), folder / "long.mp4", 1)
    return folder


@pytest.fixture(scope="module")
def clip_app(films: Path) -> Iterator[str]:
    """The address of an app that was opened with the folder."""
    pytest.importorskip("gradio")
    with running(films.parent, str(films), slow=films.parent / "slow") as (_, where):
        yield where


@pytest.fixture
def page(browser: Any, clip_app: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The app's page, of which nothing may be wrong in the end."""
    asked: list[str] = []
    errors: list[str] = []
    width = getattr(request, "param", 1440)
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(clip_app)
    yield page
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.close()
    assert errors == []
    assert [url for url in asked if not url.startswith((clip_app, "data:", "blob:"))] == []
    assert wide <= width


def drop(page: Page, file: Path) -> None:
    page.locator("input[type=file]").locator("visible=true").or_(
        page.locator("[role=tabpanel]:visible input[type=file]")
    ).first.set_input_files(str(file))


def answered(page: Page, *said: str) -> str:
    """The words below the films, once all of these are among them."""
    below = page.locator(".relprop-said")
    for words in said:
        below = below.filter(has_text=words)
    below.wait_for(timeout=240_000)
    page.locator("figure[data-relprop-player][data-ready]").wait_for()
    return str(below.inner_text())


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label).click()
    page.get_by_role("option", name=option).click()


def frame(page: Page) -> int:
    return int(page.locator("figure[data-relprop-player]").get_attribute("data-frame"))


def download(page: Page) -> zipfile.ZipFile:
    with page.expect_download() as waited:
        page.locator(".relprop-download").locator("visible=true").click()
    return zipfile.ZipFile(io.BytesIO(Path(waited.value.path()).read_bytes()))


def test_upload_play_scrub_choose_download(
    page: Page, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert page.get_by_role("tab", name="Video").get_attribute("aria-selected") == "true"
    choose(page, "How looks and motion are split", "selective")
    drop(page, films / "drawn.mp4")
    said = answered(page, "Split by selective")
    assert "Of the score of left-right" in said
    assert page.locator(".relprop-warning").count() == 0
    player = page.locator("figure[data-relprop-player]")
    assert [n.inner_text() for n in player.locator("[data-film] > div:first-child").all()] == [
        "Clip", "All relevance", "Looks (spatial)", "Motion (temporal)",
    ]  # fmt: skip
    player.get_by_role("button", name="pause").click()  # it plays by itself
    player.get_by_role("button", name="play").wait_for()
    player.locator("input[type=range]").fill("11")
    assert frame(page) == 11
    player.locator("canvas").first.click()
    page.keyboard.press("ArrowLeft")
    assert frame(page) == 10
    box = player.locator("[data-bars]").bounding_box()
    page.mouse.click(box["x"] + 3.5 / 16 * box["width"], box["y"] + 30)
    assert frame(page) == 3
    sums = player.locator("svg[data-sums]").all()
    assert len(sums) == 3
    page.locator("#relprop-clip-scores .relprop-score", has_text="rotating").click()
    answered(page, "Of the score of rotating")
    pressed = page.locator("#relprop-clip-scores [aria-pressed=true]")
    assert pressed.inner_text().startswith("rotating")
    assert page.locator(".relprop-warning").count() == 1  # its score is negative

    page.screenshot(path=str(tmp_path / "page.png"), full_page=True)
    pack = download(page)
    code = page.locator(".cm-content").locator("visible=true").inner_text().splitlines()
    monkeypatch.chdir(films)
    assert code[0].startswith("relprop video drawn.mp4 --model motion-c3d --target 2 ")
    assert run([*shlex.split(code[0])[1:], "--out", str(tmp_path / "cli")]) == 0
    pack.extractall(tmp_path / "app")
    own, theirs = tmp_path / "app" / "relprop-out", tmp_path / "cli"
    names = [
        sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        for folder in (own, theirs)
    ]
    assert names[0] == names[1]
    assert "drawn/film.mp4" in names[0]
    space: dict[str, Any] = {}
    exec("\n".join(line for line in code[1:]), space)  # what stands on the page
    again = next(iter(space["report"].numbers.values()))
    for folder in (own, theirs):
        kept = MotionSeparation.load(folder / "drawn" / "selective_deep-taylor")
        assert kept.settings == again.settings
        for film in ("original", "spatial", "temporal"):
            one, other = getattr(kept, film), getattr(again, film)
            assert torch.allclose(one, other, atol=1e-5 * float(other.abs().max()))


@pytest.mark.parametrize("page", [390], indirect=True)
def test_a_clip_of_the_folder_stop_and_a_narrow_page(page: Page, films: Path) -> None:
    slow = films.parent / "slow"
    page.locator("#relprop-clip-examples button").first.wait_for()
    assert page.locator("#relprop-clip-examples button").count() == 5
    assert (
        page.locator("#relprop-clip-examples img").count() == 3
    )  # two can't be read, and say so when opened
    slow.touch()
    page.get_by_role("button", name="drawn.mp4").click()
    page.locator("progress").locator("visible=true").wait_for()
    page.get_by_role("button", name="Stop").locator("visible=true").click()
    page.get_by_text("Stopped.", exact=True).wait_for(timeout=30_000)
    slow.unlink()
    assert page.locator("figure[data-relprop-player]").count() == 0
    page.get_by_role("button", name="drawn.mp4").click()
    said = answered(page, "Split by conserving")
    assert re.search(r"Of the score of left-right \d+\.\d % is there because something moves", said)
    assert "0 of 16 frames are taken for left-right" in said
    assert "The camera " in said
    canvases = page.locator("canvas").all()
    assert len({canvas.bounding_box()["y"] // 50 for canvas in canvases}) == 2  # two by two
    choose(page, "How looks and motion are split", "none: all relevance, not split")
    page.locator("canvas").nth(2).wait_for(state="detached", timeout=60_000)
    assert page.locator("canvas").count() == 2


def test_the_app_opens_the_clip_that_it_is_given(browser: Any, films: Path) -> None:
    with running(films.parent, str(films / "drawn.mp4")) as (_, where):
        page = browser.new_page()
        page.goto(where)
        assert page.get_by_role("tab", name="Video").get_attribute("aria-selected") == "true"
        assert "left-right" in answered(page, "Split by conserving")
        page.close()


def test_a_clip_that_is_not_drawn_is_warned_of_in_red(page: Page, films: Path) -> None:
    choose(page, "How looks and motion are split", "selective")
    drop(page, films / "noise.mp4")
    answered(page, "Split by selective")
    warned = page.locator(".relprop-warning", has_text="unlike the drawn clips")
    assert "torchvision:r3d_18" in warned.inner_text()
    assert warned.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(170, 17, 17)"


def test_what_is_refused(page: Page, films: Path) -> None:
    refused = {
        films / "words.mp4": "no film format fits",
        films / "cut.mp4": "cut off or damaged",
        films / "long.mp4": "at most 120 seconds",
        demo_image_path(): "a still picture (PNG)",
    }
    for file, words in refused.items():
        drop(page, file)
        told = page.locator(".relprop-warning", has_text=words)
        told.wait_for(timeout=30_000)
        assert "/tmp" not in told.inner_text()
    page.locator("#relprop-clip-scores").wait_for(state="attached")
    choose(page, "How looks and motion are split", "naive")
    page.locator(".relprop-warning").wait_for(state="detached")  # it is chosen for the first clip


def test_whose_clip_it_is(films: Path, tmp_path: Path) -> None:
    still = tmp_path / "still.gif"
    Image.new("RGB", (8, 8)).save(still)
    wanted = {films / "drawn.mp4": True, demo_clip_path(): True, demo_image_path(): False, still: False}
    assert {path: is_clip(path) for path in wanted} == wanted
    assert not is_clip(films)
    assert not is_clip(films / "words.mp4")


def test_which_model_a_clip_is_shown(tmp_path: Path) -> None:
    code = "from torch.nn import *\ndef of_{0}():\n    return Sequential(Conv{0}(3, 2, 1), Flatten())\n"
    (tmp_path / "mine.py").write_text(code.format("2d") + code.format("3d"))
    flat, deep = f"{tmp_path / 'mine.py'}:of_2d", f"{tmp_path / 'mine.py'}:of_3d"
    for models, wanted in (
        (["scenes-vgg"], "motion-c3d"),
        (["scenes-vgg", "motion-c3d", deep], "motion-c3d"),
        ([flat], "motion-c3d"),
        ([flat, deep], deep),
    ):
        desk = Desk(models)
        assert clip_model(desk) == wanted
        desk.close()
