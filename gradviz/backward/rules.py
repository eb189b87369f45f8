"""What the backward pass does at each operation: the structural rule.

The cotangent is NaN at the outputs that are asked about and 0 elsewhere. IEEE arithmetic carries
NaN through every sum of products, weights of zero included, so what arrives at the input as NaN is
what can matter. Three tables say how far that may be trusted: operations that carry NaN exactly by
themselves; operations whose backward formula masks, selects or divides, and is replaced; and all
others, which make the answer partial and are named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import functional as F

from gradviz.backward.graph import End, kind_of, nodes_of, shape_of

Gradients = Sequence[Tensor | None]

CARRIES = frozenset(
    # Sums of products.
    "Convolution Addmm Addmv Addbmm Baddbmm Mm Bmm Mv Dot Linear Sum Mean Cumsum "
    # Fixed resampling and windows.
    "AvgPool2D AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D Im2Col Col2Im Unfold "
    "UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D "
    "UpsampleNearestExact2D UpsampleNearestExact3D UpsampleLinear1D UpsampleBilinear2D "
    "UpsampleTrilinear3D UpsampleBicubic2D UpsampleBilinear2DAa UpsampleBicubic2DAa "
    "ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D ReplicationPad2D "
    "ReplicationPad3D ConstantPadNd PixelShuffle PixelUnshuffle ChannelShuffle "
    # Statistics that couple what they normalise.
    "NativeBatchNorm CudnnBatchNorm NativeLayerNorm NativeGroupNorm Softmax LogSoftmax "
    "ScaledDotProductFlashAttentionForCpu ScaledDotProductFlashAttention "
    "ScaledDotProductEfficientAttention ScaledDotProductCudnnAttention Glu "
    # Views and copies; constant choices, since choices by value are found in the forward pass.
    "View UnsafeView ReshapeAlias Permute Transpose T Expand Squeeze Unsqueeze Slice Select Narrow "
    "Split SplitWithSizes UnsafeSplit Unbind Cat Stack Clone ToCopy Copy CopySlices AsStrided Alias "
    "Flip Roll Repeat Tril Triu Diagonal Index IndexPut IndexSelect IndexAdd IndexCopy Gather "
    "Scatter ScatterAdd SliceScatter SelectScatter Where MaskedFill".split()
)
"""Operations whose own backward formula carries NaN to exactly the inputs that can matter."""

ELEMENTWISE = frozenset(
    "Relu LeakyRelu Elu Celu Selu Gelu Silu Mish Hardswish Hardsigmoid Hardtanh Hardshrink "
    "Softshrink Threshold PreluKernel RreluWithNoise Sigmoid LogSigmoid Tanh Softplus Clamp ClampMin "
    "ClampMax Abs Neg Sqrt Rsqrt Exp Exp2 Expm1 Log Log1P Log2 Log10 Pow Reciprocal Sin Cos Tan Asin "
    "Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Erfc Sign Sgn Floor Ceil Round Trunc Frac NanToNum "
    "Maximum Minimum Fmax Fmin Mul Div Add Sub Rsub Addcmul Addcdiv Lerp Atan2 Remainder Fmod Xlogy "
    "Logaddexp Hypot Copysign".split()
)
"""Operations that work place by place: taint passes, whatever the slope is there."""


def _elementwise(node: Node, tainted: Tensor, shape: torch.Size) -> Tensor:
    return tainted.sum_to_size(shape)


def _windows(node: Any, tainted: Tensor, shape: torch.Size) -> Tensor:
    """Every element of a max-pooling window."""
    rank = len(node._saved_kernel_size)
    kernel, stride, padding, dilation = (
        _per_axis(getattr(node, f"_saved_{name}"), rank)
        for name in ("kernel_size", "stride", "padding", "dilation")
    )
    stack = tainted.reshape(-1, 1, *tainted.shape[-rank:])
    spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    ones = torch.ones(1, 1, *kernel, dtype=stack.dtype, device=stack.device)
    full = spread(stack, ones, stride=stride or kernel, dilation=dilation)
    # A window may hang over the input's edges by its padding, and by ceil_mode.
    for axis, (before, size) in enumerate(zip(padding, shape[-rank:], strict=True), start=2):
        missing = before + size - full.shape[axis]
        if missing > 0:
            grown = list(full.shape)
            grown[axis] = missing
            full = torch.cat([full, full.new_zeros(grown)], axis)
        full = full.narrow(axis, before, size)
    return full.reshape(shape)


def _per_axis(value: Sequence[int] | int, rank: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


def _adaptive_windows(node: Node, tainted: Tensor, shape: torch.Size) -> Tensor:
    """The windows of adaptive max pooling, which are those of adaptive average pooling."""
    average = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}[2 if len(shape) < 5 else 3]
    like = tainted.new_zeros(shape).requires_grad_()
    with torch.enable_grad():
        pooled = average(like, tuple(tainted.shape[-2:] if len(shape) < 5 else tainted.shape[-3:]))
    return torch.autograd.grad(pooled, like, tainted)[0]


def _reduced(node: Any, tainted: Tensor, shape: torch.Size) -> Tensor:
    """Every element of the axes that the operation reduces."""
    dims = getattr(node, "_saved_dim", None)
    axes = range(len(shape)) if dims is None or dims == () else _axes(dims, len(shape))
    kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
    return tainted.reshape(kept).expand(shape)


def _axes(dims: Sequence[int] | int, rank: int) -> set[int]:
    # Negative axes come out of C++ as unsigned numbers of 64 bits.
    numbers = (dims,) if isinstance(dims, int) else dims
    return {(dim - 2**64 if dim >= 2**63 else dim) % rank for dim in numbers}


def _running(node: Any, tainted: Tensor, shape: torch.Size) -> Tensor:
    """Every element up to and including this one, along the operation's axis."""
    (axis,) = _axes(node._saved_dim, len(shape))
    return tainted.flip(axis).cumsum(axis).flip(axis)


