"""Rules for convolutions and matrix products (with the batch norm that follows, if any).

Notation: input x_i, z_j = sum_i w_ij x_i + b_j, relevance R_j at the output, R_i at the input,
z+_j = sum_i (w_ij x_i)+ and z-_j = sum_i (w_ij x_i)-. Rules whose R_i is in proportion to x_i return
the multiplier c_i = R_i / x_i.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice, check_flag, check_number
from relprop.errors import InputError
from relprop.rules.rule import Message, SharingRule
from relprop.rules.way_in import way_from_input
from relprop.tracing.ledger_sums import dot_sums, dot_totals, totals
from relprop.tracing.linear_map import LinearMap
from relprop.tracing.masks import below, picked
from relprop.tracing.memory import some_of
from relprop.tracing.quotient import Quotient
from relprop.tracing.site import Site

__all__ = ["AlphaBeta", "Epsilon", "Excitation", "Flat", "Gamma", "WSquare", "ZBox", "ZPlus"]

_FEW = 64  # products per unit below which z- = z - z+ - b would be rounding noise
_STRIDE = 13  # every how many positions are looked at to judge a whole layer


class Epsilon(SharingRule):
    r"""LRP-ε; with ε = 0 LRP-0.

    .. math:: R_i = x_i \sum_j \frac{w_{ij}}{z_j + ε_j \operatorname{sign} z_j} R_j

    Source: Bach et al. 2015, eq. 56 (LRP-0) and 58. Conserves up to bias and stabiliser.

    Args:
        epsilon: size of the stabiliser.
        relative: ε_j is `epsilon` times the root mean square of the operator's output over the
            sample (after a ReLU that alone reads it); False: an absolute number.

    Raises:
        InputError: epsilon < 0.
    """

    narrows = True

    def __init__(self, epsilon: float = 1e-3, *, relative: bool = True) -> None:
        check_number("epsilon", epsilon, least=0)
        check_flag("relative", relative)
        self.epsilon = epsilon
        self.relative = relative

    def prepare(self, site: Site) -> Message:
        linear, y = site.linear, site.y
        size = site.rms() * self.epsilon if self.relative and self.epsilon else y.new_tensor(self.epsilon)
        # z + ε sign z (sign 0 = 1); behind a ReLU all that counts is positive.
        signed = None if site.output.nonneg else torch.copysign(size, y)
        quotient = Quotient(
            site, y + (size if signed is None else signed), alive=min(size.flatten().tolist()) > 0
        )

        def account(s: Tensor) -> None:
            # R - s z = s (z + ε sign z) - s z: what the stabiliser keeps.
            sums = site.book_bias(s, linear.bias)
            if not self.epsilon:
                return
            if signed is not None:
                kept = dot_totals(s, signed)
            elif size.ndim and site.node.batch_axis != 0:
                kept = totals(s * size)
            else:
                kept = (totals(s) if sums is None else sums.sum(-1)) * size.double().flatten()
            site.account.book("stabiliser", kept)

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            if site.account.enabled:
                account(s)
            return linear.backward_plain(s, site.x, owned=True)

        return message


class Gamma(SharingRule):
    r"""LRP-γ in its signed form: contributions of the output's own sign weigh 1 + γ.

    .. math:: R_i = \sum_j \frac{t_{ij} + γ t^{±}_{ij}}{z_j + γ (z^{±}_j + b^{±}_j)} R_j,
        \quad t_{ij} = w_{ij} x_i, \quad ± = \operatorname{sign} z_j

    Source: Montavon et al. 2019 (positive outputs); Andéol et al. 2021 (both signs). Conserves up to
    bias.
    """

    narrows = True

    def __init__(self, gamma: float = 0.25) -> None:
        check_number("gamma", gamma, least=0)
        self.gamma = gamma

    def prepare(self, site: Site) -> Message:
        # t± = (t ± |t|) / 2, so that one pass with |w| and |x| serves both signs:
        #   z + γ (z± + b±) = (1 + γ/2) z ± γ/2 (Σ |w| |x| + |b|).
        # Both terms have the sign of z: nothing cancels.
        linear, x, y, half = site.linear, site.x, site.y, self.gamma / 2
        size, bias = linear.part("size"), linear.bias
        b_size = None if bias is None else bias.abs()
        denominator = site.sum("size", lambda: linear.forward(x if site.nonneg else x.abs(), size))
        if b_size is not None:
            denominator = denominator.add_(linear.channels(b_size, y.ndim + 1))
        one = y.new_ones(())
        sign = None if site.output.nonneg else torch.copysign(one, y)
        if sign is not None:
            denominator = denominator.mul_(sign)
        quotient = Quotient(site, denominator.mul_(half).add_(y, alpha=1 + half))
        side = half if site.nonneg else torch.copysign(half * one, x)

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            signed = s if sign is None else s * sign
            site.book_bias(s, bias, 1 + half)
            site.book_bias(signed, b_size, half)
            c = linear.backward(signed, size, x).mul_(side)
            return c.add_(linear.backward_plain(s, x, owned=True), alpha=1 + half)

        return message


class AlphaBeta(SharingRule):
    r"""LRP-αβ: positive and negative contributions shared out separately, α - β = 1.

    .. math:: R_i = \sum_j \left[ α \frac{(w_{ij} x_i)^+}{D^+_j} - β \frac{(w_{ij} x_i)^-}{D^-_j} \right] R_j

    Source: Bach et al. 2015, eq. 60. A unit without positive (negative) contributions loses α (-β)
    times its relevance; the ledger says how much that is.

    Args:
        alpha, beta: non-negative, alpha - beta = 1.
        bias: what D± hold. "paper": z± + b±; "none": z±; "full": z± + b (the whole bias in both, as
            one widely used implementation had it).

    Raises:
        InputError: alpha - beta is not 1, or an unknown bias mode.
    """

    def __init__(
        self, alpha: float = 2.0, beta: float = 1.0, bias: Literal["paper", "none", "full"] = "paper"
    ) -> None:
        check_number("alpha", alpha)
        check_number("beta", beta)
        if not (beta >= 0 and abs(alpha - beta - 1) <= 1e-9):
            raise InputError(f"Expected alpha - beta = 1 and beta >= 0 but got alpha={alpha}, beta={beta}.")
        check_choice("bias", bias, ("paper", "none", "full"))
        self.alpha, self.beta, self.bias = alpha, beta, bias

    def prepare(self, site: Site) -> Message:
        linear, x, y = site.linear, site.x, site.y
        b_up, b_down = self._biases(linear)
        up = site.sum("z+", lambda: _positive(linear, x, site.nonneg))
        down, shaky = (None, None) if not self.beta else self._negative(site, up, b_down)
        if b_up is not None:
            up = up.add_(linear.channels(b_up, y.ndim + 1))
        quotient_up = Quotient(site, up, self.alpha)

        # Filled at the first message: only then is known how much relevance sits on shaky differences.
        quotients: list[Quotient] = []

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            if down is not None and not quotients:
                anew = shaky is not None and shaky(part, multiplier)
                z = _summed_down(linear, x, site.nonneg, b_down) if anew else down
                quotients.append(Quotient(site, z, -self.beta, arrives=False))
            s_up = quotient_up(part, multiplier, owned=owned and down is None)
            site.book_bias(s_up, b_up)
            if down is None:
                return _one(linear, s_up, x, site.nonneg)
            s_down = quotients[0](part, multiplier, owned=owned)
            site.book_bias(s_down, b_down)
            return _both(linear, s_up, s_down, x, site.nonneg)

        return message

    def _negative(
        self, site: Site, up: Tensor, b_down: Tensor | None
    ) -> tuple[Tensor, Callable[[Tensor, bool], bool] | None]:
        """z- + b-, and, where it was found as z - z+ - (b - b-), the test whether that was good enough.

        The difference saves a convolution, and is as good as one where z- isn't small beside z+.
        """
        linear, y = site.linear, site.y
        many = linear.fan_in >= _FEW and (linear.conv is None or linear.conv.groups == 1)
        if not (site.nonneg and many):
            return _summed_down(linear, site.x, site.nonneg, b_down), None
        single = y.dtype == torch.float32
        noise = 1e-5 if single else 1e-13
        # Rectified units have y = z wherever there is relevance.
        down = y - up
        if linear.bias is None:
            least = up * -noise
        else:
            if self.bias != "full":
                rest = linear.bias if b_down is None else linear.bias - b_down
                down -= linear.channels(rest, y.ndim + 1)
            size = linear.channels(linear.bias.abs(), y.ndim + 1)
            least = torch.add(size * -noise, up, alpha=-noise)
        step = _STRIDE if linear.conv is not None and y[0, 0].numel() > 64 else 1
        some_y, some_least, some_down = (some_of(t[None], y, step)[0] for t in (y, least, down))
        ratio = some_least / some_down.clamp(max=-1e-20).mul_(noise)
        ratio *= torch.le(ratio, 1 / noise)  # the others are cut off below
        down.mul_(torch.le(down, least, out=least))  # 0 where it is rounding noise

        def shaky(part: Tensor, multiplier: bool) -> bool:
            # The rounding of a sum is about eps times its terms. Weighted by |relevance| that must stay
            # within what the ledger tolerates, 1e-6 (1e-13 in float64).
            some = some_of(part, y, step)
            sizes = (some_y * ratio, some_y) if multiplier else (ratio, torch.ones_like(ratio))
            weighted, plain = (float(dot_sums(some, size)[1].sum()) for size in sizes)
            return weighted > plain * (4.0 if single else 200.0)

        return down, shaky

    def _biases(self, linear: LinearMap) -> tuple[Tensor | None, Tensor | None]:
        if self.bias == "none" or linear.bias is None:
            return None, None
        if self.bias == "full":
            return linear.bias, linear.bias
        return linear.bias.clamp(min=0), linear.bias.clamp(max=0)


class ZPlus(SharingRule):
    r"""The z+ rule: only positive contributions count, no bias.

    .. math:: R_i = \sum_j \frac{(w_{ij} x_i)^+}{z^+_j} R_j

    Source: Montavon et al. 2017, eq. 14 (inputs >= 0); with signed inputs it is αβ with α = 1, β = 0
    and no bias. Conserves, except at units that are active through their bias alone ("lost").
    """

    confines = True
    narrows = True
    keeps = 1

    def prepare(self, site: Site) -> Message:
        linear, x = site.linear, site.x
        quotient = Quotient(site, site.sum("z+", lambda: _positive(linear, x, site.nonneg)))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            return _one(linear, quotient(part, multiplier, owned=owned), x, site.nonneg)

        return message


class Excitation(SharingRule):
    r"""Excitation backprop: in proportion to what drives the unit to the side of 0 where it is.

    .. math:: P_i = \sum_j \frac{(w_{ij} x_i)^{±}}{\sum_{i'} (w_{i'j} x_{i'})^{±}} P_j,
        \quad ± = \operatorname{sign} z_j

    without bias. Shares lie in [0, 1] and sum to 1, whatever the signs of inputs and outputs. The sign of z_j is
    the one that its readers see (`Site.below`): behind a ReLU always +, and with inputs >= 0 this is the published

    .. math:: P_i = x_i \sum_j \frac{w^+_{ij}}{\sum_{i'} w^+_{i'j} x_{i'}} P_j

    Source: Zhang et al. 2016, eq. 3, for inputs >= 0; the form for both signs is ours. It is the limit of `Gamma`
    without bias for large γ. Conserves, but at units that have no contribution of their sign ("lost").

    Args:
        clamp_input: the published form with max(x, 0) for x.
        released: the published form with x as it is, as in the published PyTorch code. For inputs of both signs
            the denominators change sign, and shares are without bound.
    """

    keeps = 2

    def __init__(self, *, clamp_input: bool = False, released: bool = False) -> None:
        check_flag("clamp_input", clamp_input)
        check_flag("released", released)
        self.clamp_input, self.released = clamp_input, released

    def prepare(self, site: Site) -> Message:
        if self.clamp_input or self.released:
            return self._published(site)
        linear, x, under = site.linear, site.x, site.below()
        up = site.sum("z+", lambda: _positive(linear, x, site.nonneg))
        if under is None:
            rising = Quotient(site, up)
            return lambda part, multiplier, owned: _one(
                linear, rising(part, multiplier, owned=owned), x, site.nonneg
            )
        down = site.sum("z-", lambda: _negative(linear, x, site.nonneg))
        quotient = Quotient(site, picked(under, down, up))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            s = quotient(part, multiplier, owned=owned)
            s_down = s * under
            return _both(linear, s.sub_(s_down), s_down, x, site.nonneg)

        return message

    def _published(self, site: Site) -> Message:
        linear, x = site.linear, site.x
        clamped = self.clamp_input and not site.nonneg
        seen = x.clamp(min=0) if clamped else x
        weight = linear.part("+")
        quotient = Quotient(site, linear.forward(seen, weight))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            c = linear.backward(quotient(part, multiplier, owned=owned), weight, x)
            return c.mul_(1 - below(x)) if clamped else c

        return message


class ZBox(SharingRule):
    r"""The z^B rule for inputs that lie in a box l <= x <= h (pixels).

    .. math:: R_i = \sum_j \frac{x_i w_{ij} - l_i w^+_{ij} - h_i w^-_{ij}}
        {\sum_{i'} x_{i'} w_{i'j} - l_{i'} w^+_{i'j} - h_{i'} w^-_{i'j}} R_j

    Source: Montavon et al. 2017, eq. 17 ("z-beta"). No bias; conserves. Padding counts as x = l = h = 0.

    Args:
        low, high: the box, as numbers or as tensors that broadcast to (C, *spatial) or (C,); in the
            units of the input that the network sees.
        bounds: "sample" takes the least and the largest value of each sample instead.

    Raises:
        InputError: low > high, or neither bounds nor low and high.

    Attributes:
        rounding: by how much of the box's width the preprocessing's rounding may carry an input out of it.
    """

    gives_multiplier = False
    keeps = 2
    rounding: ClassVar[float] = 1e-4

    def __init__(
        self,
        low: float | Tensor | None = None,
        high: float | Tensor | None = None,
        *,
        bounds: Literal["sample"] | None = None,
    ) -> None:
        if bounds not in (None, "sample"):
            raise InputError(f"Expected bounds to be 'sample' or None but got {bounds!r}.")
        if bounds is None and (low is None or high is None):
            raise InputError("Expected low and high, or bounds='sample', for the z-box rule.")
        least, most = (torch.as_tensor(0.0 if b is None else b, dtype=torch.float64) for b in (low, high))
        if not all(bool(torch.isfinite(b).all()) for b in (least, most)):
            raise InputError(f"Expected finite bounds for the z-box rule but got {low} and {high}.")
        if bounds is None and bool((least > most).any()):
            raise InputError(f"Expected low <= high for the z-box rule but got {low} and {high}.")
        self.low, self.high, self.bounds = low, high, bounds

    def prepare(self, site: Site) -> Message:
        linear, x = site.linear, site.x
        low, high = self.box(x, site)
        # x w - l w+ - h w- = (x - l) w+ + (x - h) w-: one convolution less, and no term below 0. What has no
        # range (a picture of one grey with bounds="sample") gives exactly 0, so that its relevance is booked lost.
        above, below = x - low, x - high
        quotient = Quotient(site, linear.forward_by_sign(above, below))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            up, down = linear.backward_by_sign(quotient(part, multiplier, owned=owned), x)
            return up.mul_(above).addcmul_(down, below)

        return message

    def box(self, x: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """The bounds as tensors shaped like what the operator reads.

        Where the model first moves its input about, or scales and shifts it (channels turned round, pixels sorted
        into channels, a mean subtracted), the bounds go the same way.

        Args:
            x: what the operator reads.
            site: where.

        Raises:
            InputError: the input lies outside, or the bounds don't fit its shape.
        """
        if self.bounds == "sample":
            dims = tuple(range(1, x.ndim))
            return x.amin(dims, keepdim=True).expand_as(x), x.amax(dims, keepdim=True).expand_as(x)
        way = way_from_input(site)
        given = x if way is None else site.trace.input
        box = []
        for bound in (self.low, self.high):
            t = torch.as_tensor(bound, dtype=x.dtype, device=x.device)
            if t.ndim == 1:
                t = t.reshape(-1, *[1] * (given.ndim - 2))
            try:
                box.append(t.expand_as(given))
            except RuntimeError:
                raise InputError(
                    f"Expected z-box bounds that broadcast to {tuple(given.shape[1:])} but got {tuple(t.shape)}."
                ) from None
        if way is not None:
            ends = [way(bound) for bound in box]
            box = [torch.minimum(*ends), torch.maximum(*ends)]  # a negative factor turns them round
        low, high = box
        slack = (high - low).amax() * self.rounding
        if bool((x < low - slack).any()) or bool((x > high + slack).any()):
            raise InputError(
                f"Expected an input inside the z-box but its values run from {float(x.min()):.4g} to "
                f"{float(x.max()):.4g}, and the box from {float(low.min()):.4g} to {float(high.max()):.4g}. "
                "Give the bounds in the units the network sees (relprop.pixel_bounds), or bounds='sample'."
            )
        # What rounding carried out lies on the edge: terms of both signs could cancel in the denominator.
        return torch.minimum(low, x), torch.maximum(high, x)


class WSquare(SharingRule):
    r"""The w² rule: shares by squared weight, whatever the input is.

    .. math:: R_i = \sum_j \frac{w_{ij}^2}{\sum_{i'} w_{i'j}^2} R_j

    Source: Montavon et al. 2017, eq. 12. Conserves.
    """

    gives_multiplier = False

    def weight(self, linear: LinearMap) -> Tensor:
        """What shares are in proportion to."""
        return linear.part("all").square()

    def prepare(self, site: Site) -> Message:
        linear, x = site.linear, site.x
        weight = self.weight(linear)
        quotient = Quotient(site, linear.forward(torch.ones_like(x), weight))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            return linear.backward(quotient(part, multiplier, owned=owned), weight, x)

        return message


class Flat(WSquare):
    r"""The flat rule: equal shares for all inputs of a unit.

    .. math:: R_i = \sum_j \frac{1}{\sum_{i'} 1} R_j

    Source: Lapuschkin et al. 2019. Conserves.
    """

    def weight(self, linear: LinearMap) -> Tensor:
        return torch.ones_like(linear.weight)

    def prepare(self, site: Site) -> Message:
        if site.linear.conv is not None:
            return super().prepare(site)
        x, y = site.x, site.y
        quotient = Quotient(site, torch.full_like(y, x.shape[-1]))

        def message(part: Tensor, multiplier: bool, owned: bool) -> Tensor:
            # All inputs get the same sum, so its rounding would add up instead of averaging out.
            share = quotient(part, multiplier, owned=owned).double().sum(-1, keepdim=True)
            return share.to(x.dtype).expand(-1, *x.shape).contiguous()

        return message


def _positive(linear: LinearMap, x: Tensor, nonneg: bool) -> Tensor:
    """z+ = x+ w+ + x- w-, a fresh tensor."""
    if nonneg:
        return linear.forward(x, "+")
    return linear.forward_by_sign(x.clamp(min=0), x.clamp(max=0))


def _negative(linear: LinearMap, x: Tensor, nonneg: bool) -> Tensor:
    """z- = x+ w- + x- w+, a fresh tensor."""
    if nonneg:
        return linear.forward(x, "-")
    return linear.forward_by_sign(x.clamp(max=0), x.clamp(min=0))


def _summed_down(linear: LinearMap, x: Tensor, nonneg: bool, bias: Tensor | None) -> Tensor:
    """z- + b-, a fresh tensor."""
    down = _negative(linear, x, nonneg)
    return down if bias is None else down.add_(linear.channels(bias, down.ndim + 1))


def _one(linear: LinearMap, s_up: Tensor, x: Tensor, nonneg: bool) -> Tensor:
    """The multiplier of sum_j (w_ij x_i)+ s_j."""
    if nonneg:
        return linear.backward(s_up, "+", x)
    return _by_sign(x, *linear.backward_by_sign(s_up, x))


def _both(linear: LinearMap, s_up: Tensor, s_down: Tensor, x: Tensor, nonneg: bool) -> Tensor:
    """The multiplier of sum_j (w_ij x_i)+ s_up_j + (w_ij x_i)- s_down_j."""
    if nonneg:
        return linear.backward(s_up, "+", x).add_(linear.backward(s_down, "-", x))
    above, below = linear.backward_by_sign(s_up, x)
    turned_above, turned_below = linear.backward_by_sign(s_down, x)
    return _by_sign(x, above.add_(turned_below), below.add_(turned_above))


def _by_sign(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """One multiplier where x > 0 and another elsewhere, written over the first.

    `torch.where` takes ten times as long on a CPU: it branches at every element, and signs are hard to foresee.
    """
    if up.device.type != "cpu" or up.shape[0] != 1 or not up.is_floating_point():
        return torch.where(x > 0, up, down, out=up)
    kernel, like = torch.ops.aten.threshold_backward, x[None]
    kernel.grad_input(up, like, 0, grad_input=up)
    # Not above 0: -x above what is next below 0.
    return up.add_(kernel(down, -like, -torch.finfo(x.dtype).tiny))
