"""The conserving split: relevance in two streams, through what motion adds and through what stays without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from relprop.errors import InputError
from relprop.explanation.remarks import remarks_on
from relprop.graph import Node
from relprop.methods.deep_taylor import DeepTaylor
from relprop.methods.facts import Facts
from relprop.methods.lrp import LRP
from relprop.methods.method import Method, Request
from relprop.precision import no_autocast
from relprop.propagate.ledger import Ledger
from relprop.propagate.plan import Plan
from relprop.propagate.question import question
from relprop.propagate.targets import class_indices
from relprop.propagate.trace import Trace, trace
from relprop.rules import ZBox, ZPlus
from relprop.tracing.values import checked_output, computed
from relprop.video.camera import CameraPath
from relprop.video.freezing import motion_shares
from relprop.video.panorama import Panorama
from relprop.video.separation import Split
from relprop.video.stream import Stream, reads_pixels

__all__ = ["conserving_split"]


def conserving_split(
    model: nn.Module,
    clip: Tensor,
    target: Any,
    method: Method,
    *,
    versus: Any = None,
    chunk: int,
    tick: Callable[[int], None],
    path: CameraPath | None = None,
    facts: Facts | None = None,
) -> Split:
    r"""Split one clip's relevance into a stream through what motion adds, and one through what stays.

    At the last activations that have a time axis the plain explanation puts relevance :math:`R^a`, and a share
    δ of their activity is gone when the clip is frozen (`motion_shares`). There two streams start,

    .. math:: M^a = δ^a R^a, \qquad S^a = (1 - δ^a) R^a,

    carried to the input by the method's rules, M through the part δx of every value and S through (1 - δ) x
    (`ZPlusPart`); at the pixels M counts how they change (`NearbyBox`) and S what they are. temporal = M,
    spatial = S, and

    .. math:: \sum \text{spatial} + \sum \text{temporal} = \sum \text{original}

    but for what the ledgers list as lost. Under deep Taylor both are >= 0. For a still clip M is 0, and S is
    the original.

    Where the camera moves, a frozen clip shows its frame from where the camera is (`Panorama`), and a pixel is
    held against what lies at its place of the scene a frame before and after: M is what moves by itself.

    Args:
        model: the network.
        clip: (1, C, T, H, W).
        target: what to explain, as for `explain`.
        method: a method with the z+ and z-box rules.
        versus: as for `explain`.
        chunk: frozen clips that run at once.
        tick: called with the number of frames done after each run.
        path: of the camera; None: it stands still.
        facts: what is known of the model.

    Raises:
        InputError: the method isn't of the LRP family, or has other rules than z+ and z-box where motion's
            relevance goes; no activation of the network has a time axis.
    """
    _check_method(method)
    run = trace(model, clip)
    checked_output(model, run.output)
    class_indices(target, run.output, 1)  # targets of separations are classes
    asked = question(target, run.output, 1, versus=versus)
    method.check_asked(asked)
    targets, single = asked.targets, asked.single
    activations = _with_time(run)
    # Nodes are places as good as names, and here names may be those of modules too.
    layers = cast("list[str]", activations)
    known = Facts() if facts is None else facts.of_outputs(run.output.shape[1])
    request = Request(model, run, asked, layers=layers, release=False, facts=known)
    result = method.explain(request)
    assert result.plan is not None
    assert result.ledger is not None
    remarks = remarks_on(method, request, result)
    last = _last(run, [n for n in activations if n in result.plan.steps])
    start = last[0] if len(last) == 1 else run.graph.output
    inputs = _read(run, result.plan, start)
    panorama = None if path is None or path.still else Panorama(run.input[0], path)
    places = list(dict.fromkeys([*last, *inputs]))
    shares, frozen_outputs = motion_shares(model, run, places, chunk, tick, panorama)
    neighbours = None if panorama is None else _neighbours(run, result.plan, panorama)
    original = result.relevance[:, 0]
    films = {"original": original}
    ledgers = {"original": result.ledger}
    for name, part in (("spatial", {n: 1 - s for n, s in shares.items()}), ("temporal", shares)):
        walks = []
        for k in range(len(targets)):
            joining = {n: result.layers[n.name][k : k + 1] * part[n] for n in last}
            stream = Stream(
                result.plan,
                joining,
                {n: part[n] for n in inputs},
                nearby=name == "temporal",
                neighbours=neighbours,
                name=name,
            )
            walks.append(run.run(torch.zeros_like(run.stored(start))[None], stream, start=start))
        films[name] = torch.cat([w.relevance for w in walks])[:, 0]
        ledgers[name] = Ledger.merged([w.ledger for w in walks if w.ledger])
    if not any(bool(s.any()) for s in shares.values()):
        films["spatial"] = original.clone()  # the same, without another walk's rounding
    if single:
        films = {name: film[0] for name, film in films.items()}
    return Split(
        films={name: film.sum(-4) for name, film in films.items()},
        relevance=films,
        outputs=run.output,
        targets=targets[0] if single else targets,
        frozen_outputs=frozen_outputs,
        path=path,
        ledgers=ledgers,
        warnings=remarks.warnings,
        notes=remarks.notes,
    )


def _check_method(method: Method) -> None:
    if not isinstance(method, (DeepTaylor, LRP)):
        raise InputError(
            f"Expected deep-taylor or an LRP method with the z+ and z-box rules for mode='conserving' but got "
            f"{method.name}."
        )


def _with_time(run: Trace) -> list[Node]:
    """The activations that have a time axis."""
    shapes = {n: run.known_shape(n) for n in run.graph.nodes if n.kind == "activation" and n.dependent}
    return [n for n, shape in shapes.items() if shape is not None and len(shape) == 5]


def _last(run: Trace, places: list[Node]) -> list[Node]:
    """The places behind which no other lies: every way of relevance to the input passes at most one."""
    if not places:
        raise InputError(
            "Expected a network with activations (N, C, T, H, W) for mode='conserving' but relevance meets none. "
            "Use mode='naive'."
        )
    return [n for n in places if not run.graph.descendants([n]) & (set(places) - {n})]


def _neighbours(run: Trace, plan: Plan, panorama: Panorama) -> dict[Node, tuple[Tensor, Tensor]]:
    """What the first linear operators would read at each place a frame before and a frame after."""
    linear = [step for step in plan.steps.values() if step.fused.main.kind == "linear"]
    read = list(dict.fromkeys(step.signals[0] for step in linear if reads_pixels(step)))
    upstream = run.graph.ancestors(read)
    found = []
    for film in panorama.neighbours():
        values: dict[Node, Any] = {run.graph.input: film[None]}

        def get(node: Node, values: dict[Node, Any] = values) -> Any:
            return values[node] if node in values else run.value(node)

        with torch.no_grad(), torch.inference_mode(False), no_autocast():
            for node in run.graph.nodes:
                if node in upstream and node.dependent and node not in values:
                    values[node] = computed(node, get)
        found.append({node: values[node] for node in read})
    return {node: (found[0][node], found[1][node]) for node in read}


def _read(run: Trace, plan: Plan, start: Node) -> list[Node]:
    """What linear operators before `start` read, the first ones apart."""
    upstream = run.graph.ancestors([start])
    found = []
    for step in plan.steps.values():
        if (
            step.fused.main.kind != "linear"
            or step.node not in upstream
            or run.stored(step.signals[0]).ndim != 5
        ):
            continue
        first = reads_pixels(step)
        if not isinstance(step.rule, (ZBox, ZPlus) if first else ZPlus):
            raise InputError(
                f"Expected a method with the z+ rule (z-box at the input) up to the last time axis (deep-taylor, "
                f"lrp-composite) but {plan.composite} has {step.rule!r} at {step.fused.main.where()}."
            )
        if not first:
            found.append(step.signals[0])
    return list(dict.fromkeys(found))
