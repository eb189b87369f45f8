"""Everything that can be wrong: one line on stderr, the exit code of the contract, no traceback."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gradviz.heatmap.colours import NONFINITE
from tests.helpers.commands import Gradviz, failed, line
from tests.helpers.formats import script


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    return path


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda whole: whole[: len(whole) // 2], "cut short"),
    "empty": (lambda whole: b"", "empty"),
    "HTML": (lambda whole: b"<!DOCTYPE html><html><body>Sign in</body></html>", "HTML"),
    "LFS pointer": (
        lambda whole: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "git lfs pull",
    ),
    "picture": (lambda whole: b"\x89PNG\r\n\x1a\n" + bytes(64), "an image"),
    "noise": (
        lambda whole: np.random.default_rng(0).bytes(512),
        "not a model file that gradviz can read",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_files_that_are_no_models(
    fault: str, gradviz: Gradviz, models: Path, image: Path, tmp_path: Path
) -> None:
    spoil, says = BROKEN[fault]
    path = tmp_path / "model.pt"
    path.write_bytes(spoil((models / "depth.ts").read_bytes()))
    failed(gradviz("saliency", path, image), 3, "model.pt", says)
    assert not Path("gradviz-out").exists()


def test_no_such_model(gradviz: Gradviz, image: Path) -> None:
    failed(gradviz("saliency", "absent.ts", image), 2, "absent.ts", "no such model file")


def test_no_such_image(gradviz: Gradviz, models: Path) -> None:
    failed(gradviz("saliency", models / "depth.ts", "absent.png"), 2, "absent.png")


def test_weights_without_an_architecture(gradviz: Gradviz, models: Path, image: Path) -> None:
    shutil.copy(models / "shapes.pt", "weights.pt")
    failed(gradviz("saliency", "weights.pt", image), 2, "weights.pt", "weights only", "--arch")


def test_weights_of_another_architecture(gradviz: Gradviz, models: Path, image: Path) -> None:
    arch = f"{models}/architectures.py:depth_net"
    result = gradviz("saliency", models / "shapes.pt", image, "--arch", arch)
    failed(result, 3, "do not fit", "missing", "unexpected", "--arch")


def test_weights_of_another_size(gradviz: Gradviz, models: Path, image: Path) -> None:
    arch = f"{models}/architectures.py:shapes_net"
    result = gradviz(
        "saliency", models / "shapes.pt", image, "--arch", arch, "--arch-arg", "classes=7"
    )
    failed(result, 3, "file [4", "model [7")


class Canary:
    """Unpickling it writes a file."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (Path("sung"),)  # type: ignore[return-value]


def test_a_pickle_that_runs_code_is_refused(gradviz: Gradviz, image: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "hyper": Canary()}, "canary.pt")
    failed(gradviz("saliency", "canary.pt", image), 5, "canary.pt", "pathlib.Path", "--trust")
    Path("canary.pkl").write_bytes(pickle.dumps(Canary()))
    assert gradviz("saliency", "canary.pkl", image).exit_code in (3, 5)
    assert not Path("sung").exists()


def test_a_wrong_number_of_channels(gradviz: Gradviz, image: Path, tmp_path: Path) -> None:
    path = script(nn.Conv2d(1, 2, 3), tmp_path / "gray.ts")
    failed(gradviz("saliency", path, image), 3, "1 channel", "got 3", "--channels gray")
    assert gradviz("saliency", path, image, "--channels", "gray", "-o", "b").exit_code == 0


def test_a_wrong_size(gradviz: Gradviz, image: Path, tmp_path: Path) -> None:
    path = script(nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 4)), tmp_path / "flat.ts")
    failed(gradviz("saliency", path, image), 3, "[1, 3, 8, 8]", "1x192 and 108x4", "--resize")
    assert gradviz("saliency", path, image, "--resize", "6", "-o", "b").exit_code == 0


class WithoutGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return 2 * x


@pytest.mark.parametrize(
    "module", ["x.argmax(1)", "(255 * x).long()", "2 * x.detach()", WithoutGradient()]
)
def test_an_output_that_cannot_be_differentiated(
    module: nn.Module | str, gradviz: Gradviz, image: Path, tmp_path: Path
) -> None:
    path = script(module, tmp_path / "flat.ts")
    failed(gradviz("saliency", path, image), 3, "photo.png", "cannot be differentiated")


