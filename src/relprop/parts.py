"""Parts: what is still being written lies beside its place under a name that says whose it is.

A process that is killed leaves its part behind. The next one that writes into the same folder finds it and
takes it away, once its owner is known to be dead.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path

__all__ = ["part_beside", "sweep"]

_LONGEST = 255  # bytes of a file's name, nearly everywhere
_NAME = re.compile(
    r"\.(?P<name>.+)\.(?P<home>[0-9a-f]{8})-(?P<pid>[0-9]+)-(?P<began>[0-9]+)-[0-9a-f]{8}\.(?P<kind>part|old)"
)


def part_beside(path: Path, kind: str) -> Path:
    """A new name beside `path`, hidden, with the machine, number and start of this process in it.

    Args:
        path: what is being written.
        kind: "part", or "old" for what it replaces.
    """
    pid = os.getpid()
    tail = f".{_home()}-{pid}-{_began(pid)}-{secrets.token_hex(4)}.{kind}"
    room = _LONGEST - len(tail) - 1
    name = os.fsencode(path.name)[:room].decode(errors="ignore") or "_"
    return path.parent / f".{name}{tail}"


def sweep(folder: Path) -> None:
    """Remove parts in a folder whose owners are dead: killed processes of this machine, since it was started.

    Nothing else is touched: what has no such name, links, other users' parts, those of other machines and
    containers (which may live, on a shared disk), and an old folder whose successor never came.
    """
    with suppress(OSError):
        for name in [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]:
            found = _NAME.fullmatch(name)
            if found is None or found["home"] != _home() or _lives(int(found["pid"]), found["began"]):
                continue
            path = folder / name
            with suppress(OSError):
                if path.is_symlink() or path.stat().st_uid != os.getuid():
                    continue
                if found["kind"] == "old" and not (folder / found["name"]).exists():
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


@cache
def _home() -> str:
    """Where process numbers mean what they mean here: machine, its start, and container."""
    facts = [platform.node()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:8]


def _began(pid: int) -> str:
    """When a process began, in ticks since the machine's start, for numbers are used again.

    "0" where unknown; "" where it has ended and its parent hasn't asked for it yet.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "0"
    state, *facts = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    return "" if state in "ZX" else facts[18]


def _lives(pid: int, began: str) -> bool:
    if not hasattr(os, "getuid"):  # on Windows there is no harmless way to ask
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        pass
    now = _began(pid)
    return "0" in (began, now) or now == began
