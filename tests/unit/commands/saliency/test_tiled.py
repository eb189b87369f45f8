"""Images in parts, next to the same images at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gradviz
from gradviz.commands.saliency import tiled as local
from gradviz.commands.saliency.result import Attribution
from gradviz.commands.saliency.settings import TileOption
from gradviz.errors import GradvizError, UsageError
from gradviz.field.locality import Locality
from gradviz.model.model import Model
from gradviz.runs import folder as store
from tests.helpers.commands import Gradviz, lines
from tests.helpers.formats import export, save


class Dense(nn.Module):
    """[N, 3, H, W] -> [N, 3, H, W], with a skip around a pooling; H and W even."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Conv2d(12, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        full = torch.relu(self.norm(self.first(x)))
        half = torch.relu(self.second(F.max_pool2d(full, 2)))
        up = F.interpolate(half, scale_factor=2.0)
        y: Tensor = self.head(torch.cat([full, up], 1))
        return y


class Gated(Dense):
    """The same, weighed by its own mean."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y * y.mean((2, 3), keepdim=True).sigmoid()


class Map(Dense):
    """[N, H, W]: one channel, without an axis of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sum(1)


def made(kind: type[Dense]) -> nn.Module:
    torch.manual_seed(0)
    net = kind()
    net(3 * torch.rand(4, 3, 8, 8))
    return net.eval()


class Filled(Dense):
    """The same, of an image filled up to multiples of 32 by its last row and column."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        filled = F.pad(x, [0, -width % 32, 0, -height % 32], mode="replicate")
        return super().forward(filled)[..., :height, :width]


SIZE = (52, 40)
"""Width and height."""


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).random((3, SIZE[1], SIZE[0]), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One network in every format."""
    folder = tmp_path_factory.mktemp("formats")
    net, x = made(Dense), torch.rand(2, 3, 16, 16)
    save(net, x, folder, "scripted.ts", "traced.ts", "frozen.ts", "pickled.pt")
    half = {axis: 2 * torch.export.Dim(f"half{axis}", min=4, max=4096) for axis in (2, 3)}
    shapes: Any = ({0: torch.export.Dim.AUTO, **half},)
    torch.export.save(torch.export.export(net, (x,), dynamic_shapes=shapes), folder / "free.pt2")
    export(net, x, folder / "fixed.pt2")
    return folder


def one(
    model: Model | nn.Module, image: Any, seed: str, tile: TileOption, method: str = "gradient"
) -> Attribution:
    (found,) = gradviz.saliency(model, image, seed, tile=tile, method=method)
    return found


def check_alike(apart: Attribution, whole: Attribution) -> None:
    assert whole.tiles is None
    assert apart.output_shape == whole.output_shape
    assert apart.score == pytest.approx(whole.score, rel=1e-5)
    assert apart.array.shape == whole.array.shape
    assert whole.array.any()
    assert np.linalg.norm(apart.array - whole.array) <= 1e-5 * np.linalg.norm(whole.array)


SEEDS = {
    "ones": 12,
    "channel:1": 12,
    "top": 12,
    "top:2": 12,
    "predicted:1": 12,
    "pixel:3,4": 1,
    "pixel:51,39,2": 1,
    "region:5,3,40,20": 6,
    "region:12,20,13,40,0": 2,
    "mask:mask.npy": 12,
    "tensor:v.npy": 12,
    "loss:ce=1": 12,
    "loss:mse=target.npy": 12,
    "loss:l1=target.npy": 12,
}
"""Seeds, and the number of tiles of 16 that they touch."""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_in_tiles(
    seed: str, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    np.save("mask.npy", random.random((7, 11)))
    np.save("v.npy", random.standard_normal((3, *reversed(SIZE)), np.float32))
    np.save("target.npy", random.standard_normal((3, *reversed(SIZE)), np.float32))
    model = gradviz.wrap(made(Dense))
    apart = one(model, image, seed, 16)
    assert apart.tiles == SEEDS[seed]
    check_alike(apart, one(model, image, seed, "off"))


@pytest.mark.parametrize("seed", ["ones", "pixel:20,30", "top"])
def test_a_map_without_channels(seed: str, image: np.ndarray) -> None:
    model = gradviz.wrap(made(Map))
    check_alike(one(model, image, seed, 16), one(model, image, seed, "off"))


@pytest.mark.parametrize(
    "name", ["scripted.ts", "traced.ts", "frozen.ts", "pickled.pt", "free.pt2"]
)
def test_every_format_in_tiles(name: str, folder: Path, image: np.ndarray) -> None:
    model = gradviz.load_model(folder / name, trust=not name.endswith(".ts"))
    for seed, tiles in (("ones", 12), ("pixel:20,30", 1)):
        apart = one(model, image, seed, 16)
        assert apart.tiles == tiles
        check_alike(apart, one(model, image, seed, "off"))


def test_a_program_of_one_size_has_no_parts(folder: Path, image: np.ndarray) -> None:
    model = gradviz.load_model(folder / "fixed.pt2", trust=True)
    with pytest.raises(UsageError, match=r"--tile 8: .*those of the export.*; leave out --tile"):
        one(model, image[:, :16, :16], "ones", 8)


def test_input_times_gradient_adds_up(image: np.ndarray) -> None:
    model = gradviz.wrap(made(Dense))
    apart = one(model, image, "ones", 16, "input-x-gradient")
    assert apart.tiles == 12
    check_alike(apart, one(model, image, "ones", "off", "input-x-gradient"))


def test_arrays_of_other_channels_are_cut_as_well() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(5, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1))
    model = gradviz.wrap(net)
    image = np.random.default_rng(0).random((5, 24, 24), np.float32)
    check_alike(one(model, image, "ones", 8), one(model, image, "ones", "off"))


