"""What random graphs are made of: operators and idioms, one a row, as the code that a user would write.

A row is a name, the values it takes, its code, what the network's constructor makes for it, and facts about it.

- takes: "any" (N, ...), "flat" (N, F), "seq" (N, T, D), "1d"/"2d"/"3d" (N, C, *spatial), "map" any of these three.
- code: an expression, or statements that assign `$o`. `$x` is the operand and `$y` a second one of the same shape;
  `$t`, `$s` are free names; `$C`, `$H`, `$D` are the sizes of axis 1 and of the last two; `$d` the number of
  axes behind axis 1; `{a|b}` is one of the two, drawn.
- `$m`, `$p`, `$q` stand for attributes of the network, made by the code of that keyword.
- facts: "exact": LRP-0 crosses it as the derivative does (affine, ReLU-like, maximum of a window, rearrangement).
  "mixes": samples see each other. "narrow": computed in less than the input's precision. "cuts": autograd is
  cut there by hand. "random": draws numbers. "rounds": amplifies rounding (a quotient by something small).
  "constant": the result doesn't depend on the operand everywhere.
"""

# ruff: noqa: E501  (a row is a line)

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["OPERATORS", "Operator"]


@dataclass(frozen=True)
class Operator:
    """One row of the table."""

    name: str
    takes: str
    code: str
    facts: frozenset[str] = frozenset()
    parts: dict[str, str] = field(default_factory=dict)


OPERATORS: dict[str, Operator] = {}


def _row(name: str, takes: str, code: str, facts: str = "", **parts: str) -> None:
    assert name not in OPERATORS, name
    OPERATORS[name] = Operator(name, takes, code, frozenset(facts.split()), parts)


# Convolutions -----------------------------------------------------------------------------------------
_CONV = "nn.Conv${d}d($C, {3|4|6}, "
_row("conv", "map", "$m($x)", "exact", m=_CONV + "3, padding=1)")
_row("conv valid", "map", "$m($x)", "exact", m=_CONV + "2, padding='valid')")
_row("conv same", "map", "$m($x)", "exact", m=_CONV + "{3|2}, padding='same', dilation={1|2})")
_row("conv stride", "map", "$m($x)", "exact", m=_CONV + "3, stride=2, padding={0|1})")
_row("conv 1x1", "map", "$m($x)", "exact", m=_CONV + "1, bias={True|False})")
_row("conv wide pad", "map", "$m($x)", "exact", m=_CONV + "1, padding=2)")
_row("conv dilated", "map", "$m($x)", "exact", m=_CONV + "3, padding=2, dilation=2)")
_row("conv depthwise", "map", "$m($x)", "exact", m="nn.Conv${d}d($C, 2 * $C, 3, padding=1, groups=$C)")
_row("conv reflect", "map", "$m($x)", "exact", m=_CONV + "3, padding=1, padding_mode='reflect')")
_row("conv replicate", "map", "$m($x)", "exact", m=_CONV + "3, padding=1, padding_mode='replicate')")
_row("conv circular", "map", "$m($x)", "exact", m=_CONV + "3, padding=1, padding_mode='circular')")
_row("conv odd 2d", "2d", "$m($x)", "exact", m=_CONV + "({1|3}, 2), stride=(1, {1|2}), padding=(0, 1))")
_row(
    "conv functional", "2d", "F.conv2d($x, $p, {None|$q}, padding={0|1})", "exact",
    p="nn.Parameter(torch.randn(4, $C, 2, 2) / 4)", q="nn.Parameter(torch.randn(4))",
)  # fmt: skip
_row(
    "conv torch.convolution", "2d", "torch.convolution($x, $p, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)",
    "exact", p="nn.Parameter(torch.randn(4, $C, 3, 3) / 4)",
)  # fmt: skip
_row(
    "conv weight norm", "map", "$m($x)", "exact",
    m="torch.nn.utils.parametrizations.weight_norm(nn.Conv${d}d($C, 4, 3, padding=1))",
)  # fmt: skip
_row(
    "conv spectral norm", "map", "$m($x)", "exact",
    m="torch.nn.utils.parametrizations.spectral_norm(nn.Conv${d}d($C, 4, 3, padding=1))",
)  # fmt: skip
_row(
    "conv standardised", "2d",
    "$t = $p - $p.mean((1, 2, 3), keepdim=True)\n$o = F.conv2d($x, $t / ($t.std((1, 2, 3), keepdim=True) + 0.1))",
    "exact", p="nn.Parameter(torch.randn(4, $C, 3, 3))",
)  # fmt: skip
_row(
    "conv masked weight", "2d", "F.conv2d($x, $p * $q, padding=1)", "exact",
    p="nn.Parameter(torch.randn(4, $C, 3, 3) / 4)", q="nn.Buffer(torch.ones(3, 3).tril())",
)  # fmt: skip
_row(
    "conv by its own weight", "2d", "$t = $x.mean((2, 3))\n"
    "$o = F.conv2d($x.reshape(1, -1, $H, $D), ($p * $t[:, None, :, None, None]).flatten(0, 1), "
    "groups=$x.shape[0]).unflatten(1, (-1, 4)).squeeze(0)",
    p="nn.Parameter(torch.randn(4, $C, 3, 3) / 4)",
)  # fmt: skip
_UP = "nn.ConvTranspose${d}d($C, {3|4}, "
_row("conv transposed", "map", "$m($x)", "exact", m=_UP + "2, stride=2)")
_row("conv transposed overlap", "map", "$m($x)", "exact", m=_UP + "3, stride=2, padding=1, output_padding=1)")
_row("conv transposed dilated", "map", "$m($x)", "exact", m=_UP + "2, dilation=2, bias=False)")
_row(
    "conv transposed groups",
    "map",
    "$m($x)",
    "exact",
    m="nn.ConvTranspose${d}d($C, $C, 3, groups=$C, padding=1)",
)
_row(
    "conv transposed output_size", "2d", "$m($x, output_size=(2 * $H, 2 * $D))", "exact",
    m="nn.ConvTranspose2d($C, 3, 2, stride=2)",
)  # fmt: skip
_row(
    "conv separable", "2d", "$m($x)", "exact",
    m="nn.Sequential(nn.Conv2d($C, $C, 3, padding=1, groups=$C, bias=False), nn.Conv2d($C, 5, 1))",
)  # fmt: skip
_row("conv twice shared", "map", "$m(torch.relu($m($x)))", "exact", m="nn.Conv${d}d($C, $C, 3, padding=1)")
_row(
    "conv two frames as 3d", "2d", "$m($x.unsqueeze(2)).squeeze(2)", "exact", m="nn.Conv3d($C, 4, (1, 3, 3))"
)
_row("conv 1d over rows", "2d", "$m($x.flatten(2)).unflatten(2, ($H, $D))", "exact", m="nn.Conv1d($C, 4, 1)")
_row("conv unbatched map", "seq", "$m($x.unsqueeze(1)).flatten(1, 2)", "exact", m="nn.Conv2d(1, 2, (1, 3))")
_row(
    "unfold and fold", "2d",
    "$t = F.unfold($x, 2, stride=2)\n$o = F.fold($p @ $t, ($H // 2 * 2, $D // 2 * 2), 2, stride=2)", "exact",
    p="nn.Parameter(torch.randn(8, 4 * $C) / 4)",
)  # fmt: skip
_row(
    "unfold product", "2d", "(F.unfold($x, {2|3}).transpose(1, 2) @ $p[:, :]).transpose(1, 2)", "exact",
    p="nn.Parameter(torch.randn($C * {4|9}, 4) / 4)",
)  # fmt: skip
_row("fold", "2d", "F.fold(F.unfold($x, 3, padding=1), ($H, $D), 3, padding=1)", "exact")

