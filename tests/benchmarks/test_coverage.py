"""The coverage benchmark finds what it should find, on tiny settings."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.architectures import Case, Entry, NotBuiltError
from benchmarks.architectures.case import case
from torch import nn

from benchmarks import architectures, common, coverage, coverage_report
from relprop.methods.lrp import LRP
from relprop.propagate.composite import Composite
from relprop.rules import Epsilon
from relprop.tracing.flow import Flow
from relprop.tracing.site import Site


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


class _Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * 64 * 64, 3)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.layer(x.flatten(1)), "hidden": x}


def _plain() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(1))
    return nn.Sequential(body, nn.Linear(4 * 31 * 31, 3))


def _attends() -> nn.Module:
    attention = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    return nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(2), _Swap(), attention, _Swap(), _Mean())


NETS: dict[str, Callable[[], nn.Module]] = {
    "plain": _plain,
    "curved": lambda: nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.GELU(), nn.Flatten(), nn.Linear(256, 3)),
    "attends": _attends,
    "multiplies": lambda: nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.Flatten(), _Product()),
    "chooses": _Chooses,
    "names": _Named,
}


def _toy(name: str, calls: list[str]) -> Entry:
    def build() -> Case:
        calls.append(name)
        torch.manual_seed(0)
        read = (lambda out: out["logits"]) if name == "names" else (lambda out: out)
        return case(NETS[name](), (3, 64, 64), read=read)

    return Entry("toys", name, build)


def _absent() -> Case:
    raise NotBuiltError("no such library")


def _crashes() -> Case:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts toys in place of public architectures; lists those that were built in this process."""
    calls: list[str] = []
    found = [*(_toy(name, calls) for name in NETS), Entry("toys", "absent", _absent)]
    monkeypatch.setattr(coverage, "entries", lambda every=False: found)
    return calls


def _run(tmp_path: Path, *extra: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    kept, table = tmp_path / "kept", tmp_path / "table.md"
    code = coverage.main(["--out", str(kept), "--table", str(table), "--jobs", "0", *extra])
    return code, {r["name"]: r for r in coverage_report.read(kept)}, table.read_text(encoding="utf-8")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_closes_or_is_refused_by_name(tmp_path: Path, built: list[str], precision: str) -> None:
    code, found, table = _run(tmp_path, "--dtype", precision)
    assert code == 0
    limit = 1e-6 if precision == "float32" else 1e-13
    for name in ("plain", "curved", "attends", "names"):
        rows = found[name]["methods"]
        assert list(rows) == list(coverage.DEFAULT)
        assert all(row["closes"] and 0 <= row["error"] <= limit for row in rows.values())
        assert any(row["error"] for row in rows.values())  # rounding there is, though not for every method
        assert found[name]["gradient difference"] < (1e-4 if precision == "float32" else 1e-12)
    assert found["plain"]["gradient x input"] < (1e-5 if precision == "float32" else 1e-13)
    assert "gradient x input" not in found["curved"]  # GELU: not piecewise linear
    assert "cumprod" in found["multiplies"]["methods"]["lrp-0"]["refused"]
    assert "depends on the values" in found["chooses"]["refused"]
    assert found["absent"]["not built"] == "no such library"
    assert (
        "4 close under all 4 methods, 2 are refused by name, 1 were not measured, 0 are silently wrong."
        in table
    )
    assert "| cumprod" in table


def test_accounts_add_up(tmp_path: Path, built: list[str]) -> None:
    _, found, _ = _run(tmp_path, "--only", "plain")
    for row in found["plain"]["methods"].values():
        assert row["input"] + row["bias"] + row["stabiliser"] + row["lost"] == pytest.approx(1, abs=1e-5)
        assert row["growth"] >= 1 - 1e-6


def test_goes_on_where_it_stopped(tmp_path: Path, built: list[str]) -> None:
    _run(tmp_path, "--only", "plain", "--methods", "lrp-0")
    (tmp_path / "kept" / "toys-names.json").write_text('{"model": "toys/na', encoding="utf-8")
    _run(tmp_path, "--only", "plain", "names", "--methods", "lrp-0")
    assert built == ["plain", "names"]
    _run(tmp_path, "--only", "plain", "--methods", "lrp-0", "lrp-epsilon")  # another method: measured anew
    assert built == ["plain", "names", "plain"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="toys are there in forked processes only")
def test_a_crash_and_a_slow_one_are_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Entry("toys", "crashes", _crashes), _toy("curved", [])]
    monkeypatch.setattr(coverage, "entries", lambda every=False: found)
    kept = ["--out", str(tmp_path / "kept"), "--methods", "lrp-0"]
    assert coverage.main([*kept, "--jobs", "1"]) == 0
    rows = {r["name"]: r for r in coverage_report.read(tmp_path / "kept")}
    assert rows["crashes"]["died"] == "The process was ended by signal 9."
    assert rows["curved"]["methods"]["lrp-0"]["closes"]
    assert coverage.main([*kept, "--jobs", "1", "--only", "curved", "--time", "0", "--dtype", "float64"]) == 0
    (row,) = (r for r in coverage_report.read(tmp_path / "kept") if r["name"] == "curved")
    assert row["died"] == "The process took more than 0.0 s."


class _Leaky(Epsilon):
    def cross(self, site: Site, flow: Flow) -> list[Any]:
        return [Flow([0.9 * part for part in out.parts], out.multiplier) for out in super().cross(site, flow)]


