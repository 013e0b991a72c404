"""LinearMap: convolution (1-3 D, grouped, dilated, strided, transposed) or matrix product, BN included."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from relprop.errors import UnsupportedOperatorError
from relprop.graph import Node, WeightCache
from relprop.graph.fusion import Fused
from relprop.tracing.channels import CACHE_BYTES, Known, dilation_of, fingerprint_of
from relprop.tracing.geometry import ConvGeometry, geometry_of
from relprop.tracing.memory import compact, last_channels
from relprop.tracing.packed import Packed, pack_into, packed_for, packs
from relprop.tracing.phases import back_in_phases, has_phases
from relprop.tracing.values import Values
from relprop.tracing.window import Window, receptive

__all__ = ["LinearMap", "Sign", "batch_norm_affine"]

Sign = Literal["all", "+", "-", "size"]
_Made = TypeVar("_Made")
_Part = Sign | Literal["own"]  # "own": the layer's own weight, without the factors of batch norms

_SPLIT = 1 << 22  # matrix products with more weights than this are walked in blocks of rows
_ROWS = 1 << 21  # weights in a block: small enough that the block's parts stay in cache
_FEW = 4  # channels that a convolution reads, up to which W+ and W- go together
_TARGETS = 5  # targets convolved at once: more is slower on a CPU (cache, page faults)


@dataclass(frozen=True, eq=False)
class LinearMap:
    """y = W x + b as rules see it: W scaled and b shifted by the batch norm that follows, if any.

    Attributes:
        weight: the layer's own weight; (out, in) for matrix products, the convolution's otherwise.
        scale: per-output-channel factor of a batch norm that follows, or None.
        scale_in: per-input-channel factor of a batch norm in front, or None.
        bias: effective bias, (out,), or None; (out, *spatial) with a batch norm in front, whose shift
            doesn't reach into the zero padding.
        known: the weight as the run looked at it, where packed weights are used (`tracing.packed`).
    """

    weight: Tensor
    scale: Tensor | None
    scale_in: Tensor | None
    bias: Tensor | None
    conv: ConvGeometry | None
    cache: WeightCache
    key: Any
    version: tuple[Any, ...] = ()
    scratch: dict[Sign, Tensor] | None = None
    probes: dict[Any, tuple[Tensor, Tensor]] | None = None
    known: Known | None = None

    @classmethod
    def of(cls, trace: Values, fused: Fused) -> LinearMap:
        """The affine map of a step."""
        node = fused.main
        weight, bias, conv = _layer(trace, node)
        given = node.argument("weight", None)
        seen = trace.told.get(given) if isinstance(given, Node) else None
        number = 0 if seen is None else seen.number
        version = (weight.data_ptr(), weight._version, weight.device, weight.dtype, number)
        key = tuple(n.name for n in (fused.norm_before, fused.main, fused.norm) if n is not None)
        scale = scale_in = None
        if fused.pad is not None:
            assert conv is not None
            conv = replace(conv, extra=_added(tuple(fused.pad.argument("pad")), conv.extra))
        if fused.norm_before is not None:
            scale_in, shift = batch_norm_affine(trace, fused.norm_before)
            x = trace.value(fused.norm_before.signals()[0])
            bare = cls(weight, None, None, None, conv, WeightCache(), ())
            even = shift.reshape(1, -1, *[1] * (x.ndim - 2)).expand(1, *x.shape[1:])
            moved = bare.forward(even, weight)[0]
            bias = moved if bias is None else moved + bias.reshape(-1, *[1] * (moved.ndim - 1))
        if fused.norm is not None:
            scale, shift = batch_norm_affine(trace, fused.norm)
            if bias is None:
                bias = shift
            else:
                per_channel = (-1, *[1] * (bias.ndim - 1))
                bias = bias * scale.reshape(per_channel) + shift.reshape(per_channel)
        return cls(
            weight, scale, scale_in, bias, conv, trace.graph.weights, key, version,
            probes=trace.probes if seen is None else None, known=seen if trace.packs else None,
        )  # fmt: skip

    # Weights ----------------------------------------------------------------------------------------

    def part(self, sign: Sign) -> Tensor:
        """The effective weight, its positive or its negative part, or its magnitude. Cached under a byte cap."""
        if sign == "all" and self.scale is None and self.scale_in is None:
            return self.weight
        key = (self.key, sign)
        found: _Cached[Tensor] | None = self.cache.get(key)
        if found is not None and found.fits(self):
            return found.part
        if self.scratch is not None:
            return self._in_scratch(sign, self.scratch, key)
        weight = self.weight if self.scale is None else self.weight * self._per_output(self.scale)
        if self.scale_in is not None:
            weight = weight * self._per_input(self.scale_in)
        fresh = weight is not self.weight
        if sign == "+":
            weight = weight.clamp_(min=0) if fresh else weight.clamp(min=0)
        elif sign == "-":
            weight = weight.clamp_(max=0) if fresh else weight.clamp(max=0)
        elif sign == "size":
            weight = weight.abs_() if fresh else weight.abs()
        if not self.is_split:
            size = weight.numel() * weight.element_size()
            self.cache.keep(key, _Cached(weight, replace(self, probes=None), self.probe()), size, CACHE_BYTES)
        return weight

    def _in_scratch(self, sign: Sign, scratch: dict[Sign, Tensor], key: Any) -> Tensor:
        if sign not in scratch:
            scratch[sign] = torch.empty_like(self.weight)
        out = scratch[sign][: self.weight.shape[0]]
        if sign == "size":
            part = torch.abs(self.weight, out=out)
        else:
            part = torch.clamp(self.weight, **_LIMITS[sign], out=out)
        self.cache.keep(key, _Cached(part, self, None), 0, CACHE_BYTES)
        return part

    def probe(self) -> tuple[Tensor, Tensor] | None:
        """What tells the weights from others, taken once a trace; None for passing maps."""
        if self.probes is None:
            return None
        if self.key not in self.probes:
            self.probes[self.key] = fingerprint_of(self.weight)
        return self.probes[self.key]

    def _packed(self, part: _Part, x: Tensor, *, back: bool, count: int = 1) -> Packed | None:
        """A part of the weight as oneDNN computes with it, or None; kept as parts are.

        Args:
            part, back: which.
            x: the input.
            count: targets at once; one alone is what it is packed for.
        """
        if self.known is None or self.conv is None or count > 1 or not last_channels(x):
            return None
        if back and has_phases(self.conv, self.weight):
            return None
        key = (self.key, part, back)
        mine = self if part != "own" or self.scale is None is self.scale_in else self._bare
        found: _Cached[tuple[Any, Packed | None]] | None = self.cache.get(key)
        if found is not None and found.part[0] == packed_for(x) and found.fits(mine):
            return found.part[1]
        if not self.known.worth_packing(key) or not packs():
            return None
        weight = self.weight if part == "own" else self.part(part)
        packed = pack_into(
            self.cache, key, weight, self.conv, x, back=back,
            entry=lambda made: _Cached((packed_for(x), made), mine, None),
        )  # fmt: skip
        other: _Cached[tuple[Any, Packed | None]] | None = self.cache.get((self.key, part, not back))
        if packed is not None and other is not None and other.part[1] is not None:
            self.cache.drop((self.key, part))  # nobody reads it any more
        return packed

    @property
    def _bare(self) -> LinearMap:
        """The map without the factors of batch norms."""
        return replace(self, scale=None, scale_in=None)

    def _per_output(self, vector: Tensor) -> Tensor:
        if self.conv is None or not self.conv.transposed:
            return vector.reshape(-1, *[1] * (self.weight.ndim - 1))
        # Transposed convolutions store (in, out / groups, *kernel).
        groups = self.conv.groups
        rows = vector.reshape(groups, 1, -1).expand(groups, self.weight.shape[0] // groups, -1)
        return rows.reshape(self.weight.shape[0], -1, *[1] * (self.weight.ndim - 2))

    def _per_input(self, vector: Tensor) -> Tensor:
        conv, rank = self.conv, self.weight.ndim
        if conv is None:
            return vector
        if conv.transposed:
            return vector.reshape(-1, *[1] * (rank - 1))
        out, width = self.weight.shape[:2]
        rows = vector.reshape(conv.groups, 1, width).expand(conv.groups, out // conv.groups, width)
        return rows.reshape(out, width, *[1] * (rank - 2))

    @property
    def fan_in(self) -> int:
        """Number of products in one output element (away from the border)."""
        if self.conv is None or not self.conv.transposed:
            return prod(self.weight.shape[1:])
        return prod(self.weight.shape[2:]) * self.weight.shape[0] // self.conv.groups

    # Arithmetic -------------------------------------------------------------------------------------

    def forward(self, x: Tensor, weight: Tensor | Sign) -> Tensor:
        """W x for inputs (N, ...), without bias. W is given, or one of the weight's parts."""
        if isinstance(weight, str):
            packed = self._packed(weight, x, back=False)
            if packed is not None:
                return packed.forward(x)
            weight = self.part(weight)
        if self.conv is None:
            return F.linear(x, weight)
        c = self.conv
        if c.extra:
            x = F.pad(x, c.extra)
        dilation = dilation_of(x, weight, c.dilation)
        return torch.convolution(
            x, weight, None, c.stride, c.padding, dilation, c.transposed, c.output_padding, c.groups
        )

    def backward(self, part: Tensor, weight: Tensor | Sign, x: Tensor) -> Tensor:
        """Transposed map of each target: (k, N, *out) -> (k, N, *in). `x` lends its shape and memory.

        W is given, or one of the weight's parts.
        """
        if isinstance(weight, str):
            packed = self._packed(weight, x, back=True, count=len(part))
            if packed is not None:
                return packed.backward(part[0], x.shape[2:])[None]
            weight = self.part(weight)
        if self.conv is None:
            return torch.matmul(part, weight)
        return _each(part, x, lambda grad: self._conv_backward(grad, weight, x))

    def forward_by_sign(self, up: Tensor, down: Tensor) -> Tensor:
        """W+ up + W- down, a fresh tensor."""
        if not self._reads_few:
            return self.forward(up, "+").add_(self.forward(down, "-"))
        return self.forward(torch.cat([up, down], 1), self._both_signs())

    def backward_by_sign(self, part: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """`backward` with W+ and with W-.

        A convolution that reads few channels takes as long for twice as many: vectors are longer.
        """
        if not self._reads_few:
            return self.backward(part, "+", x), self.backward(part, "-", x)
        many = x.shape[1]
        like = x.new_empty(len(x), 2 * many, *x.shape[2:])
        if x.ndim == 4 and last_channels(x):
            like = like.contiguous(memory_format=torch.channels_last)
        both = self.backward(part, self._both_signs(), like)
        up, down = (compact(half.flatten(0, 1)).unflatten(0, part.shape[:2]) for half in both.split(many, 2))
        return up, down

    @property
    def _reads_few(self) -> bool:
        c = self.conv
        return c is not None and not c.transposed and c.groups == 1 and self.weight.shape[1] <= _FEW

    def _both_signs(self) -> Tensor:
        """W+ and W- side by side."""
        whole = torch.cat([self.part("+"), self.part("-")], 1)
        lies_so = whole.ndim == 4 and last_channels(self.weight)
        return whole.contiguous(memory_format=torch.channels_last) if lies_so else whole

    def backward_plain(self, part: Tensor, x: Tensor, *, owned: bool) -> Tensor:
        """`backward` with the whole weight. A batch norm scales it or the message, whichever has fewer numbers."""
        if self.scale is not None and self.conv is not None and part.numel() > self.weight.numel():
            return self.backward(part, "all", x)
        if self.scale is not None:
            factor = self.channels(self.scale, part.ndim)
            part = part.mul_(factor) if owned else part * factor
        packed = self._packed("own", x, back=True, count=len(part))
        if packed is not None:
            back = packed.backward(part[0], x.shape[2:])[None]
        else:
            back = self.backward(part, self.weight, x)
        return back if self.scale_in is None else back.mul_(self.channels(self.scale_in, back.ndim))

    def channels(self, vector: Tensor, ndim: int) -> Tensor:
        """A per-channel vector, shaped to broadcast over parts with `ndim` dimensions."""
        if self.conv is None or vector.ndim > 1:
            return vector
        return vector.reshape(-1, *[1] * (ndim - 3))

    def _conv_backward(self, grad: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        c = self.conv
        assert c is not None
        if last_channels(grad) and not c.extra and has_phases(c, weight):
            return back_in_phases(grad, weight, c, x.shape[2:])
        shape = x.shape[1:]
        if c.extra:
            shape = F.pad(x[:1], c.extra).shape[1:]
        if grad.shape[0] == x.shape[0] and not c.extra:
            like = x
        elif not c.transposed:
            return _unpad(self._by_transpose(grad, weight, shape), c.extra)
        else:
            like = grad.new_empty(()).expand(grad.shape[0], *shape)
        dilation = dilation_of(like, weight, c.dilation, back=True)
        result: Tensor = torch.ops.aten.convolution_backward(
            grad, like, weight, None, c.stride, c.padding, dilation, c.transposed, c.output_padding, c.groups,
            [True, False, False],
        )[0]  # fmt: skip
        return _unpad(result, c.extra)

    def _by_transpose(self, grad: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
        # The transposed convolution needs no dummy input, whose layout would cost a copy.
        c = self.conv
        assert c is not None
        spatial = shape[1:]
        kernel = weight.shape[2:]
        left_over = tuple(
            n - ((g - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, g, s, p, d, k in zip(
                spatial, grad.shape[2:], c.stride, c.padding, c.dilation, kernel, strict=True
            )
        )
        return torch.convolution(
            grad, weight, None, c.stride, c.padding, c.dilation, True, left_over, c.groups
        )

    def within(self, window: Window, size: Sequence[int]) -> tuple[LinearMap, Window] | None:
        """The map confined to a window of its outputs, and the window of the input that it reads.

        None for matrix products and transposed convolutions.
        """
        c = self.conv
        if c is None or c.transposed or len(window.spans) != len(c.stride):
            return None
        # Explicit padding comes last axis first, (before, after) each.
        explicit = c.extra[::2][::-1] or (0,) * len(c.padding)
        before = [p + e for p, e in zip(c.padding, explicit, strict=True)]
        found = receptive(window, size, self.weight.shape[2:], c.stride, before, c.dilation)
        if found is None:
            return None
        inner, pads = found
        conv = replace(c, padding=(0,) * len(c.padding), extra=pads if any(pads) else ())
        return replace(self, conv=conv, known=None), inner

    def columns(self, cut: slice) -> LinearMap:
        """A matrix product with some of its outputs only."""
        return replace(
            self,
            weight=self.weight[cut],
            scale=None if self.scale is None else self.scale[cut],
            bias=None if self.bias is None else self.bias[cut],
            key=(self.key, cut.start, cut.stop),
        )

    # Blocks of rows ---------------------------------------------------------------------------------

    @property
    def is_split(self) -> bool:
        """Whether this is a matrix product so large that it is better walked in blocks of rows."""
        return self.conv is None and self.scale is None and self.weight.numel() > _SPLIT

    def blocks(self) -> Iterator[tuple[slice, LinearMap]]:
        """The map as several maps, each with some of the outputs.

        Their positive and negative parts share one buffer: use up a block before the next.
        """
        rows = max(1, _ROWS // self.weight.shape[1])
        scratch: dict[Sign, Tensor] = {}
        for begin in range(0, self.weight.shape[0], rows):
            cut = slice(begin, begin + rows)
            bias = None if self.bias is None else self.bias[cut]
            yield cut, replace(
                self, weight=self.weight[cut], bias=bias, cache=WeightCache(), scratch=scratch, probes=None
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Cached(Generic[_Made]):
    """A derived weight and the map it was derived from."""

    part: _Made
    source: LinearMap  # holds the weight: while it lives, no other can get its address
    probe: tuple[Tensor, Tensor] | None

    def fits(self, now: LinearMap) -> bool:
        """Whether the map is still the same.

        Weights are told by address, version and probe. Running statistics change without either in a forward
        pass in training mode, but batch norms are small enough to be compared.
        """
        source = self.source
        if source.version != now.version:
            return False
        pairs: list[tuple[Tensor | None, Tensor | None]] = []
        if self.probe is not None and (there := now.probe()) is not None:
            pairs += zip(self.probe, there, strict=True)
        return _same([(source.scale, now.scale), (source.scale_in, now.scale_in), *pairs])


def _same(pairs: Sequence[tuple[Tensor | None, Tensor | None]]) -> bool:
    """Whether the two of each pair are equal, or both missing. An accelerator is waited for once."""
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if any((a is None) != (b is None) for a, b in pairs) or any(a.shape != b.shape for a, b in both):
        return False
    if all(a.device.type == "cpu" for a, _ in both):
        return all(torch.equal(a, b) for a, b in both)
    return bool(torch.stack([(a == b).all() for a, b in both]).all())


_STATISTICS = ("running_var", "running_mean", "weight", "bias")
_LIMITS: dict[Sign, dict[str, float]] = {"+": {"min": 0}, "-": {"max": 0}}


def batch_norm_affine(trace: Values, node: Node) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode as y = scale * x + shift, (C,) each."""
    if node not in trace.affines:
        plain = [n for n in trace.graph.nodes if n.kind == "batch_norm" and _has_plain_statistics(trace, n)]
        trace.affines.update(_affines(trace, plain if node in plain else [node]))
    return trace.affines[node]


def _has_plain_statistics(trace: Values, node: Node) -> bool:
    """Whether all that a batch norm scales and shifts by are parameters and buffers of the model."""
    given = [node.argument(name) for name in _STATISTICS]
    return given[0] in trace.params and all(it is None or it in trace.params for it in given)


def _affines(trace: Values, norms: list[Node]) -> dict[Node, tuple[Tensor, Tensor]]:
    """Batch norms as affine maps: those that are alike at once, since one by one takes longer than all."""
    alike: dict[Any, list[tuple[Node, list[Tensor]]]] = {}
    for node in norms:
        found = [_value(trace, node, name) for name in _STATISTICS]
        assert found[0] is not None  # without them the layer runs in training mode, which capture refuses
        tensors = [t for t in found if t is not None]
        eps = node.argument("epsilon" if node.op == "cudnn_batch_norm" else "eps")
        kind = (eps, tuple(t is not None for t in found), tuple((t.dtype, t.device) for t in tensors))
        alike.setdefault(kind, []).append((node, tensors))
    affines: dict[Node, tuple[Tensor, Tensor]] = {}
    for (eps, (_, _, scales, shifts), _), group in alike.items():
        var, mean, *rest = (
            torch.cat(column) for column in zip(*(tensors for _, tensors in group), strict=True)
        )
        scale = torch.rsqrt(var + eps)
        if scales:
            scale = scale * rest.pop(0)
        shift = -mean * scale
        if shifts:
            shift = shift + rest.pop(0)
        sizes = [len(tensors[0]) for _, tensors in group]
        pairs = zip(scale.split(sizes), shift.split(sizes), strict=True)
        affines |= {node: pair for (node, _), pair in zip(group, pairs, strict=True)}
    return affines


def _value(trace: Values, node: Node, name: str) -> Any:
    """The tensor (or plain value) of an argument."""
    value = node.argument(name)
    return trace.value(value) if isinstance(value, Node) else value


def _layer(trace: Values, node: Node) -> tuple[Tensor, Tensor | None, ConvGeometry | None]:
    """Weight, bias and geometry of a linear operator."""
    if node.op in ("matmul", "mm", "addmm"):
        weight = _value(trace, node, "other" if node.op == "matmul" else "mat2")
        if weight.ndim != 2:
            raise UnsupportedOperatorError(
                f"No rule for {node.where()}: only products with a 2-D weight have one."
            )
        if node.op != "addmm":
            return weight.t(), None, None
        bias = _value(trace, node, "self") * node.argument("beta")
        return weight.t() * node.argument("alpha"), bias.expand(weight.shape[1]), None
    weight, bias = _value(trace, node, "weight"), _value(trace, node, "bias")
    if node.op == "linear":
        return weight, bias, None
    return weight, bias, geometry_of(trace.graph, node, weight.shape[2:])


def _added(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    """Two zero paddings in a row as one (last axis first)."""
    longest = max(len(first), len(second))
    pairs = zip(first + (0,) * (longest - len(first)), second + (0,) * (longest - len(second)), strict=True)
    return tuple(a + b for a, b in pairs)


def _each(part: Tensor, x: Tensor, back: Callable[[Tensor], Tensor]) -> Tensor:
    """What `back` gives for (N, *out), of each target of a part (k, N, *out)."""
    if part.shape[0] == 1:
        return back(part[0])[None]
    out = [back(p.flatten(0, 1)) for p in part.split(_TARGETS)]
    return (out[0] if len(out) == 1 else torch.cat(out)).unflatten(0, (len(part), x.shape[0]))


def _unpad(grad: Tensor, extra: tuple[int, ...]) -> Tensor:
    if not extra:
        return grad
    for i in range(len(extra) // 2):
        dim, left, right = -1 - i, extra[2 * i], extra[2 * i + 1]
        grad = grad.narrow(dim, left, grad.shape[dim] - left - right)
    return grad
