"""The structural rule: the backward pass of dependence at each operation.

A structural field holds what can matter for any weights and any image: every coefficient counts,
even one that is zero, and every element that a window selects from. So taint, not numbers, is
propagated back through the graph. Two tables show how far the answer may be trusted:

- `RULES`: operations whose formula depends on values, with what they spread taint to;
- `LINEAR`: operations that are fixed sums. In IEEE arithmetic their own formula carries NaN to
  exactly the inputs with a coefficient, so it is used.

Any other operation that meets taint makes the answer partial and is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradviz.field.dependence.windows import (
    Rule,
    Window,
    adaptive_max_pool,
    any_along,
    average_pool,
    gather,
    interpolated,
    max_pool,
    seen_once,
    spread,
)
from gradviz.field.reach.arguments import Shape
from gradviz.field.resampling import cubic_taps, linear_taps
from gradviz.text import words


def elementwise(node: Node, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint of an output at one place to that place of an input, which may be broadcast."""
    return unbroadcast(tainted, shape)


def _shared(tainted: Tensor, axis: int, groups: int) -> Tensor:
    """Reduce an axis to one element for each of its groups of neighbours."""
    axis %= tainted.dim()
    if groups == 1:
        return any_along(tainted, [axis], keepdim=True)
    size = tainted.shape[axis] // groups
    split = (*tainted.shape[:axis], groups, size, *tainted.shape[axis + 1 :])
    return any_along(tainted.reshape(split), [axis + 1])


# Sums of products -----------------------------------------------------------------------------


