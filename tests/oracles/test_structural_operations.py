"""The structural rule at every operation, for every output element, against forward probing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradviz.backward.graph import WROTE, kind_of, nodes_of
from gradviz.field.dependence.rules import LINEAR, RULES
from gradviz.field.dependence.trace import DependenceTrace
from tests.helpers.newer_torch import AMINMAX, LANCZOS
from tests.helpers.probing import nan_probed, perturbed, structural

Call = Callable[[Tensor], Tensor]
IMAGE = (1, 2, 6, 5)


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    make: Callable[[], Call]
    """Makes the operation, or the network, so that its weights are drawn in the test."""
    shape: tuple[int, ...] = IMAGE
    """Of the input."""
    nan: bool = True
    """Whether NaN comes out of the operation exactly where it matters."""
    change: bool = True
    """Whether every coefficient is other than zero, so that a change comes out as well."""


def conv(*args: Any, **options: Any) -> nn.Module:
    """A convolution one of whose weights is zero."""
    kind = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[options.pop("rank", 4)]
    return zeroed(kind(*args, **options))


def zeroed(module: nn.Module) -> nn.Module:
    """With a zero in every weight: a coefficient like any other."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.view(-1)[::3] = 0
    return module


def apply(function: Call) -> Callable[[], Call]:
    return lambda: function


MASK = torch.tensor([[True, False, True, True, False]] * 6)
INDEX = torch.tensor([3, 0, 3])
ORDER = torch.tensor([[[[4, 0, 2, 2, 1]] * 6] * 2])
LATTICE = torch.tensor([[[[-0.9, -0.3], [0.13, 0.77]], [[0.5, 0.21], [1.4, -0.6]]]])


def lattice() -> Tensor:
    turned = torch.tensor([[[0.8, 0.3, 0.1], [-0.2, 1.3, 0]]])
    return F.affine_grid(turned, [1, 1, 3, 4], align_corners=False)


TAPPED = ("bilinear", "bicubic")
"""Modes whose neighbours do not count where their coefficient is zero: NaN times zero is NaN."""

ANTIALIASED = (*TAPPED, "lanczos") if LANCZOS else TAPPED

RESIZED: list[dict[str, Any]] = [
    {"scale_factor": 2},
    {"scale_factor": 1.7},
    {"scale_factor": (0.6, 1.3), "recompute_scale_factor": True},
    {"size": (2, 3)},
]