# Products with weights --------------------------------------------------------------------------------
_row("linear", "any", "$m($x)", "exact", m="nn.Linear($D, {3|5}, bias={True|False})")
_row(
    "linear channels last",
    "2d",
    "$m($x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)",
    "exact",
    m="nn.Linear($C, 4)",
)
_row("linear movedim", "map", "$m($x.movedim(1, -1)).movedim(-1, 1)", "exact", m="nn.Linear($C, 4)")
_row("linear functional", "any", "F.linear($x, $p)", "exact", p="nn.Buffer(torch.randn(4, $D) / 3)")
_row("linear low rank", "any", "$x @ $p @ $q", "exact", p="nn.Parameter(torch.randn($D, 2))", q="nn.Parameter(torch.randn(2, 4))")  # fmt: skip
_row("linear on mixed tokens", "seq", "$m($x.transpose(1, 2)).transpose(1, 2)", "exact", m="nn.Linear($H, 5)")
_row("matmul", "any", "torch.matmul($x, $p)", "exact", p="nn.Parameter(torch.randn($D, 4) / 3)")
_row("matmul from the left", "seq", "$p @ $x", "exact", p="nn.Parameter(torch.randn(4, $H) / 3)")
_row("mm", "flat", "torch.mm($x, $p)", "exact", p="nn.Parameter(torch.randn($D, 4) / 3)")
_row("addmm", "flat", "torch.addmm($q, $x, $p, beta={1|0.5}, alpha={1|2})", "exact", p="nn.Parameter(torch.randn($D, 4) / 3)", q="nn.Parameter(torch.randn(4))")  # fmt: skip
_row(
    "addmm of signals", "flat", "torch.addmm($x, $x, $p)", "exact", p="nn.Parameter(torch.randn($D, $D) / 3)"
)
_row(
    "bmm",
    "seq",
    "torch.bmm($x, $p.expand($x.shape[0], -1, -1))",
    "exact",
    p="nn.Parameter(torch.randn(1, $D, 4))",
)
_row("baddbmm", "seq", "torch.baddbmm($q, $x, $p.expand($x.shape[0], -1, -1))", "exact", p="nn.Parameter(torch.randn(1, $D, 4))", q="nn.Parameter(torch.randn(4))")  # fmt: skip
_row("mv", "flat", "torch.mv($x, $p)[:, None]", "exact", p="nn.Parameter(torch.randn($D))")
_row("einsum channels", "2d", "torch.einsum('nchw,oc->nohw', $x, $p)", "exact", p="nn.Parameter(torch.randn(4, $C) / 3)")  # fmt: skip
_row("einsum last", "any", "torch.einsum('...d,de->...e', $x, $p)", "exact", p="nn.Parameter(torch.randn($D, 4) / 3)")  # fmt: skip
_row(
    "einsum trace",
    "seq",
    "torch.einsum('ntd,td->nt', $x, $p)",
    "exact",
    p="nn.Parameter(torch.randn($H, $D) / 3)",
)
_row("einsum of signals", "seq", "torch.einsum('ntd,nsd->nts', $x, $y) / 4")
_row("tensordot", "any", "torch.tensordot($x, $p, dims=1)", "exact", p="nn.Parameter(torch.randn($D, 4) / 3)")
_row("inner", "any", "torch.inner($x, $p)", "exact", p="nn.Parameter(torch.randn(4, $D) / 3)")
_row(
    "product and sum",
    "any",
    "($x[..., None] * $p).{sum|mean}(-2)",
    "exact",
    p="nn.Parameter(torch.randn($D, 4))",
)
_row(
    "product and sum of channels",
    "2d",
    "($p[:, :, None, None] * $x[:, None]).sum(2) + $q.reshape(-1, 1, 1)",
    "exact",
    p="nn.Parameter(torch.randn(4, $C))",
    q="nn.Parameter(torch.randn(4))",
)
_row("product and sum of signals", "any", "($x * $y).sum(-1, keepdim=True)")
_row("vecdot", "any", "torch.linalg.vecdot($x, $p)[..., None]", "exact", p="nn.Parameter(torch.randn($D))")
_row(
    "multi_dot",
    "flat",
    "torch.linalg.multi_dot([$x, $p, $q])",
    "exact",
    p="nn.Parameter(torch.randn($D, 2))",
    q="nn.Parameter(torch.randn(2, 4))",
)
_row(
    "einsum to one channel",
    "map",
    "torch.einsum('nc...,c->n...', $x, $p)[:, None]",
    "exact",
    p="nn.Parameter(torch.randn($C))",
)
_row(
    "matrix for each channel",
    "2d",
    "$x @ $p + $q",
    "exact",
    p="nn.Parameter(torch.randn($C, $D, 4))",
    q="nn.Parameter(torch.randn(4))",
)
_row(
    "bilinear with a fixed side",
    "flat",
    "$m($x, $p.expand($x.shape[0], -1))",
    "exact",
    m="nn.Bilinear($D, 2, 4)",
    p="nn.Parameter(torch.randn(2))",
)
_row("bilinear", "flat", "$m($x, $y)", m="nn.Bilinear($D, $D, 4)")
_row("matmul of signals", "seq", "$x @ $y.transpose(1, 2) / 4")
_row("outer product of signals", "flat", "$x[:, :, None] * $y[:, None, :]")
_row("gram matrix", "2d", "$t = $x.flatten(2)\n$o = torch.bmm($t, $t.mT) / $t.shape[-1]")
_row("kron", "flat", "torch.kron($x, $p)", "exact", p="nn.Parameter(torch.randn(1, 2))")
_row("prelu of product", "flat", "F.prelu($m($x), $p)", "exact", m="nn.Linear($D, 4)", p="nn.Parameter(torch.tensor([0.2]))")  # fmt: skip
_row("identity matrix", "any", "$x @ torch.eye($D, dtype=$x.dtype)", "exact")
_row("triangular sum", "any", "$x @ torch.ones($D, $D, dtype=$x.dtype).triu()", "exact")
_row("embedding of positions", "seq", "$x + $m(torch.arange($H))", "exact", m="nn.Embedding($H, $D)")

# Norms ------------------------------------------------------------------------------------------------
_BN = "_batch_norm(nn.BatchNorm${d}d($C, "
_row("batch norm", "map", "$m($x)", "exact", m=_BN + "eps=1e-3))")
_row("batch norm plain", "map", "$m($x)", "exact", m=_BN + "affine=False))")
_row("batch norm flat", "flat", "$m($x)", "exact", m="_batch_norm(nn.BatchNorm1d($D))")
_row(
    "batch norm of the batch", "map", "$m($x)", "mixes", m="nn.BatchNorm${d}d($C, track_running_stats=False)"
)
_row("sync batch norm", "2d", "$m($x)", "exact", m="_batch_norm(nn.SyncBatchNorm($C))")
_row(
    "batch norm functional", "map", "F.batch_norm($x, $p, $q, None, None)", "exact",
    p="nn.Buffer(torch.randn($C))", q="nn.Buffer(torch.rand($C) + 0.5)",
)  # fmt: skip
_row("conv batch norm relu", "map", "$m($x)", "exact", m="nn.Sequential(nn.Conv${d}d($C, 4, 3, padding=1), _batch_norm(nn.BatchNorm${d}d(4)), nn.ReLU(inplace=True))")  # fmt: skip
_row("frozen batch norm", "2d", "$x * $p.reshape(1, -1, 1, 1) + $q.reshape(1, -1, 1, 1)", "exact", p="nn.Buffer(torch.rand($C) + 0.5)", q="nn.Buffer(torch.randn($C))")  # fmt: skip
_row("layer norm", "any", "$m($x)", m="nn.LayerNorm($D, eps=1e-2)")
_row("layer norm whole", "2d", "F.layer_norm($x, ($C, $H, $D), eps=1e-2)")
_row(
    "layer norm channels",
    "2d",
    "$m($x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)",
    m="nn.LayerNorm($C, eps=1e-2)",
)
_row("group norm", "map", "$m($x)", m="nn.GroupNorm({1|2}, $C, eps=1e-2)")
_row("instance norm", "map", "$m($x)", m="nn.InstanceNorm${d}d($C, affine={True|False}, eps=1e-2)")
_row("instance norm with statistics", "2d", "$m($x)", m="_batch_norm(nn.InstanceNorm2d($C, track_running_stats=True, affine=True))")  # fmt: skip
_row("local response norm", "2d", "$m($x)", m="nn.LocalResponseNorm({2|3}, alpha=0.1)")
_row("rms norm", "any", "$m($x)", m="nn.RMSNorm($D, eps=1e-2)")
_row("rms norm by hand", "any", "$x * torch.rsqrt($x.pow(2).mean(-1, keepdim=True) + 0.01)")
_row("layer norm by hand", "any", "$t = $x - $x.mean(-1, keepdim=True)\n$o = $t / ($t.square().mean(-1, keepdim=True) + 0.01).sqrt()")  # fmt: skip
_row("standardised per sample", "map", "($x - $x.mean() ) / ($x.std() + 0.1)", "mixes")
_row("standardised per map", "2d", "$t = $x.std((2, 3), keepdim=True)\n$o = ($x - $x.mean((2, 3), keepdim=True)) / ($t + 0.1)")  # fmt: skip
_row("normalize", "any", "F.normalize($x, dim={1|-1}, p={1|2}, eps=1e-2)")
_row("divided by sum of magnitudes", "any", "$x / ($x.abs().sum(-1, keepdim=True) + 0.1)")
_row("divided by own norm", "any", "$x / ($x.norm(dim=-1, keepdim=True) + 0.1)")
_row("divided by maximum", "any", "$x / ($x.abs().amax(-1, keepdim=True) + 0.1)")
_row("global response norm", "2d", "$t = $x.norm(dim=(2, 3), keepdim=True)\n$o = $x + $p * ($x * ($t / ($t.mean(1, keepdim=True) + 0.1)))", p="nn.Parameter(torch.randn(1, $C, 1, 1))")  # fmt: skip
_row("cosine similarity", "any", "F.cosine_similarity($x, $y, dim=-1, eps=1e-2)[:, None]")
_row(
    "cosine head",
    "flat",
    "F.linear(F.normalize($x, eps=1e-2), F.normalize($p))",
    p="nn.Parameter(torch.randn(4, $D))",
)
_row(
    "renorm of a weight",
    "flat",
    "$x @ torch.renorm($p, 2, 0, 1.0)",
    "exact",
    p="nn.Parameter(torch.randn($D, 4))",
)
_row("zero mean", "any", "$x - $x.mean(-1, keepdim=True)", "exact")
_row("batch norm on the weight", "2d", "F.conv2d($x, F.batch_norm($p.reshape(1, 4, -1), None, None, training=True).reshape_as($p))", "exact", p="nn.Parameter(torch.randn(4, $C, 3, 3))")  # fmt: skip

