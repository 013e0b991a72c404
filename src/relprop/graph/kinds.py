"""Kinds: which operators relprop knows, and what each is to a rule.

A kind is what relevance needs to know of an operator: a convolution and a matrix product are both
"linear", a view and a concatenation are both "shape". Operators that are missing here still run in
the forward pass; relevance that reaches one is refused by name.
"""

from __future__ import annotations

import torch

__all__ = ["ACTIVATIONS", "KINDS", "LENDERS", "OFFSET_ACTIVATIONS", "REARRANGES", "kind_of", "operator_names"]

_BY_KIND: dict[str, str] = {
    "linear": "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d linear "
    "addmm matmul mm",
    "batch_norm": "batch_norm _native_batch_norm_legit_no_training cudnn_batch_norm",
    "activation": "relu relu6 hardtanh leaky_relu prelu elu celu selu silu gelu hardswish mish tanh softplus "
    "sigmoid hardsigmoid clamp clamp_min clamp_max threshold rrelu log_sigmoid softsign hardshrink softshrink "
    "abs square pow sqrt erf sin tan asin atan sinh asinh expm1 log1p exp cos log",
    "max_pool": "max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
    "max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices amax amin aminmax max min topk "
    "sort kthvalue median nanmedian mode cummax cummin",
    "avg_pool": "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d "
    "adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d mean sum nansum cumsum col2im index_add "
    "scatter_add",
    "upsample": "upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d "
    "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d "
    "_upsample_nearest_exact3d grid_sampler _upsample_bilinear2d_aa _upsample_bicubic2d_aa",
    "add": "add sub rsub",
    "multiply": "mul div bmm einsum",
    "softmax": "softmax _softmax",
    "homogeneous": "maximum minimum linalg_vector_norm norm frobenius_norm hypot copysign scatter_reduce "
    "index_reduce segment_reduce",
    "norm": "layer_norm group_norm instance_norm native_layer_norm rms_norm",
    "shape": "view _unsafe_view reshape flatten unflatten squeeze unsqueeze permute transpose t mT numpy_T "
    "swapaxes swapdims movedim expand expand_as repeat cat concat stack split split_with_sizes chunk "
    "unbind getitem select slice narrow index_select pad constant_pad_nd reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "pixel_shuffle pixel_unshuffle channel_shuffle roll flip view_as reshape_as unfold im2col tile hsplit "
    "vsplit index diagonal gather as_strided tril triu diag_embed copy fill slice_scatter select_scatter "
    "diagonal_scatter as_strided_scatter scatter index_copy index_fill index_put masked_fill "
    "masked_scatter where repeat_interleave rot90 take put max_unpool2d max_unpool3d nan_to_num",
    "pass": "dropout alpha_dropout feature_dropout clone contiguous alias detach to _to_copy lift_fresh_copy "
    "detach_ identity type_as float",
    "negate": "neg",
}

KINDS: dict[str, str] = {op: kind for kind, ops in _BY_KIND.items() for op in ops.split()}
"""Operator name -> kind."""

LENDERS: dict[str, str] = {
    **dict.fromkeys(("view_as", "reshape_as", "expand_as", "type_as"), "other"),
    **dict.fromkeys(
        "copy fill zero new_zeros new_ones new_full new_empty new_empty_strided zeros_like ones_like full_like "
        "empty_like".split(),
        "self",
    ),
}
"""Operator name -> the argument that lends it shape and type only: none of its values come out."""

REARRANGES = frozenset(
    "view _unsafe_view reshape flatten unflatten squeeze unsqueeze permute transpose t mT numpy_T swapaxes "
    "swapdims movedim view_as reshape_as select slice contiguous clone alias".split()
)
"""Operators that keep every value and move it elsewhere, where the result has as many as the operand."""

ACTIVATIONS = frozenset(_BY_KIND["activation"].split())

OFFSET_ACTIVATIONS = frozenset(
    {
        "sigmoid",
        "hardsigmoid",
        "softplus",
        "log_sigmoid",
        "clamp",
        "clamp_min",
        "clamp_max",
        "hardtanh",
        "threshold",
        "exp",
        "cos",
        "log",
    }
)
"""Activations that may have f(0) != 0, so that relevance may sit where the input is 0."""


def kind_of(op: str) -> str:
    """The kind of an operator, "other" for one that no rule covers.

    >>> kind_of("conv3d"), kind_of("relu"), kind_of("scaled_dot_product_attention")
    ('linear', 'activation', 'other')
    """
    return KINDS.get(op, "other")


def operator_names() -> frozenset[str]:
    """The names of all operators that torch and what is imported know, as nodes of a graph have them.

    >>> {"lstm", "relu"} <= operator_names(), "relu_" in operator_names()
    (True, False)
    """
    full: list[str] = torch._C._dispatch_get_all_op_names()
    names = {name.partition("::")[2].partition(".")[0] for name in full}
    # An in-place operator goes by the name of its functional form.
    return frozenset(n for n in names if n.removesuffix("_") not in names or not n.endswith("_")) | set(KINDS)
