"""The coverage benchmark finds what it should find, on tiny settings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import common, coverage, coverage_report
from relprop.methods.lrp import LRP
from relprop.propagate.composite import Composite
from relprop.rules import Epsilon
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")

FAMILIES = (
    "alexnet vgg16_bn resnet50 resnext50_32x4d wide_resnet50_2 densenet121 googlenet inception_v3 squeezenet1_0 "
    "mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 mnasnet0_5 efficientnet_b0 regnet_y_400mf convnext_tiny "
    "r3d_18 mc3_18 r2plus1d_18 s3d vit_b_16 swin_t swin3d_t mvit_v1_b maxvit_t"
)


def test_all_families_are_listed() -> None:
    assert set(FAMILIES.split()) <= set(common.constructors())
    assert set(common.HUGE) <= set(common.constructors())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts toy constructors in place of torchvision's; lists those that were called."""
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(1))
    attention = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    found = {
        "plain": nn.Sequential(conv, nn.Linear(4 * 31 * 31, 3)),
        "curved": nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.GELU(), nn.Flatten(), nn.Linear(256, 3)),
        "attends": nn.Sequential(
            nn.Conv2d(3, 4, 16, 16), nn.Flatten(2), _Swap(), attention, _Swap(), _Mean()
        ),
        "multiplies": nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(), _Product()),
        "chooses": _Chooses(),
    }
    calls: list[str] = []

    def build(name: str, size: Any, *, batch: int, dtype: torch.dtype, device: str) -> nn.Module:
        calls.append(name)
        model = found[name]
        common.randomise(model, size, batch=batch)
        return model.to(device, dtype).requires_grad_(False)

    monkeypatch.setattr(coverage, "build", build)
    monkeypatch.setattr(coverage, "constructors", lambda: list(found))
    return calls


class _Swap(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(-1)


class _Product(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.cumprod(1)[:, :3]


class _Chooses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def _run(tmp_path: Path, *extra: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    kept, table = tmp_path / "kept.jsonl", tmp_path / "table.md"
    code = coverage.main(["--out", str(kept), "--table", str(table), *extra])
    return code, {r["model"]: r for r in coverage_report.read(kept)}, table.read_text(encoding="utf-8")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_closes_or_is_refused_by_name(tmp_path: Path, built: list[str], precision: str) -> None:
    code, found, table = _run(tmp_path, "--dtype", precision)
    assert code == 0
    limit = 1e-6 if precision == "float32" else 1e-13
    for name in ("plain", "curved", "attends"):
        rows = found[name]["rules"]
        assert list(rows) == list(coverage.RULES)
        assert all(row["closes"] and 0 <= row["error"] <= limit for row in rows.values())
        assert any(row["error"] for row in rows.values())  # rounding there is, though not for every rule
    assert found["plain"]["gradient x input"] < (1e-5 if precision == "float32" else 1e-13)
    assert "gradient x input" not in found["curved"]  # GELU: not piecewise linear
    assert "cumprod" in found["multiplies"]["rules"]["lrp-0"]["refused"]
    assert "depends on the values" in found["chooses"]["refused"]
    assert (
        "3 close under all 6 rule sets, 2 are refused by name, 0 were not run, 0 are silently wrong." in table
    )


def test_accounts_add_up(tmp_path: Path, built: list[str]) -> None:
    _, found, _ = _run(tmp_path, "--only", "plain")
    for row in found["plain"]["rules"].values():
        assert row["input"] + row["bias"] + row["stabiliser"] + row["lost"] == pytest.approx(1, abs=1e-5)
        assert row["growth"] >= 1 - 1e-6


class _Leaky(Epsilon):
    def cross(self, site: Site, flow: Flow) -> list[Any]:
        return [Flow([0.9 * part for part in out.parts], out.multiplier) for out in super().cross(site, flow)]


def test_a_leak_is_found(tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    leaky = LRP(composite=Composite([("linear", _Leaky())], name="leaky"))
    monkeypatch.setitem(coverage.RULES, "lrp-0", leaky)
    code, found, table = _run(tmp_path, "--only", "plain", "--rules", "lrp-0")
    assert code == 1
    assert found["plain"]["rules"]["lrp-0"]["error"] > 1e-4
    assert "plain, lrp-0: the ledger does not close" in table
    assert "1 are silently wrong" in table


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"forward difference": 0.1}, "outputs differ"),
        ({"forward difference": float("nan")}, "outputs differ"),
        ({"gradient x input": 0.1}, "differs from gradient"),
        ({"rules": {"lrp-0": {"failed": "IndexError: 3"}}}, "IndexError"),
        ({"rules": {"lrp-0": {"finite": False, "closes": True}}}, "not finite"),
    ],
)
def test_what_counts_as_wrong(change: dict[str, Any], said: str) -> None:
    record = {"model": "net", "dtype": "float32", "forward difference": 0.0, "output": 1.0, "rules": {}}
    assert not coverage_report.silently_wrong(record)
    assert said in coverage_report.silently_wrong(record | change)[0]


def test_randomise_leaves_nothing_at_zero_or_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    nn.init.zeros_(net[3].weight)
    common.randomise(net, (3, 8, 8))
    assert not net.training
    assert all(not module.training for module in net.modules())
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            assert tensor.unique().numel() > 1
    with torch.no_grad():
        middle = net[0](common.noise((256, 3, 8, 8), seed=3))
    # The statistics are those of the layer's own input on such noise.
    torch.testing.assert_close(net[1].running_mean, middle.mean((0, 2, 3)), atol=0.1, rtol=0)
    torch.testing.assert_close(net[1].running_var, middle.var((0, 2, 3)), atol=0.1, rtol=0.2)
