"""What makes a field partial, what makes it random, and what makes it global."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gradviz.backward.graph import nodes_of
from gradviz.field.dependence.propagate import Propagation, propagate
from gradviz.field.dependence.trace import DependenceTrace
from tests.helpers.nets import Net

Call = Callable[[Tensor], Tensor]


def watched(
    call: Call, x: Tensor, place: tuple[int, ...] | None = None
) -> tuple[DependenceTrace, Propagation]:
    """The field of one output, or of all, of a pass that was watched."""
    x = x.clone().requires_grad_()
    with DependenceTrace() as dependence:
        y = call(x)
    asked = torch.full(y.shape, place is None)
    if place is not None:
        asked[place] = True
    return dependence, propagate(y, x, asked)


def image() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(1, 2, 6, 6)


class Twice(torch.autograd.Function):
    """Unknown to the tables, although it would be easy to know."""

    @staticmethod
    def forward(ctx: Any, factor: float, x: Tensor) -> Tensor:
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return None, gradients[0] * ctx.factor


class Relu(Twice):
    """Not torch's, whatever its name says."""


def apply(function: type[Twice], x: Tensor) -> Tensor:
    found: Tensor = function.apply(2.0, x)  # type: ignore[no-untyped-call]
    return found


def merged_without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        gate = F.conv2d(x, torch.ones(2, 2, 3, 3), padding=1).sigmoid()
    return x * gate


def aside(x: Tensor) -> Tensor:
    mask = x.data > 0.5
    return x + mask


def written_where_positive(x: Tensor) -> Tensor:
    y = x * 2
    y[x > 0.5] = 0
    return y


def written_in_a_view(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :1].mul_((x > 0.5)[:, 1:])
    return y


def unpooled(x: Tensor) -> Tensor:
    y, indices = F.max_pool2d(x, 2, return_indices=True)
    return F.max_unpool2d(y, indices, [2, 2])


def branched(x: Tensor) -> Tensor:
    return x * 2 if x.mean() > 0 else x


def looped(x: Tensor) -> Tensor:
    return x / (x > 0.5).nonzero().shape[0]


def group_statistics(x: Tensor) -> Tensor:
    """[N, groups]: the second output of a group norm."""
    n, channels, height, width = x.shape
    mean: Tensor = torch.native_group_norm(x, None, None, n, channels, height * width, 2, 1e-5)[1]
    return mean


@torch.jit.script
def scripted(x: Tensor) -> Tensor:
    """A branch and a mask in TorchScript."""
    y = x * (x > 0)
    if bool(x.sum() > 0):
        y = y + 1
    return y


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: torch.where(x > 0.5, x, 0.0), ["Where"]),
        (lambda x: x * (x > 0.5), ["Mul"]),
        (lambda x: x.masked_fill(x < 0.5, 0.0), ["MaskedFill"]),
        (lambda x: x[x > 0.5], ["index", "Index"]),
        (lambda x: x[:, x.mean((0, 2, 3)).argmax()], ["item", "index", "Index", "IndexSelect"]),
        (lambda x: x.gather(3, x.argsort(3)), ["Gather"]),
        (lambda x: x.gather(1, x.argmax(1, keepdim=True)), ["Gather"]),
        (lambda x: x.topk(2, 1)[0], ["Topk"]),
        (lambda x: x.sort(3)[0], ["Sort"]),
        (lambda x: x.median(3)[0], ["Median"]),
        (lambda x: x.kthvalue(2)[0], ["Kthvalue"]),
        (lambda x: x / x.detach().norm(), ["Div"]),
        (merged_without_gradient, ["Mul"]),
        (aside, ["Add"]),
        (written_where_positive, ["IndexPut", "index_put_"]),
        (written_in_a_view, ["Mul"]),
        (unpooled, ["MaxUnpool2D"]),
        (lambda x: x / x[x > 0.5].numel(), ["index"]),
        (branched, ["item"]),
        (lambda x: x * torch.tensor(x.detach().mean((0, 2, 3)).tolist()).sum(), ["tolist"]),
        (lambda x: x * torch.from_numpy(x.detach().numpy() > 0.5), ["numpy", "Mul"]),
        (looped, ["nonzero"]),
        (lambda x: x / x.relu().nonzero().shape[0], ["nonzero"]),
        (lambda x: F.grid_sample(x, x.movedim(1, -1), align_corners=False), ["GridSampler2D"]),
        (
            lambda x: F.grid_sample(x, x.detach().movedim(1, -1), align_corners=False),
            ["GridSampler2D"],
        ),
        (lambda x: apply(Twice, x), ["TwiceBackward"]),
        (lambda x: apply(Relu, x), ["ReluBackward"]),
        (lambda x: torch.cdist(x, x.flip(2)), ["Cdist", "EuclideanDist"]),
        (lambda x: x + x // 2, ["NotImplemented"]),
        (lambda x: torch.linalg.svdvals(x), ["LinalgSvd"]),
        (lambda x: x * group_statistics(x)[:, :1, None, None], ["NativeGroupNorm"]),
        (lambda x: group_statistics(x)[:, 1:].sin(), ["NativeGroupNorm"]),
        (scripted, ["Mul", "item"]),
        (
            lambda x: checkpoint(torch.sigmoid, x, use_reentrant=True),
            ["CheckpointFunctionBackward"],
        ),
    ],
)
def test_choices_by_value_are_named(call: Call, named: list[str]) -> None:
    dependence, found = watched(call, image())
    names = [*dependence.selections, *found.lost_at]
    assert names and set(names) <= set(named)
    assert not dependence.random


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x + torch.ones_like(x).cumsum(2),
        lambda x: x * x.new_full((6, 6), 2.0).tril(),
        lambda x: x[..., torch.ones(6, 6).bool().tril()],
        lambda x: F.scaled_dot_product_attention(x, x, x),
        lambda x: checkpoint(torch.sigmoid, x, use_reentrant=False),
        lambda x: F.dropout(F.rrelu(x, training=False), training=False),
        lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2), training=True),
        lambda x: x.to(torch.float64).to(torch.bfloat16).float(),
        lambda x: x.contiguous(memory_format=torch.channels_last).clone(),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
        lambda x: x * torch.tensor(x.shape[-1] / 2).item(),
    ],
)
def test_what_does_not_choose_is_exact(call: Call) -> None:
    dependence, found = watched(call, image())
    assert found.lost_at == () and found.tainted.any()
    assert not dependence.selections and not dependence.random


