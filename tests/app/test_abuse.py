"""What the page may be sent: one clear sentence each, nothing is left lying about, and the app goes on."""

from __future__ import annotations

import http.client
import io
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

pytest.importorskip("playwright")

from playwright.sync_api import Error

from relprop.datasets import demo_image_path
from relprop.errors import InputError

ANSWER = 120_000  # milliseconds


def _sent(address: str, data: bytes, name: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/upload", data=data, headers={"X-Name": quote(name)})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _bomb() -> bytes:
    """A PNG of 60,000 × 60,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = (60_000).to_bytes(4, "big")
    head = chunk(b"IHDR", side + side + bytes([1, 0, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")


def _picture() -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (200, 200), "teal").save(held, "PNG")
    return held.getvalue()


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..", "/etc/passwd", "a\\..\\b", "%00", "\n", "x" * 5000, ""]
)
def test_a_name_names_no_place(address: str, name: str) -> None:
    status, place = _sent(address, _picture(), name)
    assert status == 200
    folder, own, file = place.split("/")
    assert folder == "uploads"
    assert len(own) > 30
    assert file
    assert set(file) & set("/\\%\n\0") == set()
    assert file.strip(".")


def test_200_megabytes_are_turned_away(address: str) -> None:
    host = address.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=60)
    part = bytes(2**20)
    connection.putrequest("POST", "/upload")
    connection.putheader("Content-Length", str(200 * 2**20))
    connection.endheaders()
    sent = 0
    try:
        for _ in range(200):
            connection.send(part)
            sent += 1
    except OSError:  # it hangs up where it has had enough
        assert sent >= 100
    else:
        answer = connection.getresponse()
        assert (answer.status, answer.read().decode()) == (413, "it is larger than 128 MB.")
    finally:
        connection.close()
    assert urllib.request.urlopen(address).status == 200


def test_twenty_uploads_at_once_have_places_of_their_own(address: str) -> None:
    data = _picture()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda i: _sent(address, data, f"{i}.png"), range(20)))
    assert {status for status, _ in answers} == {200}
    assert len({place for _, place in answers}) == 20


@pytest.fixture(scope="module")
def page(address: str, browser: Any) -> Any:
    opened = browser.new_page()
    opened.goto(address)
    return opened


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("bomb.png", _bomb(), "pixels"),
        ("cut.png", _picture()[:90], "can't be decoded"),
        ("words.png", b"These are words.", "no picture format"),
        ("empty.png", b"", "no picture format"),
        ("program.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "no picture format"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_bad_picture_gets_a_sentence_in_the_browser(page: Any, name: str, data: bytes, said: str) -> None:
    page.locator("input[type=file]").first.set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": data}
    )
    warned = page.locator(".relprop-bar .relprop-warning", has_text=said).first
    warned.wait_for(timeout=ANSWER)
    text = warned.inner_text()
    assert "Traceback" not in text
    assert "/tmp" not in text


def test_a_file_that_is_too_large_is_not_even_sent(page: Any, tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(200 * 2**20)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("input[type=file]").first.set_input_files(str(huge))
    page.locator(
        ".relprop-drop .relprop-wrong", has_text="huge.png is too large: at most 32 MB"
    ).first.wait_for()
    assert [url for url in asked if url.endswith("/upload")] == []


def test_of_twenty_uploads_in_a_row_the_last_is_answered(page: Any) -> None:
    data = demo_image_path().read_bytes()
    chooser = page.locator("input[type=file]").first
    for i in range(20):
        chooser.set_input_files({"name": f"number-{i}.png", "mimeType": "image/png", "buffer": data})
    page.locator(".relprop-map img[data-map]").first.wait_for(timeout=ANSWER)
    page.get_by_text("The same in a terminal and in Python").first.click()
    page.get_by_text("number-19.png").nth(1).wait_for(timeout=ANSWER)  # the first is the place to drop at
    assert page.locator(".relprop-bar .relprop-warning").count() == 0


def test_a_slow_upload_is_not_answered_after_a_quick_one(browser: Any, address: str) -> None:
    data = demo_image_path().read_bytes()
    page, held = browser.new_page(), list[Any]()

    def hold(route: Any) -> None:
        if route.request.headers["x-name"] == "slow.png":
            held.append(route)
        else:
            route.continue_()

    page.route("**/upload", hold)
    page.goto(address)
    chooser = page.locator("input[type=file]").first
    for name in ("slow.png", "quick.png"):
        chooser.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    page.locator("#relprop-check p").wait_for(timeout=ANSWER)
    page.locator("progress").wait_for(state="detached")
    with suppress(Error):  # the page has given it up
        held[0].continue_()
    page.wait_for_timeout(1000)
    assert page.locator("progress").count() == 0
    assert page.locator("[data-said]").first.inner_text() == "quick.png"
    page.close()


def _raises(error: BaseException) -> Callable[[Any], Any]:
    def work(progress: object) -> Any:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("Expected a cat."), "Expected a cat."),
        (RuntimeError("out of paint"), "RuntimeError: out of paint. Ask again."),
        (MemoryError("no room"), "MemoryError: no room. Ask again."),
        (SystemExit("gone"), "SystemExit: gone. Ask again."),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_work_that_is_killed_is_told_and_the_next_goes_on(
    error: BaseException, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio")
    from relprop.app.working import Jobs

    jobs = Jobs()
    for _ in range(3):  # more than may compute at once: a place that isn't given back would be missed
        assert said in list(jobs.run("one Tab", _raises(error), outputs=1))[-1][0]
    given = [row[1] for row in jobs.run("one Tab", lambda progress: ["done"], outputs=1)]
    assert "done" in given
