"""What the tests of the commands share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _read_once(bundled_networks_are_loaded_once: None) -> None:
    """A command is run in this process, and names its networks."""
