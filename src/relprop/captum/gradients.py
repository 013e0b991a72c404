"""Captum's gradient methods by their names: the same numbers wherever captum's are right."""

from __future__ import annotations

from typing import Any

from torch import nn

from relprop.captum.attribution import Attribution, Inputs
from relprop.captum.targets import CaptumTarget
from relprop.errors import InputError
from relprop.methods.integrated_gradients import IntegratedGradients as _Integrated

__all__ = ["Deconvolution", "GuidedBackprop", "InputXGradient", "IntegratedGradients", "Saliency"]

_QUADRATURES = {"gausslegendre": "gauss-legendre", "riemann_middle": "midpoint"}


class Saliency(Attribution):
    """The gradient, without its sign unless asked for.

    Args:
        model: as for `Attribution`.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> Saliency(net).attribute(torch.ones(1, 2), target=0).tolist()
    [[2.0, 1.0]]
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "gradient")

    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        target: CaptumTarget = None,
        abs: bool = True,
        additional_forward_args: None = None,
    ) -> Any:
        """The gradient of the target's score: `Attribution.attribute`, with `abs` for |gradient|."""
        found = super().attribute(inputs, target, additional_forward_args)
        if not abs:
            return found
        return tuple(map(_absolute, found)) if isinstance(found, tuple) else _absolute(found)


class InputXGradient(Attribution):
    """Input × gradient.

    Args:
        model: as for `Attribution`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "gradient-x-input")


class IntegratedGradients(Attribution):
    """Integrated gradients, along the straight line from the baselines.

    Args:
        model: as for `Attribution`.
        multiply_by_inputs: must be True; relprop's map is the amounts.

    Raises:
        InputError: `multiply_by_inputs` is False.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> IntegratedGradients(net).attribute(torch.ones(1, 2), 0.5, target=0).tolist()
    [[1.0, -0.5]]
    """

    def __init__(self, model: nn.Module, multiply_by_inputs: bool = True) -> None:
        if not multiply_by_inputs:
            raise InputError(
                "Expected multiply_by_inputs=True but got False. Divide attributions by inputs less baselines for "
                "the mean gradient, where they differ."
            )
        super().__init__(model, "integrated-gradients")

    def attribute(  # type: ignore[override]
        self,
        inputs: Inputs,
        baselines: Any = None,
        target: CaptumTarget = None,
        additional_forward_args: None = None,
        n_steps: int = 50,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:
        """`Attribution.attribute`, with captum's settings and their order.

        Args:
            inputs, target, additional_forward_args, return_convergence_delta: as for `Attribution.attribute`.
            baselines: a number, a tensor that broadcasts to the input, or a tuple of these; None is 0.
            n_steps: points on the line.
            method: "gausslegendre" or "riemann_middle".
            internal_batch_size: rows that run at once, at least one whole batch; None is 16. Changes no number.

        Raises:
            InputError: another method, and as `Attribution.attribute`.
        """
        if method not in _QUADRATURES:
            raise InputError(
                f"Expected method to be one of {', '.join(map(repr, _QUADRATURES))} but got {method!r}. The other "
                "sums come to the same with more steps."
            )
        more = {} if internal_batch_size is None else {"chunk": internal_batch_size}
        recipe = _Integrated(steps=n_steps, quadrature=_QUADRATURES[method], **more)  # type: ignore[arg-type]
        return Attribution(self.model, recipe).attribute(
            inputs,
            target,
            additional_forward_args,
            baselines=baselines,
            return_convergence_delta=return_convergence_delta,
        )


class GuidedBackprop(Attribution):
    """Guided backprop at every ReLU, functions and modules that are used again included.

    Args:
        model: as for `Attribution`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "guided-backprop")


class Deconvolution(Attribution):
    """DeconvNet at every ReLU, functions and modules that are used again included.

    Args:
        model: as for `Attribution`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "deconvnet")


def _absolute(found: Any) -> Any:
    return found.abs()
