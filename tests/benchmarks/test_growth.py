"""The benchmark of growth: measures what is missing, and draws what there is."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks import growth


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
def test_points_are_measured_once_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    points = ((1.0, growth.Point("resnet18", 32)), (2.0, growth.Point("resnet18", 32, targets=2)))
    monkeypatch.setitem(growth.AXES, "targets", growth.Axis("targets", points))
    files = ["--json", str(tmp_path / "out" / "growth.json"), "--figure", str(tmp_path / "growth.png")]
    command = ["--only", "targets", "--repeats", "1", "--threads", "1", *files]
    try:
        assert growth.main([*command, "--most", "1"]) == 0
        assert growth.main(command) == 0
        measured = json.loads((tmp_path / "out" / "growth.json").read_text(encoding="utf-8"))
        assert list(measured["points"]) == ["targets 1", "targets 2"]
        assert all(cost > 0 for found in measured["points"].values() for cost in found.values())

        def again(*_: Any) -> None:
            raise AssertionError("measured twice")

        monkeypatch.setattr(growth, "_costs", again)
        assert growth.main(command) == 0
        with pytest.raises(AssertionError, match="measured twice"):
            growth.main([*command, "--again"])
    finally:
        torch.set_num_threads(threads)
    assert "| targets 2 |" in capsys.readouterr().out
    with Image.open(tmp_path / "growth.png") as figure:
        assert figure.size[0] > 900


def test_nothing_measured_draws_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        growth.main(
            ["--draw", "--json", str(tmp_path / "none.json"), "--figure", str(tmp_path / "growth.png")]
        )
    assert "Expected measured points" in capsys.readouterr().err
