"""Attribution: any method of relprop's, called as captum's methods are."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from relprop.captum.targets import CaptumTarget, as_asked
from relprop.errors import InputError, RelpropError
from relprop.explanation import Explanation
from relprop.explanation.explain import explain, explanation_of
from relprop.explanation.inquiry import may_do_anything
from relprop.methods.integrated_gradients import IntegratedGradients
from relprop.methods.method import Method
from relprop.methods.registry import MethodLike, resolve

__all__ = ["Attribution", "Inputs", "checked_module", "no_more_arguments", "rows_of"]

Inputs = TypeVar("Inputs", Tensor, tuple[Tensor, ...])

#: Products of the input and a slope, which keep no ledger.
_AMOUNTS = ("gradient-x-input", "integrated-gradients")


class Attribution:
    """A method with captum's `attribute`: `Attribution(model, "lrp-composite").attribute(x, target=3)`.

    Args:
        model: maps (N, C, *spatial) to scores (N, classes), in evaluation mode; of several inputs, those in the
            order of the tuple.
        method: as for `relprop.explain`; "recommended" chooses by what is asked.

    Raises:
        InputError: something else than a `torch.nn.Module`, or a method that can't be used.

    >>> net = torch.nn.Linear(2, 2, bias=False)
    >>> net.weight.data = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    >>> a = Attribution(net, "lrp-0")
    >>> a.attribute(torch.tensor([[3.0, 1.0], [3.0, 1.0]]), target=[0, 1]).tolist()
    [[3.0, 0.0], [6.0, -1.0]]
    >>> a.attribute((torch.tensor([[3.0, 1.0]]),), target=1, return_convergence_delta=True)
    ((tensor([[ 6., -1.]]),), tensor([0.]))
    """

    def __init__(self, model: nn.Module, method: MethodLike = "recommended") -> None:
        self.model = self.forward_func = checked_module(model)
        self.method: Method = resolve(method)

    def attribute(
        self,
        inputs: Inputs,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
        *,
        baselines: Any = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """What in the inputs made the model say `target`.

        Args:
            inputs: (N, C, *spatial), or a tuple of tensors (N, ...).
            target: as captum takes it, `relprop.captum.targets.as_asked`; None is each sample's top class.
            additional_forward_args: refused; hold them in a module around the model.
            baselines: of integrated gradients: a number, a tensor that broadcasts to the input, or a tuple of
                these, one an input. None: the method's own.
            return_convergence_delta: give (attributions, delta), see `compute_convergence_delta`.

        Returns:
            Relevance shaped like the inputs, a tensor for a tensor and a tuple for a tuple; float32 or better,
            without a gradient.

        Raises:
            InputError: as `relprop.explain`; further arguments; baselines of a method that has none; a method
                whose map isn't at the inputs; a delta of a method that keeps no account.
            CaptureError, UnsupportedOperatorError: as `relprop.explain`.
        """
        no_more_arguments(additional_forward_args)
        method = self._with(inputs, baselines)
        found = _found(explain, self.model, inputs, target, method)
        for e in found:
            if e.at != "input":
                raise InputError(
                    f"Expected a method whose map is shaped like the inputs but {e.method} gives one at {e.at!r}. "
                    "Take LayerAttribution(model, layer, method), or the method's setting at='input' where it has "
                    "one."
                )
        maps = tuple(e.relevance for e in found)
        whole = maps if isinstance(inputs, tuple) else maps[0]
        return (whole, _delta(found)) if return_convergence_delta else whole

    def has_convergence_delta(self) -> bool:
        """Whether the method keeps an account of its map: a ledger, or a completeness gap.

        Methods of the user's own count as keeping none, and so do those whose map is made of two that keep one.
        """
        if may_do_anything(self.method):
            return False
        # Which methods keep books is nowhere written but in what they give: ask one about a small network.
        net = nn.Sequential(
            nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
        )
        for parameter in net.parameters():
            nn.init.constant_(parameter, 0.5)
        try:
            found = _found(explanation_of, net.eval(), torch.ones(1, 3, 4, 4), 0, self.method)
            return bool(_delta(found).isfinite().all())
        except RelpropError:
            return False

    def compute_convergence_delta(
        self,
        attributions: Inputs,
        start_point: Any = None,
        end_point: Inputs | None = None,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
    ) -> Tensor:
        """What the method's account leaves unexplained, (N,), in units of the score; 0 up to rounding.

        Methods with a ledger: what relevance started with, less what biases and stabilisers took, less what the
        ledger lists as lost, less the attributions' sum. So it isn't captum's delta of LRP, which holds what
        biases took, too.
        Integrated gradients, as in captum: the attributions' sum less what the score differs by.

        Args:
            attributions: what `attribute` gave for `end_point`.
            start_point: baselines of integrated gradients; of no use to others.
            end_point: the inputs, which are explained once more.
            target: as for `attribute`.
            additional_forward_args: refused.

        Raises:
            InputError: no end_point, a method that keeps no account, and as `attribute`.
        """
        no_more_arguments(additional_forward_args)
        if end_point is None:
            raise InputError(
                "Expected end_point, the inputs that were explained, as what biases took can't be told without. "
                "Or pass return_convergence_delta=True to attribute."
            )
        method = self._with(end_point, start_point if isinstance(self.method, IntegratedGradients) else None)
        found = _found(explanation_of, self.model, end_point, target, method)
        whole = _total(attributions if isinstance(attributions, tuple) else (attributions,))
        told = _total(tuple(e.relevance for e in found))
        sign = 1 if "completeness_gap" in found[0].extras else -1
        return _delta(found) + sign * (whole - told).to(found[0].relevance.dtype)

    @property
    def multiplies_by_inputs(self) -> bool:
        """Whether attributions are amounts, in units of the score, and not slopes or places."""
        return self.method.name in _AMOUNTS or self.has_convergence_delta()

    def _with(self, inputs: Inputs, baselines: Any) -> Method:
        """The method with these baselines."""
        if baselines is None:
            return self.method
        if not isinstance(self.method, IntegratedGradients):
            raise InputError(
                f"Expected no baselines for {self.method.name}, which compares with none, but got some. "
                "integrated-gradients takes them."
            )
        return self.method.with_(baseline=_laid_out(inputs, baselines))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self.model).__name__}, {self.method!r})"


def checked_module(model: Any) -> nn.Module:
    """The model, if it is a module.

    Raises:
        InputError: it is something else, such as a function.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"Expected model to be a torch.nn.Module, whose operators can be followed, but got "
            f"{type(model).__name__}. Wrap a function in a module; of a model that relprop loaded take .module."
        )
    return model