def test_a_seed_that_does_not_fit_says_so_in_parts_too(image: np.ndarray) -> None:
    model = gradviz.wrap(made(Dense))
    for seed in ("pixel:52,0", "channel:3", "class:ball", "region:0,0,9,99"):
        said = []
        for tile in (16, "off"):
            with pytest.raises(GradvizError) as error:
                one(model, image, seed, tile)
            said.append(str(error.value))
        assert said[0] == said[1]


# Where it pays --------------------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images count as large."""
    monkeypatch.setattr(local, "LEAST", 100)
    monkeypatch.setattr(local, "MANY", 1000)
    monkeypatch.setattr(local, "SIDE", 16)


def refuse_to_look(self: object, size: object) -> None:
    raise AssertionError("looked at the model")


def test_small_images_cost_no_look_at_the_model(
    image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Locality, "of", refuse_to_look)
    assert one(made(Dense), image, "pixel:3,4", "auto").tiles is None
    monkeypatch.setattr(local, "LEAST", SIZE[0] * SIZE[1])
    assert one(made(Dense), image, "ones", "auto").tiles is None
    with pytest.raises(AssertionError, match="looked"):
        one(made(Dense), image, "pixel:3,4", "auto")
    assert one(made(Dense), image, "pixel:3,4", "off").tiles is None


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("method", ["guided", "deconvnet", "input-x-gradient"])
def test_a_pixel_costs_its_field_by_every_rule(method: str, image: np.ndarray) -> None:
    model = gradviz.wrap(made(Dense))
    apart, whole = (one(model, image, "pixel:20,30", tile, method) for tile in ("auto", "off"))
    assert apart.tiles == 1
    check_alike(apart, whole)
    assert apart.gated == whole.gated


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seed", ["pixel:20,30", "ones"])
def test_relevance_adds_up_over_tiles(seed: str, image: np.ndarray) -> None:
    model = gradviz.wrap(made(Dense), precision="float64")
    apart, whole = (one(model, image, seed, tile, "lrp") for tile in ("auto", "off"))
    assert (apart.tiles == 1) == (seed != "ones")
    check_alike(apart, whole)
    assert apart.absorbed == pytest.approx(whole.absorbed, rel=1e-6, abs=1e-9)
    assert apart.conservation is not None and abs(apart.conservation) < 1e-9 * abs(whole.score)


@pytest.mark.parametrize("name", ["depth.ts", "depth.yaml"])
@pytest.mark.parametrize("seed", ["pixel:200,300", "pixel:0,511"])
def test_a_pixel_of_a_small_image_costs_its_field(name: str, seed: str, models: Path) -> None:
    model = gradviz.load_model(models / name, precision="float64")
    random = np.random.default_rng(0).random((3, 512, 512), np.float32)
    apart, whole = (one(model, random, seed, tile) for tile in ("auto", "off"))
    assert (apart.tiles, apart.parts) == (1, "proved")
    assert apart.score == pytest.approx(whole.score, rel=1e-12)
    assert whole.array.any()
    assert np.linalg.norm(apart.array - whole.array) <= 1e-7 * np.linalg.norm(whole.array)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("method", "seed"),
    [
        ("guided", "ones"),  # what it finds in tiles does not add up
        ("deconvnet", "region:0,0,52,30"),
        ("smoothgrad", "pixel:3,4"),
        ("gradcam", "pixel:3,4"),
    ],
)
def test_what_is_not_the_sum_of_its_parts_is_computed_at_once(
    method: str, seed: str, image: np.ndarray
) -> None:
    assert one(made(Dense), image, seed, "auto", method).tiles is None


@pytest.mark.usefixtures("eager")
def test_a_large_image_is_cut_into_tiles_by_itself(image: np.ndarray) -> None:
    model = gradviz.wrap(made(Dense))
    (apart,) = gradviz.saliency(model, image)
    assert (apart.seed, apart.tiles) == ("ones", 2)
    check_alike(apart, one(model, image, "ones", "off"))


