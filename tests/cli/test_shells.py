"""Completion where people have it: a Tab in bash, zsh and fish. A shell that isn't there is skipped by name."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ASKED = {
    "relprop exp": "explain",
    "relprop explain --memo": "--memory",
    "relprop explain -x lrp-eps": "lrp-epsilon",
    "relprop detect -m scenes-s": "scenes-ssd",
}
PATIENCE = 90  # seconds, for machines with other things to do


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a command called relprop, and what each shell needs to complete it."""
    folder = tmp_path_factory.mktemp("home")
    command = folder / "bin" / "relprop"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m relprop "$@"\n')
    command.chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        script = _run([str(command)], folder, _RELPROP_COMPLETE=f"source_{shell}")
        (folder / f"complete.{shell}").write_text(script)
    (folder / ".zshrc").write_text("autoload -Uz compinit && compinit -u\nsource ~/complete.zsh\nPS1='> '\n")
    (folder / ".bashrc").write_text("source ~/complete.bash\nPS1='> '\nbind 'set bell-style none'\n")
    return folder


def _environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "LANG", "LC_ALL")}
    places = {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "ZDOTDIR": str(home)}
    return kept | places | {"TERM": "xterm", "COLUMNS": "200"} | more


def _run(words: list[str], home: Path, **more: str) -> str:
    there = {"cwd": home, "env": _environment(home, **more), "timeout": PATIENCE}
    return subprocess.run(words, capture_output=True, text=True, check=True, **there).stdout  # type: ignore[call-overload]


def _installed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed: completion in it is not tested. apt-get install {shell}")
    return found


def _typed(words: list[str], typed: str, awaited: str, home: Path) -> str:
    """What a terminal shows after a line was typed and Tab was pressed, until the awaited word is there."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(home)
        os.execvpe(words[0], words, _environment(home))
    shown, sent, end = "", False, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end and awaited not in shown:
            if not select.select([terminal], [], [], 0.2)[0]:
                continue
            shown += os.read(terminal, 4096).decode(errors="replace")
            if not sent and "> " in shown:
                os.write(terminal, f"{typed}\t".encode())
                sent = True
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    return shown


@pytest.mark.parametrize("typed", ASKED)
def test_bash(typed: str, home: Path) -> None:
    shown = _typed([_installed("bash"), "--noprofile", "-i"], typed, ASKED[typed], home)
    assert ASKED[typed] in shown


@pytest.mark.parametrize("typed", ASKED)
def test_zsh(typed: str, home: Path) -> None:
    shown = _typed([_installed("zsh"), "-d", "-i"], typed, ASKED[typed], home)
    assert ASKED[typed] in shown


@pytest.mark.parametrize("typed", ASKED)
def test_fish(typed: str, home: Path) -> None:
    shell = _installed("fish")
    told = _run([shell, "--no-config", "-c", f"source complete.fish; complete -C '{typed}'"], home)
    assert ASKED[typed] in [line.split("\t")[0] for line in told.splitlines()]
