"""`gradviz receptive-field` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradviz as package
from gradviz.commands.inspect.inspection import inspect_model
from gradviz.errors import UsageError
from gradviz.image.preprocess import Preprocess
from tests.helpers.commands import Gradviz, failed, strict
from tests.helpers.formats import export, save, script
from tests.helpers.nets import Fails


def document(out: str = "gradviz-out") -> dict[str, Any]:
    found: dict[str, Any] = strict(Path(out, "field.json").read_text())
    return found


def array(out: str, name: str) -> Any:
    return np.load(Path(out, name))


def test_the_fields_of_two_pixels(gradviz: Gradviz, models: Path, images: Path) -> None:
    result = gradviz(
        "receptive-field", models / "depth.ts", images / "room_01.png",
        "--pixel", "64,48", "--pixel", "10,10", "-o", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = document("out")
    assert list(found) == ["schema", "kind", "fields", "geometry", "layers"]
    assert found["geometry"]["size"] == [116, 116] and found["geometry"]["stride"] == [1, 1]
    assert [field["pixel"] for field in found["fields"]] == [[64, 48], [10, 10]]
    for field in found["fields"]:
        x, y = field["pixel"]
        folder = f"room_01.png/pixel-{x}-{y}"
        assert set(field["files"].values()) == {
            f"{folder}/{name}"
            for name in (
                "structural.npy",
                "structural.png",
                "local.npy",
                "local.png",
                "effective.npy",
                "effective.png",
                "overlay.png",
            )
        }
        masks = {name: array("out", f"{folder}/{name}.npy") for name in ("structural", "local")}
        for name, mask in masks.items():
            picture = Image.open(f"out/{folder}/{name}.png")
            assert picture.mode == "1" and np.array_equal(np.asarray(picture), mask)
            assert mask.dtype == bool and mask.shape == (128, 128)
        rows, columns = np.nonzero(masks["structural"])
        box = [columns.min(), rows.min(), columns.max(), rows.max()]
        assert field["box"] == box
        assert field["size"] == [box[2] - box[0] + 1, box[3] - box[1] + 1]
        assert field["area"] == masks["structural"].sum()
        assert field["local"]["area"] == masks["local"].sum()
        assert not (masks["local"] & ~masks["structural"]).any()
        energy = array("out", f"{folder}/effective.npy")
        assert np.array_equal(energy > 0, masks["local"])
        assert (field["status"], field["lost_at"]) == ("exact", [])
    inner, corner = found["fields"]
    assert inner["clipped"] == [False, True, False, False]
    assert corner["clipped"] == [True, True, False, False]


def test_the_effective_field_is_the_gradient_of_the_pixel(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    command = [models / "depth.ts", images / "room_01.png"]
    gradviz("receptive-field", *command, "--pixel", "64,48", "-o", "field")
    gradviz("saliency", *command, "--seed", "pixel:64,48", "-o", "gradient")
    gradient = array("gradient", "room_01.png/pixel-64-48/gradient.npy")
    energy = array("field", "room_01.png/pixel-64-48/effective.npy")
    np.testing.assert_allclose(energy, np.abs(gradient).sum(axis=0), rtol=1e-5, atol=1e-9)


def test_without_an_image(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 5, stride=2))
    path = script(net, "net.ts")
    for out in ("a", "b"):
        result = gradviz("receptive-field", path, "--samples", "3", "-o", out, "--json")
        assert result.exit_code == 0, result.stderr
    (field,) = document("a")["fields"]
    assert json.loads(result.stdout, parse_constant=pytest.fail) == document("b")
    assert field["image"] == "noise" and field["size"] == [7, 7]
    assert field["clipped"] == [False] * 4
    x, y = field["pixel"]
    names = [f"noise/pixel-{x}-{y}/{name}.npy" for name in ("structural", "effective")]
    for name in names:
        assert np.array_equal(array("a", name), array("b", name))


def test_expectations_are_all_evaluated(gradviz: Gradviz, tmp_path: Path) -> None:
    path = script(nn.Conv2d(3, 1, (3, 5), stride=2, dilation=(1, 2)), "net.ts")
    held = ["size>=3", "size<=9", "stride==2", "fill<1", "area==15", "halo<=7"]
    options = [word for text in held for word in ("--expect", text)]
    result = gradviz("receptive-field", path, *options, "-o", "a")
    assert result.exit_code == 0, result.stderr
    broken = ["size>=4", "size<=8", "stride>2", "fill==1", "area>15"]
    options = [word for text in (*held, *broken) for word in ("--expect", text)]
    result = gradviz("receptive-field", path, *options, "-o", "b")
    assert result.exit_code == 6
    said = [line for line in result.stderr.splitlines() if line.startswith("error: --expect")]
    assert len(said) == len(broken)
    assert "expected size>=4, measured 3" in said[0] and "expected size<=8, measured 9" in said[1]


def test_a_pixel_to_which_nothing_matters_fills_nothing(gradviz: Gradviz, tmp_path: Path) -> None:
    path = script(nn.Conv2d(3, 1, 3, padding=5), "net.ts")
    command = ["receptive-field", path, "--pixel", "0,0", "--input-size", "32"]
    assert gradviz(*command, "--expect", "fill<=1", "-o", "a").exit_code == 0
    assert gradviz(*command, "--expect", "area>0", "-o", "b").exit_code == 6
    (field,) = document("a")["fields"]
    assert field["box"] is None and field["area"] == 0


def test_a_global_field_is_larger_than_any_number(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.InstanceNorm2d(2))
    path = script(net, "net.ts")
    result = gradviz("receptive-field", path, "--expect", "size>=9999", "-o", "a")
    assert result.exit_code == 0, result.stderr
    (field,) = document("a")["fields"]
    assert field["global"] and document("a")["geometry"]["size"] is None
    assert field["global_through"] == document("a")["geometry"]["global_through"]
    assert gradviz("receptive-field", path, "--expect", "size<=9999", "-o", "b").exit_code == 6


def test_dilation_leaves_holes(gradviz: Gradviz, tmp_path: Path) -> None:
    path = script(nn.Conv2d(3, 1, 3, dilation=4, padding=4), "net.ts")
    gradviz("receptive-field", path, "--pixel", "20,30", "--input-size", "64x48")
    (field,) = document()["fields"]
    mask = array("gradviz-out", "noise/pixel-20-30/structural.npy")
    expected = np.zeros((48, 64), bool)
    expected[26:39:4, 16:29:4] = False
    expected[np.ix_([26, 30, 34], [16, 20, 24])] = True
    assert np.array_equal(mask, expected)
    assert field["area"] == 9 and field["fill"] == 9 / 81


@pytest.mark.parametrize("fault", ["closed", "zero"])
def test_a_dead_network_still_shows_what_can_matter(
    fault: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))
    with torch.no_grad():
        if fault == "closed":
            for value in (net[0].weight, net[0].bias):
                value.copy_(-value.abs() - 1)  # type: ignore[operator]
        else:
            net[2].weight.zero_()  # type: ignore[operator]
    result = gradviz("receptive-field", script(net, "net.ts"))
    assert "warning: the gradient is zero, so that the local field is empty" in result.stderr
    (field,) = document()["fields"]
    assert field["size"] == [5, 5] and field["area"] == 25 and field["status"] == "exact"
    assert field["local"]["area"] == 0
    assert field["effective"]["squares"]["99"] == 0


def test_a_choice_by_value_is_partial_and_named(gradviz: Gradviz, tmp_path: Path) -> None:
    result = gradviz("receptive-field", script("torch.where(x > 0, x, 2 * x)", "net.ts"))
    assert result.exit_code == 0
    (field,) = document()["fields"]
    assert field["status"] == "partial" and field["lost_at"] == ["Where"]
    assert "warning: " in result.stderr and "Where" in result.stderr


def test_layers_and_boxes(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 2, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Upsample(scale_factor=2),
    )
    path = script(net, "net.ts")
    result = gradviz("receptive-field", path, "--layers", "--map", "--input-size", "20x16")
    assert result.exit_code == 0, result.stderr
    table = {layer["name"]: (layer["size"], layer["stride"]) for layer in document()["layers"]}
    assert table == {"0": ([3, 3], [2, 2]), "2": ([7, 7], [2, 2])}
    assert "\n0\tsize 3x3\tstride 2x2" in result.stdout
    boxes = array("gradviz-out", "boxes.npy")
    assert boxes.dtype == np.int32 and boxes.shape == (16, 20, 4)
    x, y = np.meshgrid(np.arange(20) // 2 * 2, np.arange(16) // 2 * 2)
    expected = np.stack(
        [np.maximum(x - 3, 0), np.maximum(y - 3, 0), np.minimum(x + 3, 19), np.minimum(y + 3, 15)],
        axis=-1,
    )
    assert np.array_equal(boxes, expected)


def test_the_box_of_a_pixel_to_which_nothing_matters_is_four_times_minus_one(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    path = script(nn.ConvTranspose2d(3, 1, 1, stride=2), "net.ts")
    options = ["--map", "--input-size", "4x3", "--pixel", "2,0", "--pixel", "1,0"]
    assert gradviz("receptive-field", path, *options).exit_code == 0
    assert [field["box"] for field in document()["fields"]] == [[1, 0, 1, 0], None]
    boxes = array("gradviz-out", "boxes.npy")
    assert boxes[0, 2].tolist() == [1, 0, 1, 0] and boxes[0, 1].tolist() == [-1] * 4


FORMATS = ("checkpoint.pt", "pickled.pt", "scripted.ts", "traced.ts", "frozen.ts", "program.pt2")


class Mixed(nn.Module):
    """Functional and in-place activations, pooling, a skip, upsampling."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.norm(self.first(x)))
        b = torch.clamp(self.second(torch.max_pool2d(a, 2)), 0.0, 6.0)
        y: Tensor = a + nn.functional.interpolate(b, scale_factor=2.0, mode="bilinear")
        return y