def test_a_second_output_is_not_taken_for_the_first() -> None:
    """The means of a group norm depend on the whole image."""
    _, found = watched(lambda x: x * group_statistics(x)[..., None, None], image(), (0, 0, 2, 3))
    assert found.tainted.all() and found.lost_at == ("NativeGroupNorm",)


def test_an_unknown_function_is_asked_itself() -> None:
    _, found = watched(lambda x: apply(Twice, x), image(), (0, 1, 2, 3))
    assert found.tainted.nonzero().tolist() == [[0, 1, 2, 3]]


def test_choices_off_the_way_do_not_count() -> None:
    def heads(x: Tensor) -> Tensor:
        return torch.cat([x, x * (x > 0.5), x.sort(3)[0]], 1)

    assert watched(heads, image(), (0, 0, 2, 2))[1].lost_at == ()
    assert watched(heads, image(), (0, 2, 2, 2))[1].lost_at == ("Mul",)
    assert watched(heads, image(), (0, 4, 2, 2))[1].lost_at == ("Sort",)


def test_a_write_that_nobody_watched_is_named() -> None:
    x = image().requires_grad_()
    y = x * 2
    y[:, :1].relu_()
    assert propagate(y, x, torch.ones_like(y).bool()).lost_at == ("CopySlices",)


def test_weights_that_learn_do_not_lead_to_the_image() -> None:
    """The graph of a parametrised weight is not on the way."""
    layer = nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 2, 3))
    _, found = watched(layer, image(), (0, 0, 1, 1))
    assert found.lost_at == () and found.tainted.sum() == 18


def test_nothing_is_missed_where_nothing_depends() -> None:
    x = image().requires_grad_()
    other = image().requires_grad_()
    assert not propagate(other * 2, x, torch.ones_like(other).bool()).tainted.any()
    assert propagate(x, x, torch.ones_like(x).bool()).tainted.all()
    with pytest.raises(ValueError, match="without gradients"):
        propagate(x.detach(), x, torch.ones_like(x).bool())


def test_a_pass_may_begin_and_end_in_the_middle() -> None:
    x = image().requires_grad_()
    middle = F.conv2d(x, torch.ones(2, 2, 3, 3))
    y = F.max_pool2d(middle.relu(), 2)
    asked = torch.zeros(y.shape, dtype=torch.bool)
    asked[0, 0, 1, 1] = True
    assert propagate(y, middle, asked).tainted.nonzero().tolist() == [
        [0, 0, i, j] for i in (2, 3) for j in (2, 3)
    ]
    edge = torch.autograd.graph.get_gradient_edge(middle)
    wide = torch.zeros(middle.shape, dtype=torch.bool)
    wide[0, :, 0, 0] = True
    assert propagate(edge, x, wide).tainted[0, 0].nonzero().tolist() == [
        [i, j] for i in range(3) for j in range(3)
    ]


