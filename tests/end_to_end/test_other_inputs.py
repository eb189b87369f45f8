"""`--input NAME=FILE` and `--wrt NAME`: models that take more than the image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gradviz as python
from gradviz.errors import UsageError
from tests.helpers.commands import Gradviz, document, failed, line, lines
from tests.helpers.formats import compiled
from tests.helpers.two_inputs import network, save_network

FORMATS = ("eager", "script", "trace", "exported", "keywords")
WIDTH, HEIGHT = 24, 16


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with pictures and arrays of one size."""
    draws = np.random.default_rng(3)
    for name in ("photo", "photo2", "photo3", "second", "mask"):
        pixels = draws.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    np.save(tmp_path / "depth.npy", draws.random((1, 1, HEIGHT, WIDTH)))  # float64
    torch.save(torch.tensor([0.5, -1, 2, 0.25]), tmp_path / "vector.pt")
    return tmp_path


def tensor(path: Path) -> Tensor:
    """[1, ...] of a file, in float64, without gradviz."""
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path))
    if path.suffix == ".pt":
        values: Tensor = torch.load(path, weights_only=True)
        return values.double()[None]
    pixels = np.asarray(Image.open(path)).transpose(2, 0, 1) / 255
    return torch.from_numpy(pixels)[None]


OTHERS = {
    "depth": ("depth", "depth.npy"),
    "mask": ("mask", "mask.png"),
    "vector": ("vector", "vector.pt"),
    "pair": ("right", "second.png"),
}
"""The argument of the other input of each network, and its file."""


