"""Tiles: boxes of the input that hold the fields of boxes of the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, permutations
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz
from gradviz.arrays import Box
from gradviz.field.axis import Axis
from gradviz.field.locality import Locality
from gradviz.field.probe import random_probes
from gradviz.field.tiles import GridAxis, OutputGrid, Tile, input_pixels
from gradviz.field.trial import NotTileable
from gradviz.image.preprocess import Preprocess
from gradviz.model.model import Model
from gradviz.model.random_input import RandomInput
from tests.helpers.nets import Net

PLAIN = Axis((-1,), (1,), 1)
"""One 3×3 convolution."""
HALVED = Axis((-2,), (3,), 2)
"""4×4 windows with stride 2 and a 3×3 convolution after, or the like."""
DOUBLED = Axis((-1, 0), (0, 1), 1)
"""Twice as many output pixels as input pixels."""


@pytest.mark.parametrize(
    ("side", "outputs", "inputs", "within"),
    [
        (GridAxis(PLAIN, 10, 10), (4, 6), (3, 7), (1, 3)),
        (GridAxis(PLAIN, 10, 10), (0, 1), (0, 3), (0, 1)),
        (GridAxis(PLAIN, 10, 10), (9, 10), (7, 10), (2, 3)),
        (GridAxis(HALVED, 13, 6), (2, 3), (2, 8), (1, 2)),  # 2 to 7
        (GridAxis(HALVED, 13, 6), (5, 6), (6, 13), (2, 3)),  # 8 to 13, ends with the image
        (GridAxis(HALVED, 13, 6), (3, 5), (4, 12), (1, 3)),  # 4 to 9 and 6 to 11
        (GridAxis(DOUBLED, 5, 10), (4, 5), (1, 3), (2, 3)),
        (GridAxis(DOUBLED, 5, 10), (5, 6), (2, 4), (1, 2)),
        (GridAxis(DOUBLED, 5, 10), (4, 6), (1, 4), (2, 4)),
        # Of neighbours, either may reach farther on either side: 5 to 10 and 1 to 10, 0 to 9 and
        # 0 to 3.
        (GridAxis(Axis((0, -4, -4), (5, 5, 9), 5), 50, 30), (3, 5), (0, 15), (3, 5)),
        (GridAxis(Axis((0, 0), (9, 3), 5), 50, 20), (0, 2), (0, 10), (0, 2)),
    ],
)
def test_what_a_range_of_the_output_needs(
    side: GridAxis, outputs: tuple[int, int], inputs: tuple[int, int], within: tuple[int, int]
) -> None:
    assert side.needed(outputs) == inputs
    assert side.within(outputs, inputs) == within


@pytest.mark.parametrize("axis", [PLAIN, HALVED, DOUBLED, Axis((0, -4, -4), (5, 5, 9), 5)])
@pytest.mark.parametrize("length", [1, 3, 7, 100])
@pytest.mark.parametrize("outputs", [(0, 30), (7, 8), (3, 23)])
def test_parts_cover_a_range_once(axis: Axis, length: int, outputs: tuple[int, int]) -> None:
    side = GridAxis(axis, 200, 30)
    parts = side.split(outputs, length)
    assert parts[0][0] == outputs[0]
    assert parts[-1][1] == outputs[1]
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    period = len(axis.first)
    assert all(0 < stop - start <= max(1, length // axis.shift) * period for start, stop in parts)


def test_another_size_differs_by_whole_periods() -> None:
    assert GridAxis(HALVED, 13, 6).at(9).outputs == 4
    assert GridAxis(DOUBLED, 5, 10).at(8).outputs == 16
    with pytest.raises(ValueError, match="13 plus a multiple of 2"):
        GridAxis(HALVED, 13, 6).at(12)


def test_the_area_counts_halos() -> None:
    grid = OutputGrid(GridAxis(PLAIN, 10, 10), GridAxis(PLAIN, 10, 10))
    assert input_pixels([grid.tile((0, 0, 10, 10))]) == 100
    assert input_pixels(grid.tiles((0, 0, 10, 10), 5)) == 4 * 7 * 7


# Networks: the sum over tiles is the gradient of the whole ------------------------------------


def skips(**up: Any) -> nn.Module:
    """Down by two kinds of pooling, up by interpolation, with a skip."""

    def forward(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module) -> Tensor:
        full = torch.relu(a(x))
        low = torch.tanh(b(F.max_pool2d(full, 2)))
        y: Tensor = c(torch.cat([F.interpolate(low, **{"scale_factor": 2.0, **up}), full], 1))
        return y

    layers = {
        name: nn.Conv2d(given, made, 3, padding=1)
        for name, given, made in (("a", 3, 3), ("b", 3, 3), ("c", 6, 2))
    }
    return Net(forward, **layers)


def conv(given: int, made: int, kernel: int, **how: object) -> nn.Sequential:
    layer = nn.Conv2d(given, made, kernel, **how)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.ELU())


NETS: dict[str, Callable[[], nn.Module]] = {
    "padded": lambda: nn.Sequential(conv(3, 3, 3, padding=1), conv(3, 2, 5, padding=2)),
    "valid": lambda: nn.Sequential(conv(3, 3, 3), conv(3, 2, 4)),
    "strides": lambda: nn.Sequential(
        conv(3, 3, 3, stride=2, padding=1), conv(3, 3, 3, stride=3, padding=1), conv(3, 2, 1)
    ),
    "dilated": lambda: nn.Sequential(
        conv(3, 3, 3, padding=2, dilation=2), conv(3, 2, 3, stride=2, padding=3, dilation=3)
    ),
    "groups": lambda: nn.Sequential(conv(3, 6, 3, padding=1, groups=3), nn.PixelUnshuffle(2)),
    "transposed": lambda: nn.Sequential(
        conv(3, 3, 3, stride=2, padding=1),
        nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1),
        nn.ELU(),
        conv(3, 2, 3, padding=1),
    ),
    "shuffled": lambda: nn.Sequential(conv(3, 8, 3, padding=1), nn.PixelShuffle(2)),
    "pooled": lambda: nn.Sequential(
        conv(3, 3, 3, padding=1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), conv(3, 2, 3, padding=1)
    ),
    "ceiling": lambda: nn.Sequential(
        conv(3, 3, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True), conv(3, 2, 3, padding=1)
    ),
    "average over what is there": lambda: nn.Sequential(
        conv(3, 3, 3, padding=1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv(3, 2, 3)
    ),
    "nearest": lambda: nn.Sequential(
        nn.MaxPool2d(2), conv(3, 3, 3, padding=1), nn.Upsample(None, 4)
    ),
    "reflected": lambda: nn.Sequential(
        conv(3, 3, 5, padding=2, padding_mode="reflect"),
        conv(3, 2, 3, stride=2, padding=1, padding_mode="reflect"),
    ),
    "replicated": lambda: conv(3, 2, 5, padding=2, padding_mode="replicate"),
    "skips": skips,
    "skips, bilinear": lambda: skips(mode="bilinear", align_corners=False),
    "skips, bicubic": lambda: skips(mode="bicubic", align_corners=False),
    "norm": lambda: nn.Sequential(conv(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.PReLU(3)),
}
SIZES = {name: [(58, 46)] for name in NETS if name.startswith(("skips", "groups"))}
"""Widths and heights, where halves must be whole."""


def locality_of(net: nn.Module) -> tuple[Model, Locality]:
    model = gradviz.wrap(net, precision="float64")
    probes = random_probes(model, RandomInput.of(model, Preprocess()))
    return model, Locality(model, 3, probes)


def gradient(model: Model, x: Tensor, v: Tensor, box: Box) -> Tensor:
    """Of ⟨v, y⟩ with respect to x, where v is that of a box of the output."""
    x = x.clone().requires_grad_()
    x0, y0, x1, y1 = box
    (found,) = torch.autograd.grad(model(x)[..., y0:y1, x0:x1], x, v)
    return found


def put_together(model: Model, x: Tensor, v: Tensor, box: Box, tiles: list[Tile]) -> Tensor:
    found = torch.zeros_like(x)
    left, top, _, _ = box
    for tile in tiles:
        x0, y0, x1, y1 = tile.outputs
        part = v[..., y0 - top : y1 - top, x0 - left : x1 - left]
        x0, y0, x1, y1 = tile.inputs
        found[..., y0:y1, x0:x1] += gradient(model, x[..., y0:y1, x0:x1], part, tile.inner)
    return found


def boxes(width: int, height: int) -> list[Box]:
    """Everything, the corners, pixels at the edges and inside, and a region."""
    x, y = width // 2, height // 3
    pixels = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    pixels += [(x, 0), (x, height - 1), (0, y), (width - 1, y), (x, y), (x + 1, y + 1)]
    region = (width // 4, height // 4, width // 4 + 5, height // 4 + 3)
    return [(0, 0, width, height), region, *((x, y, x + 1, y + 1) for x, y in pixels)]


@pytest.mark.parametrize("name", NETS)
def test_the_sum_over_tiles_is_the_gradient_of_the_whole(name: str) -> None:
    torch.manual_seed(0)
    model, locality = locality_of(NETS[name]())
    for size in SIZES.get(name, [(59, 47), (60, 46)]):
        width, height = size
        x = torch.rand(1, 3, height, width, dtype=torch.float64)
        grid = locality.of(size).grid
        y = model(x)
        assert grid.size == (y.shape[-1], y.shape[-2])
        for box in boxes(*grid.size):
            x0, y0, x1, y1 = box
            v = torch.randn_like(y[..., y0:y1, x0:x1])
            expected = gradient(model, x, v, box)
            tiles = grid.tiles(box, 13)
            assert locality.check(size, tiles) == "proved"
            assert len(tiles) == 1 or input_pixels(tiles) < len(tiles) * width * height
            got = put_together(model, x, v, box, tiles)
            assert (got - expected).norm() <= 1e-12 * expected.norm(), (size, box)


@pytest.mark.parametrize("name", ["padded", "dilated", "transposed", "reflected"])
def test_a_smaller_part_would_be_wrong(name: str) -> None:
    torch.manual_seed(0)
    model, locality = locality_of(NETS[name]())
    grid = locality.of((96, 96)).grid
    x = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    place = grid.size[0] // 2
    box = (place, place, place + 1, place + 1)
    tile = grid.tile(box)
    v = torch.ones_like(model(x)[..., :1, :1])
    expected = gradient(model, x, v, box)
    step = grid.x.field.shift
    x0, y0, x1, y1 = tile.inputs
    shift = len(grid.x.field.first)
    a, b, c, d = tile.inner
    smaller = [
        ((x0 + step, y0, x1, y1), (a - shift, b, c - shift, d)),
        ((x0, y0 + step, x1, y1), (a, b - shift, c, d - shift)),
        ((x0, y0, x1 - step, y1), tile.inner),
        ((x0, y0, x1, y1 - step), tile.inner),
    ]
    for inputs, inner in smaller:
        got = put_together(model, x, v, box, [Tile(box, inputs, inner)])
        assert (got - expected).norm() > 1e-4 * expected.norm(), inputs


# Models whose answer to a part is another -----------------------------------------------------


def coordinates() -> nn.Module:
    """CoordConv: where a pixel is, from 0 to 1, as a channel; weakly."""

    def forward(x: Tensor, conv: nn.Module) -> Tensor:
        across = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype).expand_as(x[:, :1])
        return torch.tanh(conv(torch.cat([x, 1e-3 * across], 1)))

    return Net(forward, conv=nn.Conv2d(4, 2, 3, padding=1))


def embedded() -> nn.Module:
    """A map of positions, stretched over the image."""
    layer, position = conv(3, 2, 3, padding=1), torch.randn(1, 3, 8, 8)
    return Net(lambda x, conv: conv(x + F.interpolate(position.to(x), x.shape[-2:])), conv=layer)


def excited() -> nn.Module:
    """Squeeze and excitation."""

    def forward(x: Tensor, conv: nn.Module, gate: nn.Module) -> Tensor:
        y: Tensor = conv(x)
        return y * torch.sigmoid(gate(y.mean((2, 3))))[..., None, None]

    return Net(forward, conv=conv(3, 4, 3, padding=1), gate=nn.Linear(4, 4))


def fitted() -> nn.Module:
    """Back to the size of the image, whatever it is: at odd sizes not by two."""
    return Net(
        lambda x, conv: F.interpolate(conv(x), x.shape[-2:], mode="bilinear"),
        conv=conv(3, 2, 3, stride=2, padding=1),
    )


def silent() -> nn.Module:
    """A dead unit behind a convolution."""
    layer = nn.Conv2d(3, 2, 3, padding=1)
    return Net(lambda x, conv: torch.relu(conv(x) - 100), conv=layer)


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "align_corners": (lambda: skips(mode="bilinear", align_corners=True), "where in the image"),
    "coordinates": (coordinates, "where in the image"),
    "embedding": (embedded, "where in the image"),
    "odd sizes": (fitted, "where in the image"),
    "circular": (lambda: conv(3, 2, 3, padding=1, padding_mode="circular"), "where in the image"),
    "squeeze and excitation": (excited, "the whole image"),
    "instance norm": (lambda: nn.Sequential(conv(3, 2, 3), nn.InstanceNorm2d(2)), "whole image"),
    "data": (lambda: Net(lambda x: torch.where(x > x.mean(), x * x, x)), "uncertain|whole image"),
    "scores": (
        lambda: nn.Sequential(conv(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "no map",
    ),
    "random": (
        lambda: nn.Sequential(conv(3, 2, 3), Net(lambda x: x + torch.rand_like(x))),
        "random",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_parts_where_the_place_or_the_whole_counts(name: str) -> None:
    torch.manual_seed(0)
    make, reason = REFUSED[name]
    _, locality = locality_of(make())
    for _ in range(2):  # the reason is kept
        with pytest.raises(NotTileable, match=reason):
            size = (81, 81) if name == "odd sizes" else (80, 80)
            grid = locality.of(size).grid
            locality.check(size, grid.tiles(everything(grid), 20))


def test_a_part_that_was_proved_elsewhere_is_proved_where_the_whole_does_the_same() -> None:
    _, locality = locality_of(skips())
    size = (160, 176)
    grid = locality.of(size).grid
    pixel = [grid.tile((x, x, x + 1, x + 1)) for x in (80, 96, 64)]
    assert len({(t.inputs[2] - t.inputs[0], t.inputs[3] - t.inputs[1]) for t in pixel}) == 1
    assert [locality.check(size, [tile]) for tile in pixel] == ["proved"] * 3


def test_a_part_that_was_proved_elsewhere_is_refused_where_the_whole_does_something_else() -> None:
    """At the border, the part is padded as the image is; inside, the image goes on."""
    _, locality = locality_of(conv(3, 2, 3, padding=1))
    size = (160, 90)
    border = Tile((159, 40, 160, 41), (150, 36, 160, 46), (9, 4, 10, 5))
    inside = Tile((59, 40, 60, 41), (50, 36, 60, 46), (9, 4, 10, 5))
    assert locality.check(size, [border]) == "proved"
    with pytest.raises(NotTileable, match="where in the image"):
        locality.check(size, [inside])


def test_a_silent_model_is_proved_by_its_operations() -> None:
    """A trial would say nothing: the gradient is zero."""
    _, locality = locality_of(silent())
    grid = locality.of((80, 80)).grid
    assert locality.check((80, 80), grid.tiles(everything(grid), 20)) == "proved"


def test_a_field_larger_than_a_third_of_the_image_is_known_from_longer_inputs() -> None:
    halves = (conv(3, 3, 3, stride=2, padding=1) for _ in range(8))
    _, locality = locality_of(nn.Sequential(*halves))
    grid = locality.of((1024, 1024)).grid
    assert grid.x.field.size == 511
    assert locality.check((1024, 1024), [grid.tile((0, 0, 1, 1))]) == "proved"


def afar(axis: int) -> nn.Module:
    """Adds to every pixel the one that lies 150 to the right, or below; 0 beyond the border."""
    if axis:
        return Net(lambda x: x + F.pad(x, [0, 0, 0, 150])[..., 150:, :])
    return Net(lambda x: x + F.pad(x, [0, 150, 0, 0])[..., 150:])


@pytest.mark.parametrize("axis", [0, 1])
def test_what_matters_from_afar_is_in_the_halo(axis: int) -> None:
    _, locality = locality_of(afar(axis))
    size = [140, 140]
    size[axis] = 320
    grid = locality.of((size[0], size[1])).grid
    tile = grid.tile((20, 20, 21, 21))
    assert tile.inputs[axis : axis + 3 : 2] == (20, 171)
    assert locality.check((size[0], size[1]), [tile]) == "proved"


def test_each_size_is_proved_by_itself() -> None:
    _, locality = locality_of(fitted())
    for size in ((80, 64), (81, 64)):
        grid = locality.of(size).grid
        assert grid.size == size
        tiles = grid.tiles(everything(grid), 20)
        if size == (80, 64):
            assert locality.check(size, tiles) == "proved"
        else:
            with pytest.raises(NotTileable, match="where in the image"):
                locality.check(size, tiles)


# Models that a small input does not give away -------------------------------------------------


def fills(multiple: int = 32) -> nn.Module:
    """Repeats the last row and column up to a multiple, and cuts its answer back, as RAFT does."""

    def forward(x: Tensor, down: nn.Module, up: nn.Module) -> Tensor:
        height, width = x.shape[-2:]
        right, below = -width % multiple, -height % multiple
        y: Tensor = up(down(F.pad(x, [0, right, 0, below], mode="replicate")))
        return y[..., :height, :width]

    down, up = conv(3, 3, 4, stride=2, padding=1), nn.ConvTranspose2d(3, 2, 4, stride=2, padding=1)
    return Net(forward, down=down, up=up)


def weighed(weigh: Callable[[Tensor], Tensor]) -> nn.Module:
    """Weighs its answer by where it is, or by the size of the image."""
    return Net(
        lambda x, conv: conv(x) * weigh(torch.arange(x.shape[-1]).to(x)),
        conv=conv(3, 2, 3, padding=1),
    )


def turned(net: nn.Module) -> nn.Module:
    """Rows for columns."""
    return Net(lambda x, net: net(x.mT).mT, net=net)


def everything(grid: OutputGrid) -> Box:
    return 0, 0, *grid.size


@pytest.mark.parametrize("size", [(151, 128), (128, 153)])
def test_filling_up_to_a_multiple_shows_at_the_ends_of_tiles(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model, locality = locality_of(fills())
    grid = locality.of(size).grid  # nothing to be seen where everything is filled up
    box = everything(grid)
    tiles = grid.tiles(box, 48)
    x = torch.rand(1, 3, size[1], size[0], dtype=torch.float64)
    v = torch.randn_like(model(x))
    expected = gradient(model, x, v, box)
    assert (put_together(model, x, v, box, tiles) - expected).norm() > 1e-3 * expected.norm()
    with pytest.raises(NotTileable, match="where in the image"):
        locality.check(size, tiles)


POSITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "far to the right": lambda x: 1 + (x - 100).clamp(min=0) / 100,
    "at the left border": lambda x: 1 + (x < 20).to(x),
    "at the right border": lambda x: 1 + (x >= len(x) - 9).to(x),
    "large images": lambda x: torch.ones_like(x) * (1 if len(x) < 120 else 2),
}


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("across", [False, True])
def test_a_place_that_small_inputs_do_not_have(name: str, across: bool) -> None:
    torch.manual_seed(0)
    net: nn.Module = weighed(POSITIONS[name])
    size = (140, 60)
    if across:
        net, size = turned(net), (60, 140)
    _, locality = locality_of(net)
    grid = locality.of(size).grid
    # One pixel is enough to ask for.
    with pytest.raises(NotTileable, match="where in the image"):
        locality.check(size, [grid.tile((30, 30, 31, 31))])


@pytest.mark.parametrize("axis", [0, 1])
def test_tiles_of_another_length_are_tried_when_they_come(axis: int) -> None:
    torch.manual_seed(0)
    net: nn.Module = weighed(lambda x: torch.ones_like(x) * (2 if len(x) == 12 else 1))
    _, locality = locality_of(turned(net) if axis else net)
    grid = locality.of((140, 140)).grid
    locality.check((140, 140), [grid.tile((30, 30, 41, 41)), grid.tile((0, 30, 9, 41))])
    twelve = (30, 30, 41, 40) if axis else (30, 30, 40, 41)
    with pytest.raises(NotTileable, match="where in the image"):
        locality.check((140, 140), [grid.tile(twelve)])


def test_a_map_that_is_larger_on_large_images() -> None:
    """The column more lies behind all others, which stay as they are."""
    _, locality = locality_of(Net(lambda x: F.pad(x * x, [0, int(x.shape[-1] > 120)])))
    grid = locality.of((140, 60)).grid
    assert grid.size == (141, 60)
    assert locality.check((140, 60), [grid.tile((30, 30, 31, 31))]) == "proved"


def fields_of(sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], str]:
    """What is found out about parts of images of these sizes, one after the other."""
    torch.manual_seed(0)
    inner = weighed(POSITIONS["far to the right"])
    # A sum along the channels is not followed, so that parts are tried.
    _, locality = locality_of(Net(lambda x, inner: inner(x).cumsum(1), inner=inner))
    found = {}
    for size in sizes:
        try:
            tile = locality.of(size).grid.tile((30, 30, 31, 31))
            found[size] = str(locality.check(size, [tile]))
        except NotTileable as error:
            found[size] = str(error)
    return found


def test_what_is_found_out_does_not_depend_on_the_order_of_the_images() -> None:
    """Else the shards of a run, and a run that is resumed, would differ from the whole."""
    sizes = [(80, 60), (140, 60), (90, 64)]
    expected = {size: fields_of([size])[size] for size in sizes}
    assert (expected[80, 60], expected[90, 64]) == ("tried", "tried")
    assert "where in the image" in expected[140, 60]
    for order in permutations(sizes):
        assert fields_of(order) == expected
