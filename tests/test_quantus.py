"""Quantus: its metrics run on our methods, and some of its numbers are ours by another hand."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from tests.metrics import make
from torch import nn

import relprop
from relprop.compat import load_torchvision
from relprop.errors import InputError, UnknownNameError
from relprop.metrics import energy, pointing_game, rank_accuracy
from relprop.quantus import explain_func

X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = np.array([0, 2, 1])
MASKS = np.zeros((3, 1, 16, 16), dtype=bool)
MASKS[0, 0, :8], MASKS[1, 0, 4:12, 4:12], MASKS[2, 0, :, 3:5] = True, True, True


@pytest.fixture(scope="module")
def quantus() -> Iterator[ModuleType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own imports warn
        if find_spec("torchvision") is not None:
            load_torchvision()  # quantus imports zennit, which imports it
        yield pytest.importorskip("quantus")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return make.net().float()


def scores(metric: object, model: nn.Module, **more: object) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of settings that it recommends otherwise
        data = {
            "x_batch": X.numpy(),
            "y_batch": Y,
            "a_batch": None,
            "explain_func": explain_func,
            "explain_func_kwargs": {"method": "gradient-x-input"},
            "device": "cpu",
        }
        return metric(model=model, **data, **more)  # type: ignore[operator]


PLAIN = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}


def test_maps_are_those_of_explain(model: nn.Module) -> None:
    for method in ("lrp-epsilon", "grad-cam", relprop.LRP(rule="gamma")):
        found = explain_func(model=model, inputs=X.numpy(), targets=Y, method=method, device="cpu", unknown=3)
        expected = relprop.explain(model, X, torch.from_numpy(Y), method).heatmap()
        assert (found.shape, found.dtype) == ((3, 1, 16, 16), np.float32)
        assert np.array_equal(found[:, 0], expected.numpy())


def test_inputs_take_the_models_dtype_and_come_back_in_their_own(model: nn.Module) -> None:
    found = explain_func(model, X.double(), torch.from_numpy(Y), method="gradient")
    assert found.dtype == np.float64
    assert np.array_equal(found, explain_func(model, X.numpy(), Y, method="gradient").astype(np.float64))
    half = explain_func(model, X.numpy().astype(np.float16), Y, method="gradient")
    assert half.dtype == np.float32


def test_refusals(model: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="method but got 'saliency'"):
        explain_func(model, X.numpy(), Y, method="saliency")
    with pytest.raises(InputError, match=r"targets .*5 but got 6"):
        explain_func(model, X.numpy(), np.array([0, 6, 1]), method="gradient")


def test_energy_is_relevance_mass_accuracy_of_the_positive_part(
    quantus: ModuleType, model: nn.Module
) -> None:
    heats = np.maximum(explain_func(model, X.numpy(), Y, method="gradient-x-input"), 0).astype(np.float64)
    metric = quantus.RelevanceMassAccuracy(**PLAIN)
    found = metric(model=model, x_batch=X.numpy(), y_batch=Y, a_batch=heats, s_batch=MASKS)
    ours = [energy(h[0], m[0]) for h, m in zip(heats, MASKS, strict=True)]
    assert found == pytest.approx(ours, abs=1e-12)
    assert len(set(ours)) == 3


def test_rank_accuracy_is_theirs_without_ties(quantus: ModuleType, model: nn.Module) -> None:
    heats = explain_func(model, X.numpy(), Y, method="gradient-x-input").astype(np.float64)
    metric = quantus.RelevanceRankAccuracy(**PLAIN)
    found = metric(model=model, x_batch=X.numpy(), y_batch=Y, a_batch=heats, s_batch=MASKS)
    ours = [rank_accuracy(h[0], m[0]) for h, m in zip(heats, MASKS, strict=True)]
    assert found == pytest.approx(ours, abs=1e-12)
    assert len(set(ours)) == 3


def test_pointing_game_is_theirs_without_tolerance(quantus: ModuleType, model: nn.Module) -> None:
    found = scores(quantus.PointingGame(**PLAIN), model, s_batch=MASKS)
    heats = explain_func(model, X.numpy(), Y, method="gradient-x-input")
    assert list(found) == [pointing_game(h[0], m[0], 0) for h, m in zip(heats, MASKS, strict=True)]  # type: ignore[call-overload]


def test_faithfulness_runs(quantus: ModuleType, model: nn.Module) -> None:
    metric = quantus.FaithfulnessCorrelation(nr_runs=5, subset_size=20, perturb_baseline="black", **PLAIN)
    found = np.asarray(scores(metric, model))
    assert found.shape == (1,)
    assert -1 <= found[0] <= 1


def test_parameter_randomisation_runs_and_leaves_the_model(quantus: ModuleType, model: nn.Module) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    metric = quantus.MPRT(similarity_func=quantus.similarity_func.correlation_spearman, **PLAIN)
    found = scores(metric, model)
    assert {"0", "4", "8"} <= set(found)  # type: ignore[call-overload]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
