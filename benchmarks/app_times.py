"""How long the app takes: until the page is there, and for a first and a second answer on one picture or clip.

    python benchmarks/app_times.py

Wants the extras app and photo, playwright, and Chromium.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

from relprop.datasets import demo_clip_path, demo_image_path
from relprop.datasets.demo import demo_photo_path

# Of a tab: what a map or a film is, and the second class's bar.
ANSWERS = {
    "Picture": (".relprop-map img[data-map]", ".relprop-score"),
    "Video": ("figure[data-ready] [data-film]:last-child img", "#relprop-clip-scores .relprop-score"),
}


def measure(model: str, file: Path, tab: str) -> list[float]:
    """Seconds: the command until its address is printed, the page, the first answer, the second."""
    from playwright.sync_api import sync_playwright

    clock = [time.perf_counter()]
    command = [sys.executable, "-u", "-m", "relprop", "app", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as play:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2]
        clock.append(time.perf_counter())
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        browser_ready = time.perf_counter() - clock[-1]
        page.goto(address)
        page.get_by_role("tab", name=tab).click()
        drop = page.locator("[role=tabpanel]:visible input[type=file]").first
        drop.wait_for(state="attached")
        clock.append(time.perf_counter() - browser_ready)
        drop.set_input_files(str(file))
        drawn, score = ANSWERS[tab]
        page.locator(drawn).first.wait_for(state="attached", timeout=120_000)
        clock.append(time.perf_counter() - browser_ready)
        before = page.locator(drawn).first.get_attribute("src")
        page.locator(score).nth(1).click()
        script = "([what, before]) => ![null, undefined, before].includes(document.querySelector(what)?.src)"
        page.wait_for_function(script, arg=[drawn, before], timeout=120_000)
        clock.append(time.perf_counter() - browser_ready)
        browser.close()
        process.send_signal(signal.SIGINT)
    return [later - earlier for earlier, later in pairwise(clock)]


def measure_detector(model: str, picture: Path) -> list[float]:
    """Seconds of the tab Detector: boxes, maps, all that is measured; then maps and measures of a click."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-u", "-m", "relprop", "app", "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process, sync_playwright() as play:
        assert process.stdout is not None
        address = process.stdout.readline().split()[2]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(address)
        tab = page.get_by_role("tabpanel").filter(has=page.locator("#relprop-boxes"))
        clock = [time.perf_counter()]
        tab.locator("input[type=file]").set_input_files(str(picture))
        for shown in (".relprop-stage button", "#relprop-why img[data-map]", "#relprop-held strong"):
            page.locator(shown).first.wait_for(timeout=300_000)
            clock.append(time.perf_counter())
        seconds = [later - clock[0] for later in clock[1:]]
        start = time.perf_counter()
        second = page.locator(".relprop-found button").nth(1)
        shown = "document.querySelector('#relprop-why img[data-map]')?.src"
        before = page.evaluate(shown)
        second.click()
        page.wait_for_function(f"s => ({shown} ?? s) !== s", arg=before, timeout=300_000)
        seconds.append(time.perf_counter() - start)
        page.locator("#relprop-held [role=status]").wait_for(state="detached", timeout=300_000)
        seconds.append(time.perf_counter() - start)
        browser.close()
        process.send_signal(signal.SIGINT)
    return seconds


if __name__ == "__main__":
    print("| model | command | page | first answer | second answer |\n| --- | ---: | ---: | ---: | ---: |")
    for name, path, tab in (
        ("scenes-resnet", demo_image_path(), "Picture"),
        ("efficientnet-lite0", demo_photo_path(), "Picture"),
        ("motion-c3d", demo_clip_path(), "Video"),
    ):
        print(
            f"| `{name}` | " + " | ".join(f"{seconds:.1f} s" for seconds in measure(name, path, tab)) + " |"
        )
    print("\n| detector | boxes | maps | measured | a click: maps | measured |\n| --- |" + " ---: |" * 5)
    seconds = measure_detector("scenes-ssd", demo_image_path())
    print("| `scenes-ssd` | " + " | ".join(f"{value:.1f} s" for value in seconds) + " |")
