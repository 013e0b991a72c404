r"""Section: relevance in two sections, positive and negative, carried apart through a layer.

For one sample, with the patches U (positions p, width) of the input :math:`x^+ = \max(x, 0)` and a
section S (channels o, positions p), sectional propagation is

.. math:: ν = S U, \quad F = ν U^T, \quad H(S) = x^+ ⊙ \mathrm{fold}\big((S ⊘ F)^T ν\big)

ν is the derivative of the layer with respect to its *weights*, in which they don't occur: the rule never
reads the weights of the layer. Two ways lead to the same numbers:

* through ν: three products of out · width · P multiply-adds, P positions in the section;
* through the patches' own products: :math:`G = U U^T` (P, P), F = S G and fold((S ⊘ F)ᵀ S U), together
  2 P² (out + width), which is less where P is small.

After a purge every position belongs to one section, so each section has its own, shorter U.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from relprop.checks import check_choice, check_number
from relprop.rules.patches import Patches
from relprop.rules.rule import Rule
from relprop.tracing.flow import Flow
from relprop.tracing.ledger_sums import plain_sums, totals
from relprop.tracing.masks import above, divided, picked, zeros_of
from relprop.tracing.site import Site

__all__ = ["Section", "sections", "shift"]


class Section(Rule):
    r"""Sectional propagation of RSP, with its uniform shift.

    "paper": what arrives is purged and balanced (`sections`, to the size of the total that arrived),
    then, with P and N its positive and negative section,

    .. math:: \hat R = H(P) + H(N), \quad R_i = 2 \hat R_i - \frac{\sum \hat R}{Γ} \text{ where } x_i > 0,
        \text{ else } 0

    with H as in this module's text and Γ the number of active inputs. "released": no purge, no balance,
    Γ counts :math:`\hat R_i \ne 0`, and the shift restores the total that arrived; layers whose kernel is
    1 long in its first axis, and products, hand :math:`\hat R` on as it is.

    Source: Nam et al. 2021, eqs. 2 to 5, and the code published with it. Positively homogeneous; does not
    depend on the layer's weights. Conserves the size of the total. Where purge and balance turn its sign
    over, or a unit's patch is inactive altogether, the ledger lists what went missing as lost.

    Args:
        mode: "paper" or "released".
        ratio: of the totals of P and |N| after balancing ("paper" only).

    Raises:
        InputError: an unknown mode, or ratio < 1.
    """

    kinds = frozenset({"linear"})
    sums_arrival = True

    def __init__(self, mode: Literal["paper", "released"] = "paper", ratio: float = 2.0) -> None:
        check_choice("mode", mode, ("paper", "released"))
        check_number("ratio", ratio, least=1)
        self.mode: Literal["paper", "released"] = mode
        self.ratio = ratio

    @property
    def weighs_by_output(self) -> bool:
        """Multipliers are turned into relevance first."""
        return True

    def cross(self, site: Site, flow: Flow) -> list[Any]:
        x = site.x if site.nonneg else site.x.clamp(min=0)
        conv = site.linear.conv
        paper, channel = self.mode == "paper", -1 if conv is None else 2
        shifts = paper or not (conv is None or site.linear.weight.shape[2] == 1)
        active = (x > 0).to(x.dtype) if paper else x
        outs = []
        # The output itself is dropped where a ReLU follows: it is asked for only where it is needed.
        for part in flow.relevance(site.y).parts if flow.multiplier else flow.parts:
            total, size = plain_sums(part)
            site.account.arrive(total, size)
            if paper:
                part, kept = sections(part, self.ratio, total.abs() if self.ratio > 1 else size / 2, channel)
                site.account.book("lost", total - kept)
            out, dead = self.carried(site, x, part, 2.0 if shifts else 1.0)
            if paper:
                shift(out, totals(out) / 2, active)
            elif shifts:
                alive = (out != 0).to(out.dtype)
                shift(out, totals(out) - total, alive)
                dead = total * ~alive.flatten(2).any(-1)  # else the shift makes good for it
            site.account.book("lost", dead)
            outs.append(out)
        return [Flow(outs, False)]

    def carried(self, site: Site, x: Tensor, part: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Both sections of a part (k, N, *out) carried to the input and scaled, and what was lost, (k, N)."""
        return _carried(site, x, part, scale)


