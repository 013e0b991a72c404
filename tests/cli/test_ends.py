"""How the command ends, in processes of its own: signals, pipes that break, places that are full."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from relprop.cli import _worded, run

if os.name != "posix":
    pytest.skip("signals and pipes of POSIX", allow_module_level=True)

SLOW = """
import time
from pathlib import Path
from torch import nn

class Net(nn.Module):
    def forward(self, x):
        Path("begun").touch()
        time.sleep(60)
        return x.mean((2, 3))
"""
ENDS_WITH = "import sys; from relprop.cli import main; sys.argv[0] = 'relprop'; main()"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), "red").save("a.png")
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.mean((2, 3))\n"
    )
    return tmp_path


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", ENDS_WITH, *arguments]


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGINT, 130, "relprop: interrupted\n"),
        (signal.SIGTERM, 143, "relprop: ended by a signal (SIGTERM)\n"),
    ],
)
def test_signals(number: signal.Signals, code: int, text: str, here: Path) -> None:
    command = _command("explain", "a.png", "--model", "slow.py:Net")
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background of a script has its interrupts ignored, and its children's with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for _ in range(1200):
        if (here / "begun").exists():
            break
        time.sleep(0.1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, "", text)
    assert not (here / "relprop-out").exists()


def test_a_reader_that_leaves(here: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        _command("methods"), stdout=writer, stderr=subprocess.PIPE, check=False, timeout=120
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_nowhere_to_print(here: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            _command("methods"), stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.startswith("relprop: The disk is full")
    assert done.stderr.count("\n") == 1


def test_closed_streams(here: Path) -> None:
    shell = f'exec {sys.executable} -c "{ENDS_WITH}" methods >&- 2>&-'
    assert subprocess.run(["sh", "-c", shell], check=False, timeout=120).returncode == 0


def test_names_that_no_terminal_shows(here: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Path("a.png").rename(name)
    command = _command("explain", name, "--model", "net.py:Net", "--size", "40", "--method", "gradient")
    for encoding in ("utf-8", "ascii"):
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        assert b"caf\\udce9.png through net.py:Net" in done.stdout


def test_a_disk_that_fills_up(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sync = os.fsync
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 6:  # the looks at the place beforehand go well
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "relprop-out")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert run(["explain", "a.png", "--model", "net.py:Net", "--size", "40", "--method", "gradient"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "The disk is full" in err or "No space left on device. Use another path, or make room" in err
    assert "Errno" not in err
    assert len(calls) > 6
    assert not [p for p in here.rglob("*") if p.suffix in (".part", ".old")]


def test_a_full_disk_is_seen_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert run(["explain", "a.png", "--model", "slow.py:Net"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not (here / "begun").exists()


def test_what_a_users_code_prints_stands_beside_the_results(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = (here / "net.py").read_text()
    (here / "loud.py").write_text(
        net.replace("return", "print('forward')\n        return") + "print('file')\n"
    )
    loud = ["--model", "loud.py:Net", "--size", "40", "--json"]
    for command in (["explain", "a.png", *loud, "--method", "gradient"], ["inspect", *loud]):
        assert run(command) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)
        assert "file\n" in err


def test_python_words_are_told_as_they_are_typed() -> None:
    assert _worded("Expected two classes. Use variant=2.").endswith("--method NAME:variant=....)")
    assert _worded("Pass linearise=True for it.") == "Pass --linearise for it."
    for text in (
        "Expected a name of a file but got 'seed=3.png'.",
        "Expected --method NAME:variant=... here.",
    ):
        assert _worded(text) == text


def test_the_help_tells_the_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for said in ("0 done", "1 refused or failed", "2 usage", "130 interrupted", "143 ended by SIGTERM"):
        assert said in text
