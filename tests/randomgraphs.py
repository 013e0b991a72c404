"""Small random networks for property tests, and their twins.

A `Spec` is plain data that hypothesis can draw and shrink; `build` makes the same network from it every
time. A twin computes the same function in another way:

- frozen: gates, norms' deviations and activation ratios f(z)/z are held constant for the gradient;
- functional: `F.relu(x)`, `x + y`, `torch.conv2d(x, w)` in place of modules;
- untied: a module used twice is two copies;
- merged: batch norms behind a convolution are merged into its weights by hand;
- lift: a 2-D network as a 3-D one with one frame.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn

WIDTH = 4
CLASSES = 3


@dataclass(frozen=True)
class Spec:
    """One random network: dimensions, blocks with a variation each, head, seed of the weights."""

    dims: int
    blocks: tuple[tuple[str, int], ...]
    head: str
    seed: int


@dataclass(frozen=True)
class Twin:
    frozen: bool = False
    functional: bool = False
    untied: bool = False
    merged: bool = False
    lift: bool = False


class _Kit:
    """Makes layers for the network's dimensions; holds the twin's settings for the blocks."""

    def __init__(self, dims: int, twin: Twin) -> None:
        self.dims = 3 if twin.lift else dims
        self.twin = twin

    def sizes(self, k: int) -> tuple[int, ...]:
        return (1, k, k) if self.twin.lift else (k,) * self.dims

    def conv(
        self, i: int, o: int, k: int = 3, *, groups: int = 1, dilation: int = 1, bias: bool = True
    ) -> nn.Module:
        kind = [nn.Conv1d, nn.Conv2d, nn.Conv3d][self.dims - 1]
        pad = tuple(dilation * (n - 1) // 2 for n in self.sizes(k))
        return kind(i, o, self.sizes(k), padding=pad, groups=groups, dilation=dilation, bias=bias)

    def up(self, i: int, o: int) -> nn.Module:
        kind = [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d][self.dims - 1]
        return kind(i, o, self.sizes(2), stride=self.sizes(2))

    def norm(self, width: int) -> nn.Module:
        bn = [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][self.dims - 1](width)
        nn.init.normal_(bn.running_mean, std=0.3)
        nn.init.uniform_(bn.running_var, 0.5, 1.5)
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        with torch.no_grad():
            bn.weight[0] *= -1
        nn.init.normal_(bn.bias, std=0.3)
        return bn

    def pool(self, kind: str, k: int = 2, *, ceil: bool = True) -> nn.Module:
        names = {
            "max": [nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d],
            "avg": [nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d],
        }
        return names[kind][self.dims - 1](self.sizes(k), stride=self.sizes(k), ceil_mode=ceil)

    def call(self, module: nn.Module, x: Tensor) -> Tensor:
        """The module, or its function on the same parameters."""
        if not self.twin.functional:
            return module(x)
        d = self.dims - 1
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            function = [torch.conv1d, torch.conv2d, torch.conv3d][d]
            return function(
                x, module.weight, module.bias, module.stride, module.padding, module.dilation, module.groups
            )
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            return F.batch_norm(
                x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps
            )
        if isinstance(module, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)):
            function = [F.max_pool1d, F.max_pool2d, F.max_pool3d][d]
            return function(x, module.kernel_size, module.stride, ceil_mode=module.ceil_mode)
        if isinstance(module, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)):
            function = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][d]
            return function(x, module.kernel_size, module.stride, ceil_mode=module.ceil_mode)
        if isinstance(module, nn.Linear):
            return F.linear(x, module.weight, module.bias)
        if isinstance(module, nn.ReLU):
            return torch.relu_(x) if module.inplace else x.relu()
        if isinstance(module, nn.Sequential):
            for part in module:
                x = self.call(part, x)
            return x
        return module(x)

    def hold(self, gate: Tensor) -> Tensor:
        return gate.detach() if self.twin.frozen else gate

    def activate(self, f: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        if not self.twin.frozen:
            return f(z)
        ratio = torch.where(z == 0, 0.0, f(z) / torch.where(z == 0, 1.0, z))
        return z * ratio.detach()


def _merge(conv: nn.Module, bn: nn.Module) -> nn.Module:
    merged = copy.deepcopy(conv)
    factor = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach()
    old = torch.zeros(len(factor)) if conv.bias is None else conv.bias.detach()
    merged.weight = nn.Parameter(conv.weight.detach() * factor.view(-1, *[1] * (conv.weight.ndim - 1)))
    merged.bias = nn.Parameter((old - bn.running_mean) * factor + bn.bias.detach())
    return merged


class _Block(nn.Module):
    """(N, WIDTH, *spatial) → (N, WIDTH, *spatial)."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__()
        self.kit = kit
        self.v = variation


