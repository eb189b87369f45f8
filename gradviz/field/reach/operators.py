"""The table of operators: what each computes its elements from.

It stands beside the rules of `gradviz.field.dependence.rules`, which go backwards and by elements;
these go forwards and by axes, and know which elements are computed in the same way. An operator
that is not in the table, or that decides by values, leaves it untold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from gradviz.field.reach.call import Call, Computes, Reach
from gradviz.field.reach.extents import Untold, added, key_of
from gradviz.field.reach.rearrangements import (
    concatenated,
    expanded,
    flipped,
    indexed,
    parted,
    permuted,
    picked,
    regrouped,
    repeated,
    rolled,
    selected,
    shuffled,
    sliced,
    viewed,
)
from gradviz.field.reach.windows import (
    convolved,
    nearest_elements,
    padded,
    pooled,
    reflected,
    resampled,
    shared_out,
    unfolded,
)
from gradviz.field.resampling import cubic_taps, linear_taps
from gradviz.text import words
from gradviz.watch import tensors_in


def _pointwise(call: Call) -> Reach:
    """Each element from those at its place; what is smaller is broadcast."""
    return call.beside(list(tensors_in(call.given)), call.numbers_key(), call.shape)


# Whole axes -----------------------------------------------------------------------------------


def _copied(call: Call) -> Reach:
    """The same elements: whether a view is copied may depend on its size."""
    return call.reach("self")


def _axes(dims: Any, rank: int) -> list[int]:
    if dims is None or dims == []:
        return list(range(rank))
    return [axis % rank for axis in ([dims] if isinstance(dims, int) else dims)]


def _reduced(call: Call) -> list[Reach | None]:
    shape = tuple(call.given["self"].shape)
    axes = _axes(call.given.get("dim"), len(shape))
    found = call.reach("self").reduced(axes, shape).salted(call.numbers_key())
    if not call.given.get("keepdim", False):
        found = found.each(lambda e: e.each(lambda array: array.squeeze(tuple(axes))))
    return [found] * len(call.shapes)


def _coupled(axes_of: Callable[[Call], Sequence[int]], name: str = "self") -> Computes:
    """Each element from all along some axes, and from itself above all."""

    def rule(call: Call) -> list[Reach | None]:
        own, shape = call.reach(name), tuple(call.given[name].shape)
        tensors = [each for each in tensors_in(call.given) if each is not call.given[name]]
        if any(isinstance(call.value_of(each), Reach) for each in tensors):
            raise Untold(f"{call.name} with computed parameters")
        keys = [call.value_of(each).key for each in tensors]  # type: ignore[union-attr]
        others = own.reduced(list(axes_of(call)), shape).salted("others")
        found = Reach(*(added([getattr(own, a), getattr(others, a)]) for a in ("x", "y")))
        scalars = [call.given.get(each) for each in ("eps", "group", "normalized_shape", "dim")]
        return [found.salted(call.name, *keys, *scalars), None, None]

    return rule


def _softmax_axes(call: Call) -> Sequence[int]:
    return _axes(call.given["dim"], len(call.shape))


def _channels_of(call: Call) -> Sequence[int]:
    return range(1, len(call.shape))


def _last_axes(call: Call) -> Sequence[int]:
    return range(len(call.shape) - len(call.given["normalized_shape"]), len(call.shape))


def _batch_norm(call: Call) -> list[Reach | None]:
    key = call.key("weight", "bias", "running_mean", "running_var", "eps")
    if not call.given.get("training", False):
        return [call.reach("input").salted(key), None, None]
    others = [axis for axis in range(len(call.shape)) if axis != 1]
    return _coupled(lambda _: others, "input")(call)  # type: ignore[return-value]


def _product(call: Call) -> Reach:
    """A product of matrices, to which something may be added."""
    one, two = (call.given[a] for a in _FACTORS[call.name])
    parts, key = [], key_of(call.name, call.given.get("beta"), call.given.get("alpha"))
    for tensor, axis in ((one, -1), (two, -2)):
        value = call.value_of(tensor)
        if isinstance(value, Reach):
            parts.append(value.reduced([axis], tuple(tensor.shape)).salted(axis))
        else:
            key = key_of(key, axis, value.key)
    if "addmm" in call.name or "baddbmm" in call.name:
        added_to = call.value_of(call.given["self"])
        if isinstance(added_to, Reach):
            raise Untold(f"{call.name} to what is computed from the image")
        key = key_of(key, added_to.key)
    if not parts:
        raise Untold(f"{call.name} of constants")
    x, y = parts[0].x, parts[0].y
    for other in parts[1:]:
        x, y = added([x, other.x]), added([y, other.y])
    return Reach(x, y).salted(key)


_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
}


# The table ------------------------------------------------------------------------------------


ALIKE = frozenset(
    words(
        "relu leaky_relu elu celu selu gelu silu mish hardswish hardsigmoid hardtanh "
        "hardshrink softshrink threshold _prelu_kernel sigmoid log_sigmoid_forward tanh "
        "softplus logit clamp clamp_min clamp_max abs neg sqrt rsqrt exp exp2 expm1 log log1p "
        "log2 log10 pow reciprocal sin cos tan asin acos atan sinh cosh asinh acosh atanh erf "
        "erfc sinc sign sgn floor ceil round trunc frac nan_to_num maximum minimum fmax fmin "
        "mul div add sub rsub addcmul addcdiv lerp atan2 remainder fmod xlogy logaddexp hypot "
        "copysign square _to_copy where masked_fill gt ge lt le eq ne "
        "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not "
        "isnan isfinite deg2rad rad2deg digamma lgamma"
    )
)
"""Operators that compute each element from those at its place."""

REACHES: dict[str, Computes] = {
    **dict.fromkeys(ALIKE, _pointwise),
    **dict.fromkeys(words("clone detach alias contiguous lift_fresh"), _copied),
    **dict.fromkeys(["convolution", "convolved"], convolved),
    **dict.fromkeys(["max_pool2d_with_indices", "avg_pool2d"], pooled),
    **dict.fromkeys(["_adaptive_avg_pool2d", "adaptive_max_pool2d"], shared_out),
    "im2col": unfolded,
    "upsample_nearest2d": nearest_elements(torch.ops.aten.upsample_nearest1d),
    "_upsample_nearest_exact2d": nearest_elements(torch.ops.aten._upsample_nearest_exact1d),
    "upsample_bilinear2d": resampled(linear_taps),
    "upsample_bicubic2d": resampled(cubic_taps),
    "constant_pad_nd": padded(lambda i, n: np.where((i >= 0) & (i < n), i, -1)),
    "replication_pad2d": padded(lambda i, n: np.clip(i, 0, n - 1)),
    "reflection_pad2d": padded(reflected),
    **dict.fromkeys(
        words("view _unsafe_view reshape _reshape_alias squeeze unsqueeze flatten unflatten"),
        viewed,
    ),
    **dict.fromkeys(["permute", "transpose", "t"], permuted),
    "expand": expanded,
    "slice": sliced,
    "select": selected,
    **dict.fromkeys(
        words("split split_with_sizes unsafe_split unsafe_split_with_sizes unbind"), parted
    ),
    **dict.fromkeys(["cat", "stack"], concatenated),
    "roll": rolled,
    "flip": flipped,
    "repeat": repeated,
    "index_select": picked,
    "index": indexed,
    **dict.fromkeys(["pixel_shuffle", "pixel_unshuffle"], shuffled),
    "channel_shuffle": regrouped,
    **dict.fromkeys(
        words("mean sum amax amin max min std var var_mean linalg_vector_norm logsumexp prod"),
        _reduced,
    ),
    **dict.fromkeys(["_softmax", "_log_softmax", "_safe_softmax"], _coupled(_softmax_axes)),
    **dict.fromkeys(
        words(
            "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
            "cudnn_batch_norm"
        ),
        _batch_norm,
    ),
    "native_group_norm": _coupled(_channels_of, "input"),
    "native_layer_norm": _coupled(_last_axes, "input"),
    **dict.fromkeys(_FACTORS, _product),
}
"""The table of operators, by name: the reach of their results."""

UNIFORM = frozenset(
    words("zeros ones full zeros_like ones_like full_like new_zeros new_ones new_full")
)
"""Operators whose elements are all the same number."""

FREE = frozenset(words("empty empty_like new_empty empty_strided new_empty_strided"))
"""Operators whose elements are no numbers yet."""

SAME = frozenset(
    words("slice select view _unsafe_view expand permute transpose unsqueeze squeeze detach clone")
)
"""Operators that leave a tensor of one number such a tensor."""

SIZED = UNIFORM | frozenset(
    words(
        "view _unsafe_view reshape _reshape_alias expand slice select split split_with_sizes empty "
        "new_empty empty_strided upsample_nearest1d upsample_nearest2d upsample_nearest3d "
        "_upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_bicubic2d "
        "_upsample_bilinear2d_aa _upsample_bicubic2d_aa col2im"
    )
)
"""Operators whose numbers are sizes, which differ between an image and its parts."""