def _convolution(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint to windows in space, and to every channel of a group.

    If the weight is computed from the image itself, all of it matters.
    """
    if place > 0:
        return tainted.any()
    rank = len(node._saved_padding)
    kernel = node._saved_weight.shape[-rank:]
    found = _shared(tainted, -rank - 1, node._saved_groups)
    through = gather if node._saved_transposed else spread
    for axis in range(-rank, 0):
        window = Window(
            kernel[axis],
            node._saved_stride[axis],
            node._saved_padding[axis],
            node._saved_dilation[axis],
        )
        found = through(found, axis, shape[axis], window)
    channels: int = shape[-rank - 1] // node._saved_groups
    # A single group is broadcast later.
    return found if node._saved_groups == 1 else found.repeat_interleave(channels, -rank - 1)


def _product(addends: int) -> Rule:
    """Make the rule of a product of matrices, after `addends` inputs that are only added to it."""

    def rule(node: Node, tainted: Tensor, place: int, shape: Shape) -> Tensor:
        if place < addends:
            return unbroadcast(tainted, shape)
        if len(shape) == 1:
            return tainted.any()
        if tainted.dim() == 1:
            return tainted.unsqueeze(-1)
        # Rows of the left factor give rows, columns of the right one columns.
        return any_along(tainted, [-1 if place == addends else -2], keepdim=True)

    return rule


# Whole axes -----------------------------------------------------------------------------------


def everything(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint to the whole input, if it is not known to how much of it."""
    return tainted.any().expand(shape)


def _reduced(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint to every element of the axes that the operation reduces."""
    axes = _axes(getattr(node, "_saved_dim", None), len(shape))
    return tainted.reshape([1 if axis in axes else size for axis, size in enumerate(shape)])


def _coupled(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint to every element along the operation's axes, which its output has too."""
    return any_along(tainted, sorted(_axes(node._saved_dim, tainted.dim())), keepdim=True)


def _running(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint to every element up to and including this one, along the operation's axis."""
    if not shape:
        return tainted
    (axis,) = _axes(node._saved_dim, len(shape))
    return tainted.flip(axis).cumsum(axis).flip(axis) > 0


def _axes(dims: Sequence[int] | int | None, rank: int) -> set[int]:
    if dims is None or dims == ():
        return set(range(rank))
    numbers = (dims,) if isinstance(dims, int) else dims
    # Negative axes come out of C++ as unsigned numbers of 64 bits.
    return {(dim - 2**64 if dim >= 2**63 else dim) % max(rank, 1) for dim in numbers}


def _halves(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint of a gated linear unit: one half of its input times a function of the other."""
    (axis,) = _axes(node._saved_dim, len(shape))
    return torch.cat([tainted, tainted], axis)


# Normalisation --------------------------------------------------------------------------------


def _batch_norm(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    others = [axis for axis in range(tainted.dim()) if axis != 1]
    if place > 0:
        return any_along(tainted, others)
    # The statistics are those of the batch, or constants.
    return any_along(tainted, others, keepdim=True) if node._saved_training else tainted


def _layer_norm(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    if place > 0:
        return unbroadcast(tainted, shape)
    axes = range(-len(node._saved_normalized_shape), 0)
    return any_along(tainted, axes, keepdim=True)


def _group_norm(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    if place > 0:
        return any_along(tainted.transpose(0, 1).flatten(1), [1])
    groups = tainted.reshape(shape[0], node._saved_group, -1)
    return any_along(groups, [-1], keepdim=True).expand_as(groups).reshape(shape)


def _attention(node: Any, tainted: Tensor, place: int, shape: Shape) -> Tensor:
    """Spread taint of scaled dot-product attention, [N, heads, length, features].

    A mask of the operation itself limits the taint. If attention is written out, the product with
    the values counts the zeros that a mask made as coefficients, and a mask that is added is one
    more term: nothing is cut out there.
    """
    query, key = node._saved_query, node._saved_key
    rows = any_along(tainted, [-1], keepdim=True)
    if place == 0:
        return rows
    allowed = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=tainted.device)
    if node._saved_is_causal:
        allowed = allowed.tril()
    mask = getattr(node, "_saved_attn_mask", getattr(node, "_saved_attn_bias", None))
    if place == 3:
        return unbroadcast((rows & allowed), shape)
    if mask is not None:
        allowed = allowed & (mask > -torch.inf)
    # A key matters to all features of the rows that may attend to it, a value to its own.
    seen = tainted if place == 2 else rows
    found = (allowed.mT.float() @ seen.float()) > 0
    # Heads of queries may share keys and values.
    return _shared(found, -3, shape[-3])


# The tables -----------------------------------------------------------------------------------


LINEAR = frozenset(
    # Sums over axes, fixed resampling and windows.
    words(
        "Sum Mean Cumsum AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D "
        "Im2Col Col2Im Unfold UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D "
        "UpsampleNearestExact1D UpsampleNearestExact2D UpsampleNearestExact3D UpsampleLinear1D "
        "UpsampleTrilinear3D UpsampleBilinear2DAa "
        "UpsampleBicubic2DAa UpsampleLanczos2DAa ConstantPadNd ReflectionPad1D ReflectionPad2D "
        "ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D "
        # Views and rearrangements.
        "View UnsafeView ReshapeAlias Permute Transpose T Expand Squeeze Unsqueeze Slice Select "
        "Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind Cat Stack Clone Copy "
        "AsStrided Alias Diagonal DiagEmbed Flip Roll Rot90 Repeat PixelShuffle PixelUnshuffle "
        "ChannelShuffle ViewAsReal ViewAsComplex Complex "
        # Constant choices: those by the image's values are marked in the forward pass.
        "Tril Triu Index IndexPut IndexSelect IndexAdd IndexCopy IndexFill Gather "
        "Take Scatter ScatterAdd SliceScatter SelectScatter DiagonalScatter "
        "Where MaskedFill MaskedSelect Fill Zero GridSampler2D GridSampler3D"
    )
)
"""Fixed sums: the backward formula of each, with NaN, shows the inputs that have a coefficient."""

RULES: dict[str, Rule] = {
    **dict.fromkeys(
        words(
            "Relu LeakyRelu Elu Celu Gelu Silu Mish Hardswish Hardsigmoid Hardtanh "
            "Hardshrink Softshrink Threshold PreluKernel RreluWithNoise Sigmoid LogSigmoid Tanh "
            "Softplus Logit Clamp ClampMin ClampMax Abs Neg Sqrt Rsqrt Exp Exp2 Expm1 Log Log1P "
            "Log2 Log10 Pow Reciprocal Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf "
            "Erfc Erfinv Sinc Sign Sgn Floor Ceil Round Trunc Frac NanToNum Maximum Minimum Fmax "
            "Fmin Mul Div Add Sub Rsub Addcmul Addcdiv Lerp Atan2 Remainder Fmod Xlogy Logaddexp "
            "Logaddexp2 Hypot Copysign Angle Conj ToCopy Deg2Rad Rad2Deg Lgamma "
            "Digamma"
        ),
        elementwise,
    ),
    "Convolution": _convolution,
    **dict.fromkeys(["Mm", "Bmm", "Mv", "Dot"], _product(addends=0)),
    **dict.fromkeys(["Addmm", "Baddbmm", "Addbmm", "Addmv"], _product(addends=1)),
    **dict.fromkeys(["MaxPool2DWithIndices", "MaxPool3DWithIndices"], max_pool),
    "AvgPool2D": average_pool,
    "UpsampleBilinear2D": interpolated(linear_taps),
    "UpsampleBicubic2D": interpolated(cubic_taps),
    "AdaptiveMaxPool2D": adaptive_max_pool(2),
    "AdaptiveMaxPool3D": adaptive_max_pool(3),
    **dict.fromkeys(
        words(
            "Max Min Amax Amin Aminmax LinalgVectorNorm Norm Std Var StdMean VarMean Prod "
            "Logsumexp Nansum"
        ),
        _reduced,
    ),
    **dict.fromkeys(
        ["Softmax", "LogSoftmax", "SafeSoftmax", "FftR2C", "FftC2C", "FftC2R"], _coupled
    ),
    **dict.fromkeys(["Cummax", "Cummin", "Cumprod", "Logcumsumexp"], _running),
    "Glu": _halves,
    **dict.fromkeys(["NativeBatchNorm", "CudnnBatchNorm"], _batch_norm),
    **dict.fromkeys(["NativeLayerNorm", "FusedRmsNorm"], _layer_norm),
    "NativeGroupNorm": _group_norm,
    **dict.fromkeys(
        [
            "ScaledDotProductFlashAttentionForCpu",
            "ScaledDotProductFlashAttention",
            "ScaledDotProductEfficientAttention",
            "ScaledDotProductCudnnAttention",
        ],
        _attention,
    ),
}
"""The rules of operations whose own backward formula depends on values."""

CHOOSES_BY = {"GridSampler2D": 1, "GridSampler3D": 1}
"""The number of the input that chooses elements; other inputs of these operations are summed."""

PAIRED = frozenset(["Aminmax", "StdMean", "VarMean"])
"""Operations of `RULES` with two outputs that depend on the same inputs."""

ARITHMETIC = frozenset(["Add", "Sub", "Mul", "Div"])
"""Operations of `RULES` whose own formula carries NaN to both operands as well."""

TENSOR_VIEWS = frozenset(
    words("View UnsafeView ReshapeAlias Permute Transpose T Expand Squeeze Unsqueeze Clone")
)
"""Operations that only rename places."""


def unbroadcast(tainted: Tensor, shape: Shape) -> Tensor:
    """Sum the taint back to the shape that a tensor had before it was broadcast.

    Args:
        tainted: bool, of the shape after the broadcast.
        shape: the shape before it.
    """
    if tainted.shape == shape:
        return tainted
    # Numbers add up to more than 0 where bytes might add up to 256.
    return tainted.float().sum_to_size(shape) > 0


def either(one: Tensor, other: Tensor) -> Tensor:
    """`one | other`, as small in memory as both were where they are broadcast."""
    axes = [
        axis
        for axis in range(one.dim())
        if one.stride(axis) == other.stride(axis) == 0 and one.shape[axis] > 1
    ]
    return (seen_once(one, axes) | seen_once(other, axes)).expand(one.shape)


def touched(tainted: Tensor) -> bool:
    """Return True if anything is tainted."""
    return bool(seen_once(tainted, range(tainted.dim())).any())


def covers(tainted: Tensor) -> bool:
    """Return True if every place of a map of more than one place is tainted.

    In a map [N, C, ...] of two or more axes in space, one channel is enough. Tokens [N, L, C] and
    sequences [N, C, L] look the same, so that all of them must be tainted.
    """
    if tainted.dim() < 3 or (tainted.dim() == 3 and 1 in tainted.shape[1:]):
        return False
    places = any_along(tainted, [1]) if tainted.dim() > 3 else tainted
    return places.numel() > 1 and bool(seen_once(places, range(places.dim())).all())
