"""A plain function as a method: other people's attributions beside ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from relprop.errors import InputError
from relprop.methods.method import Method, Request, Result
from relprop.own_file import blame
from relprop.registry import check_settings

__all__ = ["FunctionMethod"]

_FORM = "(model, x, targets) -> relevance"


class FunctionMethod(Method):
    """What a function `(model, x, targets)` says, as an explanation.

    The function gets the model, its input (N, C, *spatial), and int64 class indices (N,), once for each of K
    targets, and returns relevance shaped like the input. Gradients are on. Keyword-only arguments after the
    three are settings.

    The explanation has no plan and no ledger: relprop doesn't see what the function does, so nothing is known
    of where relevance went. `extras["ledger_of"]` says so.

    Args:
        function: as above.
        settings: its keyword-only arguments.

    Raises:
        InputError: no such function; layers asked for; what it returns is no tensor, of another shape, or no
            floating-point numbers (`relprop.explain` refuses NaN and infinity).
        RelpropError: the function raised.

    >>> import relprop
    >>> def double(model, x, targets, *, factor=2.0):
    ...     return factor * x
    >>> e = relprop.explain(torch.nn.Linear(2, 2), torch.tensor([[1.0, 3.0]]), 0, double)
    >>> e.method, e.relevance.tolist(), e.ledger, e.plan
    ('double', [[2.0, 6.0]], None, None)
    """

    summary = f"a function {_FORM}"

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        self._name = getattr(function, "__name__", type(function).__name__)
        own = _keywords(function, self._name)
        check_settings(self._name, settings, own)
        self._function, self._settings = function, {**own, **settings}

    @property
    def name(self) -> str:  # type: ignore[override]
        """The function's name."""
        return self._name

    def settings(self) -> dict[str, Any]:
        """The function's keyword-only arguments."""
        return dict(self._settings)

    def explain(self, request: Request) -> Result:
        if request.layers:
            raise InputError(
                f"Expected no layers for {self.name} but got {', '.join(map(repr, request.layers))}: a function "
                "gives relevance at the input alone."
            )
        maps = [self._map(request, row) for row in request.targets]
        extras = {"ledger_of": "nothing: a function gave the relevance, and relprop doesn't see its steps"}
        return Result(torch.stack(maps), extras=extras)

    def _map(self, request: Request, targets: Tensor) -> Tensor:
        model, x = request.model, request.trace.input
        with torch.inference_mode(False), torch.enable_grad(), blame(f"The function {self.name}"):
            # Copies: whatever the function does to them, the trace keeps its own.
            given = x.detach().clone().to(request.trace.dtype)
            found = self._function(model, given, targets.clone(), **self._settings)
        return self._checked(found, x)

    def _checked(self, found: object, x: Tensor) -> Tensor:
        if not isinstance(found, Tensor):
            raise InputError(
                f"Expected {self.name} to return a tensor of relevance but got {type(found).__name__}."
            )
        if found.shape != x.shape:
            raise InputError(
                f"Expected {self.name} to return relevance of the input's shape {tuple(x.shape)} but got "
                f"{tuple(found.shape)}. Resize a coarser map, and share it out among the channels."
            )
        if not found.is_floating_point():
            raise InputError(
                f"Expected {self.name} to return floating-point relevance but got {found.dtype}."
            )
        return found.detach().to(x.device, torch.promote_types(found.dtype, torch.float32))


def _keywords(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """The function's keyword-only arguments with their defaults."""
    try:
        own = inspect.signature(function)
    except ValueError:  # written in C, without a signature
        return {}
    kept = {p.name: p.default for p in own.parameters.values() if p.kind is p.KEYWORD_ONLY}
    try:
        own.bind(None, None, None, **dict.fromkeys(kept))
    except TypeError as error:
        raise InputError(f"Expected {name} to be a function {_FORM} but it isn't: {error}.") from None
    return kept
