"""Every method against its oracle: files of other people's numbers, and formulas computed here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests import nets
from tests.methods.table import FILE, LIVE, Line
from torch import Tensor, nn

import relprop

ROOT = Path(__file__).resolve().parents[2]

vgg = cache(nets.vgg)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert ours.shape == theirs.shape
    return float((ours.double() - theirs.double()).abs().max() / theirs.double().abs().max())


@pytest.mark.parametrize("name", nets.METHODS)
def test_every_method_has_a_line_and_a_page(name: str) -> None:
    assert any(line.method.name == name for line in LIVE), f"add a line for {name} to tests/methods/table.py"
    assert (ROOT / "docs" / "methods" / f"{name}.md").is_file(), f"write docs/methods/{name}.md"


@pytest.mark.filterwarnings("ignore:excitation-backprop assumes:relprop.errors.RelpropWarning")
@pytest.mark.parametrize("line", LIVE, ids=str)
def test_formula(line: Line) -> None:
    model, x = vgg(), nets.pictures()
    assert line.live is not None
    largest = 0.0
    for target in range(5):
        ours = relprop.explain(model, x, target, line.method).relevance
        theirs = line.live(model, x, target)
        largest = max(largest, float(theirs.abs().max()))
        assert ours.shape == theirs.shape
        # Deep Taylor of a negative score is zero, here as there.
        assert float((ours - theirs).abs().max()) <= line.tolerance * float(theirs.abs().max())
    assert largest > 0


@pytest.fixture(scope="module")
def tiny(oracles: Path) -> dict[str, Tensor]:
    return load_file(oracles / "tinyvgg.safetensors")


@pytest.fixture(scope="module")
def oracle(tiny: dict[str, Tensor]) -> nn.Module:
    model = nets.OracleVGG().eval()
    model.load_state_dict({k[6:]: v for k, v in tiny.items() if k.startswith("model.")})
    return model.double()


@pytest.mark.parametrize("line", FILE, ids=str)
def test_file(
    line: Line, tiny: dict[str, Tensor], oracle: nn.Module, record_property: pytest.RecordProperty
) -> None:
    e = relprop.explain(oracle, tiny["x"].double(), 1, line.method)
    found = difference(line.view(e.relevance) if line.view else e.relevance, tiny[line.file])
    record_property("relative_difference", found)
    print(f"{line.file}: {found:.1e}")
    # z-box of the file divides by the denominator + 1e-9: 5e-11.
    assert found < (1e-10 if "samplebox" in line.file else 1e-13)


def test_file_has_no_other_key(tiny: dict[str, Tensor]) -> None:
    ours = ("torchray.", "innvestigate.", "zennit.", "lrp.", "rap.")
    asked = {line.file for line in FILE} | {"torchray.grad_cam.features.13.1.raw"}
    assert {k for k in tiny if k.startswith(ours)} == asked


def test_grad_cam_gradient(tiny: dict[str, Tensor]) -> None:
    model = nets.OracleVGG().eval()
    model.load_state_dict({k[6:]: v for k, v in tiny.items() if k.startswith("model.")})
    e = relprop.explain(model.double(), tiny["x"].double(), 1, "gradient", layers=["features.13"])
    assert difference(e.layers["features.13"], tiny["torchray.grad_cam.features.13.1.raw"]) < 1e-13


def test_video_file(oracles: Path) -> None:
    """Deep Taylor of a C3D, as the authors' library computes it: one map in float64, one stored in float32."""
    tiny = load_file(oracles / "tinyc3d.safetensors")
    model = nets.OracleC3D().eval()
    model.load_state_dict({k[6:]: v for k, v in tiny.items() if k.startswith("model.")})
    method = relprop.DeepTaylor(bounds=(-102, 165), seed="one")
    e = relprop.explain(model.double(), tiny["x"].double(), 1, method, layers=["relu@7"])
    assert difference(e.layers["relu@7"], tiny["torchexplain.pool5_in"]) < 1e-13
    assert difference(e.heatmap()[0], tiny["torchexplain.deep_taylor.1.map"]) < 1e-6
