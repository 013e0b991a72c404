r"""Layer-wise relevance propagation: one class, five registered presets.

Every rule is stated where it is computed (`relprop.rules.linear`). Sources: Bach et al. 2015
(LRP-0, ε, αβ); Montavon et al. 2019 (γ, composites by depth); Lapuschkin et al. 2019 (flat).
"""

from __future__ import annotations

from typing import Any, Literal

from relprop.catalogue import METHODS
from relprop.checks import check_choice, check_number
from relprop.errors import InputError
from relprop.graph.attention import attention_weights
from relprop.graph.bottlenecks import bottleneck
from relprop.graph.fusion import PRODUCTS
from relprop.graph.place import Place, label
from relprop.methods.attention import Attention, attention_rules
from relprop.methods.bounds import Bounds, z_box
from relprop.methods.facts import Facts
from relprop.methods.method import ANYTHING, Method, Request, Result
from relprop.propagate.composite import Composite, Depth, Match
from relprop.rules import AlphaBeta, BatchNorm, Epsilon, Flat, Gamma, Rule, WSquare, ZPlus

__all__ = ["LRP", "LRP0", "LRPAlphaBeta", "LRPComposite", "LRPEpsilon", "LRPGamma", "is_product"]

_RULES = ("zero", "epsilon", "gamma", "alpha-beta", "z-plus")
_COMPOSITES = (
    "epsilon-plus",
    "epsilon-plus-box",
    "epsilon-gamma-box",
    "epsilon-gamma-plus-box",
    "epsilon-network-box",
    "epsilon-alpha-beta",
)
_FIRST = ("same", "z-box", "w-square", "flat")


