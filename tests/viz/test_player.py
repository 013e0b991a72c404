"""The player: what stands in its HTML, and that it plays, steps and jumps in Chromium."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.viz.clips import flat, separation

from relprop.errors import InputError
from relprop.video.films import reel
from relprop.viz.embedded import csp_hash
from relprop.viz.motion_player import motion_player
from relprop.viz.player import PLAYER_SCRIPT, PlayedFilm, player_html

SHADES = [0, 40, 80, 120, 160, 200, 240]  # of the film's frames, in order


def film(name: str = "grey", **sums: Any) -> PlayedFilm:
    frames = np.empty((7, 32, 48, 3), np.uint8)
    frames[:] = np.array(SHADES, np.uint8).reshape(-1, 1, 1, 1)
    return PlayedFilm(name, frames, f"a {name} film", **sums)


def sheets(page: str) -> list[np.ndarray[Any, Any]]:
    found = re.findall(r'<img src="data:image/webp;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_every_frame_stands_on_the_sheet() -> None:
    (sheet,) = sheets(player_html([film()]))
    assert sheet.shape == (3 * 32, 3 * 48, 3)
    for k, shade in enumerate(SHADES):
        top, left = k // 3 * 32, k % 3 * 48
        assert np.abs(sheet[top : top + 32, left : left + 48].astype(int) - shade).max() <= 3
    (small,) = sheets(player_html([film()], side=24))
    assert small.shape == (3 * 16, 3 * 24, 3)


def test_bars_are_as_long_as_their_numbers_on_one_scale() -> None:
    up, down = [0, 1, 4, 0, 0, 0, 0], [0, 0, -2, 0, 0, 0, -4]
    page = player_html([film("a", positive=up), film("b", positive=np.divide(up, 2), negative=down), film()])
    rows = re.findall(r"<svg.*?</svg>", page)
    assert len(rows) == 2  # the film without sums has no row
    bars = [re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width=".76" height="([\d.]+)"', row) for row in rows]
    # Eight units lie between the longest for, 4, and the longest against, −4: 12.5 of 100 each.
    assert bars[0] == [("1.12", "37.50", "12.50"), ("2.12", "0.00", "50.00")]
    assert bars[1] == [
        ("1.12", "43.75", "6.25"), ("2.12", "25.00", "25.00"),
        ("2.12", "50.00", "25.00"), ("6.12", "50.00", "50.00"),
    ]  # fmt: skip
    assert 'data-start="2"' in page  # where the first film has most
    assert 'data-start="0"' in player_html([film()])


def test_words_are_escaped_and_nothing_is_fetched() -> None:
    bad = '"><script>alert(1)</script>'
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    page = player_html([PlayedFilm(bad, frames, bad, bad, [1, 2])], caption=bad, script=False)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []


def test_fragments_of_a_page_don_t_meet() -> None:
    page = "".join(player_html([film()]) for _ in range(3))
    names = re.findall(r'<input type="range" id="([^"]+)"', page)
    assert len(set(names)) == 3


def test_films_of_a_separation() -> None:
    s = separation()
    page = motion_player(reel(s, flat(6, 32, 40)), names=["a & b"], filmed=25.0)
    assert page.count("<div data-film ") == 4
    assert "what is relevant for a &amp; b because it moves" in page
    assert 'value="25">25 a second, as filmed' in page
    sums = [[float(v) for v in text.split()] for text in re.findall(r'data-sums="([^"]+)"', page)]
    for given, wanted in zip(sums, (s.original, s.spatial, s.temporal), strict=True):
        assert given == pytest.approx(wanted[0].double().sum((1, 2)).tolist(), rel=6e-3)
    assert "of all relevance" not in page  # naive films are no parts of a whole
    whole = {
        name: torch.ones(1, 6, 32, 40) * k for name, k in (("original", 4), ("spatial", 1), ("temporal", 3))
    }
    page = motion_player(reel(separation(mode="conserving", **whole), flat(6, 32, 40)), names=["a"])
    assert "25 % of all relevance" in page
    assert "75 % of all relevance" in page
    assert page.count("<div data-film ") == 4


def test_a_separation_without_a_common_unit_has_no_bars() -> None:
    s = separation(settings={"normalise": "maxabs"})
    assert "<svg" not in motion_player(reel(s, flat(6, 32, 40)))


def test_refusals() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    for wrong in (frames / 255, frames[0], frames[..., :2], np.zeros((0, 4, 4, 3), np.uint8)):
        with pytest.raises(InputError, match=r"uint8 array \(T, H, W, 3\)"):
            PlayedFilm("a", wrong, "a film")
    with pytest.raises(InputError, match="alt to say"):
        PlayedFilm("a", frames, " ")
    with pytest.raises(InputError, match="each of 3 frames"):
        PlayedFilm("a", frames, "a film", positive=[1, 2])
    with pytest.raises(InputError, match="finite sums"):
        PlayedFilm("a", frames, "a film", negative=[1, 2, np.nan])
    with pytest.raises(InputError, match="one length"):
        player_html([film(), PlayedFilm("a", frames, "a film")])
    with pytest.raises(InputError, match="one length"):
        player_html([])
    with pytest.raises(InputError, match="frames a second"):
        player_html([film()], fps=0)
    with pytest.raises(InputError, match="16383 x 16383"):
        player_html([PlayedFilm("a", np.zeros((8100, 184, 1, 3), np.uint8), "a film")], side=184)


POLICY = (
    f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{csp_hash(PLAYER_SCRIPT)}'"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed: the player is not tested in a browser")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def opened(browser: Any, folder: Path, errors: list[str], autoplay: bool = False, **how: Any) -> Any:
    """A page from disk whose policy lets the player's own script run and nothing else."""
    amounts = [1, 2, 9, 4, 5, 6, 7]
    body = player_html([film("grey", positive=amounts), film("second")], autoplay=autoplay, fps=6)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    (folder / "page.html").write_text(
        f'<!doctype html><meta charset="utf-8">{policy}{body}', encoding="utf-8"
    )
    page = browser.new_page(viewport={"width": 390, "height": 800}, **how)
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / "page.html").as_uri())
    return page


