"""`python -m relprop`: the command, where it isn't on the PATH."""

from __future__ import annotations

from relprop.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
