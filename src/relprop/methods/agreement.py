"""Agreement: where two explanations agree, one of sharp outlines and one that reads the weights."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.checks import check_choice, check_number, place_name
from relprop.errors import InputError, UnsupportedOperatorError
from relprop.methods.bounds import Bounds
from relprop.methods.facts import Facts
from relprop.methods.lrp import LRPComposite, LRPGamma
from relprop.methods.margin import Rivals, margin_slopes
from relprop.methods.margin_rsp import MarginRSP
from relprop.methods.method import ANYTHING, Method, Request, Result
from relprop.methods.rsp import RSP
from relprop.propagate.layout import Layout
from relprop.propagate.ledger import Ledger

__all__ = ["Agreement", "Of", "smoothed"]

Of = Literal["auto", "margin-rsp", "rsp", "lrp-composite"]

_REACH = 4  # of the Gaussian, in σ


class Agreement(Method):
    r"""Agreement: one map's outlines, kept where LRP-γ says so too. A display: it conserves nothing.

    With A a map of sharp outlines and Γ that of LRP-γ, of the same question, both summed over channels,

    .. math:: B_p = \frac{A_p^+ \, (G_σ * Γ^+)_p}{\sum_{p'} A_{p'}^+ \, (G_σ * Γ^+)_{p'}}

    A follows activations and has their outlines, but (RSP's forms) doesn't read the weights below its start;
    LRP-γ reads them all, and is grainy. The product has what both see. A is, with ``of="auto"``:

    - of a detection, and of a class that shuts others out (softmax) or of which nothing is known,
      `MarginRSP`; Γ starts from the same margin (slope times logit);
    - of a class of a network that is known to be multi-label (`relprop.methods.Facts`) `RSP` against the other
      predicted classes; Γ starts from the logit: what holds for one class needn't count against another;
    - where RSP has nothing to start from (no feature map, or several; a seed, ``start=``) `LRPComposite`,
      from where Γ starts. A note says so.

    With ``versus=`` blue is what both give the other class, :math:`A^-` and :math:`Γ^-` multiplied likewise, and
    the total of red and blue is 1; `MarginRSP` then balances its sections 1 : 1.

    **A product of two maps is no share of anything**: B's total is 1 because it is scaled to it, and nothing in
    front of the input adds up to it. It says where, not how much; for amounts take either factor. The ledger is
    A's own (`extras["ledger_of"]`), and layers hold its relevance.

    Source: ours; multiplying a map of regions with one of pixels is what Guided Grad-CAM does (Selvaraju et al.
    2017, sec. 3.2). Shapes: (N, C, *spatial), the same in every channel; negative with ``versus=`` alone. 0
    everywhere if the two nowhere agree.

    Args:
        of: "margin-rsp", "rsp", "lrp-composite", or "auto".
        sigma: of the Gaussian G, as a share of the picture's longer side (1/56: 2 pixels of 112), cut at 4 σ,
            edges repeated; over the last two axes. 0: as it is.
        gamma: of LRP-γ, see `relprop.rules.Gamma`.
        rivals: "softmax", "none" (see `MarginRSP`), or "auto": as above.
        include_background: see `MarginRSP`.
        ratio: see `RSP`; "auto": 1 with ``versus=``, else 2.
        bounds, at: see `RSP`.

    Raises:
        InputError: sigma < 0; an input without positions; what a method named by `of` refuses.

    `extras` has "of" (the method that A is of), and A's own.

    >>> import torch, relprop
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1, bias=False), torch.nn.ReLU(), torch.nn.Flatten(),
    ...                           torch.nn.Linear(4, 2, bias=False))
    >>> net[0].weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
    >>> net[3].weight.data = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    >>> e = relprop.explain(net, torch.tensor([[[[2.0, -3.0]]]]), [0, 1], "agreement")
    >>> e.relevance.flatten(1).tolist(), e.extras["of"]  # left for class 0, right for class 1
    ([[1.0, 0.0], [0.0, 1.0]], 'margin-rsp')
    """

    name = "agreement"
    for_classes = True
    takes = ANYTHING
    summary = "Agreement: RSP's outlines where LRP-gamma agrees; a display, conserves nothing"
    reading = "Shown is where two explanations agree: it says where, not how much."

    def __init__(
        self,
        *,
        of: Of = "auto",
        sigma: float = 1 / 56,
        gamma: float = 0.25,
        rivals: Rivals | Literal["auto"] = "auto",
        include_background: bool = True,
        ratio: float | Literal["auto"] = "auto",
        bounds: Bounds = "auto",
        at: str | None = None,
    ) -> None:
        check_choice("of", of, ("auto", "margin-rsp", "rsp", "lrp-composite"))
        check_number("sigma", sigma, least=0)
        check_number("gamma", gamma, least=0)
        check_choice("rivals", rivals, ("auto", "softmax", "none"))
        self.of: Of = of
        self.sigma, self.gamma = sigma, gamma
        self.rivals: Rivals | Literal["auto"] = rivals
        self.include_background = include_background
        self.ratio, self.bounds, self.at = ratio, bounds, place_name("at", at)
        self._sharp("margin-rsp", "softmax", both=False)  # refuses what the others refuse
        self._pixels = LRPGamma(gamma=gamma).as_composite()

    def from_facts(self, facts: Facts) -> dict[str, Any]:
        return {"bounds": facts.box or "sample"}

    def explain(self, request: Request) -> Result:
        if request.trace.input.ndim < 3:
            raise InputError(
                f"Expected an input with positions, (N, C, *spatial), for {self.name} but got "
                f"{tuple(request.trace.input.shape)}. Take lrp-composite."
            )
        groups = _groups(request)
        if len(groups) == 1:
            return self._answer(request, both=groups[0][0])
        parts = [
            self._answer(
                replace(
                    request, asked=request.asked.part(rows), release=request.release and i + 1 == len(groups)
                ),
                both=both,
            )
            for i, (both, rows) in enumerate(groups)
        ]
        return _joined(parts, [rows for _, rows in groups])

    def _answer(self, request: Request, *, both: bool) -> Result:
        """Of targets that are all a class rather than another (`both`), or all none."""
        of, rivals = self._chosen(request)
        seed = self._seed(request, rivals)
        alone = replace(request, layers=(), release=False)
        pixels = alone.propagate(seed, self._pixels, ledger=False).relevance
        found, of = self._factor(request, of, rivals, seed, both=both)
        shown = self._agreed(found.relevance, pixels, both=both)
        found.extras |= {
            "of": of,
            "ledger_of": f"{of}'s map, one of the two that are multiplied; a product has none",
            "combined": "product",
        }
        return replace(found, relevance=shown, signed=both)

    def _chosen(self, request: Request) -> tuple[str, Rivals]:
        """Which method A is of, and which rivals the class has."""
        kind = request.asked.kind
        detection = isinstance(getattr(request.model, "layout", None), Layout)
        together = bool(request.facts.multi_label) and not detection
        of: str = self.of
        if of == "auto":
            unfit = kind == "seed" or request.start is not None
            of = "lrp-composite" if unfit else "rsp" if together and kind == "class" else "margin-rsp"
        if self.rivals != "auto":
            return of, self.rivals
        return of, "none" if together or of == "rsp" else "softmax"

    def _seed(self, request: Request, rivals: Rivals) -> Tensor:
        """What Γ starts from, and A where it is LRP's."""
        if rivals == "none" or request.asked.kind in ("seed", "score") or request.start is not None:
            request.seed()  # refuses a callable behind a sigmoid
        if request.asked.kind == "seed" or request.start is not None:
            return request.seed()
        slopes = margin_slopes(request, include_background=self.include_background, rivals=rivals)
        return slopes * request.logits

    def _factor(
        self, request: Request, of: str, rivals: Rivals, seed: Tensor, *, both: bool
    ) -> tuple[Result, str]:
        """A, and the method that it is of."""
        if of != "lrp-composite":
            sharp = self._sharp(of, rivals, both=both)
            sharp.check_asked(request.asked, request.start)
            try:
                return sharp.explain(request), of
            except (InputError, UnsupportedOperatorError) as error:
                if self.of != "auto" or self.at is not None:
                    raise
                why = str(error)
        else:
            why = "" if self.of != "auto" else f"RSP's forms don't start from {_STARTS[request.asked.kind]}."
        found = Result.of(request.propagate(seed, LRPComposite(bounds=self.bounds).as_composite()))
        if why:
            found.notes += (f"{self.name} takes its outlines from lrp-composite here. {why}",)
        return found, "lrp-composite"

    def _sharp(self, of: str, rivals: Rivals, *, both: bool) -> Method:
        ratio = self.ratio if self.ratio != "auto" else 1.0 if both else 2.0
        if of == "rsp":
            return RSP(hostile="predicted", ratio=ratio, bounds=self.bounds, at=self.at)
        return MarginRSP(
            rivals=rivals,
            include_background=self.include_background,
            ratio=ratio,
            bounds=self.bounds,
            at=self.at,
        )

    def _agreed(self, regions: Tensor, pixels: Tensor, *, both: bool) -> Tensor:
        """B, (K, N, C, *spatial), the same in every channel."""
        agreed = self._product(regions, pixels)
        if both:
            agreed = agreed - self._product(-regions, -pixels)
        total = agreed.flatten(2).double().abs().sum(-1)
        share = torch.where(total > 0, 1 / total, 0).to(agreed)
        shown = agreed * (share / regions.shape[2]).reshape(*share.shape, *[1] * (agreed.ndim - 2))
        return shown.expand_as(regions).contiguous()

    def _product(self, regions: Tensor, pixels: Tensor) -> Tensor:
        return _positive(regions) * smoothed(_positive(pixels), self.sigma)


_STARTS = {"seed": "a seed"} | dict.fromkeys(("class", "region", "versus", "score"), "a hidden place")


def _groups(request: Request) -> list[tuple[bool, list[int]]]:
    """Targets that are a class rather than another, and those that are not, each with which of the two it is."""
    count = len(request.targets)
    contrasts = [request.asked.kind == "versus"] * count
    if (
        request.asked.kind == "score" and request.head is None
    ):  # a detection's classes are compared by a callable
        layout = request.layout
        units = request.ones().unflatten(2, (layout.anchors, layout.width))
        classes = units[:, :, :, : layout.classes]
        classes = classes.reshape(*classes.shape[:4], -1)  # (K, N, D, classes, positions)
        even = classes.sum(3).abs() <= 1e-6 * classes.abs().sum(3)
        contrasts = (even & (classes < 0).any(3)).flatten(2).any(-1).all(-1).tolist()
    groups = [(both, [k for k in range(count) if contrasts[k] == both]) for both in (False, True)]
    return [(both, rows) for both, rows in groups if rows]


def _joined(parts: list[Result], rows: list[list[int]]) -> Result:
    """Results of some targets each, as one of all of them in their order."""
    order = torch.tensor([k for group in rows for k in group]).argsort()

    def ordered(values: list[Tensor]) -> Tensor:
        whole = torch.cat(values)
        return whole[order.to(whole.device)]

    first, extras = parts[0], {}
    for name, value in first.extras.items():
        values: list[Any] = [part.extras.get(name) for part in parts]
        told = " and ".join(map(str, dict.fromkeys(values)))
        extras[name] = ordered(values) if isinstance(value, Tensor) else told
    return replace(
        first,
        relevance=ordered([part.relevance for part in parts]),
        layers={name: ordered([part.layers[name] for part in parts]) for name in first.layers},
        ledger=Ledger.merged([part.ledger for part in parts if part.ledger is not None]),
        extras=extras,
        warnings=tuple(dict.fromkeys(text for part in parts for text in part.warnings)),
        notes=tuple(dict.fromkeys(text for part in parts for text in part.notes)),
        signed=True,
    )


def _positive(relevance: Tensor) -> Tensor:
    """The positive part of a map, (K, N, C, *spatial) -> (K, N, 1, *spatial)."""
    return relevance.sum(2, keepdim=True).clamp_(min=0)


def smoothed(maps: Tensor, sigma: float) -> Tensor:
    """Maps (K, N, 1, *spatial) under a Gaussian over their last axes, two at most; edges are repeated.

    Args:
        maps: of any number of spatial axes, at least one.
        sigma: as a share of the longer of those axes.

    >>> smoothed(torch.ones(1, 1, 1, 4, 6), 0.2).allclose(torch.ones(1, 1, 1, 4, 6))
    True
    """
    axes = [-1, -2] if maps.ndim > 4 else [-1]
    width = sigma * max(maps.shape[axis] for axis in axes)
    if not width:
        return maps
    reach = math.ceil(_REACH * width)
    steps = torch.arange(-reach, reach + 1, dtype=maps.dtype, device=maps.device)
    weights = torch.exp(-(steps**2) / (2 * width**2))
    weights = weights / weights.sum()
    for axis in axes:
        moved = maps.movedim(axis, -1)
        lines = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (reach, reach), mode="replicate")
        maps = F.conv1d(lines, weights.reshape(1, 1, -1)).reshape(moved.shape).movedim(-1, axis)
    return maps
