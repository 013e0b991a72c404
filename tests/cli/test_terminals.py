"""What is printed on a narrow terminal, and in a pipe: no escape codes, no line too long, no word cut up."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from relprop.catalogue import METHODS, MODELS

LISTINGS = {"methods": list(METHODS), "models": list(MODELS), "methods lrp-composite": ["attention"]}


def on_terminal(words: str, columns: int, **more: str) -> list[str]:
    """The lines that a terminal of so many columns gets."""
    process, terminal = pty.fork()
    if process == 0:
        shape = {"COLUMNS": str(columns), "TERM": "xterm-256color", **more}
        os.execvpe(sys.executable, [sys.executable, "-m", "relprop", *words.split()], {**os.environ, **shape})
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux tells that the other end was closed
            break
        if not part:
            break
        shown += part
    os.waitpid(process, 0)
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize("more", [{}, {"NO_COLOR": "1"}], ids=["", "NO_COLOR"])
@pytest.mark.parametrize("words", LISTINGS)
def test_narrow_terminals(words: str, more: dict[str, str]) -> None:
    lines = on_terminal(words, 40, **more)
    assert "\x1b" not in "".join(lines)
    tables = lines[: lines.index("")] if "" in lines else lines
    assert max(map(len, tables)) <= 40
    for name in LISTINGS[words]:
        assert any(line.startswith(name) for line in lines), f"{name} is cut up"


@pytest.mark.parametrize("words", LISTINGS)
def test_pipes(words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relprop", *words.split()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"},
    )
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 160


def test_errors_on_a_terminal_are_one_plain_line() -> None:
    lines = on_terminal("explain nowhere.png -m scenes-vgg", 40)
    assert len(lines) == 1
    assert "\x1b" not in lines[0]