class Times(nn.Module):
    """Scales, so that the input itself is not written to."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


ACTIVATIONS: list[nn.Module] = [
    *(nn.CELU(), nn.ELU(), nn.GELU(), nn.GELU("tanh"), nn.Hardshrink(), nn.Hardsigmoid()),
    *(nn.Hardswish(), nn.Hardtanh(), nn.LeakyReLU(), nn.LogSigmoid(), nn.Mish(), nn.ReLU()),
    *(nn.ReLU6(), nn.RReLU(), nn.SELU(), nn.SiLU(), nn.Sigmoid(), nn.Softplus(), nn.Softshrink()),
    *(nn.Softsign(), nn.Tanh(), nn.Tanhshrink(), nn.Threshold(0.1, 0.2), nn.PReLU()),
    *(nn.GLU(1), nn.Softmax2d(), nn.Softmax(-1), nn.LogSoftmax(2), nn.Softmin(3)),
]


def activations() -> list[Case]:
    cases = []
    for module in ACTIVATIONS:
        # Comparisons drop NaN in these two, on some processors.
        nan = not isinstance(module, nn.Hardshrink | nn.Softshrink)
        cases.append(Case(f"{module}", apply(module.eval()), (1, 2, 3, 2), nan))
        if hasattr(module, "inplace"):
            again = copy.deepcopy(module)
            again.inplace = True  # type: ignore[assignment]
            behind = nn.Sequential(Times(2.0), again.eval())
            cases.append(Case(f"in place {module}", apply(behind), (1, 2, 3, 2)))
    return cases


def write_column(x: Tensor) -> Tensor:
    y = x * 2
    y[..., 1:3] = x[..., :2] * x[:, :1, :, :1]
    return y


def write_relu(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :, 1:3].relu_()
    y[:, :1].sigmoid_()
    y[..., 1:] = x[..., :-1] * 3
    y[..., 2:].tanh_().mul_(2).exp_()
    return y


def write_product(x: Tensor) -> Tensor:
    y = x * 2
    y[..., 0].mul_(x[..., 1])
    y[..., 2] += x[..., 3]
    return y


def write_zeros(x: Tensor) -> Tensor:
    y = (2 * x).flatten(2).relu_()
    y[..., 3:9] = 0
    y[..., 12:15].clamp_(-1, 1)
    return y.view(IMAGE)


def write_masked(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :, 1:][..., MASK[1:]] = 0
    y[:, 0].masked_fill_(MASK, 1.0)
    return y


def on_domain(name: str, x: Tensor) -> Tensor:
    """A function of numbers between 0.1 and 0.9."""
    found: Tensor = getattr(torch, name)(x.sigmoid() * 0.8 + 0.1)
    return found


def on_steps(name: str, x: Tensor) -> Tensor:
    """A function with jumps."""
    found: Tensor = getattr(torch, name)(5 * x)
    return found


def of_two(name: str, x: Tensor) -> Tensor:
    """A function of one channel and, where its domain asks for it, a positive one."""
    other = x[:, 1:] if name == "copysign" else x[:, 1:].exp()
    found: Tensor = getattr(torch, name)(x[:, :1], other)
    return found


def _words(text: str) -> list[str]:
    return text.split()


class Sequence1D(nn.Module):
    """Rows and columns as sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = conv(2, 3, 3, padding=1, rank=3), conv(3, 2, 2, rank=3)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        rows = self.rows(x.permute(0, 2, 1, 3).reshape(n * h, c, w))
        columns: Tensor = rows.view(n, h, 3, w).permute(0, 3, 2, 1).reshape(n * w, 3, h)
        found: Tensor = self.columns(columns)
        return found


class Attention(nn.Module):
    """Over the places of the image, as tokens."""

    def __init__(
        self, fused: bool, mask: Tensor | None = None, causal: bool = False, math: bool = False
    ) -> None:
        super().__init__()
        self.project = nn.Linear(2, 12)
        self.backend = SDPBackend.MATH if math else SDPBackend.FLASH_ATTENTION
        self.fused, self.mask, self.causal = fused, mask, causal

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.project(x.flatten(2).mT)
        q, k, v = tokens.unflatten(-1, (2, 6)).transpose(1, 2).chunk(3, -1)
        if self.fused:
            with sdpa_kernel(self.backend):
                y = F.scaled_dot_product_attention(q, k, v, self.mask, is_causal=self.causal)
        else:
            scores = q @ k.mT / 2
            if self.mask is not None:
                scores = scores.masked_fill(~self.mask, float("-inf"))
            y = scores.softmax(-1) @ v
        return y.transpose(1, 2).flatten(2)


def shared_heads(x: Tensor) -> Tensor:
    """Two heads of queries look at one of keys and values each."""
    return F.scaled_dot_product_attention(x, x[:, :2].exp(), x[:, 2:], enable_gqa=True)


class Multihead(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(2, 2, batch_first=True), weights

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).mT
        found: Tensor = self.attention(tokens, tokens, tokens, need_weights=self.weights)[0]
        return found


BAND = (torch.arange(6)[:, None] - torch.arange(6)).abs() < 2
TOKENS = (1, 2, 3, 2)

