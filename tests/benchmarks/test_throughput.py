"""The benchmark of many pictures runs, and says what it couldn't."""

from __future__ import annotations

import pytest
import torch

from benchmarks import throughput


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    return {line[0]: line[1:] for line in lines}


def test_rates_beside_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--models", "squeezenet1_1", "--size", "32", "--batches", "1", "2", "--pictures", "2"]
    assert throughput.main([*small, "--repeats", "1", "--threads", "1", "--method", "epsilon"]) == 0
    found = rows(capsys.readouterr().out)
    assert {"explain, one by one", "explain_many, batch 2", "explain_many, batch auto"} <= found.keys()
    assert float(found["explain_many, batch 2"][0]) > 0
    assert any(label.startswith("captum") for label in found)


def test_memory_over_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert throughput.main(["--sizes", "--count", "4", "--distinct", "2", "--threads", "1"]) == 0
    found = rows(capsys.readouterr().out)
    assert int(found["4"][1]) == 2  # graphs