def mixed() -> nn.Module:
    torch.manual_seed(0)
    return Mixed().eval()


def test_the_same_mask_from_every_format(gradviz: Gradviz, tmp_path: Path) -> None:
    save(mixed(), torch.rand(1, 3, 32, 40), tmp_path, *FORMATS)
    masks = []
    for name in FORMATS:
        arch = ["--arch", f"{__file__}:mixed"] if name == "checkpoint.pt" else []
        result = gradviz(
            "receptive-field", name, "--pixel", "17,9", "--input-size", "40x32", "--trust",
            "-o", name.replace(".", "-"), *arch,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        found = document(name.replace(".", "-"))
        assert found["fields"][0]["status"] == "exact"
        masks.append(array(name.replace(".", "-"), "noise/pixel-17-9/structural.npy"))
    assert masks[0].any() and not masks[0].all()
    assert all(np.array_equal(mask, masks[0]) for mask in masks)


def test_a_folder_is_averaged(gradviz: Gradviz, models: Path, images: Path) -> None:
    Path("photos").mkdir()
    for name in ("room_01.png", "room_02.png"):
        shutil.copy(images / name, "photos")
    result = gradviz("receptive-field", models / "depth.ts", "photos", "--pixel", "64,64")
    assert result.exit_code == 0, result.stderr
    one, two, mean = (
        array("gradviz-out", f"{name}/pixel-64-64/effective.npy")
        for name in ("room_01.png", "room_02.png", "mean")
    )
    np.testing.assert_allclose(mean, (one + two) / 2, rtol=1e-5)
    assert [field["image"] for field in document()["fields"]] == [
        "room_01.png",
        "room_02.png",
        "mean",
    ]


def test_a_layer_of_a_classifier(gradviz: Gradviz, models: Path, images: Path) -> None:
    command = ["receptive-field", models / "shapes.yaml", images / "shapes_01.png"]
    refused = gradviz(*command)
    assert refused.exit_code == 2
    assert "[1, 4] has no pixels" in refused.stderr and "--layer" in refused.stderr
    layer = refused.stderr.partition("--layer: ")[2].partition(",")[0]
    named = gradviz(*command, "--layer", layer)
    assert named.exit_code == 0, named.stderr
    assert document()["geometry"]["stride"] == [8, 8]


@pytest.mark.parametrize(
    ("module", "options", "code", "parts"),
    [
        (nn.Conv2d(3, 1, 3), ["--pixel", "62,0", "--input-size", "64"], 2, ["x 62", "0 to 61"]),
        (nn.Conv2d(3, 1, 3), ["--pixel", "1"], 2, ["--pixel 1", "X,Y"]),
        (nn.Conv2d(3, 1, 3), ["--input-size", "0x9"], 2, ["--input-size 0x9", "WxH"]),
        (nn.Conv2d(3, 1, 3), ["--input-size", "2x2"], 3, ["[1, 3, 2, 2]"]),
        (nn.Conv2d(3, 1, 3), ["--expect", "colour>1"], 2, ["colour", "size"]),
        (nn.Conv2d(3, 1, 3), ["--expect", "size~1"], 2, ["QUANTITY OP NUMBER"]),
        (nn.Sequential(nn.Conv2d(3, 1, 3)), ["--layer", "1"], 2, ["no such layer", "0"]),
        ("torch.dropout(x, 0.5, True)", [], 3, ["random numbers", "bernoulli"]),
        (Fails(), [], 3, ["nothing pleases me", "--input-size"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    module: nn.Module | str,
    options: list[str],
    code: int,
    parts: list[str],
    gradviz: Gradviz,
    tmp_path: Path,
) -> None:
    result = gradviz("receptive-field", script(module, "net.ts"), *options)
    failed(result, code, *parts)


def test_one_image_of_several_that_fails(gradviz: Gradviz, models: Path, images: Path) -> None:
    Path("photos").mkdir()
    shutil.copy(images / "room_01.png", "photos")
    Path("photos/broken.png").write_bytes(b"broken")
    result = gradviz("receptive-field", models / "depth.ts", "photos", "--pixel", "3,3")
    assert result.exit_code == 4 and "error: broken.png" in result.stderr
    assert [field["image"] for field in document()["fields"]] == ["room_01.png"]


def test_a_run_is_not_overwritten_unasked(gradviz: Gradviz, tmp_path: Path) -> None:
    command = ["receptive-field", script(nn.Conv2d(3, 1, 3), "net.ts"), "--input-size", "16"]
    assert gradviz(*command, "--map").exit_code == 0
    refused = gradviz(*command)
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    assert gradviz(*command, "--pixel", "2,2", "--overwrite").exit_code == 0
    assert not Path("gradviz-out/boxes.npy").exists()
    assert [path.name for path in Path("gradviz-out/noise").iterdir()] == ["pixel-2-2"]


def test_python_returns_what_the_command_writes(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    image = images / "room_01.png"
    gradviz("receptive-field", models / "depth.ts", image, "--pixel", "64,48")
    found = package.receptive_field(package.load_model(models / "depth.ts"), image, [(64, 48)])
    (field,) = found.fields
    for name, values in (
        ("structural", field.structural.mask),
        ("local", field.local),
        ("effective", field.energy.astype(np.float32)),
    ):
        assert np.array_equal(array("gradviz-out", f"room_01.png/pixel-64-48/{name}.npy"), values)
    assert found.geometry.as_dict() == document()["geometry"]


def test_python_takes_a_module_and_no_image() -> None:
    found = package.receptive_field(nn.Conv2d(3, 1, 5, stride=2), samples=2)
    assert found.geometry.x is not None and found.geometry.x.size == 5
    assert found.fields[0].structural.mask.sum() == 25


def test_the_table_of_layers_of_every_format(gradviz: Gradviz, tmp_path: Path) -> None:
    net, x = mixed(), torch.rand(1, 3, 32, 32)
    save(net, x, tmp_path, "pickled.pt", "scripted.ts", "frozen.ts")
    export(net, x, "program.pt2", 2, 3)
    sizes = {}
    for name in ("pickled.pt", "scripted.ts", "frozen.ts", "program.pt2"):
        out = name.replace(".", "-")
        result = gradviz("receptive-field", name, "--layers", "--trust", "-o", out)
        assert result.exit_code == 0, result.stderr
        sizes[name] = {layer["name"]: layer["size"] for layer in document(out)["layers"]}
    by_weight = {"first": [3, 3], "norm": [3, 3], "second": [12, 12]}
    assert sizes["scripted.ts"] == sizes["program.pt2"] == by_weight
    assert sizes["pickled.pt"] == {**by_weight, "relu": [3, 3]}
    # Freezing folds the normalisation into the convolution, whose name is gone.
    assert sizes["frozen.ts"] == {"conv_0": [3, 3], "conv_1": [12, 12]}


class Listed(nn.Module):
    """TorchScript reads a list of values straight from memory."""

    def forward(self, x: Tensor) -> Tensor:
        values: list[float] = x.flatten().tolist()
        return x * values[0]


def test_values_that_torchscript_lists_are_named(gradviz: Gradviz, tmp_path: Path) -> None:
    assert gradviz("receptive-field", script(Listed(), "net.ts")).exit_code == 0
    assert document()["fields"][0]["lost_at"] == ["tolist"]


@pytest.mark.parametrize("name", ["mean", "noise"])
def test_an_image_cannot_take_the_name_of_a_folder(
    name: str, gradviz: Gradviz, models: Path, images: Path
) -> None:
    shutil.copy(images / "room_01.png", name)
    result = gradviz("receptive-field", models / "depth.ts", name)
    assert result.exit_code == 2 and f"cannot be called {name}" in result.stderr


def test_a_typo_does_not_cost_the_results(gradviz: Gradviz, tmp_path: Path) -> None:
    command = ["receptive-field", script(nn.Conv2d(3, 1, 3), "net.ts"), "--input-size", "16"]
    assert gradviz(*command).exit_code == 0
    before = document()
    assert gradviz(*command, "--pixel", "99,0", "--overwrite").exit_code == 2
    assert document() == before


def test_boxes_where_the_first_image_is_broken(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(b"broken")
    picture = Image.open(images / "room_01.png").crop((0, 0, 40, 32))
    picture.save("photos/b.png")
    result = gradviz(
        "receptive-field", models / "depth.ts", "photos", "--preprocess", "none", "--map"
    )
    assert result.exit_code == 4, result.stderr
    assert array("gradviz-out", "boxes.npy").shape == (32, 40, 4)


def test_the_mean_is_of_images_of_one_size(gradviz: Gradviz, models: Path, images: Path) -> None:
    Path("photos").mkdir()
    with Image.open(images / "room_01.png") as picture:
        for n, box in enumerate([(0, 0, 40, 32), (8, 8, 48, 40), (0, 0, 48, 48)]):
            picture.crop(box).save(f"photos/{n}.png")
    command = ["receptive-field", models / "depth.ts", "photos", "--preprocess", "none"]
    result = gradviz(*command, "--pixel", "9,9")
    assert result.exit_code == 0, result.stderr
    first, second, mean = (
        {
            part: array("gradviz-out", f"{name}/pixel-9-9/{part}.npy")
            for part in ("local", "effective")
        }
        for name in ("0.png", "1.png", "mean")
    )
    expected = (first["effective"] + second["effective"]) / 2
    np.testing.assert_allclose(mean["effective"], expected, rtol=1e-5)
    assert np.array_equal(mean["local"], first["local"] | second["local"])


def test_noise_is_averaged_and_seeded(gradviz: Gradviz, tmp_path: Path) -> None:
    torch.manual_seed(0)  # with other weights no ReLU may switch between the samples
    path = script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)), "net.ts")
    command = ["receptive-field", path, "--input-size", "9", "--pixel", "2,2"]
    energies = {}
    for name, options in {
        "one": ["--samples", "1"],
        "two": ["--samples", "2"],
        "other": ["--samples", "1", "--random-seed", "5"],
    }.items():
        assert gradviz(*command, *options, "-o", name).exit_code == 0
        energies[name] = array(name, "noise/pixel-2-2/effective.npy")
    assert not np.array_equal(energies["one"], energies["two"])
    assert not np.array_equal(energies["one"], energies["other"])


def test_a_field_that_ends_on_the_border_is_not_clipped(gradviz: Gradviz, tmp_path: Path) -> None:
    path = script(nn.Conv2d(3, 1, 5), "net.ts")
    gradviz("receptive-field", path, "--input-size", "5x9", "--pixel", "0,0", "--pixel", "0,4")
    # The geometry is that of longer inputs, where it is known: both fields end on the border.
    assert [field["clipped"] for field in document()["fields"]] == [[False] * 4] * 2
    gradviz("receptive-field", path, "--input-size", "40", "--pixel", "0,35", "--overwrite")
    assert document()["fields"][0]["clipped"] == [False] * 4


@pytest.mark.parametrize(
    "expression, told",
    [
        ("x * 0", "the gradient is zero, so that the local field is empty, though pixels can"),
        ("x / (x - x)", "the gradient is NaN or Inf at some pixels, which are left out"),
    ],
)
def test_one_cause_is_one_warning_however_many_images_there_are(
    gradviz: Gradviz, expression: str, told: str
) -> None:
    script(expression, "model.ts")
    for n in range(5):
        np.save(f"{n}.npy", np.random.default_rng(n).random((3, 4, 5), np.float32))
    found = gradviz("receptive-field", "model.ts", "*.npy", "-o", "out")
    assert found.exit_code == 0
    warnings = [line for line in found.stderr.splitlines() if line.startswith("warning: the")]
    assert len(warnings) == 1 and told in warnings[0]
    assert warnings[0].endswith("at 0.npy (pixel 2,2), 1.npy (pixel 2,2), 2.npy (pixel 2,2), "
                                "3.npy (pixel 2,2), 4.npy (pixel 2,2) and 1 more")  # fmt: skip


class Rearranged(nn.Module):
    """A map, as another library or a loss may want it."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv = nn.Conv2d(3, 5, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = torch.tanh(self.conv(x))
        return {
            "map": lambda: y,
            "one channel": lambda: y.sum(1),
            "flipped": lambda: y.flip(3),
            "last": lambda: y.permute(0, 2, 3, 1),
            "tokens": lambda: y.flatten(2).mT,
            "flat": lambda: y.flatten(2),
        }[self.how]()


@pytest.mark.parametrize("how", ["map", "one channel", "flipped", "last", "tokens", "flat"])
def test_an_output_whose_rows_are_elsewhere_is_refused(how: str) -> None:
    """A channel would be taken for x, and the field of the wrong axes be called exact."""
    model = package.wrap(Rearranged(how))
    warned = "does not have its rows and columns last"
    if how in ("map", "one channel", "flipped"):
        found = package.receptive_field(model, input_size=(48, 32))
        assert found.geometry.y is not None and found.geometry.y.size == 3
    else:
        with pytest.raises(UsageError, match=f"{warned}.*--layer: conv"):
            package.receptive_field(model, input_size=(48, 32))
    document = inspect_model(model, Preprocess(), input_size=(48, 32))
    told = [warning for warning in document.warnings if warned in warning]
    assert len(told) == (how in ("last", "tokens", "flat"))
    inner = package.receptive_field(model, layer="conv", input_size=(48, 32))
    assert inner.geometry.y is not None and inner.geometry.y.size == 3