# Activations ------------------------------------------------------------------------------------------
_row("relu", "any", "{torch.relu($x)|F.relu($x)|$x.relu()}", "exact")
_row("relu module", "any", "$m($x)", "exact", m="nn.ReLU(inplace={True|False})")
_row("relu in place", "any", "{$x.relu_()|F.relu_($x)|torch.relu_($x)}", "exact")
_row("relu by clamp", "any", "{$x.clamp(min=0)|torch.clamp_min($x, 0.0)|$x.clip(0)}", "exact")
_row("relu by maximum", "any", "torch.maximum($x, torch.zeros_like($x))", "exact")
_row("relu by mask", "any", "$x * ($x > 0)", "exact")
_row("relu by float mask", "any", "$x * ($x > 0).to($x.dtype)", "exact")
_row("relu by where", "any", "torch.where($x > 0, $x, 0.0)", "exact")
_row("relu by abs", "any", "($x + $x.abs()) / 2")
for _name, _code in {
    "relu6": "F.relu6($x)", "elu": "F.elu($x, alpha={1.0|0.5})", "celu": "F.celu($x)", "selu": "F.selu($x)",
    "silu": "F.silu($x)", "gelu": "F.gelu($x, approximate={'none'|'tanh'})", "hardswish": "F.hardswish($x)",
    "mish": "F.mish($x)", "tanh": "torch.tanh($x)", "sigmoid": "torch.sigmoid($x)",
    "hardsigmoid": "F.hardsigmoid($x)", "softplus": "F.softplus($x, beta={1|3}, threshold={20|1})",
    "logsigmoid": "F.logsigmoid($x)", "softsign": "F.softsign($x)", "tanhshrink": "F.tanhshrink($x)",
    "softshrink": "F.softshrink($x, 0.1)", "hardtanh": "F.hardtanh($x, {-1|-0.3}, {1|0.7})",
    "hardtanh above zero": "F.hardtanh($x, 0.1, 1.0)", "clamp": "$x.clamp(-0.5, {1|0.2})",
    "clamp above": "$x.clamp(max=0.3)", "clamp from below": "$x.clamp(min=-0.2)",
    "clamp by tensor": "torch.clamp($x, min=torch.tensor(-0.1, dtype=$x.dtype))",
    "clamp in place": "$x.clone().clamp_(-0.4, 0.4)", "threshold with value": "F.threshold($x, 0.1, 0.3)",
    "quick gelu": "$x * torch.sigmoid(1.702 * $x)", "swish written out": "$x * $x.sigmoid()",
    "hardswish by hand": "$x * F.relu6($x + 3) / 6", "squared relu": "torch.relu($x).square()",
    "softmax": "torch.softmax($x, dim={-1|1})", "log softmax": "F.log_softmax($x, -1)",
    "softmin": "F.softmin($x, -1)", "erf": "torch.erf($x)", "sine": "torch.sin({1|3} * $x)",
    "gelu by hand": "0.5 * $x * (1 + torch.erf($x / 2 ** 0.5))", "softmax with temperature": "F.softmax($x / 2, 1)",
    "x exp": "$x * torch.exp(-$x.square())", "one minus sigmoid": "1 - torch.sigmoid($x)",
}.items():  # fmt: skip
    _row(_name, "any", _code)
_row("leaky relu", "any", "F.leaky_relu($x, {0.01|0.3}, inplace={True|False})", "exact")
_row("leaky relu rising", "any", "F.leaky_relu($x, -0.2)", "exact")
_row("leaky relu by maximum", "any", "torch.maximum($x, 0.1 * $x)", "exact")
_row("prelu", "any", "$m($x)", "exact", m="nn.PReLU()")
_row("prelu per channel", "map", "$m($x)", "exact", m="nn.PReLU($C)")
_row("threshold", "any", "F.threshold($x, 0.1, 0.0)", "exact")
_row("hardshrink", "any", "F.hardshrink($x, 0.2)", "exact")
_row("rrelu", "any", "$m($x)", "exact", m="nn.RReLU()")
_row("rrelu training", "any", "F.rrelu($x, training=True)", "random")
_row("glu", "any", "F.glu(torch.cat([$x, $y], 1), 1)")
_row("swiglu", "any", "F.silu($x) * $y")
_row("geglu", "flat", "$t, $s = $m($x).chunk(2, -1)\n$o = $t * F.gelu($s)", m="nn.Linear($D, 8)")
_row("crelu", "map", "torch.cat([torch.relu($x), torch.relu(-$x)], 1)", "exact")
_row("maxout", "map", "torch.stack([$x, $y]).amax(0)", "exact")
_row("maxout of channels", "map", "$x.unflatten(1, (2, -1)).amax({1|2})", "exact")
_row("gumbel softmax", "any", "F.gumbel_softmax($x, dim=-1)", "random")
_row("dropout", "any", "$m($x)", "exact", m="nn.Dropout(0.5, inplace={True|False})")
_row("dropout functional", "any", "F.dropout($x, 0.3, training=False)", "exact")
_row("dropout never off", "any", "F.dropout($x, 0.3)", "random")
_row("dropout of channels", "2d", "$m($x)", "exact", m="nn.Dropout2d(0.3)")
_row("dropout alpha", "any", "$m($x)", "exact", m="{nn.AlphaDropout(0.2)|nn.FeatureAlphaDropout(0.2)}")
_row("dropout then written in place", "any", "$t = $m($x)\n$o = $t.add_(1.0)", "exact", m="nn.Dropout(0.1)")
_row("stochastic depth", "any", "$x + $m($y) if self.training else $x + $y", "exact", m="nn.Identity()")
_row("identity", "any", "$m($x)", "exact", m="nn.Identity()")

# Pools and reductions -----------------------------------------------------------------------------------
_row("max pool", "map", "F.max_pool${d}d($x, 2)", "exact")
_row("max pool overlapping", "map", "F.max_pool${d}d($x, 3, stride={1|2}, padding=1)", "exact")
_row(
    "max pool dilated", "map", "F.max_pool${d}d($x, 2, stride=1, dilation=2, ceil_mode={True|False})", "exact"
)
_row("max pool ceil", "map", "$m($x)", "exact", m="nn.MaxPool${d}d(3, 2, ceil_mode=True)")
_row("max pool with indices", "map", "F.max_pool${d}d($x, 2, return_indices=True)[0]", "exact")
_row(
    "max unpool",
    "2d",
    "$t, $s = F.max_pool2d($x, 2, return_indices=True)\n$o = F.max_unpool2d($t, $s, 2)",
    "exact",
)
_row(
    "max pool behind -inf", "2d", "F.max_pool2d(F.pad($x, (1, 1, 1, 1), value=float('-inf')), 3, 2)", "exact"
)
_row("min pool", "map", "-F.max_pool${d}d(-$x, 2)", "exact")
_row("adaptive max pool", "map", "F.adaptive_max_pool${d}d($x, {1|2|3})", "exact")
_row("adaptive average pool", "map", "F.adaptive_avg_pool${d}d($x, {1|2|3})", "exact")
_row("adaptive pool None", "2d", "F.adaptive_avg_pool2d($x, (None, 2))", "exact")
_row("average pool", "map", "F.avg_pool${d}d($x, 2, ceil_mode={True|False})", "exact")
_row("average pool padded", "map", "F.avg_pool${d}d($x, 3, 1, 1, count_include_pad={True|False})", "exact")
_row("average pool divisor", "2d", "F.avg_pool2d($x, 2, divisor_override=3)", "exact")
_row("lp pool", "2d", "F.lp_pool2d($x, 2, 2)")
_row("fractional max pool", "2d", "F.fractional_max_pool2d($x, 2, output_size=2)", "random")
_row("blur pool", "2d", "F.conv2d(F.pad($x, (1, 1, 1, 1), 'reflect'), $p, stride=2, groups=$C)", "exact", p="nn.Buffer((torch.ones(3, 3) / 9).expand($C, 1, 3, 3).clone())")  # fmt: skip
_row("mean of space", "map", "$x.mean({-1|(2,)}, keepdim={True|False})", "exact")
_row("mean of all space", "map", "$x.flatten(2).mean(-1)", "exact")
_row("mean of channels", "map", "$x.mean(1, keepdim=True)", "exact")
_row("sum", "any", "$x.sum(-1, keepdim=True)", "exact")
_row("sum of channels", "map", "torch.sum($x, dim=1)[:, None]", "exact")
_row("amax", "any", "$x.amax({-1|1}, keepdim=True)", "exact")
_row("amax of space", "map", "$x.amax(tuple(range(2, $x.ndim)))", "exact")
_row("amin", "any", "$x.amin(-1, keepdim=True)", "exact")
_row("max of dim", "any", "$x.max(-1, keepdim=True).values", "exact")
_row("min of dim", "any", "torch.min($x, -1, keepdim=True)[0]", "exact")
_row("median", "any", "$x.median(-1, keepdim=True).values", "exact")
_row("logsumexp", "any", "$x.logsumexp(-1, keepdim=True)")
_row("var", "any", "$x.var(-1, keepdim=True, correction={0|1})")
_row("std", "any", "($x + $y).std(-1, keepdim=True)")
_row("std_mean", "any", "$t, $s = torch.std_mean($x, -1, keepdim=True)\n$o = $t + $s")
_row("norm", "any", "$x.norm(dim=-1, keepdim=True)")
_row("vector norm", "any", "torch.linalg.vector_norm($x, ord={1|2|3}, dim=-1, keepdim=True)")
_row("prod", "any", "$x.prod(-1, keepdim=True)")
_row(
    "quantile",
    "any",
    "$x.quantile({0.5|0.2}, -1, keepdim=True, interpolation={'linear'|'lower'|'nearest'})",
    "exact",
)
_row("aminmax", "any", "$t, $s = torch.aminmax($x, dim=-1, keepdim=True)\n$o = $s - $t", "exact")
_row("global mean and max", "2d", "torch.cat([$x.mean((2, 3)), $x.amax((2, 3))], 1)", "exact")
_row("gem pool", "2d", "F.avg_pool2d($x.clamp(min=1e-2).pow(3), 2).pow(1 / 3)")
_row("soft pool", "2d", "$t = $x.flatten(2)\n$o = (torch.softmax($t, -1) * $t).sum(-1)")
_row(
    "spatial pyramid",
    "2d",
    "torch.cat([F.adaptive_max_pool2d($x, n).flatten(1) for n in (1, 2)], 1)",
    "exact",
)
_row("mean of samples", "any", "$x - $x.mean(0, keepdim=True)", "mixes")
_row("softmax over samples", "any", "torch.softmax($x, 0) * $x", "mixes")
_row("count nonzero", "any", "$x / (torch.count_nonzero($x, dim=-1).unsqueeze(-1) + 1)")
_row("all any", "any", "$x * ($x > -100).all(-1, keepdim=True)")
_row("segment mean", "seq", "torch.stack([s.mean(1) for s in $x.split(2, 1)], 1)", "exact")

