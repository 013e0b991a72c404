"""Values: one forward run of a graph, with what the rules will need."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from relprop.errors import CaptureError, InputError
from relprop.graph import Graph, Node, capture, capture_lock
from relprop.graph.agreement import disagreement, reordering, replay
from relprop.graph.fingerprint import fingerprint, owner_of
from relprop.graph.fusion import rectifiers
from relprop.graph.kinds import REARRANGES
from relprop.graph.live import live_output
from relprop.graph.samples import meeting
from relprop.graph.schedule import schedule
from relprop.graph.unseen import nothing_saved, unseen_backward, watching
from relprop.graph.untouched import untouched
from relprop.precision import no_autocast
from relprop.shortage import amount, is_shortage, short_of_memory
from relprop.tracing.channels import Known, convolved, known_weights, wants_last_channels
from relprop.tracing.geometry import geometry_of
from relprop.tracing.inputs import check_input, unusable
from relprop.tracing.limit import current_limit
from relprop.tracing.memory import last_channels, reuse_freed_memory
from relprop.tracing.packed import Packed, pack_into, packed_for, packs
from relprop.tracing.segments import Segments, Sizes, sizes_of
from relprop.tracing.shared import Shared
from relprop.watch import passing

__all__ = ["Values", "checked_output", "computed"]

# Max pools, and what tells the winners too at no further cost: without it every walk would pool again.
_WITH_WINNERS = {
    f"max_pool{d}d": getattr(torch.ops.aten, f"max_pool{d}d_with_indices").default for d in (1, 2, 3)
}


class Values:
    """The values of one forward run of a graph.

    Attributes:
        graph: the captured graph.
        output: what `model(x)` returned (in float32 for models of half precision).
        dtype: that of x, as it came.
        winners: for max pools, the flat spatial index of each window's winner, (N, C, *windows) int32.
        last_channels: whether some maps keep the channels of a pixel together in memory.
        probes: what tells weights that were used in this run from others (`LinearMap.probe`).
        affines: batch norms as scale and shift, all of them once one was asked for (`batch_norm_affine`).
        shared: what several walks have in common, where there will be several; None: nothing is kept.
        told: weights of convolutions that were looked at in this run, those in the order that suits them here.
    """

    _segments: Segments | None = (
        None  # where not all values are kept (`memory_limit`): which, and what is not
    )
    _again: tuple[Node, ...] = ()  # values that were computed again, those of one stretch
    _spent: int | None = None  # from which node on values were given up

    shared: Shared | None = None

    def __init__(self, model: nn.Module, x: Tensor) -> None:
        with no_autocast(), short_of_memory(lambda: self._described(model, x)):
            reuse_freed_memory()
            self._run(model, x)

    def _described(self, model: nn.Module, x: Tensor) -> str:
        """What a forward run takes, in words."""
        words = f"the forward run of {type(model).__name__} on x of shape {tuple(x.shape)}"
        if "values" not in vars(self):
            return words
        kept = "" if self._segments is None else f", {amount(self._segments.peak)} at a time"
        return f"{words} (values of {amount(self.sizes.total)} in all{kept})"

    def _run(self, model: nn.Module, x: Tensor) -> None:
        self.probes: dict[Any, tuple[Tensor, Tensor]] = {}
        self.affines: dict[Node, tuple[Tensor, Tensor]] = {}
        self.told: dict[Node, Known] = {}
        wrong = None
        tries = [False, True]
        while tries:
            anew = tries.pop(0)
            with capture_lock:  # while a model is captured, it doesn't hold its own parameters
                check_input(model, x)
                x = x.as_subclass(Tensor)  # of a subclass of the user's the numbers, not what else it does
                self.dtype = x.dtype
                self.graph: Graph = capture(model, x, anew=anew)
                with torch.no_grad(), torch.inference_mode(False):
                    # A copy: what the caller does to x later must not change the trace.
                    wide = x.detach().clone() if x.dtype.itemsize >= 4 else x.detach().float()
                    self.params = self.graph.bind(model, wide)
                    reordered = self.graph.reorders and wants_last_channels(self.graph, wide)
                    self.told = known_weights(self.graph, self.params, wide) if reordered else {}
                    self.params |= {node: known.weight for node, known in self.told.items()}
                batch = (x.shape[0], x.stride())
                due = not self.graph.watched or batch not in self.graph.checked
                live = self._live(model, x, wide) if due else None
            with torch.no_grad(), torch.inference_mode(False):
                self.values: dict[Node, Any] = {self.graph.input: wide}
                self.winners: dict[Node, Tensor] = {}
                limit = current_limit()
                if limit is not None:
                    self._segments = Segments.of(self.graph, sizes_of(self.graph, self.params, wide), limit)
                flat = self._forward()
                self.last_channels = any(
                    torch.is_tensor(v) and last_channels(v) for v in self.values.values()
                )
            for leaf in flat:
                why = unusable(leaf) if isinstance(leaf, Tensor) else None
                if why is not None:
                    raise InputError(
                        f"Expected {type(model).__name__} to return dense tensors but one is {why} in its forward."
                    )
            self.output: Any = self.graph.rebuild(flat)
            wrong = self._disagreement(model, x, live) if due else None
            if wrong is None:
                self.graph.checked.add(batch)
                return
            if self.told:
                self.graph.reorders = False
                tries.insert(0, anew)
        # A softmax by hand overflows where the graph's, which takes the largest score off, doesn't.
        checked_output(model, pytree.tree_leaves(live))
        raise CaptureError(
            f"Can't capture {type(model).__name__}: the output of the captured graph {wrong}. Something that "
            "its forward pass does is not in the graph: a value that it draws, reads or counts anew in every "
            "call, or a write through a second name of a tensor. Pass the part of the model without it."
        )

    def _live(self, model: nn.Module, x: Tensor, wide: Tensor) -> Any:
        """What the model itself returns; at the first run also what of its backward the graph doesn't know."""

        def behind() -> None:
            self.graph.volatile |= fingerprint(model, owner_of(model)).key != self.graph.key

        if self.graph.checked or self.graph.unseen:
            return live_output(model, x, behind=behind)
        try:
            with watching() as watch, nothing_saved() if current_limit() is not None else nullcontext():
                output = live_output(model, x, grad=True, behind=behind)
        except InputError:  # it may run without autograd only
            return live_output(model, x, behind=behind)
        with untouched(model), torch.inference_mode(False):  # hooks run once more
            self.graph.unseen = unseen_backward(self.graph, self.params, wide, model, output, watch)
        return pytree.tree_map_only(Tensor, Tensor.detach, output)

    def _disagreement(self, model: nn.Module, x: Tensor, live: Any) -> str | None:
        """How the output differs from what the model itself returned."""

        def again(dtype: torch.dtype) -> Any:
            with torch.no_grad(), torch.inference_mode(False):
                like = x.detach().to(dtype)
                with capture_lock:
                    params = self.graph.bind(model, like)
                wide = {n: p.to(dtype) if p.is_floating_point() else p for n, p in params.items()}
            return replay(self.graph, wide, like)

        if not self.told:
            return disagreement(self.graph, self.output, live, x.dtype, again)
        # Kernels for maps with the channels last add up in another order. Where that shows, the graph is held
        # against the model as the model's maps lie, where the two mostly are bit-equal, and this run against that.
        if reordering(self.graph, self.output, live, times=1) is None:
            return None
        usual = again(x.dtype)
        return disagreement(self.graph, usual, live, x.dtype, again) or reordering(
            self.graph, self.output, usual
        )

    @contextmanager
    def sharing(self) -> Iterator[None]:
        """Keep what walks have in common, for those inside the block; one inside another changes nothing."""
        if self.shared is not None:
            yield
            return
        self.shared = Shared() if current_limit() is None else Shared(0)  # under a limit nothing more is kept
        try:
            yield
        finally:
            # What is kept refers to the trace: without this it would live until the garbage collector runs.
            self.shared.clear()
            self.shared = None

    @property
    def packs(self) -> bool:
        """Whether weights packed for oneDNN are used: not where little is to be kept."""
        return current_limit() is None

    @property
    def input(self) -> Tensor:
        """The input the forward run saw: (N, C, *spatial), float32 or float64."""
        value: Tensor = self.values[self.graph.input]
        return value

    @property
    def batch(self) -> int:
        """N, the number of samples."""
        return self.input.shape[0]

    def value(self, place: str | Node) -> Tensor:
        """The value of a node or of a module's output, as computed in the forward run."""
        node = place if isinstance(place, Node) else self.graph.find(place)
        if node in self.values:
            result: Tensor = self.values[node]
            return result
        if node in self.params:
            return self.params[node]
        # Dropped to save memory: compute it again.
        kept = None if self.shared is None else self.shared.get(("value", node))
        if kept is not None:
            result = kept
            return result
        self.graph.find(node)  # one of another graph isn't here at all
        if self._segments is not None and self._restore(node, self._segments):
            result = self.values[node]
            return result
        with torch.no_grad(), torch.inference_mode(False), no_autocast():
            result = self.evaluate(node)
        if self.shared is not None and isinstance(result, Tensor):
            self.shared.keep(("value", node), result, result.numel() * result.element_size())
        return result

    def _restore(self, node: Node, segments: Segments) -> bool:
        """Compute the stretch around a node again, in place of the last one; whether the node's value is in it."""
        around = segments.around(node)
        if around is None or (self._spent is not None and node.index >= self._spent):
            return False
        for old in self._again:
            self._drop(old)
        before = set(self.values)
        try:
            with torch.no_grad(), torch.inference_mode(False), no_autocast():
                self._compute(*around, without=self._idle(segments, *around))
        finally:  # also where it was stopped: the next question finds values in order
            self._again = tuple(n for n in self.values if n not in before)
            ordered = sorted(
                self.values.items(), key=lambda item: item[0].index
            )  # `spend` gives up the last ones
            self.values.clear()
            self.values.update(ordered)
        return node in self.values

    def spend(self, node: Node) -> None:
        """Give up all values from a node on: what comes before it is computed again without them."""
        self._spent = node.index if self._spent is None else min(self._spent, node.index)
        while self.values and (late := next(reversed(self.values))).index >= node.index:
            self._drop(late)

    def _drop(self, node: Node) -> None:
        self.values.pop(node, None)
        self.winners.pop(node, None)

    @property
    def sizes(self) -> Sizes:
        """What all values of this run take, kept or not."""
        return sizes_of(self.graph, self.params, self.input)

    @property
    def largest(self) -> int:
        """Bytes of the largest value."""
        return self._sizes_of_values()[0]

    @property
    def usual(self) -> int:
        """Bytes of a value in the mean."""
        largest, total, count = self._sizes_of_values()
        return total // max(1, count) or largest

    def _sizes_of_values(self) -> tuple[int, int, int]:
        """The largest, all together, and how many."""
        if self._segments is not None:
            sizes = self._segments.sizes
            return sizes.largest, sizes.total, sum(map(bool, sizes.held.values()))
        found = [v.numel() * v.element_size() for v in self.values.values() if isinstance(v, Tensor)]
        return max(found, default=1), sum(found), len(found)

    def evaluate(self, node: Node, lookup: Callable[[Node], Any] | None = None) -> Any:
        """Run one operator on the values of its operands (or on what `lookup` gives for them)."""
        return node.run(lookup or self.value)

    def meeting(self) -> Node | None:
        """The first operator that puts values of one sample into another (`graph.samples.meeting`), or None."""
        with no_autocast():
            return meeting(self.graph, self.params, self.input)

    def check_rows(self, place: Node) -> None:
        """Refuse a batch whose samples meet on the way to a place: relevance of one would land in another.

        Raises:
            InputError: with the operator where they meet.
        """
        node = self.meeting() if self.batch > 1 else None
        if node is not None and node in self.graph.ancestors([place]):
            raise InputError(
                f"Expected samples that don't meet in the network but {node.where()} puts values of one sample of "
                f"the batch into another. Explain one at a time (x[i:i+1] for i from 0 to {self.batch - 1})."
            )

    def stored(self, node: Node) -> Tensor:
        """The node's value, or, where only a ReLU reads it, the ReLU's output in its place.

        A multiplier that came through the ReLU is 0 wherever the two differ.
        """
        relu = self._relu_behind(node)
        return self.value(node) if relu is None else self.value(relu)

    def rectified(self, node: Node) -> Node:
        """The ReLU that alone reads a node's values, rearranged or not; else the node itself."""
        moved = node
        while len(moved.users) == 1:
            (user,) = moved.users
            if user.op == "relu":
                return user
            if user.op not in REARRANGES or self.value(user).numel() != self.stored(node).numel():
                break
            moved = user
        return node

    def known_shape(self, node: Node) -> torch.Size | None:
        """The shape of a node's value where it is known without computing anything, else None."""
        relu = self._relu_behind(node)
        value = self.values.get(node, None if relu is None else self.values.get(relu))
        if value is None and self._segments is not None:
            return self._segments.sizes.shapes.get(node)
        return value.shape if isinstance(value, Tensor) else None

    def _relu_behind(self, node: Node) -> Node | None:
        relu = node.users[0] if len(node.users) == 1 else None
        return relu if relu is not None and rectifiers(self.graph).get(relu) is node else None

    def _forward(self) -> list[Any]:
        steps = len(self.graph.derived(schedule))
        if self._segments is None:
            self._compute(0, steps)
        else:
            for begin, end in pairwise((*self._segments.cuts, steps)):
                self._compute(begin, end, kept=self._segments.kept)

        def get(node: Node) -> Any:
            return self.values[node] if node in self.values else self.params[node]

        flat = [get(out) if isinstance(out, Node) else out for out in self.graph.outputs]
        return [f.clone() if torch.is_tensor(f) and f is self.input else f for f in flat]

    def _idle(self, segments: Segments, begin: int, end: int) -> set[Node]:
        """Operators of a stretch that needn't run: their values are there, were given up, or only lead to such."""
        found: set[Node] = set()
        for node, _ in reversed(self.graph.derived(schedule)[begin:end]):
            known = node in self.values or (self._spent is not None and node.index >= self._spent)
            if known or (node in segments.passing and found.issuperset(node.users)):
                found.add(node)
        return found

    def _compute(
        self, begin: int, end: int, *, kept: frozenset[Node] | None = None, without: Collection[Node] = ()
    ) -> None:
        """Run operators `begin` to `end` of the schedule.

        Args:
            begin, end: a stretch; what it reads of earlier ones is there.
            kept: drop what isn't among these as soon as nothing reads it.
            without: operators that are left out.
        """
        graph, values = self.graph, self.values
        relus = rectifiers(graph)

        def get(node: Node) -> Any:
            return values[node] if node in values else self.params[node]

        order = graph.derived(schedule)
        for i, (node, spent) in enumerate(order[begin:end], begin):
            if node in without:
                continue
            passing("running the network", i, len(order))
            if node in relus and relus[node] in values:
                # The pre-activation has no other reader: write the ReLU over it.
                z = values.pop(relus[node])
                values[node] = z.relu_() if _owns_memory(z, relus[node]) else torch.relu(z)
            elif node.op in _WITH_WINNERS:
                values[node], where = computed(node, get, _WITH_WINNERS[node.op])
                self.winners[node] = where.to(torch.int32)
            else:
                packed = self._packed(node, get) if self.told and node.op == "conv2d" else None
                if packed is not None:
                    x, bias = node.argument("input"), node.argument("bias")
                    values[node] = packed.forward(get(x), None if bias is None else get(bias))
                else:
                    faster = convolved if self.told and node.op == "conv2d" else None
                    values[node] = computed(node, get, faster)
            for operand in spent:
                if operand.kind == "linear" and node.kind == "batch_norm":
                    values.pop(operand, None)  # conv + BN is one affine map; its middle is never looked at
                elif kept is not None and operand not in kept and operand is not graph.input:
                    self._drop(operand)

    def _packed(self, node: Node, get: Callable[[Node], Any]) -> Packed | None:
        """The weight of a convolution of the network as oneDNN computes with it, or None."""
        weight = node.argument("weight")
        known = self.told.get(weight)
        x = get(node.argument("input"))
        if known is None or not self.packs or not last_channels(x):
            return None
        geometry = geometry_of(self.graph, node, known.weight.shape[2:])
        key = ("packed", weight.name, geometry)
        held = self.graph.weights.get(key)
        if held is not None and held[:2] == (known.number, packed_for(x)):
            found: Packed | None = held[2]
            return found
        if not known.worth_packing(geometry) or not packs():
            return None
        return pack_into(
            self.graph.weights, key, known.weight, geometry, x, back=False,
            entry=lambda made: (known.number, packed_for(x), made),
        )  # fmt: skip


