"""What the tests of the commands share."""

from __future__ import annotations

from functools import cache

import pytest

from relprop import models
from relprop.detectors import bundled as detectors
from relprop.models import bundled_clips as clips

LOADERS = {module: cache(module.load) for module in (models, detectors, clips)}


@pytest.fixture(autouse=True)
def _bundled_networks_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundled network is read, checked and captured once, not by every command that names it."""
    for module, load in LOADERS.items():
        monkeypatch.setattr(module, "load", load)