# Rearranging --------------------------------------------------------------------------------------------
for _name, _takes, _code in [
    ("flatten", "any", "$x.flatten(1)"), ("flatten last", "map", "torch.flatten($x, -2)"),
    ("view", "map", "$x.view($x.size(0), $C, -1)"), ("reshape", "any", "$x.reshape(len($x), -1)"),
    ("unflatten", "map", "$x.unflatten(-1, (1, -1)).squeeze(-2)"), ("unsqueeze", "map", "$x.unsqueeze(1).squeeze(1)"),
    ("squeeze all", "map", "$x.mean(-1, keepdim=True).squeeze().reshape($x.shape[0], -1)"),
    ("squeeze of several", "2d", "$x.mean((2, 3), keepdim=True).squeeze((2, 3))"),
    ("permute", "2d", "$x.permute(0, {1, 3, 2|2, 1, 3|3, 2, 1})"), ("transpose", "map", "$x.transpose(1, -1)"),
    ("swapaxes", "map", "$x.swapaxes(-1, -2)"), ("mT", "2d", "$x.mT"), ("samples last", "map", "$x.movedim(0, -1).relu().movedim(-1, 0)"),
    ("t", "flat", "$x.t().contiguous().t()"), ("expand", "flat", "$x[:, None].expand(-1, 3, -1)"),
    ("expand_as", "2d", "$x.mean((2, 3), keepdim=True).expand_as($x)"), ("broadcast_to", "flat", "torch.broadcast_to($x[:, :, None], ($x.shape[0], $D, 2))"),
    ("repeat", "map", "$x.repeat(1, 2, *[1] * $d)"), ("tile", "any", "torch.tile($x, (2,))"),
    ("repeat_interleave", "any", "$x.repeat_interleave(2, dim=-1)"), ("cat", "any", "torch.cat([$x, $y], dim={1|-1})"),
    ("cat with itself", "any", "torch.cat((-$x, $x, $x), -1)"), ("stack", "any", "torch.stack([$x, $y], 1).flatten(1, 2)"),
    ("hstack", "any", "torch.hstack([$x, $y])"), ("column_stack", "flat", "torch.column_stack([$x, $y])"),
    ("dstack", "seq", "torch.dstack([$x, $y])"), ("vstack", "seq", "torch.vstack([$x.transpose(0, 1), $y.transpose(0, 1)]).transpose(0, 1)"), ("split", "map", "$t, $s = torch.split($x, [1, $C - 1], 1)\n$o = torch.cat([$s, $t], 1)"),
    ("split in equal parts", "map", "sum($x.split(1, dim=1))"), ("chunk", "map", "$t = $x.chunk(2, 1)\n$o = torch.cat([$t[1], $t[0].relu()], 1)"),
    ("unbind", "map", "$t = $x.unbind(1)\n$o = torch.stack([$t[-1], $t[0]], 1)"), ("tensor_split", "map", "torch.tensor_split($x, 2, dim=1)[0]"),
    ("select", "map", "$x[:, 0]"), ("select by negative index", "map", "$x.select(1, -1)[:, None]"),
    ("slice", "map", "$x[:, :, 1:]"), ("slice with step", "map", "$x[..., ::2]"), ("slice from the end", "map", "$x[:, -2:]"),
    ("ellipsis and None", "any", "$x[..., None].flatten(-2)"), ("narrow", "map", "$x.narrow(-1, 0, 2)"),
    ("index_select", "map", "torch.index_select($x, 1, torch.tensor([0, $C - 1, 0]))"), ("index by list", "map", "$x[:, [0, 0, $C - 1]]"),
    ("index by two lists", "2d", "$x[:, :, [0, 1], [1, 0]]"), ("index by mask constant", "map", "$x[:, torch.arange($C) != 1]"),
    ("gather constant", "flat", "torch.gather($x, 1, torch.zeros($x.shape[0], 2, dtype=torch.long))"),
    ("take_along_dim", "flat", "torch.take_along_dim($x, torch.tensor([[0, 1, 0]]), 1)"),
    ("roll", "map", "torch.roll($x, {1|-1|(1, 1)}, {-1|-1|(1, 2)})"), ("flip", "map", "$x.flip({-1|(1, 2)})"),
    ("rot90", "2d", "torch.rot90($x, 1, (2, 3))"), ("fliplr", "seq", "torch.fliplr($x)"),
    ("pad zeros", "map", "F.pad($x, (1, 2))"), ("pad zeros around", "2d", "nn.ZeroPad2d(1)($x)"), ("pad channels", "2d", "F.pad($x, (0, 0, 0, 0, 0, 2))"),
    ("pad negative", "map", "F.pad($x, (-1, 1))"), ("pad reflect", "2d", "F.pad($x, (1, 1, 1, 1), mode='reflect')"),
    ("pad replicate", "2d", "F.pad($x, (0, 1, 0, 1), mode='replicate')"), ("pad circular", "2d", "F.pad($x, (1, 1, 0, 0), mode='circular')"),
    ("pad ones", "map", "F.pad($x, (1, 1), value=1.0)"), ("pad zeros then conv", "2d", "$m(F.pad($x, (0, 1, 0, 1)))"),
    ("pixel shuffle", "2d", "F.pixel_shuffle($x.repeat(1, 4, 1, 1), 2)"), ("pixel unshuffle", "2d", "F.pixel_unshuffle($x[:, :, :2, :2], 2)"),
    ("channel shuffle", "2d", "F.channel_shuffle($x, 2)"), ("channel shuffle by hand", "2d", "$x.view(-1, 2, $C // 2, $H, $D).transpose(1, 2).reshape(-1, $C, $H, $D)"),
    ("tensor unfold", "map", "$x.unfold(-1, 2, 1).flatten(-2)"), ("diagonal", "2d", "torch.diagonal($x, dim1=2, dim2=3)"),
    ("diag_embed", "flat", "torch.diag_embed($x)"), ("tril", "2d", "$x.tril()"), ("triu", "2d", "torch.triu($x, 1)"),
    ("as_strided", "flat", "torch.as_strided($x.contiguous(), ($x.shape[0], $D - 1), ($D, 1), 1)"),
    ("view_as", "any", "$x.contiguous().view_as($y)"), ("reshape_as", "any", "$x.flatten().reshape_as($y)"),
    ("contiguous", "any", "$x.contiguous()"), ("clone", "any", "$x.clone()"), ("channels_last", "2d", "$x.contiguous(memory_format=torch.channels_last)"),
    ("windows of attention", "2d", "$x[:, :, :2, :2].unflatten(2, (1, 2)).unflatten(4, (1, 2)).permute(0, 2, 4, 3, 5, 1).flatten(1, 4)"),
    ("frames as batch", "2d", "torch.relu($x.flatten(0, 1)).unflatten(0, (-1, $C))"), ("flip of samples twice", "any", "$x.flip(0).flip(0)"),
    ("patches by reshape", "2d", "$x[:, :, :2, :2].reshape(-1, $C, 1, 2, 1, 2).permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)"),
    ("temporal shift", "seq", "$t = torch.zeros_like($x)\n$t[:, :-1, :1] = $x[:, 1:, :1]\n$t[:, :, 1:] = $x[:, :, 1:]\n$o = $t"),
    ("atleast_3d", "seq", "torch.atleast_3d($x)"), ("unravel list", "map", "$t, *$s = $x.unbind(1)\n$o = torch.stack([$t] + $s, 1)"),
    ("diff", "any", "torch.diff($x, dim=-1)"), ("cumsum", "any", "$x.cumsum(-1)"), ("meshgrid product", "flat", "$x[:, :, None].expand(-1, -1, 2).flatten(1)"),
]:  # fmt: skip
    _spare = {"m": "nn.Conv2d($C, 4, 3, stride=2)"} if "$m" in _code else {}
    _row(_name, _takes, _code, "exact", **_spare)

