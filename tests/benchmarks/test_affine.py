"""The benchmarks of the affine form measure what they say, on tiny settings."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from benchmarks import affine_exact, affine_speed

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")


def test_exact(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    try:
        assert affine_exact.main(["--only", "squeezenet1_1", "mobilenet_v3_small", "--most", "1"]) == 0
        said = capsys.readouterr().out
        assert "| squeezenet1_1 | 2 " in said
        assert "operator 'hardswish'" in said
        assert "mobilenet_v3_small" in said
        # One form that isn't exact is a failure.
        monkeypatch.setattr(affine_exact, "_measured", lambda *_: (1, (2e-10, 0.0, 0.0)))
        assert affine_exact.main(["--only", "squeezenet1_1", "--most", "1"]) == 1
    finally:
        torch.set_num_threads(threads)


def test_speed(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        arguments = ["--models", "squeezenet1_1", "--size", "32", "--repeats", "1"]
        assert affine_speed.main(arguments) == 0
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "squeezenet1_1, batch 1" in said
    assert all(label in said for label, _ in affine_speed.CASES.values())
