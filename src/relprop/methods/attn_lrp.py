r"""AttnLRP: layer-wise relevance propagation for transformers.

Source: Achtibat et al. 2024, "AttnLRP: Attention-Aware Layer-Wise Relevance Propagation for Transformers" (ICML,
arXiv 2402.05602).
"""

from __future__ import annotations

from typing import Any, Literal

from relprop.checks import check_number
from relprop.methods.attention import Attention, attention_rules
from relprop.methods.lrp import LRP, is_product
from relprop.propagate.composite import Composite
from relprop.rules import Epsilon, Gamma, Rule

__all__ = ["AttnLRP"]


class AttnLRP(LRP):
    """LRP with rules for attention, and γ in linear layers and in the patch embedding.

    Layer norms: the deviation is a constant, the shift is bias. Activations hand relevance on. Relevance is
    (N, C, *spatial): the patch embedding is a convolution, and lays the tokens' relevance back on the picture.

    Args:
        gamma: γ of linear layers; 0 means ε = `epsilon` instead.
        gamma_conv: γ of convolutions, likewise.
        epsilon: stabiliser where a γ is 0, relative to the output's rms.
        attention: "shared", or "constant" for CP-LRP; see `relprop.methods.attention`.
        seed: "score" or "one".

    Raises:
        InputError: an unknown word, or parameters out of range.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, AttnLRP(gamma=1.0))
    >>> [round(v, 4) for v in e.relevance[0].tolist()]  # 4 * [6 + 6, -2] / (4 + 6)
    [4.8, -0.8]
    """

    name = "attnlrp"
    summary = "LRP for transformers: attention's weights and values share, gamma in linear layers"

    def __init__(
        self,
        *,
        gamma: float = 0.05,
        gamma_conv: float = 0.25,
        epsilon: float = 1e-3,
        attention: Attention = "shared",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        for name, value in (("gamma", gamma), ("gamma_conv", gamma_conv), ("epsilon", epsilon)):
            check_number(name, value, least=0)
        self.gamma_conv = gamma_conv
        products: Rule = Gamma(gamma) if gamma else Epsilon(epsilon)
        convolutions: Rule = Gamma(gamma_conv) if gamma_conv else Epsilon(epsilon)
        crossing = attention_rules(attention)
        composite = Composite(
            [*crossing, (is_product, products), ("linear", convolutions)], "value", name="AttnLRP"
        )
        super().__init__(composite=composite, gamma=gamma, epsilon=epsilon, attention=attention, seed=seed)

    def settings(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("gamma", "gamma_conv", "epsilon", "attention", "seed")}