# Resizing -----------------------------------------------------------------------------------------------
for _name, _takes, _code in [
    ("upsample nearest", "map", "F.interpolate($x, scale_factor=2)"), ("upsample nearest to a size", "2d", "F.interpolate($x, size=({5|7}, 3))"),
    ("upsample nearest-exact", "map", "F.interpolate($x, scale_factor=1.5, mode='nearest-exact')"), ("upsample area", "2d", "F.interpolate($x, size=(3, 5), mode='area')"),
    ("upsample bilinear", "2d", "F.interpolate($x, scale_factor=2, mode='bilinear', align_corners={True|False})"),
    ("upsample bicubic", "2d", "F.interpolate($x, size=(6, 7), mode='bicubic', align_corners={True|False})"),
    ("upsample antialiased", "2d", "F.interpolate($x, size=(3, 3), mode='bilinear', antialias=True)"),
    ("upsample linear", "1d", "F.interpolate($x, scale_factor=2, mode='linear')"), ("upsample trilinear", "3d", "F.interpolate($x, size=(3, 4, 5), mode='trilinear')"),
    ("downsample", "2d", "F.interpolate($x, scale_factor=0.5, mode='bilinear')"), ("resized to its partner", "2d", "F.interpolate(F.avg_pool2d($x, 2), size=$y.shape[-2:], mode='bilinear') + $y"),
    ("upsample module", "2d", "nn.Upsample(scale_factor=2, mode='bilinear')($x)"), ("recomputed factor", "2d", "F.interpolate($x, scale_factor=1.4, recompute_scale_factor=True)"),
]:  # fmt: skip
    _row(_name, _takes, _code, "exact")
_row("grid sample", "2d", "F.grid_sample($x, $p.expand($x.shape[0], -1, -1, -1), padding_mode={'zeros'|'border'}, align_corners=False)", "exact", p="nn.Buffer(torch.rand(1, 3, 4, 2) * 2 - 1)")  # fmt: skip
_row("affine grid", "2d", "F.grid_sample($x, F.affine_grid($p.expand($x.shape[0], -1, -1), $x.shape, align_corners=False), align_corners=False)", "exact", p="nn.Buffer(torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.1]]]))")  # fmt: skip
_row("spatial transformer", "2d", "F.grid_sample($x, F.affine_grid(0.1 * $m($x.flatten(1)).view(-1, 2, 3) + $p, $x.shape, align_corners=False), align_corners=False)", m="nn.Linear($C * $H * $D, 6)", p="nn.Buffer(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))")  # fmt: skip

# Arithmetic ---------------------------------------------------------------------------------------------
for _name, _code in {
    "add number": "$x + {1|0.5|-2}", "number minus": "1 - $x", "subtract number": "$x - 0.3", "times number": "{2|-0.5} * $x",
    "divide by number": "$x / {2|-3.0}", "negative": "{-$x|torch.neg($x)}", "plus": "+$x", "residual add": "$x + $y",
    "residual subtract": "$x - $y", "add alpha": "torch.add($x, $y, alpha={0.5|-2})", "sub alpha": "torch.sub($x, $y, alpha=0.3)",
    "rsub": "torch.rsub($x, $y, alpha=2)", "twice itself": "$x + $x", "minus itself and back": "$x - 0.5 * $x + $y", "sum of list": "sum([$x, $y, $x])",
    "lerp": "torch.lerp($x, $y, {0.3|0.9})", "weighted average": "0.3 * $x + 0.7 * $y", "add zeros": "$x + torch.zeros_like($x)",
    "average of two": "torch.stack([$x, $y]).mean(0)", "add one per sample": "$x + $x.new_ones(1)",
    "true_divide": "torch.true_divide($x, 4)", "double negative": "-(-$x)", "positive": "torch.positive($x)",
}.items():  # fmt: skip
    _row(_name, "any", _code, "exact")
_P = "nn.Parameter(torch.rand($D) + 0.5)"
_row("add parameter", "any", "$x + $p", "exact", p=_P)
_row("parameter minus", "any", "$p - $x", "exact", p=_P)
_row("times parameter", "any", "$x * $p", "exact", p=_P)
_row("divide by parameter", "any", "$x / $p", "exact", p=_P)
_row("layer scale", "map", "$y + $p * $x", "exact", p="nn.Parameter(torch.randn($C, *[1] * $d))")
_row("scale and shift", "map", "$x * (1 + $p) + $q", "exact", p="nn.Parameter(torch.randn($C, *[1] * $d))", q="nn.Parameter(torch.randn($C, *[1] * $d))")  # fmt: skip
_row("addcmul", "any", "torch.addcmul($p, $x, $q, value=0.5)", "exact", p=_P, q=_P)
_row("addcdiv", "any", "torch.addcdiv($x, $y, $p, value=0.5)", "exact", p=_P)
_row("coordinates", "2d", "torch.cat([$x, torch.linspace(-1, 1, $D, dtype=$x.dtype).expand($x.shape[0], 1, $H, $D)], 1)", "exact")  # fmt: skip
_row("arange added", "any", "$x + torch.arange($D, dtype=$x.dtype) / $D", "exact")
_row("tensor made in forward", "any", "$x * torch.tensor([0.5], dtype=$x.dtype)", "exact")
_row("full_like", "any", "$x * torch.full_like($x, 0.3)", "exact")
_row("buffer mean and deviation", "map", "($x - $p) / $q", "exact", p="nn.Buffer(torch.randn($C, *[1] * $d))", q="nn.Buffer(torch.rand($C, *[1] * $d) + 0.5)")  # fmt: skip
_row("mask constant", "any", "$x * $p", "exact", p="nn.Buffer((torch.arange($D) % 2).float())")
_row("mask where", "any", "torch.where($p, $x, 0.0)", "exact", p="nn.Buffer(torch.arange($D) % 2 == 0)")
_row("mask where of two", "any", "torch.where($p, $x, $y)", "exact", p="nn.Buffer(torch.arange($D) % 2 == 0)")
_row("masked_fill", "any", "$x.masked_fill($p, {0.0|0.5})", "exact", p="nn.Buffer(torch.arange($D) % 2 == 0)")
_row("normalised by pixel mean", "any", "($x - 0.45) / 0.22", "exact")
for _name, _code in {
    "product of signals": "$x * $y", "quotient of signals": "$x / ($y.abs() + 1)", "square": "$x.square()", "pow": "$x.pow({2|3})", "x times x": "$x * $x",
    "power of signal": "($x.abs() + 0.1) ** 0.5", "abs": "$x.abs()", "sign": "$x.sign() * $y", "exp": "torch.exp($x.clamp(max=2))", "expm1": "torch.expm1($x.clamp(max=2))",
    "log": "torch.log($x.abs() + 1)", "log1p": "torch.log1p($x.abs())", "sqrt": "($x.square() + 0.1).sqrt()", "rsqrt": "torch.rsqrt($x.square() + 0.1)", "reciprocal": "1 / ($x.square() + 1)",
    "cos": "$x.cos()", "tan": "torch.tan($x * 0.1)", "atan": "$x.atan()", "asinh": "torch.asinh($x)", "sinh": "torch.sinh($x.clamp(-2, 2))", "floor": "$x.floor() + $y", "round": "$x.round() + $y", "trunc": "$x.trunc() + $y",
    "frac": "$x.frac()", "fmod": "torch.fmod($x, 0.7)", "remainder": "$x % 0.7", "floor divide": "$x // 0.3 + $y", "div rounding": "torch.div($x, 0.3, rounding_mode={'floor'|'trunc'}) + $y",
    "hypot": "torch.hypot($x, $y)",
    "atan2": "torch.atan2($x, $y.abs() + 0.1)", "logaddexp": "torch.logaddexp($x, $y)", "heaviside": "torch.heaviside($x, torch.tensor(0.5, dtype=$x.dtype)) + $y", "cumprod": "(1 + 0.1 * $x.tanh()).cumprod(-1)",     "logcumsumexp": "$x.logcumsumexp(-1)",         "lerp by signal": "torch.lerp($x, $y, torch.sigmoid($y))", "addcmul of signals": "torch.addcmul($x, $x, $y)", "xlogy": "torch.xlogy($x, $y.abs() + 1)", "sinc": "torch.sinc($x)", "softmax times": "torch.softmax($x, -1) * $y",
    "entropy": "-(torch.softmax($x, -1) * torch.log_softmax($x, -1)).sum(-1, keepdim=True)", "smooth l1": "F.smooth_l1_loss($x, $y, reduction='none')", "mse": "F.mse_loss($x, $y, reduction='none')", "cross of difference": "($x - $y).abs().sum(-1, keepdim=True)",
    "bucketize": "torch.bucketize($x.detach(), torch.tensor([-0.5, 0.0, 0.5], dtype=$x.dtype)).to($x.dtype) + $y", "sigmoid gate": "$x * torch.sigmoid($y)", "tanh gate": "torch.tanh($x) * torch.sigmoid($y)", "gate on the left": "torch.sigmoid($y) * $x",
    "highway": "$t = torch.sigmoid($x)\n$o = $t * $y + (1 - $t) * $x", "hardsigmoid gate": "$x * F.hardsigmoid($y)", "relu6 gate": "$x * (F.relu6($y + 3) / 6)", "gate divided": "$x * $y.sigmoid() / 2", "double gate": "$x * $y.sigmoid() * $y.tanh()", "softmax of two branches": "$t = torch.softmax(torch.stack([$x, $y]), 0)\n$o = $t[0] * $x + $t[1] * $y",
    "logit": "torch.logit($x.sigmoid(), eps=1e-3)", "erfinv": "torch.erfinv(0.5 * $x.tanh())",
}.items():  # fmt: skip
    _row(_name, "any", _code)