class _Plain(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        groups, kernel = (1, 2, 4)[variation % 3], (3, 1)[variation // 3 % 2]
        self.conv = kit.conv(WIDTH, WIDTH, kernel, groups=groups, bias=variation % 2 == 0)
        self.relu = nn.ReLU(inplace=variation % 4 == 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.kit.call(self.relu, self.kit.call(self.conv, x))


class _ConvNorm(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(WIDTH, WIDTH, dilation=1 + variation % 2, bias=variation % 3 == 0)
        self.bn = kit.norm(WIDTH)
        if kit.twin.merged:
            self.conv, self.bn = _merge(self.conv, self.bn), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.kit.call(self.bn, self.kit.call(self.conv, x))
        return F.relu(x) if self.v % 2 else F.relu_(x)


class _NormConv(_Block):
    """Batch norm before the convolution, or behind the ReLU."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.bn = kit.norm(WIDTH)
        self.conv = kit.conv(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.kit.call(self.bn, x)
        if self.v % 2:
            x = torch.relu(x)
        return torch.relu(self.kit.call(self.conv, x))


class _Residual(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv1, self.conv2 = kit.conv(WIDTH, WIDTH), kit.conv(WIDTH, WIDTH, bias=False)
        self.bn = kit.norm(WIDTH)
        if kit.twin.merged:
            self.conv2, self.bn = _merge(self.conv2, self.bn), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.kit.call(self.conv1, x).relu()
        y = self.kit.call(self.bn, self.kit.call(self.conv2, y))
        if self.v % 4 == 0:
            y += x
        elif self.v % 4 == 1:
            y = x - y
        elif self.v % 4 == 2:
            y = torch.add(x, y, alpha=0.5) + 0.1
        else:
            return x + y  # a linear bottleneck: nothing behind the sum
        return torch.relu_(y) if self.v % 3 == 0 else torch.relu(y)


class _Shared(_Block):
    """One convolution used twice."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(WIDTH, WIDTH)
        self.again = copy.deepcopy(self.conv) if kit.twin.untied else self.conv

    def forward(self, x: Tensor) -> Tensor:
        y = self.kit.call(self.conv, x)
        y = torch.relu(y) if self.v % 2 else y
        z = self.kit.call(self.again, y)
        return torch.relu(z) if self.v % 3 else torch.relu(z + self.kit.call(self.again, x))


class _Branches(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.a, self.b = kit.conv(WIDTH, 2, 1), kit.conv(WIDTH, 3)
        self.mix = kit.conv(9, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.kit.call(self.a, x).relu(), x, self.kit.call(self.b, x)]
        if self.v % 2:
            parts[2] = parts[2].relu()
        return self.kit.call(self.mix, torch.cat(parts, 1)).relu()


class _Split(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.v % 4 == 0:
            a, b = x.chunk(2, 1)
        elif self.v % 4 == 1:
            a, b = torch.split(x, [2, 2], dim=1)
        elif self.v % 4 == 2:
            a, b = x[:, :2], x[:, 2:]
        else:
            a, b = x[:, ::2], x[:, 1::2]
        y = torch.cat([self.kit.call(self.conv, a).relu(), b], 1)
        shape = y.shape[2:]
        return y.view(y.shape[0], 2, 2, *shape).transpose(1, 2).reshape(-1, WIDTH, *shape)  # shuffled


class _Pool(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.pool = kit.pool("max" if variation % 2 else "avg")

    def forward(self, x: Tensor) -> Tensor:
        if any(n < k for n, k in zip(x.shape[2:], self.kit.sizes(2), strict=True)):
            return x
        return self.kit.call(self.pool, x)


class _Overlap(_Block):
    """Overlapping, padded windows."""

    def forward(self, x: Tensor) -> Tensor:
        k, pad = self.kit.sizes(3), tuple(n // 2 for n in self.kit.sizes(3))
        if any(n < m for n, m in zip(x.shape[2:], k, strict=True)):
            return x
        d = self.kit.dims - 1
        if self.v % 3 == 0:
            return [F.max_pool1d, F.max_pool2d, F.max_pool3d][d](x, k, 1, pad)
        average = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][d]
        return average(x, k, 1, pad, count_include_pad=self.v % 3 == 1)


class _Excite(_Block):
    """Squeeze and excitation."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.down, self.up = nn.Linear(WIDTH, 2), nn.Linear(2, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        dims = tuple(range(2, x.ndim))
        s = self.kit.call(self.up, self.kit.call(self.down, x.mean(dims)).relu())
        s = torch.sigmoid(s) if self.v % 2 else F.hardsigmoid(s)
        s = self.kit.hold(s).view(-1, WIDTH, *[1] * len(dims))
        return x * s if self.v % 3 else s * x


class _Smooth(_Block):
    """Activations that are not piecewise linear, and those that saturate."""

    FUNCTIONS = (
        F.silu,
        F.gelu,
        F.hardswish,
        F.elu,
        torch.tanh,
        F.relu6,
        F.mish,
        torch.sigmoid,
        F.softplus,
        lambda z: F.hardtanh(z, -0.5, 0.5),
        lambda z: F.leaky_relu(z, 0.1),
    )

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.kit.activate(self.FUNCTIONS[self.v % len(self.FUNCTIONS)], self.kit.call(self.conv, x))


class _Gate(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.v % 2:
            return x * self.kit.hold(torch.sigmoid(self.kit.call(self.conv, x)))
        return x * self.kit.hold(torch.sigmoid(x)) + self.kit.call(self.conv, x)


class _Length(_Block):
    """Unit length along the channels, and a learned scale (SSD's)."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.scale = nn.Parameter(torch.randn(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        held = self.kit.twin.frozen
        y = x / x.norm(dim=1, keepdim=True).clamp_min(1e-12).detach() if held else F.normalize(x)
        return y * self.scale.view(-1, *[1] * (x.ndim - 2))


class _GroupNorm(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.norm = nn.GroupNorm(2, WIDTH, eps=0.1)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.kit.twin.frozen:
            return self.norm(x)
        grouped = x.reshape(len(x), 2, -1)
        mean, var = grouped.mean(-1, keepdim=True), grouped.var(-1, correction=0, keepdim=True)
        y = ((grouped - mean) / (var + 0.1).sqrt().detach()).reshape(x.shape)
        shape = (-1, *[1] * (x.ndim - 2))
        return y * self.norm.weight.view(shape) + self.norm.bias.view(shape)


class _Resize(_Block):
    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.up = kit.up(WIDTH, WIDTH)
        self.pool = kit.pool("avg")

    def forward(self, x: Tensor) -> Tensor:
        if self.v % 2:
            x = self.kit.call(self.up, x)
        else:
            x = F.interpolate(x, scale_factor=tuple(float(k) for k in self.kit.sizes(2)))
        return self.kit.call(self.pool, x)


class _Written(_Block):
    """In-place operators, harmless ones and ones that somebody sees through a view."""

    def __init__(self, kit: _Kit, variation: int) -> None:
        super().__init__(kit, variation)
        self.conv = kit.conv(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.kit.call(self.conv, x)
        if self.v % 5 == 0 and self.kit.twin.frozen:
            y = y.relu() * 0.5 + x  # autograd can't follow the written form
        elif self.v % 5 == 0:
            y.relu_().mul_(0.5).add_(x)
        elif self.v % 5 == 1:
            view = y[:, :2]
            y.relu_()
            y = y + torch.cat([view, view], 1)  # the view sees the write
        elif self.v % 5 == 2:
            flat = y.flatten(2)
            flat.mul_(-2.0)  # the write goes through the view
        elif self.v % 5 == 3:
            kept = y.clone()
            y.clamp_(min=0)
            y = y + 0.1 * kept
        else:
            y = F.dropout(F.relu(y, inplace=True), 0.5, training=False, inplace=True)
        return y


class _Padded(_Block):
    """Padded with a value, cropped, moved about."""

    def forward(self, x: Tensor) -> Tensor:
        if self.v % 3 == 0:
            return F.pad(x, (1, 0), value=0.3)[..., 1:] + F.pad(x, (0, 1), value=-0.7)[..., :-1]
        if self.v % 3 == 1:
            return x.flip(-1) + x.roll(1, -1)
        return torch.stack([x, x.flip(1)], 0).mean(0)


class _Constant(_Block):
    """What inception's transform_input does: per-channel constants."""

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[:, i].unsqueeze(1) * (0.4 + 0.3 * i) + (0.2 - 0.1 * i) for i in range(WIDTH)]
        return torch.cat(parts, 1)


BLOCKS: dict[str, type[_Block]] = {
    "plain": _Plain,
    "conv-norm": _ConvNorm,
    "norm-conv": _NormConv,
    "residual": _Residual,
    "shared": _Shared,
    "branches": _Branches,
    "split": _Split,
    "pool": _Pool,
    "overlap": _Overlap,
    "excite": _Excite,
    "smooth": _Smooth,
    "gate": _Gate,
    "length": _Length,
    "group-norm": _GroupNorm,
    "resize": _Resize,
    "written": _Written,
    "padded": _Padded,
    "constant": _Constant,
}


class Net(nn.Module):
    """Stem, blocks, head: (N, 3, *spatial) → (N, CLASSES)."""

    def __init__(self, spec: Spec, kit: _Kit) -> None:
        super().__init__()
        self.kit, self.spec = kit, spec
        self.stem = kit.conv(3, WIDTH)
        self.blocks = nn.Sequential(*(BLOCKS[name](kit, v) for name, v in spec.blocks))
        if spec.head == "flatten":
            count = int(torch.tensor(self._size()).prod())
            self.hidden, self.fc = nn.Linear(WIDTH * count, 5), nn.Linear(5, CLASSES)
        else:
            self.fc = nn.Linear(WIDTH, CLASSES)

    def _size(self) -> tuple[int, ...]:
        size = spatial(self.spec.dims)
        for name, _ in self.spec.blocks:
            if name == "pool" and min(size) > 1:
                size = tuple((n + 1) // 2 for n in size)
        return size

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.kit.call(self.stem, x))
        if self.spec.head == "flatten":
            x = self.kit.call(self.hidden, x.flatten(1))
            x = torch.relu(x)
        elif self.spec.head == "mean":
            x = x.mean(tuple(range(2, x.ndim)))
        else:
            x = [F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d][self.kit.dims - 1](
                x, 1
            ).flatten(1)
        return self.kit.call(self.fc, x)


def spatial(dims: int) -> tuple[int, ...]:
    return [(9,), (6, 5), (3, 4, 4)][dims - 1]


def build(spec: Spec, twin: Twin | None = None, dtype: torch.dtype = torch.float64) -> Net:
    """The network of a spec, or one of its twins, with the same weights."""
    default = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        torch.set_default_dtype(torch.float64)  # merging by hand in float32 would not give a twin
        try:
            return Net(spec, _Kit(spec.dims, twin or Twin())).eval().to(dtype)
        finally:
            torch.set_default_dtype(default)


def sample(spec: Spec, n: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """An input for the network, (n, 3, *spatial)."""
    generator = torch.Generator().manual_seed(spec.seed + 1)
    return torch.randn(n, 3, *spatial(spec.dims), generator=generator, dtype=torch.float64).to(dtype)


def specs(dims: int | None = None, *, having: str | None = None) -> st.SearchStrategy[Spec]:
    """Random specs; `having` puts a block of that name among the others."""
    block = st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(0, 59))
    blocks = st.lists(block, min_size=1, max_size=4)
    if having is not None:
        must = st.tuples(st.just(having), st.integers(0, 59))
        blocks = st.tuples(st.lists(block, max_size=2), must, st.lists(block, max_size=1)).map(
            lambda t: [*t[0], t[1], *t[2]]
        )
    return st.builds(
        Spec,
        st.sampled_from([1, 2, 3]) if dims is None else st.just(dims),
        blocks.map(tuple),
        st.sampled_from(["flatten", "mean", "adaptive"]),
        st.integers(0, 2**20),
    )
