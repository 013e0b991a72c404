"""Several pages at once, leaving one, Stop, and Ctrl-C."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.app.conftest import running
from tests.app.test_browser import opened

from relprop.datasets import Scenes, demo_image_path


def _status(url: str) -> int:
    try:
        return int(urllib.request.urlopen(url).status)
    except urllib.error.HTTPError as error:
        return error.code


def test_two_pages_at_once_get_their_own_and_leaving_removes_it(
    address: str, browser: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(np.asarray(Scenes(size=112, n=9, seed=2024, split="test")[3].image)).save(other)
    pages = [opened(browser, address)[0] for _ in range(3)]
    for page, picture in zip(pages, (demo_image_path(), other, demo_image_path()), strict=True):
        page.locator("input[type=file]").first.set_input_files(str(picture))
    best = []
    for page in pages:
        page.locator(".relprop-map img[data-map]").wait_for()
        best.append(page.locator(".relprop-score[aria-pressed=true]").inner_text())
    assert best[0] == best[2] != best[1]
    link = pages[0].locator(".relprop-download").first.get_attribute("href")
    assert _status(f"{address}/{link}") == 200
    pages[0].close()
    for _ in range(100):
        if _status(f"{address}/{link}") == 404:
            break
        pages[1].wait_for_timeout(200)
    assert _status(f"{address}/{link}") == 404
    pages[1].locator(".relprop-score").nth(1).click()  # the others' is
    pages[1].locator(".relprop-score").nth(1).and_(pages[1].locator("[aria-pressed=true]")).wait_for()
    for page in pages[1:]:
        page.close()


def test_stop_ends_it_and_the_next_question_is_answered(browser: Any, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    with running(tmp_path, "-m", "scenes-resnet", slow=slow) as (_, address):
        page, _, errors = opened(browser, address)
        page.locator("#relprop-examples [data-example]").first.click()
        page.locator("#relprop-check p").wait_for()
        page.locator("progress").wait_for(state="detached")
        slow.touch()
        page.get_by_label("Methods").click()
        page.get_by_role("option", name="smoothgrad").click()
        page.locator("progress[value]").wait_for()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()  # said only after the computation has ended
        page.locator(".relprop-score").nth(1).click()
        page.locator("progress[value]").wait_for()
        page.locator("#relprop-examples [data-example]").nth(1).click()  # a newer question ends the older one
        page.locator("#relprop-maps img").first.wait_for(
            state="detached"
        )  # the new picture's scores are there
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        slow.unlink()
        page.locator(".relprop-score").nth(1).click()
        page.locator(".relprop-map img[data-map]").first.wait_for()
        page.get_by_text("The same in a terminal and in Python").first.click()
        # What was stopped is what is asked about.
        page.locator(".cm-content", has_text="scene-3.png").first.wait_for()
        assert errors == []
        page.close()


def test_ctrl_c_in_the_middle_of_an_answer_leaves_nothing(browser: Any, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    with running(tmp_path, "-m", "scenes-resnet", str(demo_image_path()), slow=slow) as (process, address):
        page, _, _ = opened(browser, address)
        page.locator("progress").wait_for()  # it opens what it was given by itself
        assert list(tmp_path.glob("relprop-app-*"))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
        page.close()
    assert list(tmp_path.glob("relprop-app-*")) == []


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_no_other_site_may_send(address: str, origin: str) -> None:
    request = urllib.request.Request(f"{address}/upload", b"x", {"Origin": origin, "X-Name": "a.png"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(request)