OVERRIDES: dict[str, Callable[[Any, Tensor, torch.Size], Tensor]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("MaxPool2DWithIndices", "MaxPool3DWithIndices"), _windows),
    **dict.fromkeys(("AdaptiveMaxPool2D", "AdaptiveMaxPool3D"), _adaptive_windows),
    **dict.fromkeys(
        "Max Min Amax Amin LinalgVectorNorm Norm Std Var Prod Logsumexp".split(), _reduced
    ),
    **dict.fromkeys(("Cummax", "Cummin", "Cumprod", "Logcumsumexp"), _running),
}
"""`(node, tainted, shape) -> tainted`, counts where above 0 means tainted, from an operation's
output to an input of that shape."""


@dataclass(frozen=True)
class Reach:
    """What a structural backward pass found."""

    tainted: Tensor
    """bool, of the shape of the input: what can matter."""
    lost_at: tuple[str, ...]
    """The operations at which taint may have been lost; empty where the answer is exact."""
    through: str | None
    """The operation at which the taint first came to cover a whole map, if one did."""


def reach(end: End, x: Tensor, asked: Tensor) -> Reach:
    """Which elements of the input can matter to the outputs asked about.

    Args:
        end: the output, or the output of an operation before it.
        x: the input that it was computed from, which requires a gradient.
        asked: bool, of the shape of the output.
    """
    nodes = nodes_of(end)
    watch = _Watch(nodes)
    handles = [node.register_hook(partial(watch.at, node)) for node in nodes]
    v = torch.zeros(shape_of(end), dtype=x.dtype, device=x.device)
    v[asked] = torch.nan
    try:
        (gradient,) = torch.autograd.grad(
            end, x, v, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    finally:
        for handle in handles:
            handle.remove()
    return Reach(gradient.isnan(), tuple(watch.lost), watch.through)


class _Watch:
    """Sees every operation of one backward pass, and replaces what the tables say."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.lost: dict[str, None] = {}
        self.through: str | None = None
        self._users: dict[Node, Node] = {
            before: node for node in nodes for before, _ in node.next_functions if before is not None
        }

    def at(self, node: Node, given: Gradients, taken: Gradients) -> Gradients:
        """Called with the gradients of the inputs and of the outputs of an operation."""
        tainted = [each.isnan() for each in taken if each is not None]
        if not any(each.any() for each in tainted):
            return tuple(None if each is None else torch.zeros_like(each) for each in given)
        kind = kind_of(node)
        override = OVERRIDES.get(kind)
        if override is not None:
            counts = tainted[0].to(torch.float32)
            made = [
                None if each is None else _taint(each, override(node, counts, each.shape) > 0)
                for each in given
            ]
        else:
            if kind not in CARRIES:
                self.lost[kind] = None
            # Anything but NaN becomes 0 again, so that no slope can grow to infinity on the way.
            made = [None if each is None else _taint(each, each.isnan()) for each in given]
        if self.through is None and any(_covers(each) for each in made if each is not None):
            if not any(_covers(each) for each in taken if each is not None):
                self.through = kind_of(self._culprit(node))
        return tuple(made)

    def _culprit(self, node: Node) -> Node:
        """A view covers a map only because of the operation that used it."""
        while kind_of(node) in VIEWS and node in self._users:
            node = self._users[node]
        return node


VIEWS = frozenset("View UnsafeView ReshapeAlias Permute Transpose T Expand Squeeze Unsqueeze".split())


def _taint(like: Tensor, where: Tensor) -> Tensor:
    return torch.zeros_like(like).masked_fill_(where, torch.nan)


def _covers(gradient: Tensor) -> bool:
    """Whether every place of a map of more than one place is tainted, in any of its channels."""
    if gradient.dim() < 3:
        return False
    places = gradient.isnan().any(1 if gradient.dim() > 3 else -1)
    return places[0].numel() > 1 and bool(places.all())
