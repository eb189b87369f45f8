"""The table of the rules of relevance: one for each kind of operation.

It is the composite that zennit calls EpsilonPlusFlat, continued for what transformers are made of:

- the first layers with a weight spread relevance flat, other convolutions by z⁺;
- other products with a weight, sums and averages share it by the epsilon rule;
- an elementwise function of one value hands all of it on;
- a product of two values that depend on the image halves it, a softmax is linearised, and the
  divisor of a norm is a constant, as in AttnLRP.

Sources:
    EpsilonPlusFlat: Kohlbrenner et al. 2020, arXiv:1910.09840; Anders et al. 2021, arXiv:2106.13200
    AttnLRP: Achtibat et al. 2024, arXiv:2402.05602
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gradviz.backward.activations import ACTIVATIONS, BOUNDED
from gradviz.backward.graph import WRITE, WROTE
from gradviz.backward.relevance.attention import attention
from gradviz.backward.relevance.elementary import (
    FACTORS,
    halved,
    linearised,
    passed,
    routed,
    sampled,
    shared,
)
from gradviz.backward.relevance.norms import batch_norm, group_norm, layer_norm
from gradviz.backward.relevance.operation import Operation, Shares
from gradviz.backward.relevance.weights import spread_flat, z_plus
from gradviz.backward.relevance.written_norms import normalised, passed_to_value
from gradviz.text import words

RelevanceRule = Callable[..., Shares]
"""`(operation, the relevance of its outputs) -> shares`."""


SELECTIONS = frozenset(
    words(
        "View UnsafeView ReshapeAlias Permute Transpose T Expand Squeeze Unsqueeze Slice Select "
        "Split SplitWithSizes UnsafeSplit UnsafeSplitWithSizes Unbind Cat Stack Clone Copy ToCopy "
        "Alias AsStrided Diagonal Flip Roll Rot90 Repeat PixelShuffle PixelUnshuffle "
        "ChannelShuffle Unfold Im2Col ConstantPadNd ReflectionPad1D ReflectionPad2D "
        "ReflectionPad3D ReplicationPad1D ReplicationPad2D ReplicationPad3D Tril Triu Index "
        "IndexSelect Gather Where MaskedFill MaxPool2DWithIndices MaxPool3DWithIndices "
        "AdaptiveMaxPool2D AdaptiveMaxPool3D Amax Amin Max Min Maximum Minimum Topk Sort"
    )
)
"""Operations that move or select elements: relevance goes the way that the element came."""

AVERAGES = frozenset(
    words(
        "Mean AvgPool2D AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D UpsampleNearest1D "
        "UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D "
        "UpsampleNearestExact3D UpsampleLinear1D UpsampleBilinear2D UpsampleTrilinear3D "
        "UpsampleBicubic2D UpsampleBilinear2DAa UpsampleBicubic2DAa"
    )
)
"""Fixed sums whose coefficients add up to 1."""

FUNCTIONS = frozenset(
    words(
        "Sigmoid Tanh Hardsigmoid LogSigmoid Softshrink Hardshrink ClampMax Neg Pow Sqrt Rsqrt "
        "Reciprocal Abs Exp Exp2 Expm1 Log Log2 Log10 Log1P Sin Cos Erf"
    )
)
"""Elementwise functions beside the activations."""

SUMS = frozenset(
    words("Add Sub Rsub Sum Mul Mm Mv Bmm Addmm Baddbmm Addcmul Col2Im LinalgVectorNorm Norm")
)
"""Sums, and what is one up to factors that count as constants: the length of a vector grows as its
elements do, so that its slopes times them add up to it."""

NORMS: Mapping[str, RelevanceRule] = {
    **dict.fromkeys(
        words("NativeBatchNorm CudnnBatchNorm NativeBatchNormLegitNoTraining"), batch_norm
    ),
    "NativeLayerNorm": layer_norm,
    "NativeGroupNorm": group_norm,
    "FusedRmsNorm": passed,
}

ATTENTIONS = frozenset(
    words(
        "ScaledDotProductFlashAttentionForCpu ScaledDotProductFlashAttention "
        "ScaledDotProductEfficientAttention ScaledDotProductCudnnAttention "
        "ScaledDotProductFusedAttentionOverrideable"
    )
)

RELEVANCE_RULES: dict[str, RelevanceRule] = {
    **dict.fromkeys(SELECTIONS, routed),
    **dict.fromkeys(AVERAGES, shared),
    **dict.fromkeys(SUMS, shared),
    **dict.fromkeys([*ACTIVATIONS, *BOUNDED.keys() - {"Maximum"}], passed),
    **dict.fromkeys(FUNCTIONS, passed),
    **dict.fromkeys(["Softmax", "SafeSoftmax"], linearised),
    **NORMS,
    **dict.fromkeys(ATTENTIONS, attention),
    "Convolution": z_plus,
    "Glu": halved,
    "GridSampler2D": sampled,
}
"""The rule of each kind of operation, if no other case below applies."""

EARLY: dict[str, RelevanceRule] = {
    **dict.fromkeys(words("Add Sub Rsub"), passed),
    **dict.fromkeys(AVERAGES, routed),
    **dict.fromkeys(NORMS, passed),
}
"""The rules before the first layer. Flat relevance is not proportional to the values there, so that
it cannot be shared by them: shifts hand all of it on, averages spread it evenly."""

RECORDED = frozenset(
    [
        *(*AVERAGES, *NORMS, *ATTENTIONS, *FACTORS, *SUMS),
        *words("Convolution Softmax SafeSoftmax Glu GridSampler2D"),
    ]
)
"""The operations whose values the rules read."""


def rule_of(operation: Operation) -> RelevanceRule | str:
    """Return the rule of an operation, or what to call it if it has none."""
    kind, moving = operation.kind, operation.moving
    name = kind.removesuffix("Backward").lower()
    if kind == WRITE:
        copied = operation.node.metadata.get(WROTE) == "Copy"
        return routed if copied else "a write into a part of a tensor"
    if kind in RECORDED and operation.call is None:
        return f"{name} in code that hides its values"
    if operation.first:
        return spread_flat
    if kind == "Convolution" and moving != (0,):
        return f"{name} by a weight that depends on the image"
    if kind in ATTENTIONS and 3 in moving:
        return f"{name} with a mask that depends on the image"
    if kind in ("Mul", "Div") and len(moving) == 2 and normalised(operation.node) is not None:
        return passed_to_value
    if kind == "GridSampler2D" and 0 not in moving:
        return f"{name} of a map that does not depend on the image"
    if kind == "Div":
        # Then it is a function of one value: the size of a constant matters to no share.
        return passed if len(moving) == 1 else f"{name} by what depends on the image"
    rule = passed if kind == "Mul" and len(moving) == 1 else RELEVANCE_RULES.get(kind, name)
    if operation.early and len(moving) == 1:
        rule = EARLY.get(kind, rule)
    if rule is passed and len(moving) > 1:
        return f"{name} of several values that depend on the image"
    return rule


def receivers(operation: Operation, rule: RelevanceRule | str) -> Sequence[int]:
    """Return the numbers of the inputs that a rule hands relevance to."""
    if rule is passed_to_value:
        place = normalised(operation.node)
        return () if place is None else (place,)
    return operation.moving