# Winners, and values at indices: which they are has no derivative, so that they are linear from there on.
for _name, _code in {
    "maximum": "torch.maximum($x, $y)", "minimum": "torch.minimum($x, $y)", "fmax": "torch.fmax($x, $y)", "clamp by signal": "torch.clamp($x, min=$y)",
    "where of signals": "torch.where($x > $y, $x, $y)", "cummax": "$x.cummax(-1).values", "sort": "$x.sort(-1).values", "sort descending": "torch.sort($x, -1, descending=True)[0]",
    "topk": "$x.topk(2, -1).values", "top of mean": "$x.topk(2, dim=-1)[0].mean(-1, keepdim=True)", "argsort gather": "$x.gather(-1, $y.argsort(-1))",
    "kthvalue": "$x.kthvalue(2, -1, keepdim=True).values", "one hot of winner": "F.one_hot($x.argmax(-1), $D).to($x.dtype) * $y", "winner takes all": "$x * ($x == $x.amax(-1, keepdim=True))",
    "nan_to_num": "torch.nan_to_num($x)", "nansum": "torch.nansum($x, -1, keepdim=True)", "isnan mask": "torch.where(torch.isnan($x), torch.zeros_like($x), $x)", "copysign": "torch.copysign($x, $y)",
    "torch.max of two": "torch.{max|min}($x, $y)", "minmax of an axis": "torch.cat([$x.max(-1, keepdim=True)[0], $x.min(-1, keepdim=True)[0]], -1)", "clamp above by signal": "torch.clamp_max($x, $y)",
    "clamp between signals": "torch.clamp($x, $y - 1, $y + 1)", "topk smallest": "torch.topk($x, 1, {-1|1}, largest=False)[0]",
    "sort with its places": "$t, $s = $x.sort(-1, stable=True)\n$o = $t + $y.gather(-1, $s)", "mode": "$x.mode(-1)[0]", "nanmedian": "$x.nanmedian(1, keepdim=True).values",
    "cummin": "$x.cummin(1).values", "take_along_dim of signal": "torch.take_along_dim($x, $x.argsort(-1), -1)", "masked_fill of signal": "$x.masked_fill($y < 0, {0.0|0.3})",
    "nanmean": "$x.nanmean(-1, keepdim=True)",
}.items():  # fmt: skip
    _row(_name, "any", _code, "exact")
_row("cdist", "seq", "torch.cdist($x, $y + 1)")
_row("cross", "seq", "torch.linalg.cross($x[..., :3], $y[..., :3])")
_row("trapezoid", "any", "torch.trapezoid($x, dim=-1)[:, None]", "exact")
_row("rbf", "flat", "torch.exp(-torch.cdist($x, $p).square() / 4)", p="nn.Parameter(torch.randn(4, $D))")
_row(
    "prototype distance", "flat", "($x[:, None] - $p).square().sum(-1)", p="nn.Parameter(torch.randn(4, $D))"
)

# Scatter, gather and index ------------------------------------------------------------------------------
_row("scatter", "flat", "torch.zeros_like($x).scatter(1, torch.zeros($x.shape[0], 1, dtype=torch.long), $x[:, :1]) + $x", "exact")  # fmt: skip
_row("scatter_add", "flat", "$t = torch.zeros_like($x)\n$o = $t.scatter_add(1, torch.arange($D).expand_as($x) // 2, $x)", "exact")  # fmt: skip
_row("index_add", "flat", "torch.zeros_like($x).index_add(1, torch.arange($D) // 2, $x)", "exact")
_row("index_copy", "map", "$x.index_copy(1, torch.tensor([0]), $y[:, :1])", "exact")
_row("index_fill", "map", "$x.index_fill(1, torch.tensor([0]), 0.5)", "exact")
_row("index_put", "flat", "$x.index_put((torch.arange($x.shape[0]), torch.zeros($x.shape[0], dtype=torch.long)), $y[:, 1])", "exact")  # fmt: skip
_row("masked_scatter", "flat", "$x.masked_scatter(torch.zeros_like($x, dtype=torch.bool), $y)", "exact")
_row("select_scatter", "map", "torch.select_scatter($x, $y[:, 0], 1, {0|1})", "exact")
_row("slice_scatter", "map", "torch.slice_scatter($x, $y[:, :1], 1, 0, 1)", "exact")
_row("gather by signal", "any", "$x.gather(-1, $y.argmax(-1, keepdim=True))", "exact")
_row("boolean index", "any", "$t = $x.clone()\n$t[$t < 0] = 0\n$o = $t", "exact")
_row("boolean select", "any", "$x[$x > 0].sum().reshape(1, 1).expand($x.shape[0], 1)", "mixes")
_row(
    "scatter_reduce",
    "flat",
    "torch.zeros_like($x).scatter_reduce(1, torch.arange($D).expand_as($x) // 2, $x, {'amax'|'sum'|'mean'})",
    "exact",
)
_row("scatter_reduce to signal", "flat", "$y.scatter_reduce(1, torch.arange($D).expand_as($x) // 2, $x, {'amin'|'sum'|'mean'}, include_self={True|False})", "exact")  # fmt: skip
_row("scatter that adds", "flat", "$y.scatter(1, torch.arange($D).expand_as($x) // 2, $x.detach() * 0 + $x, reduce='add')")  # fmt: skip
_row("index_add to signal", "flat", "$y.index_add(1, torch.arange($D) // 2, $x, alpha={1|-0.5})", "exact")
_row("index_put that adds", "flat", "$x.index_put((torch.arange($x.shape[0]), torch.zeros($x.shape[0], dtype=torch.long)), $y[:, 1], accumulate=True)", "exact")  # fmt: skip
_row("index_reduce", "flat", "$y.index_reduce(1, torch.arange($D) // 2, $x, 'amax')", "exact")