def sections(part: Tensor, ratio: float, size: Tensor, channel: int = 2) -> tuple[Tensor, Tensor]:
    """Purge relevance (k, N, ...) and balance what is left; returns it and its totals, (k, N) float64.

    Purge: keep what has the sign of the sum over channels at its position (nothing where that is 0).
    Balance: scale the positive and the negative section to totals P : |N| = ratio : 1.

    Source: Nam et al. 2021, eq. 2 and the paragraph after it.

    Args:
        part: relevance.
        ratio: >= 1.
        size: (k, N) float64, of the total afterwards (for ratio 1, of each section). Where a section is
            empty the other gets all of it.
        channel: the axis of channels.

    >>> part = torch.tensor([[[3.0, -1.0, -2.0], [1.0, 2.0, -4.0]]])[None]  # two channels, three positions
    >>> kept, total = sections(part, 2, torch.ones(1, 1))
    >>> [[round(v, 4) for v in row] for row in kept[0, 0].tolist()], total.tolist()
    ([[1.0, 0.0, -0.3333], [0.3333, 0.6667, -0.6667]], [[1.0]])
    """
    sign = part.sum(channel, keepdim=True).sign_()
    kept = (part * sign).relu_()
    mass = kept.sum(channel, keepdim=True).double()
    dims = tuple(range(2, part.ndim))
    up, down = (mass * (sign > 0)).sum(dims), (mass * (sign < 0)).sum(dims)
    both = (up > 0) & (down > 0)
    unit = size / (ratio - 1) if ratio > 1 else size
    scales = []
    for found, share in ((up, ratio), (down, 1.0)):
        wanted = torch.where(both, unit * share, size)
        scales.append(torch.where(found > 0, wanted / found.masked_fill(found == 0, 1), 0))
    shape = (*size.shape, *[1] * (part.ndim - 2))
    more, less = (scale.to(part).reshape(shape) for scale in scales)
    return kept.mul_(picked(above(sign), more, -less)), scales[0] * up - scales[1] * down


def shift(part: Tensor, surplus: Tensor, where: Tensor) -> None:
    """Take the surplus (k, N) off a part (k, N, ...) in place, in equal shares of the places `where`.

    Source: Nam et al. 2021, eq. 5.

    Args:
        part: relevance.
        surplus: float64.
        where: 1 or 0, (N, ...) or (k, N, ...).

    >>> part = torch.tensor([[[4.0, 2.0, 0.0]]])
    >>> shift(part, torch.tensor([[2.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    >>> part
    tensor([[[3., 1., 0.]]])
    """
    places = where.flatten(where.ndim - part.ndim + 2).sum(-1, dtype=torch.float64)
    share = (surplus / places.clamp(min=1)).to(part)
    part.addcmul_(where.expand_as(part), share.reshape(*share.shape, *[1] * (part.ndim - 2)), value=-1)


