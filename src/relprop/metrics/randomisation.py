"""Randomisation: does a map change when the network forgets what it learned?"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from relprop.checks import check_choice, layer_names
from relprop.errors import InputError, unknown_name
from relprop.graph import Node, capture, capture_lock
from relprop.metrics.metric import Case, Metric, Outcome
from relprop.metrics.ranking import map_and, model_and_input
from relprop.metrics.similarity import SIMILARITIES, check_similarities
from relprop.own_file import seeded

__all__ = ["Mode", "Randomisation", "Redraw", "check_seed", "layers_from_output", "parse_step", "steps"]

Mode = Literal["cascading", "independent"]
"""Every layer from the output down to this one, or this one alone."""

Redraw = Literal["default", "ae"]
"""Each module's own `reset_parameters`, or Xavier-uniform weights with biases from [0, 1)."""

_STEPS: WeakKeyDictionary[nn.Module, dict[Any, list[tuple[str, nn.Module]]]] = WeakKeyDictionary()


def layers_from_output(model: nn.Module, x: Tensor) -> list[str]:
    """Paths of the modules that own parameters and are run, from the output to the input, each once.

    A module that is called several times stands where its last call is. "" is the model itself.

    Raises:
        CaptureError: the model can't be captured.

    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    >>> layers_from_output(net, torch.zeros(1, 1, 4, 4))
    ['4', '1', '0']
    """
    graph = capture(model, x)
    needed = graph.ancestors([n for n in graph.outputs if isinstance(n, Node)])
    found: dict[str, None] = {}
    for node in reversed(graph.nodes):
        for operand in node.operands() if node in needed else ():
            path = operand.fqn.rpartition(".")[0]
            if (
                operand.kind == "parameter"
                and next(model.get_submodule(path).parameters(False), None) is not None
            ):
                found.setdefault(path)
    return list(found)


