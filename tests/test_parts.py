"""What killed saves leave is taken away; nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from relprop import parts
from relprop.parts import part_beside, sweep
from relprop.storage import new_folder, write_file

if os.name != "posix":
    pytest.skip("numbers of processes as POSIX has them", allow_module_level=True)

KILLED = """
import os, signal, sys
from pathlib import Path
from relprop.storage import new_folder
with new_folder(sys.argv[1]) as folder:
    (folder / "half.bin").write_bytes(b"half")
    print(folder, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def _saver(path: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(path), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_next_save_sweeps_up_after_a_killed_one(tmp_path: Path) -> None:
    with _saver(tmp_path / "a", "kill") as killed:
        killed.wait(60)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "half.bin").exists()
    with _saver(tmp_path / "b", "wait") as living:
        assert living.stdout is not None
        own = Path(living.stdout.readline().strip())
        with new_folder(tmp_path / "a") as folder:
            (folder / "whole.bin").write_bytes(b"whole")
        assert sorted(tmp_path.iterdir()) == sorted([own, tmp_path / "a"])
        assert (own / "half.bin").exists()  # a living one's stays
        living.communicate("", timeout=60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_sweeps_too(tmp_path: Path) -> None:
    with _saver(tmp_path / "a", "kill") as killed:
        killed.wait(60)
    write_file(tmp_path / "b.bin", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["b.bin"]


def _dead(path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, **facts: object) -> Path:
    """A part of a process that has ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait(60)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: ended.pid)
        for name, value in facts.items():
            patch.setattr(parts, name, lambda *_, value=value: value)
        part = part_beside(path, kind)
    part.mkdir()
    (part / "numbers").write_text("numbers")
    return part


def test_what_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".mine.part").mkdir()
    (tmp_path / ".notes.01234567.part").write_text("not ours")
    elsewhere = _dead(tmp_path / "a", "part", monkeypatch, _home="01234567")
    only_copy = _dead(tmp_path / "b", "old", monkeypatch)
    target = tmp_path / "target"
    target.mkdir()
    link = _dead(tmp_path / "c", "part", monkeypatch)
    link.joinpath("numbers").unlink()
    link.rmdir()
    link.symlink_to(target)
    living = part_beside(tmp_path / "d", "part")
    living.mkdir()
    before = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert {elsewhere, only_copy, link, living} <= set(before)


def test_what_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    _dead(tmp_path / "a", "part", monkeypatch)
    _dead(tmp_path / "a", "old", monkeypatch)  # its successor is there
    with monkeypatch.context() as patch:
        patch.setattr(parts, "_began", lambda _: "1")  # an earlier process of this one's number
        part_beside(tmp_path / "b", "part").mkdir()
    sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_process_that_nobody_asked_for_is_dead(tmp_path: Path) -> None:
    with _saver(tmp_path / "a", "kill") as killed:
        assert killed.stdout is not None
        part = Path(killed.stdout.readline().strip())
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)  # ended, and still in the system's table
        assert part.exists()
        sweep(tmp_path)
        assert not part.exists()


def test_long_names_get_a_part(tmp_path: Path) -> None:
    name = "ä" * 120
    with new_folder(tmp_path / name) as folder:
        assert len(os.fsencode(folder.name)) <= 255
        (folder / "a").write_text("a")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    sweep(tmp_path / "gone")
