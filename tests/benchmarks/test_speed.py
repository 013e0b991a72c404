"""The speed benchmark measures what it says, on tiny settings."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

import relprop
from benchmarks import cases, memory, speed


@pytest.fixture
def work(tiny_vgg: nn.Module, picture: torch.Tensor) -> cases.Work:
    with ExitStack() as stack:
        tiny_vgg.requires_grad_(False)
        yield cases.Work("tiny", tiny_vgg, picture, torch.tensor([1, 4]), stack)  # type: ignore[misc]


def test_our_gradient_is_the_yardstick(work: cases.Work) -> None:
    expected = cases.gradient(work)()
    torch.testing.assert_close(cases.CASES["our-gradient"].prepare(work)(), expected)
    assert expected.shape == work.x.shape
    assert work.x.grad is None


@pytest.mark.skipif(find_spec("zennit") is None, reason="needs zennit")
def test_ours_and_zennits_do_the_same(work: cases.Work) -> None:
    for module in work.model.modules():
        if isinstance(module, nn.Linear):
            module.bias.zero_()  # zennit's ε shares a bias out among the inputs, ours keeps it apart
    ours = relprop.explain(
        work.model, work.x, work.target, relprop.LRP(composite="epsilon-plus", epsilon=1e-6)
    )
    theirs = cases.CASES["zennit-epsilon-plus"].prepare(work)()
    assert (ours.relevance - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_targets_are_counted(work: cases.Work) -> None:
    work.x = work.x[:1]
    work.target = work.target[:1]
    many = cases._many(3)(work)()
    assert many.relevance.shape == (3, *work.x.shape)


@pytest.mark.parametrize("key", sorted(cases.CASES))
def test_every_case_applies_somewhere(key: str) -> None:
    assert any(cases.CASES[key].applies(m, b) for m in ("vgg16", "resnet50", "vit_b_16") for b in (1, 8))


@pytest.mark.skipif(find_spec("torchvision") is None, reason="needs torchvision")
def test_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    files = tmp_path / "speed.json", tmp_path / "speed.md"
    try:
        code = speed.main(
            ["--models", "squeezenet1_1", "--batches", "1", "--size", "64", "--only", "epsilon", "forward",
             "--repeats", "2", "--threads", "1", "--no-memory", "--no-first", "--json", str(files[0]),
             "--out", str(files[1])]
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert code == 0
    report = json.loads(files[0].read_text(encoding="utf-8"))
    rows = {row["case"]: row for row in report["speed"]}
    assert list(rows) == ["gradient", "forward", "epsilon"]
    assert 0 < rows["forward"]["gradients"] < rows["epsilon"]["gradients"]
    assert rows["epsilon"]["met"] == (rows["epsilon"]["gradients"] <= rows["epsilon"]["aim"])
    text = files[1].read_text(encoding="utf-8")
    assert "### squeezenet1_1, batch 1" in text
    assert ("missed" in text) != ("| met" in text)
    assert text.splitlines()[0] in capsys.readouterr().out


def test_verdicts_follow_the_numbers() -> None:
    row = {"label": "x", "seconds": 1.0, "gradients": 1.2, "all": [1.1, 1.3], "aim": 1.15, "met": False}
    assert "missed" in speed._speed_table("net", 1, [row])
    assert "not run" in speed._speed_table("net", 1, [{"label": "x", "missing": "no zennit"}])
    memory = [
        {"model": "net", "batch": 8, "case": case, "first": first, "later": later, "held": 0.0}
        for case, first, later in (
            ("z-plus", 50.0, 70.0), ("zennit-epsilon-plus", 100.0, 300.0), ("alpha-beta", 1.0, 1.0),
            ("zennit-alpha-beta", 2.0, 2.0),
        )
    ]  # fmt: skip
    table = speed._memory_table(memory)
    assert "0.70" in table  # our larger peak over zennit's first
    assert "missed" in table


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_sees_an_allocation() -> None:
    before = memory.mark("cpu")
    block = torch.ones(16 * 2**20)  # 64 MiB
    del block
    assert 60 < memory.peak("cpu") - before < 90
    assert memory.mark("cpu") - before < 20
    assert memory.peak("cpu") - before < 20  # the mark forgets the old peak


def test_stopwatch_sees_the_forward_run_and_the_walk(tiny_vgg: nn.Module, picture: torch.Tensor) -> None:
    args = speed._arguments([])
    with speed._stopwatch(args) as inside:
        relprop.explain(tiny_vgg, picture)
    assert inside[1] == 2
    assert inside[0] > 0
