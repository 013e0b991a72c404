"""The app, running as its command runs it, and Debian's Chromium to use it with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    pytest.importorskip("gradio")
    command = [sys.executable, "-u", "-m", "relprop", "app", "-m", "scenes-resnet", "-m", "scenes-vgg"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("relprop app: http://127.0.0.1:"), line
        yield line.split()[2]
        process.terminate()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where Chromium is."""
    pytest.importorskip("playwright")
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("Chromium is not installed: the app is not tested in a browser")
    return found
