"""Python's garbage collector waits during a capture, and is afterwards as its owner left it."""

from __future__ import annotations

import gc
import sys
import threading
from typing import Any

import pytest
import torch
from torch import nn

import relprop
from relprop.collector import collector_waits


@pytest.mark.parametrize("on", [True, False])
def test_it_waits_and_goes_on(on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = sys.modules["relprop.graph.capture"], []
    theirs = vars(module)["_capture"]

    def looking(*given: Any) -> Any:
        seen.append(gc.isenabled())
        return theirs(*given)

    monkeypatch.setattr(module, "_capture", looking)
    (gc.enable if on else gc.disable)()
    try:
        relprop.explain(nn.Linear(3, 2).eval(), torch.randn(1, 3), 0, "lrp-0")
        assert seen == [False]
        assert gc.isenabled() is on
        with pytest.raises(ZeroDivisionError):
            _fails_inside()
        assert gc.isenabled() is on
    finally:
        gc.enable()


def _fails_inside() -> None:
    with collector_waits():
        with collector_waits():
            assert not gc.isenabled()
        assert not gc.isenabled()
        _ = 1 / 0


def test_threads_share_it() -> None:
    """It runs again when the last thread is out, whichever came first."""
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    told: list[bool] = []

    def first() -> None:
        with collector_waits():
            first_in.set()
            second_in.wait(10)
        first_out.set()

    thread = threading.Thread(target=first)
    thread.start()
    first_in.wait(10)
    with collector_waits():
        second_in.set()
        first_out.wait(10)
        told.append(gc.isenabled())
    thread.join()
    assert [*told, gc.isenabled()] == [False, True]