def computed(node: Node, get: Callable[[Node], Any], function: Callable[..., Any] | None = None) -> Any:
    """Run one operator of the forward run; `function` in its place, if given.

    Raises:
        CaptureError: it was captured for other sizes.
    """
    try:
        return node.run(get, function)
    except (RuntimeError, IndexError) as error:
        if is_shortage(error):
            raise
        # The model itself ran: what was captured holds for other inputs, such as two samples instead of three.
        text = " ".join(str(error).split())[:200].rstrip(".")
        raise CaptureError(
            f"Can't capture the model for an input of this size: {node.where()} can't be computed again ({text}). "
            "Torch captured it for another batch size; a write through a view of overlapping windows does that. "
            "Pass the part of the model without it."
        ) from error


def _owns_memory(value: Tensor, node: Node) -> bool:
    # The results of these operators are always fresh tensors.
    return node.kind in ("linear", "batch_norm", "add") and not value.is_inference()


def checked_output(model: nn.Module, output: Any) -> None:
    """Refuse an output that nothing can be said about.

    Raises:
        InputError: NaN or Inf among the outputs.
    """
    leaves: Iterable[Any] = output if isinstance(output, (list, tuple)) else [output]
    for leaf in leaves:
        if torch.is_tensor(leaf) and leaf.is_floating_point() and not bool(torch.isfinite(leaf).all()):
            raise InputError(
                f"Expected finite outputs but {type(model).__name__} returned NaN or infinity for this input. "
                "Check the weights and the input's scale."
            )