@pytest.mark.usefixtures("eager")
def test_between_the_two_only_small_seeds_are_cut_out(
    image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MANY", 10_000)
    seeds = ["ones", "pixel:3,4", "region:0,0,50,40", "pixel:5,6", "pixel:7,8"]
    found = gradviz.saliency(made(Dense), image, seeds)
    assert [(each.seed, each.tiles) for each in found] == [
        ("ones", None),
        ("pixel:3,4", 1),
        ("region:0,0,50,40", None),
        ("pixel:5,6", 1),
        ("pixel:7,8", 1),
    ]


class Listed(nn.Module):
    """TorchScript reads the numbers straight from memory, which the meta device has none of."""

    def forward(self, x: Tensor) -> Tensor:
        values: list[float] = x.flatten().tolist()
        return x * values[0]


def test_a_script_that_lists_its_numbers_is_run_at_once(image: np.ndarray) -> None:
    model = gradviz.wrap(torch.jit.script(Listed()))
    large = np.tile(image, (1, 4, 4))
    assert one(model, large, "pixel:3,4", "auto").tiles is None


@pytest.mark.usefixtures("eager")
def test_a_model_that_sees_the_whole_image_is_run_at_once(image: np.ndarray) -> None:
    assert one(made(Gated), image, "ones", "auto").tiles is None
    with pytest.raises(UsageError, match=r"--tile 8: .*whole image.*; leave out --tile"):
        one(made(Gated), image, "ones", 8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("seed", ["ones", "pixel:63,63"])
def test_a_model_that_fills_up_its_input_is_run_at_once(seed: str) -> None:
    model = gradviz.wrap(made(Filled))
    image = np.random.default_rng(0).random((3, 64, 64), np.float32)  # full, but its parts are not
    apart, whole = (one(model, image, seed, tile) for tile in ("auto", "off"))
    assert apart.tiles is None
    assert (apart.array == whole.array).all()
    with pytest.raises(UsageError, match=r"--tile 16: .*where in the image.*; leave out --tile"):
        one(model, image, seed, 16)


@pytest.mark.usefixtures("eager")
def test_class_scores_are_computed_at_once(models: Path, image: np.ndarray) -> None:
    model = gradviz.load_model(models / "shapes.yaml")
    (found,) = gradviz.saliency(model, image)
    assert (found.seed, found.tiles) == ("top", None)


# The command line -----------------------------------------------------------------------------


def test_the_files_of_tiles_are_those_of_the_whole(
    gradviz: Gradviz, folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["saliency", folder / "scripted.ts", images / "room_wide.png", "--resize", "52x40"]
    command += ["--seed", "ones", "--seed", "at:9,9"]
    assert gradviz(*command, "--tile", "16", "-o", "tiles").exit_code == 0
    monkeypatch.setattr(store, "IN_MEMORY", 0)
    assert gradviz(*command, "--tile", "16", "-o", "file").exit_code == 0
    assert gradviz(*command, "--tile", "off", "-o", "whole").exit_code == 0
    assert [line["tiles"] for line in lines("tiles")] == [12, 1]
    assert not any("tiles" in line for line in lines("whole"))
    tiles, file, names = (
        {path.relative_to(out) for path in Path(out).rglob("*") if path.is_file()}
        for out in ("tiles", "file", "whole")
    )
    assert tiles == file == names
    for name in names:
        if name.suffix == ".npy":
            apart, whole = np.load("tiles" / name), np.load("whole" / name)
            assert np.linalg.norm(apart - whole) <= 1e-5 * np.linalg.norm(whole)
        if name.suffix in (".npy", ".png"):
            assert ("tiles" / name).read_bytes() == ("file" / name).read_bytes()
    assert json.loads(Path("tiles/run.json").read_text())["settings"]["tile"] == 16
    assert gradviz(*command, "--tile", "32", "-o", "tiles", "--resume").exit_code == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tile", "many"], "--tile many: give auto, off or a number of pixels"),
        (["--tile", "0"], "--tile 0: give auto, off or a number of pixels above 0"),
        (["--tile", "64", "--method", "smoothgrad"], "only what is read at the image itself"),
        (["--tile", "64", "--method", "gradcam"], "only what is read at the image itself"),
        (["--tile", "64", "--layer", "down1"], "only what is read at the image itself"),
        (["--tile", "64", "--method", "guided"], "what guided finds in tiles does not add up"),
    ],
)
def test_tiles_that_cannot_be_had_are_refused_at_once(
    options: list[str], says: str, gradviz: Gradviz, images: Path
) -> None:
    result = gradviz("saliency", "nowhere.ts", images / "room_01.png", *options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not Path("gradviz-out").exists()


def test_a_model_without_parts_says_why(gradviz: Gradviz, models: Path, images: Path) -> None:
    result = gradviz("saliency", models / "shapes.yaml", images / "shapes_01.png", "--tile", "32")
    assert result.exit_code == 2
    assert "--tile 32: its output [1, 4] is no map; leave out --tile" in result.stderr


def test_verbose_says_why_parts_are_not_proved(
    gradviz: Gradviz, folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LEAST", 100)
    traced: Any = torch.jit.trace(made(Gated), torch.rand(1, 3, 40, 52))  # type: ignore[no-untyped-call]
    traced.save(folder / "gated.ts")
    command = ["saliency", folder / "gated.ts", images / "room_01.png", "--seed", "pixel:3,4"]
    assert "not proved" not in gradviz(*command, "-o", "quiet").stderr
    result = gradviz(*command, "-v", "-o", "verbose")
    assert "parts are not proved: an output pixel depends on the whole image" in result.stderr