# Attention and recurrence ---------------------------------------------------------------------------------
_row("sdpa", "seq", "F.scaled_dot_product_attention($x, $y, $x)")
_row("sdpa causal", "seq", "F.scaled_dot_product_attention($x[:, None], $y[:, None], $y[:, None], is_causal=True)[:, 0]")  # fmt: skip
_row("multihead attention", "seq", "$m($x, $x, $x, need_weights={True|False})[0]", m="nn.MultiheadAttention($D, 1, batch_first=True)")  # fmt: skip
_row("transformer layer", "seq", "$m($x)", m="nn.TransformerEncoderLayer($D, 1, 8, batch_first=True, norm_first={True|False}, activation={'relu'|'gelu'})")  # fmt: skip
_row("softmax by hand", "any", "$t = {$x|$x - $x.amax(-1, keepdim=True)|$x - $x.max()}.exp()\n$o = $t / $t.sum(-1, keepdim=True) * $y", "mixes")  # fmt: skip
_row("softmax by its logarithm", "any", "$x.log_softmax(-1).exp() * $y")
_row("softmax by logsumexp", "any", "($x - $x.logsumexp(-1, keepdim=True)).exp() * $y")
_row("attention divided late", "seq", "$t = ($x @ $y.mT / $D ** 0.5).exp()\n$o = ($t @ $x) / $t.sum(-1, keepdim=True)")  # fmt: skip
_row("attention by hand", "seq", "$t = ($x @ $y.mT / $D ** 0.5).softmax(-1)\n$o = $t @ $x")
_row("attention with fixed weights", "seq", "torch.softmax($p, -1) @ $x", "exact", p="nn.Parameter(torch.randn($H, $H))")  # fmt: skip
_row("masked attention", "seq", "$t = ($x @ $y.mT).masked_fill(torch.ones($H, $H, dtype=torch.bool).triu(1), float('-inf')).softmax(-1)\n$o = $t @ $y")  # fmt: skip
_row("linear attention", "seq", "$t = F.elu($x) + 1\n$o = $t @ ($t.mT @ $y) / $H")
_row("attention pool", "seq", "$t = torch.softmax($m($x), 1)\n$o = ($t * $x).sum(1)", m="nn.Linear($D, 1)")
_row("class token", "seq", "torch.cat([$p.expand($x.shape[0], -1, -1), $x], 1)", "exact", p="nn.Parameter(torch.randn(1, 1, $D))")  # fmt: skip
_row("squeeze and excitation", "map", "$x * $m($x.mean(tuple(range(2, $x.ndim)), keepdim=True))", m="nn.Sequential(nn.Conv${d}d($C, 2, 1), nn.ReLU(), nn.Conv${d}d(2, $C, 1), {nn.Sigmoid()|nn.Hardsigmoid()})")  # fmt: skip
_row("squeeze and excitation flat", "2d", "$t = $m(F.adaptive_avg_pool2d($x, 1).flatten(1)).sigmoid()\n$o = $x * $t[:, :, None, None]", m="nn.Linear($C, $C)")  # fmt: skip
_row("efficient channel attention", "2d", "$t = $m($x.mean((2, 3))[:, None]).transpose(1, 2)[..., None].sigmoid()\n$o = $x * $t.expand_as($x)", m="nn.Conv1d(1, 1, 3, padding=1)")  # fmt: skip
_row("spatial attention", "2d", "$t = torch.cat([$x.mean(1, keepdim=True), $x.amax(1, keepdim=True)], 1)\n$o = $x * $m($t).sigmoid()", m="nn.Conv2d(2, 1, 3, padding=1)")  # fmt: skip
_row("non-local block", "2d", "$t = $x.flatten(2)\n$s = torch.softmax($t.mT @ $t, -1)\n$o = $x + ($t @ $s.mT).view_as($x)")  # fmt: skip
_row("spatial softmax", "2d", "$t = $x.flatten(2).softmax(-1)\n$o = ($t * torch.linspace(-1, 1, $H * $D, dtype=$x.dtype)).sum(-1)")  # fmt: skip
_row("lstm", "seq", "$m($x)[0]", m="nn.LSTM($D, 4, batch_first=True, bidirectional={True|False})")
_row("gru", "seq", "$m($x)[0][:, -1]", m="nn.GRU($D, 4, batch_first=True)")
_row("rnn", "seq", "$m($x)[1][-1]", m="nn.RNN($D, 4, batch_first=True, nonlinearity={'tanh'|'relu'})")
_row(
    "lstm cell",
    "seq",
    "$t = None\nfor $s in $x.unbind(1):\n    $t = $m($s, $t)\n$o = $t[0]",
    m="nn.LSTMCell($D, 4)",
)
_row("gru by hand", "seq", "$t = $x[:, 0]\nfor $s in $x.unbind(1)[1:]:\n    $t = torch.tanh($m($s) + $t)\n$o = $t", m="nn.Linear($D, $D)")  # fmt: skip

# Aliases and writes ---------------------------------------------------------------------------------------
for _name, _takes, _code in [
    ("augmented add", "any", "$x += {1|0.5}\n$o = $x"), ("augmented residual", "any", "$x += $y\n$o = $x"), ("augmented times", "any", "$x *= 0.5\n$o = $x"),
    ("augmented on a clone", "any", "$t = $x.clone()\n$t += $y\n$o = $t"), ("add_", "any", "$t = $x * 1\n$t.add_($y, alpha=2)\n$o = $t"), ("mul_ of half", "map", "$t = $x.clone()\n$t[:, :1].mul_(2)\n$o = $t"),
    ("relu_ of a slice", "map", "$t = $x.clone()\n$t[:, 0].relu_()\n$o = $t"), ("slice assigned", "map", "$t = $x.clone()\n$t[:, 0] = {0|1.5}\n$o = $t"), ("slice assigned a signal", "map", "$t = $x.clone()\n$t[:, 0] = $y[:, 1]\n$o = $t"),
    ("stride assigned", "map", "$t = torch.zeros_like($x)\n$t[..., ::2] = $x[..., ::2]\n$o = $t"), ("canvas", "map", "$t = $x.new_zeros($x.shape[0], $C + 2, *$x.shape[2:])\n$t[:, 1:-1] = $x\n$o = $t"),
    ("canvas in the middle", "2d", "$t = torch.zeros($x.shape[0], $C, $H + 2, $D + 2, dtype=$x.dtype)\n$t[:, :, 1:-1, 1:-1] = $x\n$o = $t"), ("copy_", "any", "$t = torch.empty_like($x)\n$t.copy_($x)\n$o = $t"),
    ("zero_ of a slice", "map", "$t = $x.clone()\n$t[:, -1].zero_()\n$o = $t"), ("fill_ of a slice", "map", "$t = $x.clone()\n$t[:, 0].fill_(0.5)\n$o = $t"), ("write through a view", "map", "$t = $x.clone()\n$s = $t.view($x.shape[0], -1)\n$s.add_(1)\n$o = $t"),
    ("write to the base", "map", "$t = $x.clone()\n$s = $t.flatten(1)\n$t.mul_(2)\n$o = $s"), ("write to a chunk", "map", "$t = $x.clone()\n$s = $t.chunk(2, 1)\n$s[0].add_(1)\n$o = $t"), ("write to a reader's past", "any", "$t = torch.relu($x)\n$s = $t + 1\n$t.mul_(3)\n$o = $s + $t"),
    ("written after use", "any", "$t = $x + 0\n$s = 2 * $t\n$t -= 1\n$o = $s + $t"), ("transposed write", "map", "$t = $x.clone()\n$t.transpose(1, -1)[:, 0] += 1\n$o = $t"), ("expanded read", "map", "$t = $x[:, :1].expand_as($x)\n$o = $t + $x"),
    ("unsqueeze_", "map", "$t = $x.clone()\n$t.unsqueeze_(1)\n$o = $t.squeeze(1)"), ("transpose_", "map", "$t = $x.clone()\n$t.transpose_(1, -1)\n$o = $t"), ("masked_fill_", "any", "$t = $x.clone()\n$t.masked_fill_(torch.arange($D) % 2 == 0, 0.0)\n$o = $t"),
    ("index_add_", "map", "$t = $x.clone()\n$t.index_add_(1, torch.tensor([0]), $y[:, :1])\n$o = $t"), ("out argument", "any", "$t = torch.empty_like($x)\ntorch.add($x, $y, out=$t)\n$o = $t"), ("list of writes", "map", "$t = $x.clone()\nfor $s in range(2):\n    $t[:, $s] = $t[:, $s] * 2\n$o = $t"),
    ("neg_", "any", "$x.clone().neg_()"), ("sub_ of itself", "any", "$t = $x.clone()\n$t.sub_($x * 0.5)\n$o = $t"), ("addcmul_", "any", "$x.clone().addcmul_($y, torch.ones_like($x), value=0.3)"), ("div_", "any", "$x.clone().div_(2)"),
    ("data of a value", "any", "$x + $y.data * 0 + 1"), ("swapped twice", "any", "$t, $s = $x, $y\n$t, $s = $s, $t\n$o = $t - $s"), ("list appended", "any", "$t = [$x]\n$t.append($y)\n$o = torch.cat($t, -1)"), ("dict of values", "any", "$t = {'a': $x, 'b': $y}\n$o = $t['a'] + $t['b']"),
    ("as_strided written", "flat", "$t = $x.clone()\ntorch.as_strided($t, ($x.shape[0], 1), ($D, 1)).mul_(2)\n$o = $t"), ("diagonal written", "2d", "$t = $x.clone()\n$t.diagonal(dim1=2, dim2=3).mul_(0)\n$o = $t"), ("real slice of a sample", "any", "$t = $x.clone()\n$t[0] = $t[0] * 1\n$o = $t"),
]:  # fmt: skip
    _row(_name, _takes, _code, "exact cuts" if ".data" in _code else "exact")
_row("maximum in place", "any", "$x.clone().clamp_(min=0).pow_(2)")
_row("sigmoid_", "any", "$x.clone().sigmoid_()")
_row("buffer counted", "any", "$p += 1\n$o = $x * 1", p="nn.Buffer(torch.zeros(1))")
_row(
    "buffer copied and written",
    "any",
    "$t = $p.clone()\n$t += 1\n$o = $x * $t",
    "exact",
    p="nn.Buffer(torch.zeros(1))",
)
_row("value kept on the module", "any", "self.kept_$t = $x\n$o = self.kept_$t * 2", "exact")
_row("list kept on the module", "any", "$p.append($x)\n$o = $x * 1", "exact", p="[]")
_row("dict kept on the module", "any", "$p['last'] = $x\n$o = $x * 1", "exact", p="{}")
_row("written into a parameter's copy", "any", "$t = $p.expand($x.shape[0], -1).clone()\n$t[:, 0] = 0\n$o = $x * $t.reshape($x.shape[0], *[1] * ($x.ndim - 2), -1)", "exact", p=_P)  # fmt: skip

