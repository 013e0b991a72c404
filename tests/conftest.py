"""Options and fixtures that every test may use."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}

matplotlib.use("Agg")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("relprop")
    group.addoption("--device", default="cpu", help="where models and inputs live (default: cpu)")
    group.addoption("--dtype", default="float32", choices=sorted(DTYPES), help="default: float32")
    group.addoption("--nightly", action="store_true", help="run the long checks too")


def pytest_configure() -> None:
    """Workers (pytest -n) and the processes that they start share the cores, unless OMP_NUM_THREADS says how."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = max(1, cores // workers)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--nightly"):
        return
    skip = pytest.mark.skip(reason="long check; run with --nightly")
    for item in items:
        if "nightly" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order() -> None:
    """What a test draws doesn't depend on the tests that ran before it in the same process."""
    torch.manual_seed(0)


@cache
def _kept(module: str) -> Any:
    """What reads a module's bundled networks, and keeps those it read."""
    return cache(import_module(module).load)


@pytest.fixture
def bundled_networks_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundled network is read, checked and captured once a worker, not by every test that names it."""
    for name in ("relprop.models", "relprop.detectors.bundled", "relprop.models.bundled_clips"):
        monkeypatch.setattr(import_module(name), "load", _kept(name))


@pytest.fixture(scope="session")
def nightly(request: pytest.FixtureRequest) -> bool:
    """Whether the long form of a check was asked for."""
    return bool(request.config.getoption("--nightly"))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return DTYPES[request.config.getoption("--dtype")]


def _folder(variable: str, default: str) -> Path:
    path = Path(os.environ.get(variable, ROOT.parent / "shared" / default))
    if not path.is_dir():
        pytest.skip(f"no folder {default}: set ${variable}")
    return path


@pytest.fixture(scope="session")
def assets() -> Path:
    """Real weights and pictures; skips where they are absent."""
    return _folder("RELPROP_ASSETS", "assets")


@pytest.fixture(scope="session")
def oracles() -> Path:
    """Numbers computed by other people's implementations; skips where they are absent."""
    return _folder("RELPROP_ORACLES", "oracles")


@pytest.fixture
def tiny_vgg(device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Conv, ReLU, max-pool, linear: (N,3,16,16) → (N,5)."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 10),
        nn.ReLU(),
        nn.Linear(10, 5),
    )
    return model.eval().to(device, dtype)


@pytest.fixture
def picture(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A batch of two seeded inputs for the tiny models, (2,3,16,16)."""
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)).to(device, dtype)