def test_a_leak_is_found(tmp_path: Path, built: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    leaky = LRP(composite=Composite([("linear", _Leaky())], name="leaky"))
    monkeypatch.setitem(coverage.METHODS, "lrp-0", leaky)
    code, found, table = _run(tmp_path, "--only", "plain", "--methods", "lrp-0")
    assert code == 1
    assert found["plain"]["methods"]["lrp-0"]["error"] > 1e-4
    assert "plain, lrp-0: the ledger does not close" in table
    assert "1 are silently wrong" in table


RECORD: dict[str, Any] = {
    "model": "toys/net", "family": "toys", "name": "net", "group": "net", "dtype": "float32", "device": "cpu",
    "code": "1", "input": "3×8×8", "operators": 1, "forward difference": 0.0, "gradient difference": 0.0,
    "output": 1.0, "methods": {},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"forward difference": 0.1}, "outputs differ"),
        ({"forward difference": float("nan")}, "outputs differ"),
        ({"forward difference": 0.1, "forward error": 0.1, "own forward error": 0.01}, "outputs differ"),
        ({"gradient difference": 0.1}, "gradient differs"),
        ({"gradient difference": 0.1, "gradient of two": 0.2}, "gradient differs"),
        ({"gradient difference": float("nan")}, "gradient differs"),
        ({"gradient x input": 0.1}, "differs from gradient"),
        ({"methods": {"lrp-0": {"failed": "IndexError: 3"}}}, "IndexError"),
        ({"methods": {"lrp-0": {"finite": False, "closes": True}}}, "not finite"),
        ({"failed": "the model was changed"}, "was changed"),
    ],
)
def test_what_counts_as_wrong(change: dict[str, Any], said: str) -> None:
    assert not coverage_report.silently_wrong(RECORD)
    assert said in coverage_report.silently_wrong(RECORD | change)[0]


def test_a_network_may_be_coarser_than_the_limit() -> None:
    # PyTorch's own output in 32 bits is as far from that in 64.
    coarse = RECORD | {"forward difference": 0.1, "forward error": 0.1, "own forward error": 0.05}
    assert not coverage_report.silently_wrong(coarse)
    assert "PyTorch 5e-02, relprop 1e-01" in coverage_report.report([coarse], [])[0]


def test_autograd_may_be_wrong() -> None:
    record = RECORD | {"gradient difference": 1.0, "gradient of two": 1e-9}
    assert not coverage_report.silently_wrong(record)


def test_the_page_counts_modules_and_ranks_operators() -> None:
    closed = {"closes": True, "finite": True, "error": 1e-8, "growth": 1.0}
    fine = {"methods": {"lrp-epsilon": closed, "lrp-composite": closed}}
    why = {"refused": "No rule for operator 'cumprod' (node 'cumprod', in module 'a')"}
    refused = {"methods": {"lrp-epsilon": closed, "lrp-composite": why}}
    rows = [
        RECORD | {"family": "timm", "group": "a", "model": "timm/a1"} | fine,
        RECORD | {"family": "timm", "group": "a", "model": "timm/a2"} | refused,
        RECORD | {"family": "timm", "group": "b", "model": "timm/b1"} | fine,
    ]
    page = coverage_report.page(rows)
    assert "Of timm's modules, 1 of 2 close under LRP-ε and lrp-composite; not a. At f3637d8" in page
    assert "| cumprod | 1 " in " ".join(page.split())
    assert "timm/a2 (lrp-composite)" in page
    assert "| timm/a1 " in coverage_report.models_page(rows)
    assert "2 close under all 2 methods, 0 are refused by name, 1 are refused under some" in page


def test_torch_misreads_some_gradients_of_batch_norm_of_a_single_sample() -> None:
    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pixels = self.norm(x).reshape(len(x), 4, 16).transpose(1, 2)
            return (torch.ones(3, 16, dtype=x.dtype) @ pixels).flatten(1)

    found = coverage.measure(
        Entry("toys", "sums", lambda: case(Sums(), (4, 4, 4))), ["lrp-0"], "float32", "cpu"
    )
    assert not coverage_report.silently_wrong(found | {"dtype": "float32"})


def test_architectures_are_listed_once_and_by_family() -> None:
    names = [entry.key for entry in architectures.entries(every=True)]
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} >= {"transformers", "monai", "wrapped", "onnx2torch"}
    assert {e.key for e in architectures.entries()} <= set(names)


def test_what_wraps_a_model_is_measured() -> None:
    entry = next(e for e in architectures.entries() if e.key == "wrapped/half")
    found = coverage.measure(entry, ["lrp-epsilon"], "float32", "cpu")
    assert not coverage_report.silently_wrong(found | {"dtype": "float32"})
    assert found["methods"]["lrp-epsilon"]["closes"]
    json.dumps(found)


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
def test_torchvision_is_listed() -> None:
    assert set(common.HUGE) <= set(common.constructors())
    from benchmarks.architectures.of_torchvision import SMALLEST

    assert set(common.constructors()) >= SMALLEST


def test_randomise_leaves_nothing_at_zero_or_one() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    nn.init.zeros_(net[3].weight)
    net.token, net.gain = nn.Parameter(torch.zeros(1, 5)), nn.Parameter(torch.full((5,), 1e-6))
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
