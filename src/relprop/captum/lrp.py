"""Captum's LRP by its name."""

from __future__ import annotations

from torch import nn

from relprop.captum.attribution import Attribution
from relprop.errors import InputError

__all__ = ["LRP"]


class LRP(Attribution):
    """Captum's default LRP, which is LRP-0: its ε rule has 1e-9. On any network that relprop can follow.

    Args:
        model: as for `Attribution`. Its modules carry no `rule` of captum's; for other rules than LRP-0 take
            `Attribution(model, relprop.LRP(...))`.

    Raises:
        InputError: a module that carries a rule of captum's.

    >>> import torch
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.data, net.bias.data = torch.tensor([[2.0, -1.0]]), torch.tensor([0.5])
    >>> LRP(net).attribute(torch.ones(1, 2), target=0, return_convergence_delta=True)
    (tensor([[ 2., -1.]]), tensor([0.]))
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, "lrp-0")
        ruled = [
            name for name, module in self.model.named_modules() if getattr(module, "rule", None) is not None
        ]
        if ruled:
            raise InputError(
                f"Expected modules without rules of captum's but {', '.join(map(repr, ruled[:3]))} carry some, "
                "which relprop doesn't read. Say them as a composite: Attribution(model, "
                "relprop.LRP(composite=...))."
            )