def shade(page: Any, which: int = 0) -> int:
    """The grey that is drawn."""
    script = "(e) => e.getContext('2d').getImageData(20, 20, 1, 1).data[0]"
    return int(page.locator("canvas").nth(which).evaluate(script))


def frame(page: Any) -> int:
    return int(page.locator("figure").get_attribute("data-frame"))


def test_it_steps_jumps_plays_and_pauses(browser: Any, tmp_path: Path) -> None:
    errors: list[str] = []
    page = opened(browser, tmp_path, errors)

    def shown(k: int) -> None:
        assert frame(page) == k
        assert page.locator("input").input_value() == str(k)
        assert page.locator("output").inner_text() == f"frame {k + 1} of 7"
        for which in (0, 1):
            assert abs(shade(page, which) - SHADES[k]) <= 3

    shown(2)  # the strongest
    page.get_by_role("button", name="a frame forth").click()
    shown(3)
    page.get_by_role("button", name="a frame back").click()
    page.get_by_role("button", name="a frame back").click()
    shown(1)
    page.locator("figure").focus()
    page.keyboard.press("End")
    shown(6)
    page.keyboard.press("ArrowRight")
    shown(6)
    page.keyboard.press("ArrowLeft")
    shown(5)
    page.locator("input").fill("4")
    shown(4)
    assert page.locator("input").get_attribute("aria-valuetext") == "frame 5 of 7: grey 5"
    box = page.locator("[data-bars]").bounding_box()
    page.mouse.click(box["x"] + 0.5 / 7 * box["width"], box["y"] + box["height"] - 4)
    shown(0)
    page.locator("figure").focus()
    page.keyboard.press(" ")
    page.get_by_role("button", name="pause").wait_for()
    page.locator("figure[data-frame='3']").wait_for()
    page.keyboard.press(" ")
    page.get_by_role("button", name="play").wait_for()
    stood = frame(page)
    page.wait_for_timeout(150)
    shown(stood)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("img").first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.locator("img").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
    assert errors == []


def test_it_starts_by_itself_unless_less_motion_is_wanted(browser: Any, tmp_path: Path) -> None:
    errors: list[str] = []
    page = opened(browser, tmp_path, errors, autoplay=True)
    page.locator("figure[data-frame='2']").wait_for()
    page.close()
    page = opened(browser, tmp_path, errors, autoplay=True, reduced_motion="reduce")
    page.wait_for_timeout(300)
    assert frame(page) == 2  # the strongest
    page.close()
    assert errors == []


def test_without_scripts_all_frames_are_seen(browser: Any, tmp_path: Path) -> None:
    page = opened(browser, tmp_path, [], java_script_enabled=False)
    assert page.locator("img").first.is_visible()
    assert not page.locator("canvas").first.is_visible()
    assert not page.get_by_role("button").first.is_visible()
    page.close()