def no_more_arguments(arguments: object) -> None:
    """Refuse `additional_forward_args`.

    Raises:
        InputError: there are some.
    """
    if arguments is not None:
        raise InputError(
            "Expected no additional_forward_args, which relevance would go to as well, but got some. Hold them in "
            "a module around the model, which takes the inputs alone."
        )


def rows_of(inputs: Tensor | tuple[Tensor, ...]) -> int:
    """N, the number of samples.

    Raises:
        InputError: neither a tensor nor a tuple of tensors.
    """
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    if not parts or not all(isinstance(part, Tensor) and part.ndim for part in parts):
        raise InputError(
            f"Expected inputs to be a tensor (N, ...) or a tuple of these but got {type(inputs).__name__}."
        )
    return len(parts[0])


def _found(
    how: Any, model: nn.Module, inputs: Tensor | tuple[Tensor, ...], target: CaptumTarget, method: Method
) -> tuple[Explanation, ...]:
    """The explanation of each input."""
    asked = as_asked(target, rows_of(inputs))
    alone = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
    found = how(model, alone, asked, method)
    return found if isinstance(found, tuple) else (found,)


def _delta(found: tuple[Explanation, ...]) -> Tensor:
    """What the account of an explanation leaves unexplained, (N,)."""
    e = found[0]
    dtype, device = e.relevance.dtype, e.relevance.device
    if "completeness_gap" in e.extras:
        return -e.extras["completeness_gap"].to(dtype=dtype, device=device)
    balances = () if e.ledger is None or "ledger_of" in e.extras else e.ledger.balances
    if not balances:
        raise InputError(
            f"Expected a method that accounts for its map but {e.method} doesn't. Take return_convergence_delta "
            "away, or a method with a ledger, such as lrp-composite."
        )
    if len(balances[0]) != len(e.targets):
        raise InputError(
            "Expected samples that can be told apart but this network lays them side by side, so its ledger is "
            "that of all together. Explain one sample at a time."
        )
    gaps = [b.start - b.end - b.bias - b.stabiliser - b.lost for b in balances[0]]
    return torch.tensor(gaps, dtype=dtype, device=device)


def _total(maps: tuple[Tensor, ...]) -> Tensor:
    """The sum over all inputs, (N,) float64."""
    return torch.stack([m.detach().reshape(len(m), -1).double().sum(1) for m in maps]).sum(0)


def _laid_out(inputs: Tensor | tuple[Tensor, ...], baselines: Any) -> float | Tensor:
    """Baselines as integrated gradients take them: of several inputs side by side, as these are explained."""
    if not isinstance(inputs, tuple):
        return baselines[0] if isinstance(baselines, tuple) and len(baselines) == 1 else baselines
    each = baselines if isinstance(baselines, tuple) else (baselines,)
    if len(each) != len(inputs):
        raise InputError(f"Expected a baseline for each of {len(inputs)} inputs but got {len(each)}.")
    if len(inputs) == 1:
        return each[0]
    laid = []
    for x, baseline in zip(inputs, each, strict=True):
        try:
            whole = torch.as_tensor(baseline, dtype=x.dtype, device=x.device).expand_as(x)
        except (RuntimeError, TypeError, ValueError):
            raise InputError(
                f"Expected baselines that broadcast to {tuple(x.shape)}, the input's shape, but got "
                f"{getattr(baseline, 'shape', baseline)!r:.60}."
            ) from None
        laid.append(whole.reshape(len(x), -1))
    return torch.cat(laid, 1)
