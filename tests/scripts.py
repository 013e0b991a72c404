"""Modules of scripts/, which is no package: imported as a script that lies beside them would."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["script"]

_SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def script(name: str) -> ModuleType:
    """A module of scripts/; the test is skipped where there is no source checkout."""
    if not _SCRIPTS.exists():
        pytest.skip("needs a source checkout")
    with pytest.MonkeyPatch.context() as path:
        path.syspath_prepend(str(_SCRIPTS))
        return import_module(name)