def test_several_outputs(gradviz: Gradviz, image: Path, tmp_path: Path) -> None:
    path = script("{'map': 2 * x, 'aux': x[:, :1]}", tmp_path / "several.ts")
    shapes = ["map [1, 3, 8, 8]", "aux [1, 1, 8, 8]", "--output"]
    failed(gradviz("saliency", path, image), 2, *shapes)
    assert gradviz("saliency", path, image, "--output", "aux", "-o", "b").exit_code == 0
    gradient = np.load("b/photo.png/ones/gradient.npy")
    assert gradient[0].min() == 1 and not gradient[1:].any()
    wrong = gradviz("saliency", path, image, "--output", "main", "-o", "c")
    failed(wrong, 2, "main", "aux", "map")


@pytest.mark.parametrize(
    ("model", "seed", "parts"),
    [
        ("depth.ts", "pixel:128,0", ["x 128", "0 to 127"]),
        ("depth.ts", "pixel:0,0,1", ["channel 1", "0 to 0"]),
        ("depth.ts", "region:0,0,129,5", ["0 to 128", "128x128"]),
        ("depth.ts", "at:8,0", ["x = 8", "0 to 7"]),
        ("depth.ts", "class:wall", ["no class names", "labels"]),
        ("depth.ts", "tensor:v.npy", ["[2, 2]", "[1, 128, 128]"]),
        ("shapes.yaml", "class:4", ["channel 4", "0 to 3"]),
        ("shapes.yaml", "class:cirlce", ["did you mean circle?"]),
        ("shapes.yaml", "pixel:0,0", ["dense", "[4]"]),
        ("shapes.yaml", "tpo", ["did you mean top?"]),
    ],
)
def test_seeds_that_do_not_fit(
    model: str, seed: str, parts: list[str], gradviz: Gradviz, models: Path, image: Path
) -> None:
    np.save("v.npy", np.ones((2, 2)))
    failed(gradviz("saliency", models / model, image, "--seed", seed), 2, seed, *parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--resize", "12x"], ["resize", "12x"]),
        (["--range", "1,0"], ["range", "1,0"]),
        (["--mean", "0.5,0.5"], ["mean", "3"]),
        (["--channels", "cmyk"], ["channels", "cmyk"]),
        (["--crop", "9"], ["crop 9x9", "8x8"]),
        (["--max-pixels", "63"], ["8x8", "63"]),
        (["--preprocess", "absent.yaml"], ["absent.yaml"]),
        (["--arch-arg", "width"], ["--arch-arg width", "KEY=VALUE"]),
        (["--scale", "loud"], ["--scale loud"]),
        (["--scale", "-1"], ["--scale -1"]),
        (["--scale", "shared", "--array", "none"], ["--scale shared", "--array none"]),
        (["--overwrite", "--resume"], ["--overwrite", "--resume"]),
        (["--clip", "0"], ["--clip 0"]),
        (["--colormap", "virids"], ["virids", "viridis"]),
        (["--device", "cuda:7"], ["cuda:7"]),
        (["--precision", "float8"], ["float8", "float64"]),
    ],
)
def test_options_that_are_wrong(
    options: list[str], parts: list[str], gradviz: Gradviz, models: Path, image: Path
) -> None:
    shutil.copy(models / "depth.ts", "bare.ts")  # without its card
    failed(gradviz("saliency", "bare.ts", image, *options), 2, *parts)


@pytest.mark.parametrize(
    "options", [["--view", "heat"], ["--method", "magic"], ["--batch-size", "0"], ["--nonsense"]]
)
def test_what_typer_itself_refuses(
    options: list[str], gradviz: Gradviz, models: Path, image: Path
) -> None:
    result = gradviz("saliency", models / "depth.ts", image, *options)
    assert result.exit_code == 2 and "Traceback" not in result.stderr