def in_order(kind: str, image: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs in the order in which the network takes them."""
    return (other, image) if kind == "mask" else (image, other)


def expected(kind: str, image: Tensor, other: Tensor, wrt: str = "image") -> np.ndarray:
    """The gradient of the sum of the output's first channel by `torch.autograd.grad`, float64."""
    leaf = (image if wrt == "image" else other).requires_grad_()
    y = network(kind).double()(*in_order(kind, image, other))
    (gradient,) = torch.autograd.grad(y[:, 0].sum(), leaf)
    leaf.requires_grad_(False)
    return gradient[0].numpy()


SEEDS = {"depth": "channel:0", "mask": "class:0", "vector": "class:0", "pair": "ones"}


def load(kind: str, files: Path, format: str = "eager") -> list[str]:
    other = tensor(files / OTHERS[kind][1])
    inputs = in_order(kind, tensor(files / "photo.png"), other)
    return save_network(kind, (inputs[0].float(), inputs[1].float()), format, files)


def gradient(result: dict[str, Any]) -> np.ndarray:
    found: np.ndarray = np.load(Path("gradviz-out", result["files"]["gradient"]))
    return found


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", OTHERS)
def test_gradients_are_those_of_autograd(
    gradviz: Gradviz, files: Path, kind: str, format: str
) -> None:
    name, file = OTHERS[kind]
    model = load(kind, files, format)
    for wrt in ("image", name):
        options = [] if wrt == "image" else ["--wrt", name, "--overwrite"]
        result = gradviz(
            *("saliency", *model, files / "photo.png", "--input", f"{name}={files / file}"),
            *("--seed", SEEDS[kind], *options),
        )
        assert result.exit_code == 0, result.stderr
        truth = expected(kind, tensor(files / "photo.png"), tensor(files / file), wrt)
        got = gradient(line())
        assert got.shape == truth.shape
        np.testing.assert_allclose(got, truth, rtol=1e-4, atol=1e-5 * abs(truth).max())
        drawn = {"gradient", "heatmap"} | (
            {"overlay"} if wrt == "image" or ".png" in file else set()
        )
        assert {*line()["files"]} == drawn


def test_an_input_may_be_named_by_its_position(gradviz: Gradviz, files: Path) -> None:
    model = load("mask", files, "script")
    result = gradviz(
        *("saliency", *model, files / "photo.png", "--input", f"0={files / 'mask.png'}"),
        *("--seed", "class:0"),
    )
    assert result.exit_code == 0, result.stderr
    truth = expected("mask", tensor(files / "photo.png"), tensor(files / "mask.png"))
    np.testing.assert_allclose(gradient(line()), truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("kind", OTHERS)
def test_each_image_of_a_batch_has_the_same_other_input(
    gradviz: Gradviz, files: Path, kind: str, batch_size: int
) -> None:
    name, file = OTHERS[kind]
    photos = [files / f"{photo}.png" for photo in ("photo", "photo2", "photo3")]
    result = gradviz(
        *("saliency", *load(kind, files), *photos, "--input", f"{name}={files / file}"),
        *("--seed", SEEDS[kind], "--batch-size", batch_size),
    )
    assert result.exit_code == 0, result.stderr
    for found, photo in zip(lines(), photos, strict=True):
        assert found["warnings"] == []
        truth = expected(kind, tensor(photo), tensor(files / file))
        np.testing.assert_allclose(gradient(found), truth, rtol=1e-4, atol=1e-5 * abs(truth).max())


@pytest.mark.parametrize("frame", ["image", "input"])
@pytest.mark.parametrize("scale", ["1e9", "shared"])
def test_a_gradient_is_drawn_over_the_picture_that_it_is_of(
    gradviz: Gradviz, files: Path, scale: str, frame: str
) -> None:
    photos = [files / "photo.png", files / "photo2.png"]
    other = files / "second.png"
    result = gradviz(
        *("saliency", *load("pair", files), *photos, "--input", f"right={other}"),
        *("--wrt", "right", "--frame", frame, "--scale", scale, "--view", "overlay"),
    )
    assert result.exit_code == 0, result.stderr
    for found, photo in zip(lines(), photos, strict=True):
        truth = expected("pair", tensor(photo), tensor(other), "right")
        np.testing.assert_allclose(gradient(found), truth, rtol=1e-4, atol=1e-6)
        overlay, under, image = (
            np.asarray(Image.open(path), float).ravel()
            for path in (Path("gradviz-out", found["files"]["overlay"]), other, photo)
        )
        likeness = np.corrcoef([overlay, under, image])[0]
        assert likeness[1] > likeness[2] + (0.3 if scale == "1e9" else 0)


@pytest.mark.parametrize("batch_size", [3, 8])
@pytest.mark.parametrize("kind", ["depth", "vector"])
def test_smoothgrad_moves_the_image_alone(
    gradviz: Gradviz, files: Path, kind: str, batch_size: int
) -> None:
    """The mean of the gradients at the same noisy copies, by torch alone."""
    name, file = OTHERS[kind]
    model = python.load_model(
        *load(kind, files)[:1], arch="tests.helpers.two_inputs:network", arch_args={"kind": kind}
    )
    seen: list[Tensor] = []
    handle = model.module.register_forward_hook(
        lambda module, inputs, named, output: seen.append(inputs[0].detach().clone()),
        with_kwargs=True,
    )
    (result,) = python.saliency(
        model,
        files / "photo.png",
        SEEDS[kind],
        method="smoothgrad",
        samples=6,
        batch_size=batch_size,
        inputs={name: files / file},
    )
    handle.remove()
    points = torch.cat(seen)[-6:].double()  # the first passes are those at the image itself
    assert points.std(0).mean() > 0.05
    truth = np.mean([expected(kind, x[None], tensor(files / file)) for x in points], axis=0)
    np.testing.assert_allclose(result.array, truth, rtol=1e-3, atol=1e-5 * abs(truth).max())


@pytest.mark.parametrize("wrt", [None, "vector"])
def test_integrated_gradients_are_complete(files: Path, wrt: str | None) -> None:
    """Σ attribution is the change of the output from the baseline, with the other input fixed."""
    net, vector = network("vector").double(), tensor(files / "vector.pt")
    image = tensor(files / "photo.png")
    (result,) = python.saliency(
        python.wrap(network("vector")),
        files / "photo.png",
        "class:2",
        method="integrated-gradients",
        samples=32,
        inputs={"vector": files / "vector.pt"},
        wrt=wrt,
    )
    start = (image, 0 * vector) if wrt else (0 * image, vector)
    with torch.no_grad():
        change = (net(image, vector) - net(*start))[0, 2].item()
    assert result.array.sum() == pytest.approx(change, rel=1e-3)
    assert result.array.shape == ((4,) if wrt else (3, HEIGHT, WIDTH))


def test_python_takes_tensors_arrays_pictures_and_paths(files: Path) -> None:
    image = Image.open(files / "photo.png")
    truth = expected("pair", tensor(files / "photo.png"), tensor(files / "second.png"))
    second = tensor(files / "second.png").float()
    picture = Image.open(files / "second.png")
    for other in (second, second[0], second.numpy(), picture, str(files / "second.png")):
        (result,) = python.saliency(network("pair"), image, inputs={"right": other})
        np.testing.assert_allclose(result.array, truth, rtol=1e-4, atol=1e-6)
    with pytest.raises(UsageError, match=r"--wrt other: name an input .* right"):
        python.saliency(network("pair"), image, inputs={"right": second}, wrt="other")


# The other commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OTHERS)
def test_check_inspect_and_receptive_field_hold_the_other_input(
    gradviz: Gradviz, files: Path, kind: str
) -> None:
    name, file = OTHERS[kind]
    given = [*load(kind, files, "script"), files / "photo.png", "--input", f"{name}={files / file}"]
    checked = gradviz("check", *given, "--seed", SEEDS[kind])
    assert checked.exit_code == 0, checked.stderr
    looked = document(gradviz("inspect", *given, "--json"))
    shape = [*tensor(files / file).shape]
    shapes = [("photo.png", [1, 3, HEIGHT, WIDTH]), (name, shape)]
    assert [(each["from"], each["shape"]) for each in looked["inputs"]] == shapes
    assert {*looked["model"]["inputs"]} == {name}
    if kind in ("depth", "pair"):
        field = document(gradviz("receptive-field", *given, "--json"))
        # One 3x3 convolution, or two.
        assert field["geometry"]["size"] == ([5, 5] if kind == "depth" else [3, 3])
        assert field["fields"][0]["local"]["area"] == field["fields"][0]["area"]


def test_random_input_has_the_size_of_the_other_picture(gradviz: Gradviz, files: Path) -> None:
    given = [*load("pair", files, "script"), "--input", f"right={files / 'second.png'}", "--json"]
    for looked in document(gradviz("inspect", *given))["inputs"]:
        assert looked["shape"] == [1, 3, HEIGHT, WIDTH]
    assert document(gradviz("receptive-field", *given))["geometry"]["size"] == [3, 3]


@pytest.mark.parametrize("form", ["tensor", "file", "noise"])
def test_python_measures_fields_with_the_other_input(files: Path, form: str) -> None:
    """The local field is where `torch.autograd.grad` with both inputs is not zero."""
    photo, second = files / "photo.png", tensor(files / "second.png").float()
    forms = {"tensor": tensor(photo)[0].float(), "file": photo, "noise": None}
    image: Any = forms[form]
    size = (WIDTH, HEIGHT) if image is None else None
    found = python.receptive_field(
        network("pair"), image, [(5, 4)], input_size=size, inputs={"right": second}
    )
    assert found.geometry.x is not None and found.geometry.x.size == 3
    if image is not None:
        x = tensor(photo).requires_grad_()
        y = network("pair").double()(x, second.double())
        (truth,) = torch.autograd.grad(y[0, ..., 4, 5].sum(), x)
        assert np.array_equal(found.fields[0].local, truth[0].abs().sum(0).numpy() > 0)
    with pytest.raises(UsageError, match="the model has no such input"):
        python.receptive_field(network("pair"), image, inputs={"middle": second})


def test_pictures_go_through_the_steps_of_the_image(gradviz: Gradviz, files: Path) -> None:
    """Steps by Pillow and numpy: a stretch to 12x8, mean and std."""
    model = load("pair", files, "script")
    Image.new("RGB", (50, 31), (255, 0, 0)).save(files / "red.png")
    result = gradviz(
        *("saliency", *model, files / "photo.png", "--input", f"right={files / 'red.png'}"),
        *("--resize", "12x8", "--mean", "0.5,0.25,0", "--std", "0.5", "--wrt", "right"),
        *("--std", "0.5,1,2"),
    )
    assert result.exit_code == 0, result.stderr
    planes: list[Any] = [
        Image.fromarray(plane.astype(np.float32)).resize((12, 8), Image.Resampling.BILINEAR)
        for plane in tensor(files / "photo.png")[0].numpy()
    ]
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in STEPS)
    photo, red = (
        ((torch.from_numpy(np.stack(pixels)).double() - mean) / std)[None]
        for pixels in (planes, [np.full((8, 12), level) for level in (1.0, 0.0, 0.0)])
    )
    truth = expected("pair", photo, red, "right")
    np.testing.assert_allclose(gradient(line()), truth, rtol=1e-4, atol=1e-6)


STEPS = ([0.5, 0.25, 0.0], [0.5, 1.0, 2.0])
"""Mean and standard deviation."""


def test_an_exported_batch_is_filled_for_all_inputs(files: Path) -> None:
    """A program for batches of 4 gets fewer images, and the gradient of its vector."""
    given = (torch.rand(4, 3, HEIGHT, WIDTH), torch.rand(4, 4))
    torch.export.save(torch.export.export(network("vector"), given), files / "four.pt2")
    model = python.load_model(files / "four.pt2", trust=True)
    photos = [files / "photo.png", files / "photo2.png"]
    for wrt in (None, "vector"):
        found = python.saliency(
            model, photos, "class:0", inputs={"vector": files / "vector.pt"}, wrt=wrt
        )
        for result, photo in zip(found, photos, strict=True):
            vector = tensor(files / "vector.pt")
            truth = expected("vector", tensor(photo), vector, wrt or "image")
            np.testing.assert_allclose(result.array, truth, rtol=1e-4, atol=1e-5 * abs(truth).max())


def test_what_was_left_out_of_a_picture_is_warned_of(gradviz: Gradviz, files: Path) -> None:
    pages = [Image.new("RGB", (WIDTH, HEIGHT), (shade, 9, 9)) for shade in (1, 2)]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    model = load("pair", files, "script")
    result = gradviz("saliency", *model, "photo.png", "--input", "right=pages.tif")
    assert "warning: --input right: " in result.stderr and "--page" in result.stderr


# Records ------------------------------------------------------------------------------------------


def test_a_changed_file_is_noticed(gradviz: Gradviz, files: Path) -> None:
    vector = files / "vector.pt"
    command = [
        *("saliency", *load("vector", files), files / "photo.png", "--input", f"vector={vector}")
    ]
    assert gradviz(*command, "-o", "before").exit_code == 0
    record = json.loads(Path("before/run.json").read_text())
    entry = record["model"]["inputs"]["vector"]
    assert (entry["path"], entry["bytes"]) == (vector.name, vector.stat().st_size)
    assert gradviz(*command, "-o", "before", "--resume").exit_code == 0
    torch.save(torch.tensor([0.5, -1, 2, 4]), vector)
    failed(gradviz(*command, "-o", "before", "--resume"), 2, "model.inputs.vector.sha256 was")
    assert gradviz(*command, "-o", "after").exit_code == 0
    compared = gradviz("compare", "before", "after")
    assert "model.inputs.vector.sha256 was" in compared.stderr


def test_a_model_without_other_inputs_has_no_entry(gradviz: Gradviz, files: Path) -> None:
    torch.jit.save(compiled("x * x"), "square.ts")
    assert gradviz("saliency", "square.ts", files / "photo.png").exit_code == 0
    assert "inputs" not in json.loads(Path("gradviz-out/run.json").read_text())["model"]


def test_a_report_does_not_draw_over_the_image_what_is_of_another_input(
    gradviz: Gradviz, files: Path
) -> None:
    command = ["saliency", *load("pair", files), files / "photo.png"]
    command += ["--input", f"right={files / 'second.png'}"]
    assert gradviz(*command, "-o", "image").exit_code == 0
    assert gradviz(*command, "-o", "right", "--wrt", "right").exit_code == 0
    for out in ("image", "right"):
        assert gradviz("report", out, "-o", f"{out}.html", "--images").exit_code == 0
    image, right = (Path(f"{out}.html").stat().st_size for out in ("image", "right"))
    assert image - right > WIDTH * HEIGHT


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, options, code, parts",
    [
        ("pair", [], 3, ["forward(left, right)", "--input NAME=FILE"]),
        ("pair", ["middle=second.png"], 2, ["no such input", "forward(left, right)"]),
        ("pair", ["2=second.png"], 2, ["no such input", "forward(left, right)"]),
        ("pair", ["1=second.png", "right=second.png"], 2, ["right is given twice"]),
        ("pair", ["1=second.png", "1=second.png"], 2, ["1: is given twice"]),
        ("pair", ["left=second.png", "right=second.png"], 2, ["is left for the image"]),
        ("pair", ["right"], 2, ["NAME=FILE"]),
        ("pair", ["right=none.png"], 2, ["right", "none.png: no such file"]),
        ("pair", ["right=small.png"], 3, ["expected an image of 9x7", "--resize 9x7"]),
        ("pair", ["right=second.png", "--tile", "8"], 2, ["no tiles", "leave out --tile"]),
        ("pair", ["right=second.png", "--wrt", "left"], 2, ["--wrt left", "gives: right"]),
        ("pair", ["--wrt", "right"], 2, ["--wrt right", "there is none"]),
        ("pair", ["right=second.png", "--wrt", "right", "--tile", "8"], 2, ["without", "--wrt"]),
        ("vector", ["vector=whole.npy", "--wrt", "vector"], 2, ["int64", "no gradient"]),
        ("vector", ["vector=vector.pt", "--wrt", "vector", "--view", "overlay"], 2, ["no picture"]),
        ("vector", ["vector=vector.pt", "--wrt", "vector", "--frame", "image"], 2, ["no picture"]),
        ("vector", ["vector=vector.pt", "--wrt", "vector", "--seed", "at:1,1"], 2, ["no picture"]),
        ("vector", ["vector=vector.pt", "--wrt", "vector", "--inside", "mask.png"], 2, ["no pict"]),
        ("vector", ["vector=pickled.npy"], 2, ["vector", "pickled.npy"]),
        ("vector", ["vector=dict.pt"], 2, ["dict.pt: expected one tensor, got a dict"]),
        ("vector", ["vector=text.npy"], 2, ["text.npy: not an image"]),
        ("vector", ["vector=empty.png"], 2, ["empty.png: not an image"]),
        ("vector", ["vector=."], 2, ["is a folder"]),
        ("vector", ["vector=pipe"], 2, ["pipe", "no regular file"]),
        ("vector", ["vector=huge.npy"], 2, ["huge.npy"]),
        ("depth", ["depth=depth.npy", "--resize", "8"], 3, ["depth [1, 1, 16, 24]"]),
    ],
)
def test_what_cannot_be_fed_is_told_in_one_line(
    gradviz: Gradviz, files: Path, kind: str, options: list[str], code: int, parts: list[str]
) -> None:
    model = load(kind, files, "script")
    Image.new("RGB", (9, 7)).save("small.png")
    np.save("whole.npy", np.arange(4))
    np.save("pickled.npy", np.array([print], dtype=object), allow_pickle=True)
    torch.save({"a": torch.zeros(4)}, "dict.pt")
    Path("text.npy").write_text("0.5 1 2 3")
    Path("empty.png").touch()
    os.mkfifo("pipe")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }\n"
    Path("huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    split = next((n for n, each in enumerate(options) if each.startswith("--")), len(options))
    inputs = [word for each in options[:split] for word in ("--input", each)]
    failed(gradviz("saliency", *model, "photo.png", *inputs, *options[split:]), code, *parts)
    if code == 2 and "no tiles" not in parts:
        assert not Path("gradviz-out").exists()


def test_a_program_with_one_input_takes_no_other(gradviz: Gradviz, files: Path) -> None:
    program = torch.export.export(nn.Conv2d(3, 2, 3), (tensor(files / "photo.png").float(),))
    torch.export.save(program, "one.pt2")
    result = gradviz("saliency", "one.pt2", "--trust", "photo.png", "--input", "depth=depth.npy")
    failed(result, 2, "--input depth", "no such input", "forward(input)")


def test_images_of_other_sizes_fail_alone(gradviz: Gradviz, files: Path) -> None:
    Image.new("RGB", (9, 7)).save("small.png")
    given = [*load("pair", files, "script"), "photo.png", "small.png", "--input", "1=second.png"]
    failed(gradviz("saliency", *given), 4, "small.png", "expected an image of 24x16 pixels")
    assert [each["status"] for each in lines()] == ["ok", "error"]


def test_a_model_cannot_change_its_other_input_for_the_next_image(files: Path) -> None:
    class Writes(nn.Module):
        def forward(self, image: Tensor, gain: Tensor) -> Tensor:
            gain += 1
            return (image * gain[:, :, None, None]).mean((2, 3))

    model, gain = python.wrap(Writes()), np.ones((1, 3), np.float32)
    for _ in range(2):
        (result,) = python.saliency(model, files / "photo.png", "ones", inputs={"gain": gain})
        np.testing.assert_allclose(result.array, 2 / (WIDTH * HEIGHT), rtol=1e-6)


def test_the_gradient_in_tiles_is_that_of_the_whole_with_a_vector(files: Path) -> None:
    """The vector is the same in all tiles; a column of numbers, one for each row, has no tiles."""

    class Film(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 5, padding=2)

        def forward(self, image: Tensor, gain: Tensor) -> Tensor:
            return torch.tanh(self.conv(image) * gain[:, :, None, None]).sum(1, keepdim=True)

    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(1))
    whole, tiles = (
        python.saliency(Film(), image, "ones", tile=tile, inputs={"gain": torch.arange(4.0)})[0]
        for tile in ("off", 32)
    )
    assert tiles.tiles == 12
    np.testing.assert_allclose(tiles.array, whole.array, rtol=1e-4, atol=1e-6)
    rows = torch.linspace(0, 1, 96).reshape(1, 96, 1)
    with pytest.raises(UsageError, match="leave out --tile"):
        python.saliency(Rows(), image, "ones", tile=32, inputs={"rows": rows})


class Rows(nn.Module):
    """A number for each row of the image, by its place."""

    def forward(self, image: Tensor, rows: Tensor) -> Tensor:
        return image.square() * rows[:, None, : image.shape[2]]