# Casts, complex, autograd -----------------------------------------------------------------------------------
_row("float", "any", "$x.float().to($x.dtype)", "narrow")
_row("half inside", "any", "$x.half().to($x.dtype)", "narrow")
_row("bfloat16 inside", "any", "$x.bfloat16().relu().to($x.dtype)", "narrow")
_row("double inside", "any", "$x.double().to($x.dtype)", "exact")
_row("type_as", "any", "$x.double().type_as($y)", "exact")
_row("to same", "any", "$x.to($x.device).to($x.dtype)", "exact")
_row("softmax in float", "any", "F.softmax($x, dim=-1, dtype=torch.float32).to($x.dtype)", "narrow")
_row("int and back", "any", "$x.int().to($x.dtype) + $y")
_row("long mask", "any", "$x * ($y > 0).long()")
_row("bool and", "any", "$x * (($x > 0) & ($y > 0)).to($x.dtype)")
_row("cast of a constant", "any", "$x * torch.tensor([1, 2], dtype=torch.int64)[0].to($x.dtype)", "exact")
_row("autocast inside", "any", "with torch.autocast('cpu', dtype=torch.bfloat16):\n    $t = $m($x)\n$o = $t.to($x.dtype)", "narrow", m="nn.Linear($D, 4)")  # fmt: skip
_row("autocast off inside", "any", "with torch.autocast('cpu', enabled=False):\n    $o = $x * 2", "exact")
_row("fft real part", "2d", "torch.fft.fft2($x).real / 4")
_row(
    "fourier unit",
    "2d",
    "torch.fft.irfft2(torch.fft.rfft2($x, norm='ortho') * 0.5, s=($H, $D), norm='ortho')",
)
_row("fft magnitude", "any", "torch.fft.rfft($x).abs() / 4")
_row("global filter", "2d", "torch.fft.irfft2(torch.fft.rfft2($x) * torch.view_as_complex($p), s=($H, $D))", p="nn.Parameter(torch.randn($C, $H, $D // 2 + 1, 2))")  # fmt: skip
_row("complex number", "any", "torch.complex($x, $y).abs()")
_row("view as real", "any", "torch.view_as_real(torch.complex($x, $y)).flatten(-2)")
_row("detach", "any", "$x.detach() + $y", "cuts")
_row("detached gate", "any", "$x * $y.detach().sigmoid()", "cuts")
_row("straight through", "any", "$x + ($x.round() - $x).detach()", "cuts")
_row("no_grad inside", "any", "with torch.no_grad():\n    $t = $x * 2\n$o = $t + $y", "cuts")
_row(
    "no_grad of statistics",
    "any",
    "with torch.no_grad():\n    $t = $x.mean(-1, keepdim=True)\n$o = $x - $t",
    "cuts",
)
_row("all detached", "any", "$x.detach() * 2", "cuts")
_row("enable_grad inside", "any", "with torch.enable_grad():\n    $o = $x * 2", "exact")
_row(
    "inference_mode inside",
    "any",
    "with torch.inference_mode():\n    $t = $x.mean()\n$o = $x + float(0.1)",
    "exact",
)
_row("custom function", "any", "_Twice.apply($x)", "cuts")
_row("checkpoint", "any", "torch.utils.checkpoint.checkpoint($m, $x, use_reentrant=False)", "exact", m="nn.Linear($D, 4)")  # fmt: skip
_row("vmap", "seq", "torch.vmap($m)($x)", "exact", m="nn.Linear($D, 4)")
_row("requires_grad asked", "any", "$x * 2 if $x.requires_grad else $x * 2", "exact")

# Random ---------------------------------------------------------------------------------------------------
for _name, _code in {
    "randn": "$x + torch.randn($x.shape)", "rand_like": "$x * torch.rand_like($x)", "randn_like": "$x + 0.1 * torch.randn_like($x)", "bernoulli": "torch.bernoulli($x.sigmoid()) * $x",
    "normal_": "$x + torch.empty_like($x).normal_()", "randperm": "$x[..., torch.randperm($D)]", "randint": "$x + torch.randint(0, 2, ($D,))", "multinomial": "$x * torch.multinomial($x.flatten(1).sigmoid(), 1).sum()",
    "uniform_": "$x * $x.new_empty(1).uniform_()", "exponential_": "$x + torch.empty_like($x).exponential_()", "poisson": "torch.poisson($x.abs())",
}.items():  # fmt: skip
    _row(_name, "any", _code, "random")

# Code around operators ----------------------------------------------------------------------------------
_row("module list", "map", "$o = $x\nfor $t in $m:\n    $o = $o + $t($o).relu()", "exact", m="nn.ModuleList([nn.Conv${d}d($C, $C, 1), nn.Conv${d}d($C, $C, 3, padding=1)])")  # fmt: skip
_row("module list backwards", "any", "$o = $x\nfor $t in reversed($m):\n    $o = $t($o)", "exact", m="nn.ModuleList([nn.ReLU(), nn.Linear($D, $D)])")  # fmt: skip
_row(
    "module dict",
    "any",
    "$m['b']($m['a']($x))",
    "exact",
    m="nn.ModuleDict({'a': nn.Linear($D, 4), 'b': nn.ReLU()})",
)
_row("parameter list", "any", "sum($x * $t for $t in $m)", "exact", m="nn.ParameterList([torch.randn($D), torch.randn($D)])")  # fmt: skip
_row("same module in two places", "any", "$m(torch.relu($m($x)))", "exact", m="nn.Linear($D, $D)")
_row("same relu everywhere", "any", "$m($m($x) - $m(-$x))", "exact", m="nn.ReLU()")
_row("plain list of modules", "any", "$m[0]($x)", "exact", m="[nn.ReLU()]")
_row("tied weights", "any", "F.linear($m($x), $m.weight.t())", "exact", m="nn.Linear($D, 4)")
_row("nested sequential", "map", "$m($x)", "exact", m="nn.Sequential(nn.Sequential(nn.Conv${d}d($C, 4, 1), nn.ReLU()), nn.Identity())")  # fmt: skip
_row("hook that doubles", "any", "$m($x)", "exact", m="_hooked(nn.Linear($D, 4))")
_row("pre-hook that shifts", "any", "$m($x)", "exact", m="_prehooked(nn.Linear($D, 4))")
_row("if of shape", "any", "$o = $x * 2 if $x.shape[-1] > 2 else $x + 1", "exact")
_row("if of training", "any", "$o = $x + 1 if self.training else $x * 2", "exact")
_row("if of value", "any", "$o = $x * 2 if $x.sum() > 0 else $x", "mixes")
_row("while of value", "any", "$o = $x\nwhile $o.abs().max() > 1:\n    $o = $o / 2", "mixes")
_row("item", "any", "$x * $x.max().item()", "mixes")
_row("torch._assert", "any", "torch._assert($x.ndim > 1, 'axes')\n$o = $x * 2", "exact")
_row("assert of shape", "any", "assert $x.shape[-1] > 0\n$o = $x * 2", "exact")
_row("loop", "any", "$o = $x\nfor _ in range(3):\n    $o = torch.relu($o) + 0.1 * $y", "exact")
_row("lambda", "any", "(lambda v: v * 2 + 1)($x)", "exact")
_row("torch.cond", "any", "torch.cond($x.sum() > 0, lambda v: v * 2, lambda v: v * 3, ($x,))", "mixes")
_row("method of a part", "any", "$m.forward($x)", "exact", m="nn.Linear($D, 4)")
_row("functools.partial", "any", "functools.partial(torch.mul, other=2.0)($x)", "exact")
_row("torch.func call", "any", "torch.func.functional_call($m, {'weight': $p}, ($x,))", "exact", m="nn.Linear($D, 4)", p="nn.Parameter(torch.randn(4, $D))")  # fmt: skip
_row("batch size computed with", "any", "$x.reshape($x.shape[0] * 1, -1)", "exact")
_row("division by batch size", "any", "$x / max($x.shape[0], 1)", "mixes")
_row("numel", "any", "$x * (2.0 / $x[0].numel())", "exact")
_row("mixture of experts", "flat", "$t = torch.softmax($p @ $x.mT, 0).mT\n$o = ($t[:, :, None] * $m($x).view(-1, 2, 4)).sum(1)", m="nn.Linear($D, 8)", p="nn.Parameter(torch.randn(2, $D))")  # fmt: skip
_row("dense block", "map", "$t = [$x]\nfor $s in $m:\n    $t.append($s(torch.cat($t, 1)).relu())\n$o = torch.cat($t, 1)", "exact", m="nn.ModuleList([nn.Conv${d}d($C + 2 * i, 2, 1) for i in range(2)])")  # fmt: skip
_row("inverted residual", "2d", "$x + $m($x)", m="nn.Sequential(nn.Conv2d($C, 8, 1, bias=False), _batch_norm(nn.BatchNorm2d(8)), nn.ReLU6(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, $C, 1))")  # fmt: skip
_row("convnext block", "2d", "$x + $m($q($x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)", q="nn.Conv2d($C, $C, 3, padding=1, groups=$C)", m="nn.Sequential(nn.LayerNorm($C), nn.Linear($C, 8), nn.GELU(), nn.Linear(8, $C))")  # fmt: skip
_row("feature pyramid", "2d", "$m($x) + F.interpolate(F.max_pool2d($m($x), 2), size=($H, $D))", "exact", m="nn.Conv2d($C, 4, 1)")  # fmt: skip
_row("film", "map", "$t, $s = $m($y.flatten(2).mean(-1)).chunk(2, -1)\n$o = $t.reshape(*$t.shape, *[1] * $d) * $x + $s.reshape(*$s.shape, *[1] * $d)", m="nn.Linear($C, 2 * $C)")  # fmt: skip