def test_an_image_that_cannot_be_read(gradviz: Gradviz, models: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    failed(gradviz("saliency", models / "depth.ts", "broken.png"), 2, "broken.png")
    assert line()["error"]["type"] == "ImageError"


def test_an_unusable_folder_is_noticed_before_the_model_is_read(
    gradviz: Gradviz, image: Path
) -> None:
    Path("taken").write_text("a file")
    failed(gradviz("saliency", "absent.ts", image, "-o", "taken"), 2, "taken", "not a folder")


def test_an_unwritable_folder(
    gradviz: Gradviz, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("locked").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: False)  # what a user without rights sees
    failed(gradviz("saliency", "absent.ts", image, "-o", "locked/out"), 2, "not writable", "-o")


def test_two_images_that_would_share_a_folder(gradviz: Gradviz, models: Path, image: Path) -> None:
    Path("other").mkdir()
    shutil.copy(image, "other/photo.png")
    result = gradviz("saliency", models / "depth.ts", image, "other/photo.png")
    failed(result, 2, str(image), "other/photo.png")


@pytest.mark.parametrize("view", ["heatmap", "signed", "rgb", "gray", "overlay"])
def test_a_gradient_that_is_not_finite_is_counted_and_painted(
    view: str, gradviz: Gradviz, image: Path, tmp_path: Path
) -> None:
    pixels = np.full((3, 4, 5), 0.25, np.float32)
    pixels[1, 2, 3] = 0
    np.save("zero.npy", pixels)
    path = script("x.sqrt()", tmp_path / "root.ts")  # of which the slope at 0 is infinite
    result = gradviz("saliency", path, "zero.npy", "--view", view)
    assert result.exit_code == 0
    assert "warning: zero.npy (ones): 1 of 60 values of the gradient are NaN" in result.stderr
    found = line()
    assert found["status"] == "ok" and found["stats"]["nonfinite"] == 1
    assert found["stats"]["max"] == found["stats"]["min"] == 1
    picture = np.asarray(Image.open("gradviz-out/" + found["files"][view]))
    marked = (picture == NONFINITE).all(axis=-1)
    assert np.argwhere(marked).tolist() == [[2, 3]]


def test_a_gradient_of_zeros_is_a_blank_picture(
    gradviz: Gradviz, image: Path, tmp_path: Path
) -> None:
    path = script("x * 0", tmp_path / "step.ts")
    result = gradviz("saliency", path, image)
    assert result.exit_code == 0 and "warning: photo.png (ones): " in result.stderr
    assert "zero everywhere" in result.stderr
    found = line()
    assert found["stats"]["zero_fraction"] == 1 and found["stats"]["scale"] == 0
    picture = Image.open("gradviz-out/" + found["files"]["heatmap"])
    assert len(picture.convert("RGB").getcolors() or []) == 1


def test_a_score_that_is_no_number_is_null(gradviz: Gradviz, tmp_path: Path) -> None:

    np.save("zero.npy", np.zeros((1, 2, 2), np.float32))
    command = ["saliency", script("x.log()", tmp_path / "log.ts"), "zero.npy"]
    document = json.loads(gradviz(*command, "--json").stdout, parse_constant=pytest.fail)
    assert document["results"][0]["score"] is None
    plain = gradviz(*command, "--overwrite")
    assert plain.exit_code == 0 and "score nan" in plain.stdout


@pytest.mark.parametrize("command", ["saliency", "check", "inspect", "receptive-field"])
@pytest.mark.parametrize("number", ["99999999999999999999", "-1"])
def test_a_random_seed_out_of_range(
    command: str, number: str, gradviz: Gradviz, image: Path, models: Path
) -> None:
    result = gradviz(command, models / "depth.ts", image, "--random-seed", number)
    assert result.exit_code == 2 and "--random-seed" in result.stderr


def test_quiet_silences_the_warnings_of_libraries_too(gradviz: Gradviz) -> None:
    Path("warns.py").write_text(
        "import torch, warnings\n\n\nclass Warns(torch.nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        warnings.warn('a library is unhappy')\n        return super().forward(x)\n"
    )
    torch.save({"weight": torch.ones(1, 3, 1, 1)}, "net.pt")
    Image.new("RGB", (4, 4)).save("x.png")
    command = ["saliency", "net.pt", "x.png", "--arch", "warns.py:Warns"]
    for word in ("in_channels=3", "out_channels=1", "kernel_size=1", "bias=false"):
        command += ["--arch-arg", word]
    with pytest.warns(UserWarning, match="a library is unhappy"):
        assert gradviz(*command, "-o", "loud").exit_code == 0
    quiet = gradviz(*command, "-o", "quiet", "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_a_name_in_place_of_a_seed_may_be_that_of_a_class(gradviz: Gradviz) -> None:
    for name in ("cat", "star"):
        found = gradviz("saliency", "net.pt", "x.png", "--seed", name)
        assert found.exit_code == 2
        assert f"the score of a class has the seed class:{name}" in found.stderr
    assert "class:pixls" not in gradviz("saliency", "m", "x", "--seed", "pixls:3,4").stderr


def test_a_method_that_is_written_otherwise_is_told_with_the_nearest(gradviz: Gradviz) -> None:
    for written, meant in (
        ("grad-cam", "gradcam"),
        ("integrated-gradient", "integrated-gradients"),
    ):
        found = gradviz("saliency", "net.pt", "x.png", "--method", written)
        assert found.exit_code == 2
        words = " ".join(found.stderr.replace("│", " ").split())
        assert f"no method is called {written!r}; did you mean {meant}?" in words
