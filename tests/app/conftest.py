"""The app, running as its command runs it, and Debian's Chromium to use it with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def running(
    folder: Path, *words: str, slow: Path | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`relprop app`, which keeps its files in a folder, and its address; slow while the file `slow` exists."""
    how = ["-m", "relprop", "app"]
    if slow is not None:
        how = [str(Path(__file__).with_name("slow_app.py")), str(slow)]
    command = [sys.executable, "-u", *how, *words]
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("relprop app: http://127.0.0.1:"), line
        try:
            yield process, line.split()[2]
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("gradio")
    with running(tmp_path_factory.mktemp("app"), "-m", "scenes-resnet", "-m", "scenes-vgg") as (_, where):
        yield where


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    pytest.importorskip("playwright")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed: the app is not tested in a browser")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Chromium, for the tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"],
        )
        yield started
        started.close()