CASES = [
    *activations(),
    # Convolutions
    Case("conv", lambda: conv(2, 3, 3)),
    Case("conv grouped", lambda: conv(4, 6, 3, groups=2, padding=1), (1, 4, 4, 4)),
    Case("conv depthwise", lambda: conv(3, 6, 3, groups=3, padding=1), (1, 3, 4, 4)),
    Case("conv dilated strided", lambda: conv(2, 1, 3, dilation=(2, 3), stride=2, padding=3)),
    Case("conv even, rest left over", lambda: conv(1, 1, (2, 4), stride=(3, 2)), (1, 1, 7, 8)),
    Case("conv 1x1 strided", lambda: conv(2, 2, 1, stride=2)),
    Case("conv 1d", Sequence1D),
    Case(
        "conv 3d",
        lambda: nn.Sequential(nn.Unflatten(1, (1, 2)), conv(1, 2, (1, 3, 2), rank=5)),
    ),
    Case(
        "conv 3d of channels", lambda: nn.Sequential(nn.Unflatten(0, (1, 1)), conv(1, 1, 2, rank=5))
    ),
    *(
        Case(f"conv {mode}", partial(conv, 2, 1, 3, padding=2, padding_mode=mode))
        for mode in ("zeros", "reflect", "replicate", "circular")
    ),
    Case("conv same", lambda: conv(2, 1, (3, 5), padding="same", dilation=(2, 1))),
    Case("transposed", lambda: zeroed(nn.ConvTranspose2d(2, 3, 3)), (1, 2, 4, 3)),
    Case(
        "transposed strided",
        lambda: zeroed(nn.ConvTranspose2d(2, 2, 3, 2, 1, output_padding=1, groups=2)),
        (1, 2, 3, 3),
    ),
    Case(
        "transposed dilated",
        lambda: zeroed(nn.ConvTranspose2d(1, 1, (3, 2), (3, 1), (2, 0), dilation=2)),
        (1, 1, 4, 3),
    ),
    Case(
        "transposed 1d",
        lambda: nn.Sequential(nn.Flatten(2), zeroed(nn.ConvTranspose1d(2, 1, 4, 2, 1))),
        (1, 2, 2, 4),
    ),
    Case(
        "weights computed from the image",
        apply(lambda x: F.conv2d(x, x[:, :, :2, :2] * 2, x[0, 0, 0, :1])),
        (1, 1, 4, 4),
    ),
    Case("unbatched conv", lambda: nn.Sequential(nn.Flatten(0, 1), conv(2, 2, 3)), (1, 2, 4, 4)),
    # Pooling
    *(
        Case(f"max pool {options}", apply(partial(F.max_pool2d, **options)), (1, 1, 7, 8))
        for options in (
            {"kernel_size": 2},
            {"kernel_size": 3, "stride": 2, "padding": 1},
            {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
            {"kernel_size": 3, "stride": 1, "dilation": (2, 1), "padding": 1},
            {"kernel_size": 2, "stride": 3},
            {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "dilation": 2},
        )
    ),
    Case("max pool 1d", apply(lambda x: F.max_pool1d(x.flatten(2), 3, 2, 1, 2))),
    Case("max pool 3d", apply(lambda x: F.max_pool3d(x, (2, 3, 2), 1, (0, 1, 0), ceil_mode=True))),
    *(
        Case(f"avg pool {options}", apply(partial(F.avg_pool2d, **options)), (1, 1, 7, 8))
        for options in (
            {"kernel_size": 2},
            {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False},
            {"kernel_size": (3, 2), "stride": (2, 3), "ceil_mode": True},
            {"kernel_size": 3, "stride": 1, "divisor_override": 2},
        )
    ),
    Case("avg pool 1d", apply(lambda x: F.avg_pool1d(x.flatten(2), 3, 2, 1, True))),
    Case("avg pool 3d", apply(lambda x: F.avg_pool3d(x, (2, 3, 2), 1))),
    *(
        Case(
            f"adaptive {kind} {size}",
            apply(partial(function, output_size=size)),
            (1, 1, 7, 5),
        )
        for kind, function in (
            ("avg", F.adaptive_avg_pool2d),
            ("max", F.adaptive_max_pool2d),
        )
        for size in (1, 3, (2, 5), (9, 4))
    ),
    Case("adaptive avg 1d", apply(lambda x: F.adaptive_avg_pool1d(x.flatten(2), 7))),
    Case("adaptive max 1d", apply(lambda x: F.adaptive_max_pool1d(x.flatten(2), 7))),
    Case("adaptive avg 3d", apply(lambda x: F.adaptive_avg_pool3d(x, (1, 4, 2)))),
    Case("adaptive max 3d", apply(lambda x: F.adaptive_max_pool3d(x, (1, 4, 2)))),
    Case("lp pool", apply(lambda x: F.lp_pool2d(x, 2, 3, 2))),
    Case("lp pool 1d", apply(lambda x: F.lp_pool1d(x.flatten(2).exp(), 3, 4, 2, True))),
    Case("lp pool 3d", apply(lambda x: F.lp_pool3d(x, 2, (1, 2, 2)))),
    # Resampling
    *(
        Case(
            f"{mode} {options}",
            apply(partial(F.interpolate, mode=mode, **options)),
            (1, 1, 5, 4),
            nan=mode not in TAPPED,
            change=mode in TAPPED,
        )
        for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic")
        for options in RESIZED
    ),
    *(
        Case(
            f"{mode} {size} aligned",
            apply(partial(F.interpolate, size=size, mode=mode, align_corners=True)),
            (1, 1, 5, 4),
            nan=False,
        )
        for mode, size in product(TAPPED, ((9, 7), (3, 3), (1, 6), (11, 5)))
    ),
    *(
        Case(
            f"{mode} {size} antialiased",
            apply(partial(F.interpolate, size=size, mode=mode, antialias=True)),
            (1, 1, 7, 8),
            change=False,
        )
        for mode, size in product(ANTIALIASED, ((3, 2), (5, 11)))
    ),
    *(
        Case(
            f"{mode} aligned {aligned}",
            apply(partial(F.interpolate, size=size, mode=mode, align_corners=aligned)),
            (1, 1, 2, 3, 4) if len(size) == 3 else (1, 2, 9),
            change=False,
        )
        for mode, aligned, size in (
            ("linear", True, (5,)),
            ("linear", False, (14,)),
            ("nearest", None, (7,)),
            ("nearest-exact", None, (14,)),
            ("area", None, (4,)),
            ("trilinear", True, (3, 4, 2)),
            ("trilinear", False, (3, 2, 7)),
            ("nearest", None, (3, 2, 5)),
            ("nearest-exact", None, (3, 2, 5)),
            ("area", None, (1, 2, 3)),
        )
    ),
    Case(
        "bilinear channels last",
        apply(
            lambda x: F.interpolate(
                x.to(memory_format=torch.channels_last), size=(7, 9), mode="bilinear"
            )
        ),
        (1, 4, 3, 4),
        nan=False,
    ),
    Case("pixel shuffle", apply(lambda x: F.pixel_shuffle(x, 2)), (1, 4, 2, 3)),
    Case("pixel unshuffle", apply(lambda x: F.pixel_unshuffle(x, 2)), (1, 1, 4, 6)),
    Case("channel shuffle", apply(lambda x: F.channel_shuffle(x, 2)), (1, 4, 2, 2)),
    Case(
        "constant grid",
        apply(lambda x: F.grid_sample(x, LATTICE, align_corners=True)),
        change=False,
    ),
    *(
        Case(
            f"affine grid {mode} {padding}",
            apply(
                partial(
                    F.grid_sample,
                    grid=lattice(),
                    mode=mode,
                    padding_mode=padding,
                    align_corners=False,
                )
            ),
            (1, 1, 5, 4),
            change=(mode, padding) != ("bilinear", "border"),
        )
        for mode, padding in product(("bilinear", "nearest", "bicubic"), ("zeros", "border"))
    ),
    Case(
        "constant grid 3d",
        apply(lambda x: F.grid_sample(x, torch.full((1, 1, 2, 1, 3), 0.3), align_corners=False)),
        (1, 1, 2, 3, 3),
    ),
    # Padding
    *(
        Case(f"pad {mode}", apply(partial(F.pad, pad=(2, 1, 0, 3), mode=mode)))
        for mode in ("constant", "reflect", "replicate", "circular")
    ),
    *(
        Case(f"pad 1d {mode}", apply(partial(F.pad, pad=(2, 1), mode=mode)), (1, 2, 7))
        for mode in ("reflect", "replicate", "circular")
    ),
    *(
        Case(
            f"pad 3d {mode}",
            apply(partial(F.pad, pad=(1, 1, 0, 1, 1, 0), mode=mode)),
            (1, 1, 2, 3, 2),
        )
        for mode in ("reflect", "replicate", "circular")
    ),
    Case("crop", apply(lambda x: F.pad(x, (-1, 2, -2, 0)))),
    Case("unfold", apply(lambda x: F.unfold(x, (3, 2), 2, 1, 2))),
    Case("fold", apply(lambda x: F.fold(F.unfold(x, 2), (6, 5), 2)), (1, 1, 6, 5)),
    Case("Tensor.unfold", apply(lambda x: x.unfold(2, 3, 2).unfold(3, 2, 1).sum((-1, -2)))),
    # Normalisation
    Case("batch norm", lambda: nn.BatchNorm2d(2).eval(), (2, 2, 2, 3)),
    Case(
        "batch norm, batch statistics",
        apply(lambda x: F.batch_norm(x, None, None, training=True)),
        (2, 2, 2, 3),
    ),
    Case("instance norm", lambda: nn.InstanceNorm2d(2, affine=True), (1, 2, 3, 3)),
    Case(
        "instance norm, running",
        lambda: nn.InstanceNorm2d(2, track_running_stats=True).eval(),
        (1, 2, 3, 3),
    ),
    Case("layer norm", lambda: nn.LayerNorm([3, 2]), (1, 2, 3, 2)),
    Case("layer norm, one axis", lambda: zeroed(nn.LayerNorm(4)), (1, 2, 3, 4)),
    Case("group norm", lambda: nn.GroupNorm(2, 4), (1, 4, 2, 2)),
    Case("RMS norm", lambda: nn.RMSNorm(4), (1, 2, 3, 4)),
    Case(
        "RMS norm, fused",
        apply(lambda x: torch._fused_rms_norm(x, [4], torch.ones(4), 1e-5)[0]),
        (1, 2, 3, 4),
    ),
    Case("local response norm", lambda: nn.LocalResponseNorm(3), (1, 5, 2, 2)),
    Case("normalize", apply(lambda x: F.normalize(x, dim=1)), (1, 3, 2, 2)),
    Case(
        "cosine similarity",
        apply(lambda x: F.cosine_similarity(x[:, :2], x[:, 2:], 1)),
        (1, 4, 2, 2),
    ),
    # Attention
    Case("attention", lambda: Attention(False), TOKENS),
    # The product with the values counts the zeros that the mask made as coefficients.
    Case("attention, masked", lambda: Attention(False, BAND), TOKENS, change=False),
    # Fused attention takes maxima on its way, in which some processors drop NaN.
    Case("attention, fused", lambda: Attention(True), TOKENS, nan=False),
    Case("attention, fused, masked", lambda: Attention(True, BAND), TOKENS, nan=False),
    Case("attention, fused, causal", lambda: Attention(True, causal=True), TOKENS, nan=False),
    Case(
        "attention, fused, finite mask",
        lambda: Attention(True, torch.where(BAND, 0.0, -1.0)),
        TOKENS,
        nan=False,
    ),
    Case("attention, unfused", lambda: Attention(True, torch.zeros(6, 6), math=True), TOKENS),
    Case("nn.MultiheadAttention", lambda: Multihead(True).eval(), TOKENS),
    Case("nn.MultiheadAttention, fused", lambda: Multihead(False).eval(), TOKENS, nan=False),
    Case("attention, shared heads", apply(shared_heads), (1, 4, 3, 2), nan=False),
    # Constant choices
    Case("where", apply(lambda x: torch.where(MASK, x, 2 * x[:, :, :1])), nan=True),
    Case("masked_fill", apply(lambda x: x.masked_fill(MASK, 0.0))),
    Case("clamp", apply(lambda x: x.clamp(-1, 1))),
    Case("clamp between maps", apply(lambda x: x[:, :1].clamp(x[:, 1:] - 1, x[:, 1:] + 1))),
    Case("maximum", apply(lambda x: torch.maximum(x[:, :1], x[:, 1:].roll(1, -1)))),
    Case("minimum, constant", apply(lambda x: torch.minimum(x, torch.tensor(0.3)))),
    Case("max over channels", apply(lambda x: x.max(1)[0])),
    Case("amax", apply(lambda x: x.amax((1, -1), keepdim=True))),
    *([Case("aminmax", apply(lambda x: torch.cat(torch.aminmax(x, dim=2))))] if AMINMAX else []),
    Case("min of all", apply(lambda x: x[:, :, :2].min()[None])),
    Case("cummax", apply(lambda x: x.cummax(2)[0])),
    Case("cummin", apply(lambda x: x.cummin(-1)[0])),
    Case("cumsum", apply(lambda x: x.cumsum(-1))),
    Case("cumprod", apply(lambda x: x.cumprod(2))),
    Case("logcumsumexp", apply(lambda x: x.logcumsumexp(2)), nan=False),
    Case("slices", apply(lambda x: x[:, 1:, ::2, 1:-1])),
    Case("index", apply(lambda x: x[..., INDEX])),
    Case("index_select", apply(lambda x: x.index_select(2, INDEX))),
    Case("mask index", apply(lambda x: x[..., MASK])),
    Case("masked_select", apply(lambda x: x.masked_select(MASK))),
    Case("gather", apply(lambda x: x.gather(3, ORDER))),
    Case("scatter", apply(lambda x: (2 * x).scatter(3, ORDER[..., 1:3], x[..., 1:3]))),
    Case("scatter_add", apply(lambda x: (2 * x).scatter_add(3, ORDER, x))),
    Case("index_add", apply(lambda x: x.index_add(2, INDEX, x[:, :, :3]))),
    Case("take", apply(lambda x: x.take(INDEX))),
    Case("tril", apply(lambda x: x.tril())),
    Case("diagonal", apply(lambda x: x.diagonal(0, 2, 3))),
    Case("write into slices", apply(write_column)),
    Case("ReLU of a slice", apply(write_relu)),
    Case("product in a slice", apply(write_product)),
    Case("zeros in a slice", apply(write_zeros)),
    Case("masked writes", apply(write_masked)),
    Case("copy", apply(lambda x: torch.empty_like(x).copy_(x[:, :1]))),
    Case("zeroed", apply(lambda x: torch.cat([x * 2, (x * 2).zero_()], 1))),
    # Products
    Case("linear", lambda: zeroed(nn.Linear(5, 3))),
    Case("matmul with zeros", apply(lambda x: x @ torch.tensor([[0.0, 1]] * 5)), change=False),
    Case("matmul of two", apply(lambda x: x[:, :1] @ x[:, 1:].mT)),
    Case("matmul of a vector", apply(lambda x: x @ torch.ones(5))),
    Case("matrix times vector", apply(lambda x: x[0, 0] @ x[0, 1, 0])),
    Case("dot", apply(lambda x: (x[0, 0, 0] @ x[0, 1, 1])[None])),
    Case("addmm", apply(lambda x: torch.addmm(x[0, 0, :2, :2], x[0, 1, :2], x[0, 0, :5, :2]))),
    Case("addbmm", apply(lambda x: torch.addbmm(x[0, 0, :1, :4], x[0], x[0, :, :5, :4]))),
    Case("addmv", apply(lambda x: torch.addmv(x[0, 1, :, 0], x[0, 0], x[0, 1, 2]))),
    Case("baddbmm", apply(lambda x: torch.baddbmm(x[0, :, :1, :4], x[0], x[0, :, :5, :4]))),
    Case("einsum", apply(lambda x: torch.einsum("nchw,ncvw->nhv", x, x.flip(2)))),
    Case("einsum outer", apply(lambda x: torch.einsum("nch,ncw->nchw", x[..., 0], x[:, :, 0]))),
    Case("bilinear attention to itself", apply(lambda x: x * x.mean((2, 3), keepdim=True))),
    # Place by place
    *(
        Case(name, apply(partial(on_domain, name)), (1, 1, 2, 3), nan=False)
        for name in _words(
            "acos asin atan atanh cos sin tan cosh sinh asinh exp2 expm1 erf erfc erfinv log log10 "
            "log1p log2 logit lgamma digamma reciprocal sqrt rsqrt sinc deg2rad rad2deg frac"
        )
    ),
    *(
        Case(name, apply(partial(on_steps, name)), (1, 1, 2, 3), nan=False)
        for name in _words("floor ceil round trunc sign sgn angle nan_to_num")
    ),
    *(
        Case(name, apply(partial(of_two, name)), (1, 2, 2, 3), nan=False)
        for name in _words(
            "atan2 copysign fmax fmin fmod hypot logaddexp logaddexp2 remainder xlogy rsub"
        )
    ),
    Case("acosh", apply(lambda x: (x.exp() + 1).acosh())),
    Case("clamp_max", apply(lambda x: x.clamp_max(1.0))),
    Case("addcmul", apply(lambda x: torch.addcmul(x[..., 0], x[..., 1], x[..., 2], value=2))),
    Case("addcdiv", apply(lambda x: torch.addcdiv(x[..., 0], x[..., 1], x[..., 2].exp()))),
    Case("lerp", apply(lambda x: torch.lerp(x[..., 0], x[..., 1], x[..., 2]))),
    # Rearrangements
    Case("cat", apply(lambda x: torch.cat([x, x[:, :1] * 2], 1))),
    Case("stack", apply(lambda x: torch.stack([x[:, 0], x[:, 1].exp()], -1))),
    Case("split", apply(lambda x: torch.split(x, [1, 4], -1)[1] * torch.split(x, [1, 4], -1)[0])),
    Case("chunk", apply(lambda x: x.chunk(3, 2)[1])),
    Case("unbind", apply(lambda x: x.unbind(1)[0] + x.unbind(1)[1].flip(-1))),
    Case("roll", apply(lambda x: x.roll((1, -2), (2, 3)))),
    Case("flip", apply(lambda x: x.flip(2, 3))),
    Case("rot90", apply(lambda x: x.rot90(1, (2, 3)))),
    Case("repeat", apply(lambda x: x.repeat(1, 1, 2, 1))),
    Case("repeat_interleave", apply(lambda x: x.repeat_interleave(2, -1))),
    Case("expand", apply(lambda x: x[:, :, :1].expand(-1, -1, 3, -1))),
    Case("swapped", apply(lambda x: x.permute(0, 3, 1, 2).contiguous().reshape(1, 2, -1))),
    Case("as_strided", apply(lambda x: (x * 1).as_strided((3, 4), (5, 2), 1))),
    Case("movedim", apply(lambda x: x.movedim(1, -1).squeeze(0).unsqueeze(1))),
    Case("triu", apply(lambda x: x.triu(1))),
    Case("slice_scatter", apply(lambda x: (x * 2).slice_scatter(x[..., :2], 3, 1, 5, 2))),
    Case("select_scatter", apply(lambda x: (x * 2).select_scatter(x[..., 0], 3, 2))),
    Case("diagonal_scatter", apply(lambda x: (x * 2).diagonal_scatter(x[..., :5, 0], 0, 2, 3))),
    Case("index_copy", apply(lambda x: x.index_copy(3, INDEX[:2], x[..., :2] * 2))),
    Case("index_fill", apply(lambda x: x.index_fill(3, INDEX, 0.0))),
    Case("unsafe_split", apply(lambda x: torch.unsafe_split(x, 2, 3)[1])),
    Case(
        "unsafe_split_with_sizes", apply(lambda x: torch.unsafe_split_with_sizes(x, [4, 1], 3)[0])
    ),
    Case("diag_embed", apply(lambda x: torch.diag_embed(x[..., 0]))),
    Case("alias", apply(lambda x: torch.ops.aten.alias(x))),
    Case("reshape_alias", apply(lambda x: torch.ops.aten._reshape_alias(x, [12, 5], [5, 1]))),
    # A complex number is one element, so both its parts are used.
    Case(
        "complex",
        apply(lambda x: (torch.complex(x[:, :1], x[:, 1:]).conj().resolve_conj() * (1 + 2j)).imag),
    ),
    Case(
        "view_as_complex",
        apply(lambda x: (torch.view_as_complex(x[..., :2].contiguous()) * (1 + 2j)).real),
    ),
    # Reductions
    Case("mean", apply(lambda x: x.mean((2, 3)))),
    Case("sum", apply(lambda x: x.sum(-2, keepdim=True))),
    Case("std", apply(lambda x: x.std((1, 2)))),
    Case("var of all", apply(lambda x: x[:, :, :2].var()[None])),
    Case("var_mean", apply(lambda x: torch.cat(torch.var_mean(x, (2,))))),
    Case("norm", apply(lambda x: x.norm(dim=1))),
    Case("nansum", apply(lambda x: x.nansum(2)), nan=False),
    Case("std_mean", apply(lambda x: torch.stack(torch.std_mean(x, 3)))),
    Case("aten::norm", apply(lambda x: torch.ops.aten.norm(x, 2, [1]))),
    Case("norm 1", apply(lambda x: x.norm(1, dim=(2, 3)))),
    Case("prod", apply(lambda x: x.prod(3))),
    Case("logsumexp", apply(lambda x: x.logsumexp((1, 3)))),
    Case("softmax over space", apply(lambda x: x.flatten(2).softmax(-1)), (1, 2, 3, 2)),
    Case(
        "soft argmax",
        apply(lambda x: x.flatten(2).softmax(-1) @ torch.ones(6)),
        (1, 2, 3, 2),
        change=False,
    ),
    Case("range", apply(lambda x: x.amax(3) - x.amin(3))),
    # Fourier
    Case("rfft", apply(lambda x: torch.view_as_real(torch.fft.rfft(x)).norm(dim=-1))),
    Case(
        "fft2 filter",
        apply(
            lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * torch.arange(1.0, 5), s=x.shape[-2:])
        ),
        (1, 1, 4, 6),
    ),
    Case("complex fft", apply(lambda x: torch.fft.fft(torch.complex(x, x * 2)).abs())),
    Case("fft magnitude", apply(lambda x: torch.fft.fft(x.exp()).abs()), (1, 1, 2, 5)),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_every_output_looks_where_it_should(case: Case) -> None:
    torch.manual_seed(0)
    call, x = case.make(), torch.randn(case.shape)
    if isinstance(call, nn.Module):
        call.requires_grad_(False)
    found, lost = structural(call, x)
    assert not lost
    nan, change = nan_probed(call, x), perturbed(call, x)
    assert case.nan or case.change
    assert not (change & ~found).any()
    assert not case.nan or (found == nan).all()
    assert not case.change or (found == change).all()


ELSEWHERE = {
    "CudnnBatchNorm",
    "FusedRmsNorm",
    "ScaledDotProductFlashAttention",
    "ScaledDotProductEfficientAttention",
    "ScaledDotProductCudnnAttention",
}
"""Operations that torch has on other devices only."""

LATER = {"UpsampleLanczos2DAa": LANCZOS, "Aminmax": AMINMAX}
"""Operations that only later versions of torch have; True if this one does."""


def test_every_row_of_the_tables_is_tested() -> None:
    met = set()
    for case in CASES:
        x = torch.randn(case.shape).requires_grad_()
        with DependenceTrace():
            y = case.make()(x)
        for node in nodes_of(y):
            notes: Any = node.metadata
            met |= {kind_of(node), notes.get(WROTE)}
    missing = {name for name, here in LATER.items() if not here}
    assert (LINEAR | set(RULES)) - met == ELSEWHERE | missing