def _carried(site: Site, x: Tensor, part: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """H(P) + H(N) of a part (k, N, *out) times `scale`, (k, N, *in), and what had nowhere to go, (k, N)."""
    linear = site.linear
    conv = linear.conv is not None
    out = part.new_empty(part.shape[0], *x.shape)
    dead = torch.zeros(part.shape[:2], dtype=torch.float64, device=part.device)
    for n in range(x.shape[0]):
        one = part[:, n]
        messages = one.flatten(2) if conv else one.reshape(len(one), -1, one.shape[-1]).transpose(1, 2)
        patches = Patches(linear, x[n], tuple(part.shape[3:] if conv else part.shape[2:-1]))
        for k, (found, lost) in enumerate(_spread(patches, messages, scale)):
            found = patches.input_of(found)
            found = found.movedim(-1, 0) if conv else found.reshape(x[n].shape)
            torch.mul(found, x[n], out=out[k, n])
            dead[k, n] = lost
    return out, dead


@dataclass(eq=False)
class _Job:
    """Sections of one target that share their positions.

    Attributes:
        where: positions (P,), ascending.
        sections: (groups, out / groups, P) each.
        nu: weight-shaped sums of each section, (groups, out / groups, width).
    """

    where: Tensor
    sections: list[Tensor]
    nu: list[Tensor]

    @property
    def narrow(self) -> bool:
        """Whether the way through the patches' products takes fewer multiply-adds."""
        count, out, width = len(self.where), self.sections[0].shape[1], self.nu[0].shape[2]
        times = len(self.sections)
        return count * (2 * width + 2 * times * out) < 3 * times * out * width


def _spread(patches: Patches, messages: Tensor, scale: float) -> list[tuple[Tensor, float]]:
    """For each target (out, positions): fold((S ⊘ F)ᵀ ν) summed over sections and scaled, and what was lost."""
    sums = [patches.empty() for _ in messages]
    lost = [0.0] * len(messages)
    wide: list[tuple[int, _Job]] = []
    for k, message in enumerate(messages):
        for job in _jobs(patches, message):
            if job.narrow:
                lost[k] += _through_products(patches, job, sums[k], scale)
            else:
                wide.append((k, job))
    if wide:
        _through_weights(patches, wide, sums, lost, scale)
    return list(zip(sums, lost, strict=True))


def _jobs(patches: Patches, message: Tensor) -> list[_Job]:
    grouped = message.unflatten(0, (patches.groups, -1))
    up, down = message.amax(0) > 0, message.amin(0) < 0
    if bool((up & down).any()):
        where = (up | down).nonzero()[:, 0]
        found = grouped.index_select(2, where)
        pairs = [(where, [found.clamp(min=0), found.clamp(max=0)])]
    else:
        places = [mask.nonzero()[:, 0] for mask in (up, down)]
        pairs = [(where, [grouped.index_select(2, where)]) for where in places if len(where)]
    nothing = message.new_zeros(())
    shape = (*grouped.shape[:2], patches.width)
    return [_Job(where, sections, [nothing.expand(shape)] * len(sections)) for where, sections in pairs]


def _through_products(patches: Patches, job: _Job, total: Tensor, scale: float) -> float:
    rows = patches.take(job.where)
    products = torch.bmm(rows, rows.transpose(1, 2))
    mixed, lost = torch.zeros_like(products), 0.0
    for section in job.sections:
        quotient, dead = _quotient(section, torch.bmm(section, products))
        mixed.baddbmm_(quotient.transpose(1, 2), section, alpha=scale)
        lost += dead
    where = None if len(job.where) == patches.positions else job.where
    patches.add(total, torch.bmm(mixed, rows), where, 0, patches.positions)
    return lost


def _through_weights(
    patches: Patches, jobs: list[tuple[int, _Job]], sums: list[Tensor], lost: list[float], scale: float
) -> None:
    for _, job in jobs:
        job.nu = [nu.contiguous() for nu in job.nu]
    for begin, end in patches.bands():
        rows = patches.rows(begin, end)
        for _, job in jobs:
            cut, here = _within(job.where, begin, end)
            mine = rows if here is None else rows.index_select(1, here)
            for nu, section in zip(job.nu, job.sections, strict=True):
                nu.baddbmm_(section[..., cut], mine)
    for begin, end in patches.bands():
        rows = patches.rows(begin, end)
        for k, job in jobs:
            cut, here = _within(job.where, begin, end)
            mine = rows if here is None else rows.index_select(1, here)
            back = torch.zeros_like(mine)
            for nu, section in zip(job.nu, job.sections, strict=True):
                part = section[..., cut]
                quotient, dead = _quotient(part, torch.bmm(nu, mine.transpose(1, 2)))
                back.baddbmm_(quotient.transpose(1, 2), nu, alpha=scale)
                lost[k] += dead
            patches.add(sums[k], back, here, begin, end)


def _within(where: Tensor, begin: int, end: int) -> tuple[slice, Tensor | None]:
    """Which of the positions lie in a range, and where in it (None: all of it)."""
    low, high = torch.searchsorted(where, torch.tensor([begin, end], device=where.device)).tolist()
    return slice(low, high), None if high - low == end - begin else where[low:high] - begin


def _quotient(section: Tensor, shared: Tensor) -> tuple[Tensor, float]:
    """S ⊘ F, and the total of S where F is 0."""
    dead = zeros_of(shared)
    lost = 0.0 if dead is None else float((section * dead).sum(dtype=torch.float64))
    return divided(section, shared, dead), lost