# Randomness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.dropout(x, training=True),
        lambda x: F.dropout2d(x, training=True),
        lambda x: F.alpha_dropout(x, training=True),
        lambda x: F.rrelu(-x, training=True),
        lambda x: x + torch.rand_like(x),
        lambda x: x + torch.randn(6, generator=torch.Generator()),
        lambda x: x[:, torch.randperm(2)],
        lambda x: F.fractional_max_pool2d(x, 2, output_size=3),
        lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    ],
)
def test_random_draws_are_named(call: Call) -> None:
    dependence, _ = watched(call, image())
    assert dependence.random


# Global fields --------------------------------------------------------------------------------


def squeeze_excite() -> nn.Module:
    """Channels scaled by what their means are."""
    layers = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 1))
    return Net(lambda x, scale: x * scale(x).sigmoid(), scale=nn.Sequential(*layers))


def image_level() -> nn.Module:
    """A branch that looks at the image as a whole, beside one that does not."""

    def forward(x: Tensor, near: nn.Module, far: nn.Module) -> Tensor:
        whole = F.interpolate(far(F.adaptive_avg_pool2d(x, 1)), x.shape[2:], mode="bilinear")
        return torch.cat([near(x), whole], 1)

    return Net(forward, near=nn.Conv2d(4, 2, 3, padding=1), far=nn.Conv2d(4, 2, 1))


def tokens(fused: bool) -> nn.Module:
    """Every place looks at every place."""

    def forward(x: Tensor, attention: nn.Module) -> Tensor:
        tokens = x.flatten(2).mT
        y: Tensor = attention(tokens, tokens, tokens, need_weights=not fused)[0]
        return y.mT.reshape(x.shape)

    return Net(forward, attention=nn.MultiheadAttention(4, 2, batch_first=True))


@pytest.mark.parametrize(
    ("middle", "through"),
    [
        (nn.Identity(), None),
        (Net(lambda x, norm: norm(x.movedim(1, -1)).movedim(-1, 1), norm=nn.LayerNorm(4)), None),
        (nn.Upsample(scale_factor=2), None),
        (nn.Sequential(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.MaxPool2d(2)), None),
        (squeeze_excite(), "Mean"),
        (image_level(), "Mean"),
        (tokens(fused=False), "attention"),
        (tokens(fused=True), "attention"),
        (nn.InstanceNorm2d(4), "NativeBatchNorm"),
        (nn.GroupNorm(2, 4), "NativeGroupNorm"),
        (nn.LayerNorm([4, 16, 16]), "NativeLayerNorm"),
        (nn.Softmax(-1), None),
    ],
)
def test_what_makes_a_field_global(middle: nn.Module, through: str | None) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), middle, nn.Conv2d(4, 2, 3, padding=1)
    )
    _, found = watched(network.requires_grad_(False), torch.rand(1, 3, 16, 16), (0, 0, 4, 4))
    assert found.through == through
    assert bool(found.tainted.all()) == (through is not None)


@pytest.mark.parametrize(
    ("head", "through"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)), "Mean"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 3)), "Addmm"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4 * 64, 3, bias=False)), "Mm"),
        (
            nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
            "AdaptiveMaxPool2D",
        ),
        (nn.Sequential(nn.Conv2d(4, 3, 8), nn.Flatten()), "Convolution"),
    ],
)
def test_what_makes_a_classifier_global(head: nn.Module, through: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), head)
    _, found = watched(network.requires_grad_(False), torch.rand(1, 3, 8, 8), (0, 1))
    assert found.through == through


# The graph ------------------------------------------------------------------------------------


def test_operations_come_after_what_they_depend_on() -> None:
    """Also where torch makes the node of a view anew, after a write, and so with a late number."""
    x = image().requires_grad_()
    y = x * 2
    view = y[:, :1]
    y[:, 1:].relu_()
    nodes = nodes_of(view.exp() + view)
    for index, node in enumerate(nodes):
        assert all(before not in nodes[index:] for before, _ in node.next_functions)
    assert len(nodes) == len(set(nodes)) == 5


def test_a_detached_leaf_is_named() -> None:
    def call(x: Tensor) -> Tensor:
        cut = x.detach().requires_grad_()
        return x * cut.mean()

    _, found = watched(call, torch.rand(1, 1, 4, 4), (0, 0, 0, 0))
    assert found.lost_at == ("detach",)