def steps(
    model: nn.Module, x: Tensor, mode: Mode = "cascading", redraw: Redraw = "default", seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The randomised networks, one per layer from the output to the input.

    The user's model stays as it is: each network is a copy that shares every tensor that isn't randomised with
    it, and the randomised ones with the other networks. A layer's draws depend on the seed and its name
    alone, so both modes meet the same ones, on every device; the global random state isn't moved.

    Source: Adebayo et al. 2018, model parameter randomization test (cascading and independent).

    Args:
        model: in evaluation mode.
        x: an input, for the order of execution.
        mode: "cascading" or "independent".
        redraw: "default": `module.reset_parameters()` (a batch norm becomes the identity: statistics 0 and 1,
            scale 1, shift 0); "ae": weights of two or more axes Xavier-uniform, everything else from [0, 1),
            running statistics 0 and 1, as RSP's authors do (they have no batch norm).
        seed: of the draws.

    Yields:
        The layer's path and the network.

    Raises:
        InputError: another mode or redraw; a module without `reset_parameters` under "default".
        CaptureError: the model can't be captured.

    >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> found = dict(steps(net, torch.zeros(1, 2)))
    >>> list(found), found["2"][0].weight is net[0].weight, found["0"][2].weight is found["2"][2].weight
    (['2', '0'], True, True)
    """
    check_choice("mode", mode, ("cascading", "independent"))
    check_choice("redraw", redraw, ("default", "ae"))
    check_seed(seed)
    changed: dict[int, Tensor] = {}
    for path in layers_from_output(model, x):
        drawn = _drawn(model, path, redraw, seed)
        changed = {**changed, **drawn} if mode == "cascading" else drawn
        yield path, _with(model, changed)


def _drawn(model: nn.Module, path: str, redraw: Redraw, seed: int) -> dict[int, Tensor]:
    """The layer's new tensors by the identity of the old ones."""
    layer = model.get_submodule(path)
    fresh = copy.deepcopy(layer).cpu()
    with seeded(zlib.crc32(f"{seed} {path}".encode())), torch.no_grad():
        if redraw == "ae":
            _reset_ae(fresh)
        elif callable(renew := getattr(fresh, "reset_parameters", None)):
            renew()
        else:
            raise InputError(
                f"Expected every layer to have reset_parameters but {path or 'the model itself'!r} "
                f"({type(layer).__name__}) has none. Use redraw='ae', or add it to the class."
            )
    old = {**layer._parameters, **layer._buffers}
    new = {**fresh._parameters, **fresh._buffers}
    return {id(t): _like(new[name], t) for name, t in old.items() if t is not None}


def _reset_ae(layer: nn.Module) -> None:
    for parameter in layer.parameters(recurse=False):
        if parameter.ndim >= 2:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.uniform_(parameter)
    if isinstance(layer, nn.modules.batchnorm._NormBase):
        layer.reset_running_stats()


def _like(new: Tensor | None, old: Tensor) -> Tensor:
    assert new is not None
    value = new.detach().to(device=old.device, dtype=old.dtype)
    return nn.Parameter(value, old.requires_grad) if isinstance(old, nn.Parameter) else value


def _with(model: nn.Module, changed: dict[int, Tensor]) -> nn.Module:
    """A copy of the model's modules around its own tensors, but for the changed ones."""
    own = {id(t): t for m in model.modules() for t in (*m._parameters.values(), *m._buffers.values())}
    net = copy.deepcopy(model, {i: t for i, t in own.items() if t is not None})
    for module in net.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None and id(tensor) in changed:
                    tensors[name] = changed[id(tensor)]  # type: ignore[assignment]
    return net


def parse_step(key: str) -> tuple[str, int, str]:
    """The parts of a key of one step: similarity, number (1 is next to the output), layer.

    >>> parse_step("ssim@01 classifier.6")
    ('ssim', 1, 'classifier.6')
    """
    similarity, _, step = key.partition("@")
    number, _, layer = step.partition(" ")
    return similarity, int(number), layer


def check_seed(seed: Any) -> None:
    """Refuse what isn't a whole number from 0 to 2^31 - 1.

    Raises:
        InputError: with what came.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InputError(f"Expected seed to be a whole number from 0 to 2147483647 but got {seed!r}.")


class Randomisation(Metric):
    """Similarity of the map with the maps of randomised networks: a method that explains the network has little.

    For each layer from the output to the input the same input, target and method meet the network of `steps`.
    `ssim@01 classifier.6` is the first step's similarity (numbers have two digits, three from a hundred steps on,
    so that keys sort in order; see `parse_step`), "ssim" the mean over steps.

    Source: Adebayo et al. 2018, model parameter randomization test.

    Args:
        mode: "cascading" (every layer from the output down to this one) or "independent" (this one alone).
        redraw: "default" or "ae"; see `steps`.
        seed: of the draws.
        similarities: among "ssim", "spearman" and "hog".
        absolute: compare |maps|.
        layers: compare at the steps of these layers alone, which keep their numbers (a cascade still randomises
            all layers on the way); None: at every step.

    Raises:
        InputError: other settings.
    """

    name = "randomisation"
    needs = "model"
    summary = (
        "Randomisation: how much of the map stays when the network's layers are randomised (less is better)"
    )
    outcomes = (
        Outcome("ssim", "SSIM randomised", better="lower", average="pair", percent=False),
        Outcome("spearman", "Spearman randomised", better="lower", average="pair", percent=False),
        Outcome("hog", "HOG randomised", better="lower", average="pair", percent=False),
    )

    def __init__(
        self,
        *,
        mode: Mode = "cascading",
        redraw: Redraw = "default",
        seed: int = 0,
        similarities: Sequence[str] = ("ssim", "spearman", "hog"),
        absolute: bool = False,
        layers: Sequence[str] | None = None,
    ) -> None:
        check_choice("mode", mode, ("cascading", "independent"))
        check_choice("redraw", redraw, ("default", "ae"))
        check_seed(seed)
        if layers is not None and not layers:
            raise InputError(f"Expected layers to be a list of names but got {layers!r}.")
        self.mode, self.redraw, self.seed = mode, redraw, seed
        self.similarities, self.absolute = check_similarities(similarities), absolute
        self.layers = None if layers is None else layer_names(layers)

    def measure(self, case: Case) -> dict[str, float]:
        model, x = model_and_input(case, self.name)
        here, explain = map_and(case, self.name, "explain")
        digits = max(2, len(str(len(self.networks(model, x)))))
        found: dict[str, list[float]] = {}
        at: dict[str, float] = {}
        for number, path, network in self.compared(model, x):
            changed = explain(network)
            capture(network, x).weights.clear()  # derived weights of every step would fill the memory
            for similarity in self.similarities:
                value = SIMILARITIES[similarity](here, changed, self.absolute)
                found.setdefault(similarity, []).append(value)
                at[f"{similarity}@{number:0{digits}} {path}"] = value
        return {**{key: math.fsum(values) / len(values) for key, values in found.items()}, **at}

    def compared(self, model: nn.Module, x: Tensor) -> list[tuple[int, str, nn.Module]]:
        """Number, layer and network of the steps at which maps are compared.

        Raises:
            UnknownNameError: a layer of the setting `layers` is no step; the text lists the steps.
        """
        networks = self.networks(model, x)
        for layer in self.layers or ():
            if layer not in dict(networks):
                raise unknown_name("layer", layer, dict(networks))
        return [
            (number, path, network)
            for number, (path, network) in enumerate(networks, 1)
            if self.layers is None or path in self.layers
        ]

    def networks(self, model: nn.Module, x: Tensor) -> list[tuple[str, nn.Module]]:
        """Layer and randomised network by step, made once for a model and these settings, forgotten with it."""
        # It draws from the generator that all threads share, and reads the model: in this order, as where a file
        # of one's own is run, which may explain.
        with seeded(), capture_lock:
            tensors = tuple(id(t) for t in (*model.parameters(), *model.buffers()))
            key = (self.mode, self.redraw, self.seed)
            known = _STEPS.setdefault(model, {})
            if (key, tensors) not in known:
                for stale in [k for k in known if k[0] == key]:  # the model's tensors were replaced
                    del known[stale]
                known[key, tensors] = list(steps(model, x, self.mode, self.redraw, self.seed))
            return known[key, tensors]