class LRP(Method):
    """LRP with any rule, or with a composite by kind of layer or depth.

    Relevance starts as the target's score (``seed="score"``) or as 1, and is (N, C, *spatial) at the
    input. It sums to the seed less what the ledger lists as bias, stabiliser and lost.

    Args:
        rule: one rule for all linear operators: "zero", "epsilon", "gamma", "alpha-beta", "z-plus".
        composite: instead of a rule: "epsilon-plus" (z+ in convolutions, ε in products),
            "epsilon-plus-box" (with z^B first), "epsilon-gamma-box" (box first, γ in the lower two
            thirds of the depth, ε above), "epsilon-gamma-plus-box" (box first, γ in the upper half, z+ below),
            "epsilon-network-box" (as `LRPComposite` by default), "epsilon-alpha-beta", or a `Composite`.
        first: rule of the operators that read the input: "same", "z-box", "w-square", "flat".
        bounds: box of "z-box": (low, high), each a number or a tensor that broadcasts to the input, in
            the units the network sees (`relprop.pixel_bounds` makes them from mean and std); "sample"
            takes each sample's least and largest value; "auto": what pixels can be, where the model's facts
            say it (`relprop.methods.Facts`), else "sample".
        epsilon, gamma, alpha, beta, bias: parameters of the rules, see there.
        attention: how relevance crosses attention, see `relprop.methods.attention`: "constant" or "shared";
            "auto": "shared" under "epsilon-network-box", else "constant".
        seed: "score" or "one".

    Raises:
        InputError: an unknown word, rule and composite both given, or parameters out of range.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 1.0]]), target=0, method=LRP(rule="zero"))
    >>> e.relevance.tolist(), e.ledger.closes
    ([[6.0, -1.0]], True)
    """

    name = "lrp"
    takes = ANYTHING
    summary = "LRP with any rule or composite, such as lrp:rule=z-plus or lrp:composite=epsilon-plus"

    def __init__(
        self,
        *,
        rule: str | None = None,
        composite: str | Composite | None = None,
        first: str = "same",
        bounds: Bounds = "auto",
        epsilon: float = 1e-3,
        gamma: float = 0.25,
        alpha: float = 2.0,
        beta: float = 1.0,
        bias: Literal["paper", "none", "full"] = "paper",
        attention: Attention | Literal["auto"] = "auto",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        if (rule is None) == (composite is None):
            family = ", ".join(name for name in METHODS if name.startswith("lrp-"))
            raise InputError(
                "Expected either rule=... or composite=... for lrp, such as rule='z-plus', or the name of one of "
                f"its family: {family}. Begin with lrp-composite."
            )
        if rule is not None:
            check_choice("rule", rule, _RULES)
        if isinstance(composite, str):
            check_choice("composite", composite, _COMPOSITES)
        check_choice("first", first, _FIRST)
        # Those that the rule doesn't ask for too: a setting with no effect may still be a mistake.
        check_number("epsilon", epsilon, least=0)
        check_number("gamma", gamma, least=0)
        check_number("alpha", alpha)
        check_number("beta", beta, least=0)
        check_choice("bias", bias, ("paper", "none", "full"))
        check_choice("seed", seed, ("score", "one"))
        check_choice("attention", attention, ("auto", "constant", "shared"))
        self.attention: Attention | Literal["auto"] = attention
        self.rule, self.composite, self.first, self.bounds = rule, composite, first, bounds
        self.epsilon, self.gamma, self.alpha, self.beta, self.bias = epsilon, gamma, alpha, beta, bias
        self.seed: Literal["score", "one"] = seed
        self._composite = self._build()

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"} if self._boxed else {"bounds": "sample"}

    @property
    def _boxed(self) -> bool:
        named = isinstance(self.composite, str) and self.composite.endswith("-box")
        return self.first == "z-box" or (named and self.first == "same")

    def as_composite(self) -> Composite:
        """The composite that relevance is carried with."""
        return self._composite

    def about_negative(self) -> str:
        if self.rule != "z-plus" or self.seed != "score":
            return ""
        return (
            "The z+ rule hands it to what speaks for the output: red and blue are turned over. Take a method with "
            "signs, such as lrp-epsilon or lrp-composite, or seed='one'."
        )

    def explain(self, request: Request) -> Result:
        return Result.of(request.propagate(request.seed(self.seed), self._composite))

    def _build(self) -> Composite:
        crossing = attention_rules("constant" if self.attention == "auto" else self.attention)
        if isinstance(self.composite, Composite):
            return self.composite
        first: list[tuple[Match, Rule]] = []
        if self._boxed:
            first = [("first", z_box(self.bounds))]
        elif self.first == "w-square":
            first = [("first", WSquare())]
        elif self.first == "flat":
            first = [("first", Flat())]
        epsilon = Epsilon(self.epsilon)
        products: tuple[Match, Rule] = (is_product, epsilon)
        if self.rule is not None:
            by_name: dict[str, tuple[Rule, Literal["value", "positive"]]] = {
                "zero": (Epsilon(0.0), "value"),
                "epsilon": (epsilon, "value"),
                "gamma": (Gamma(self.gamma), "value"),
                "alpha-beta": (AlphaBeta(self.alpha, self.beta, self.bias), "positive"),
                "z-plus": (ZPlus(), "positive"),
            }
            rule, otherwise = by_name[self.rule]
            if otherwise == "positive" and self.attention != "shared":
                crossing = []  # the fallback's, by absolute values
            return Composite([*first, *crossing, ("linear", rule)], otherwise, name=f"LRP ({self.rule})")
        name = f"LRP ({self.composite})"
        if self.composite in ("epsilon-plus", "epsilon-plus-box"):
            return Composite([*first, *crossing, products, ("linear", ZPlus())], "positive", name=name)
        if self.composite == "epsilon-gamma-plus-box":
            rules = [*first, *crossing, products, (_UPPER_HALF, Gamma(self.gamma)), ("linear", ZPlus())]
            return Composite(rules, "positive", name=name)
        if self.composite == "epsilon-network-box":
            convolutions: list[tuple[Match, Rule]] = [
                (_upper_in_bottlenecks, Gamma(self.gamma)),
                ("linear", ZPlus()),
            ]
            shared = attention_rules("shared") if self.attention == "auto" else crossing
            # One in front of a ReLU (DenseNet): its shift is a bias, nothing that the input said.
            norm: tuple[Match, Rule] = ("batch_norm", BatchNorm("affine"))
            return _ByNetwork(
                Composite([*first, *crossing, norm, products, *convolutions], "positive", name=name),
                # By value, so that signs in the residual stream stay what they are.
                Composite(
                    [*first, *shared, (is_product, Gamma(_GAMMA_ATTENDING)), *convolutions], "value", name
                ),
            )
        if self.composite == "epsilon-alpha-beta":
            conv = AlphaBeta(self.alpha, self.beta, self.bias)
            return Composite([*first, *crossing, products, ("linear", conv)], "positive", name=name)
        lower: tuple[Match, Rule] = (Depth(0, 2 / 3), Gamma(self.gamma))
        # By value throughout: relevance that a lone batch norm passed on unchanged is not in proportion
        # to its input, and ε would divide it by values near 0.
        return Composite([*first, *crossing, products, lower, ("linear", epsilon)], "value", name=name)


class LRP0(LRP):
    """LRP-0: each contribution in proportion to its value.

    Source: Bach et al. 2015, eq. 56 (`relprop.rules.Epsilon` with ε = 0). On networks of affine maps,
    ReLUs and max pools this is gradient × input. Shapes: (N, C, *spatial). Conserves up to bias.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1)
    >>> net.weight.data, net.bias.data = torch.tensor([[2.0, -1.0]]), torch.tensor([0.5])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, "lrp-0")
    >>> e.relevance.tolist(), e.ledger.bias
    ([[6.0, -2.0]], 0.5)
    """

    name = "lrp-0"
    summary = "LRP-0: contributions in proportion to value; gradient x input on ReLU networks"

    def __init__(self, *, seed: Literal["score", "one"] = "score") -> None:
        super().__init__(rule="zero", seed=seed)

    def settings(self) -> dict[str, Any]:
        return {"seed": self.seed}


class LRPEpsilon(LRP):
    """LRP-ε: weak, contradictory contributions are damped.

    Source: Bach et al. 2015, eq. 58 (`relprop.rules.Epsilon`; ε relative to the output's rms). Shapes:
    (N, C, *spatial). Conserves up to bias and stabiliser.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, LRPEpsilon(epsilon=0.25))
    >>> [round(v, 4) for v in e.relevance[0].tolist()], round(e.ledger.stabiliser, 4)  # 4 / 5 of LRP-0
    ([4.8, -1.6], 0.8)
    """

    name = "lrp-epsilon"
    summary = "LRP-epsilon: LRP-0 with a stabiliser that damps weak, contradictory contributions"

    def __init__(
        self,
        *,
        epsilon: float = 1e-3,
        attention: Attention = "constant",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        super().__init__(rule="epsilon", epsilon=epsilon, attention=attention, seed=seed)

    def settings(self) -> dict[str, Any]:
        return {"epsilon": self.epsilon, "attention": self.attention, "seed": self.seed}


class LRPGamma(LRP):
    """LRP-γ: contributions of the unit's own sign weigh 1 + γ.

    Source: Montavon et al. 2019 (`relprop.rules.Gamma`, signed form). Shapes: (N, C, *spatial). Conserves
    up to bias.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, LRPGamma(gamma=1.0))
    >>> [round(v, 4) for v in e.relevance[0].tolist()]  # 4 * [6 + 6, -2] / (4 + 6)
    [4.8, -0.8]
    """

    name = "lrp-gamma"
    summary = "LRP-gamma: contributions of the output's own sign weigh 1 + gamma"

    def __init__(
        self,
        *,
        gamma: float = 0.25,
        attention: Attention = "constant",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        super().__init__(rule="gamma", gamma=gamma, attention=attention, seed=seed)

    def settings(self) -> dict[str, Any]:
        return {"gamma": self.gamma, "attention": self.attention, "seed": self.seed}


class LRPAlphaBeta(LRP):
    """LRP-αβ: for and against, shared out separately.

    Source: Bach et al. 2015, eq. 60 (`relprop.rules.AlphaBeta`, with the choices of its bias). Shapes:
    (N, C, *spatial). Conserves up to bias and what is lost at units without contributions of a sign.

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, LRPAlphaBeta(alpha=2, beta=1))
    >>> e.relevance.tolist()  # 4 * [2, -1]
    [[8.0, -4.0]]
    """

    name = "lrp-alpha-beta"
    summary = "LRP-alpha-beta: positive and negative contributions shared out separately (2, 1 by default)"

    def __init__(
        self,
        *,
        alpha: float = 2.0,
        beta: float = 1.0,
        bias: Literal["paper", "none", "full"] = "paper",
        first: str = "same",
        bounds: Bounds = "auto",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        super().__init__(
            rule="alpha-beta", alpha=alpha, beta=beta, bias=bias, first=first, bounds=bounds, seed=seed
        )

    def settings(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("alpha", "beta", "bias", "first", "bounds", "seed")}


class LRPComposite(LRP):
    """ε above, z+ (or γ) below, z^B at the input: the usual composite by depth.

    Source: Montavon et al. 2019; Kohlbrenner et al. 2020 for z+ in all convolutions; Achtibat et al. 2024 for γ
    and shares in attention. What is taken on which network is measured by us, see the method's page. Shapes:
    (N, C, *spatial). Conserves up to bias, stabiliser and lost, each in the ledger.

    Args:
        lower: "z-plus": z+ in all convolutions, ε in all matrix products; "gamma": γ in the
            convolutions of the lower two thirds of the depth, ε above. On networks with batch norms γ
            leaves much more to the biases. "gamma-above": γ in the convolutions of the upper half of the depth,
            z+ below. "auto": by the network, which a note says: "gamma-above" where it is built of linear
            bottlenecks, else "z-plus"; with attention, γ = 0.05 in all matrix products in the place of ε; shifts
            of batch norms that no convolution takes in (DenseNet) are biases.
        epsilon, gamma: see `relprop.rules.Epsilon` and `relprop.rules.Gamma`.
        bounds: see `LRP`.
        attention: "constant" or "shared", see `relprop.methods.attention`; "auto": "shared" under lower="auto",
            else "constant".
        seed: "score" or "one".

    >>> import torch, relprop
    >>> net = torch.nn.Linear(2, 1, bias=False)
    >>> net.weight.data = torch.tensor([[2.0, -1.0]])
    >>> e = relprop.explain(net, torch.tensor([[3.0, 2.0]]), 0, LRPComposite(bounds=(0, 4)))
    >>> e.relevance.tolist()  # one layer, so z^B alone: 4 * [3 * 2, (2 - 4) * -1] / 8
    [[3.0, 1.0]]
    """

    name = "lrp-composite"
    summary = "LRP composite by depth: epsilon above, z-plus (or gamma) below, z-box at the input"

    def __init__(
        self,
        *,
        lower: Literal["auto", "gamma", "gamma-above", "z-plus"] = "auto",
        epsilon: float = 1e-3,
        gamma: float = 0.25,
        bounds: Bounds = "auto",
        attention: Attention | Literal["auto"] = "auto",
        seed: Literal["score", "one"] = "score",
    ) -> None:
        check_choice("lower", lower, tuple(_LOWER))
        self.lower = lower
        composite = _LOWER[lower]
        super().__init__(
            composite=composite, epsilon=epsilon, gamma=gamma, bounds=bounds, attention=attention, seed=seed
        )

    def explain(self, request: Request) -> Result:
        found = super().explain(request)
        graph = request.trace.graph
        if self.lower != "auto":
            return found
        narrow, weights = bottleneck(graph), attention_weights(graph)
        if weights:
            way = "constants" if self.attention == "constant" else "sharing with the values"
            said = (
                f"{self.name} takes γ = {_GAMMA_ATTENDING} in matrix products here, and attention's weights as "
                f"{way}, since the network has attention (the first: {weights[0].module or weights[0].name}). "
                "lower='z-plus' takes ε, and constants."
            )
            found.notes += (said,)
        if narrow is not None:
            said = (
                f"{self.name} takes γ in the upper half of the convolutions here, z+ below, since the network is "
                f"built of linear bottlenecks (the first: {label(graph, narrow)}). lower='z-plus' takes z+ in all."
            )
            found.notes += (said,)
        return found

    def settings(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("lower", "epsilon", "gamma", "bounds", "attention", "seed")}


_LOWER = {
    "auto": "epsilon-network-box",
    "gamma": "epsilon-gamma-box",
    "gamma-above": "epsilon-gamma-plus-box",
    "z-plus": "epsilon-plus-box",
}
_UPPER_HALF = Depth(0.5, 1.0)
_GAMMA_ATTENDING = 0.05


class _ByNetwork(Composite):
    """One composite for networks with attention, another for those without."""

    def __init__(self, usual: Composite, attending: Composite) -> None:
        super().__init__(usual.rules, usual.otherwise, usual.name)
        self.attending = attending

    def rule_for(self, place: Place) -> Rule | None:
        return self.attending.rule_for(place) if place.attends else super().rule_for(place)

    def __repr__(self) -> str:
        return f"{super().__repr__()}, with attention {self.attending!r}"


def _upper_in_bottlenecks(place: Place) -> bool:
    return place.bottlenecks and _UPPER_HALF(place)


def is_product(place: Place) -> bool:
    """Match matrix products with a weight, and no convolutions."""
    return place.kind == "linear" and place.node.op in PRODUCTS
