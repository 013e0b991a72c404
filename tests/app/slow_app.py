"""`relprop app` whose computations take long on any machine: `slow_app.py FLAG WORDS…`.

As long as the file FLAG exists, every step that a computation reports takes a twentieth of a second. A test that
stops a computation so doesn't depend on how fast the machine is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from unittest.mock import patch

from relprop.app import working
from relprop.cli import run

STEP = 0.05  # seconds


def main(flag: Path, words: list[str]) -> int:
    look = working._Job.look

    def slowly(self: working._Job) -> None:
        if flag.exists():
            time.sleep(STEP)
        look(self)

    with patch.object(working._Job, "look", slowly):
        return run(["app", *words])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
