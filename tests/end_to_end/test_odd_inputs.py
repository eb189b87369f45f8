"""Streams, names and arrays that are not as one hopes: one line each, and the rest is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.helpers.commands import Gradviz, errors, lines
from tests.helpers.formats import script
from tests.helpers.nets import OnlyGray

LOUD = """
import atexit
import os
import torch
from torch import nn

class Script(nn.Module):
    def forward(self, x):
        print("said by TorchScript")
        return x * x / 2

class Loud(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.inner = torch.jit.script(Script())

    def forward(self, x):
        print("said by Python")
        os.write(1, b"said past Python\\n")  # as libraries in C do
        atexit.register(print, "said at the end")
        return self.weight * self.inner(x)
"""


class Talks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("said by Python")
        return x


# Streams ------------------------------------------------------------------------------------------


def command(folder: Path, *words: str | Path) -> list[str | Path]:
    """`gradviz saliency` as a process of its own, with a small photo, writing into `folder`."""
    Image.new("RGB", (4, 3), (200, 100, 50)).save(folder / "photo.png")
    program = [sys.executable, "-m", "gradviz", "saliency"]
    return [*program, *words, folder / "photo.png", "-o", folder / "out"]


@pytest.mark.process
def test_what_a_model_prints_is_kept_out_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(LOUD)
    torch.save({"weight": torch.ones(1)}, tmp_path / "loud.pt")
    arch = f"{tmp_path / 'loud.py'}:Loud"
    done = subprocess.run(
        command(tmp_path, tmp_path / "loud.pt", "--arch", arch, "--json"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["kind"] == "saliency" and len(document["results"]) == 1
    for said in ("by Python", "by TorchScript", "past Python", "at the end"):
        assert f"said {said}" in done.stderr


def test_what_a_model_prints_is_kept_out_of_the_json_in_this_process(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    """As in a notebook, where the standard output is no file of the system's."""
    torch.save(Talks(), tmp_path / "talks.pt")
    Image.new("RGB", (4, 3)).save("photo.png")
    result = gradviz("saliency", "talks.pt", "photo.png", "--trust", "--json")
    assert json.loads(result.stdout)["kind"] == "saliency"
    assert "said by Python" in result.stderr


@pytest.mark.process
def test_a_reader_that_has_gone_away_has_read_enough(tmp_path: Path) -> None:
    model = script("x * x / 2", tmp_path / "model.ts")
    process = subprocess.Popen(
        command(tmp_path, model), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, stderr
    assert "1 done, 0 failed" in stderr
    assert "Traceback" not in stderr and "Broken" not in stderr and "Exception" not in stderr


@pytest.mark.process
def test_a_name_that_the_output_cannot_encode(tmp_path: Path) -> None:
    model = script("x * x / 2", tmp_path / "model.ts")
    (tmp_path / "broken 🦊.png").write_bytes(b"")
    Image.new("RGB", (4, 3), (200, 100, 50)).save(tmp_path / "🐶 é.png")
    done = subprocess.run(
        [*command(tmp_path, model), tmp_path / "🐶 é.png", tmp_path / "broken 🦊.png"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 4, done.stderr
    stdout, stderr = done.stdout.decode("ascii"), done.stderr.decode("ascii")
    assert len(stdout.splitlines()) == 2 and r"\U0001f436 \xe9.png" in stdout
    assert r"broken \U0001f98a.png" in stderr and "Traceback" not in stderr
    assert (tmp_path / "out" / "🐶 é.png" / "ones" / "heatmap.png").exists()


# Names, arrays, and what is said of them ----------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "model",
        "out",
        "below out",
        "above out",
        "image",
        "arch",
        "preprocess",
        "seed",
    ],
)
def test_a_name_that_is_too_long(place: str, gradviz: Gradviz, tmp_path: Path) -> None:
    model = script("x * x / 2", tmp_path / "model.ts")
    Image.new("RGB", (4, 3)).save("photo.png")
    long = 300 * "a"
    words: dict[str, list[str | Path]] = {
        "model": [long, "photo.png"],
        "out": [model, "photo.png", "-o", long],
        "below out": [model, "photo.png", "-o", f"out/{long}"],
        "above out": [model, "photo.png", "-o", f"{long}/out"],
        "image": [model, long],
        "arch": [model, "photo.png", "--arch", f"{long}.py:net"],
        "preprocess": [model, "photo.png", "--preprocess", long],
        "seed": [model, "photo.png", "--seed", f"mask:{long}"],
    }
    result = gradviz("saliency", *words[place])
    assert result.exit_code == 2, result.stderr
    (said,) = errors(result)
    assert long in said or place == "arch"


def test_arrays_of_a_wrong_number_of_channels_fail_alone(gradviz: Gradviz, tmp_path: Path) -> None:
    model = script(nn.Conv2d(3, 1, 1), tmp_path / "model.ts")
    for name, channels in (("a", 3), ("b", 4), ("c", 3)):
        np.save(f"{name}.npy", np.ones((channels, 3, 4), np.float32))
    result = gradviz("saliency", model, "?.npy")
    assert result.exit_code == 4
    (said,) = errors(result)
    assert "b.npy" in said and "takes 3 channels and got 4" in said
    assert {line["image"]: line["status"] for line in lines()} == {
        "a.npy": "ok",
        "b.npy": "error",
        "c.npy": "ok",
    }


@pytest.mark.parametrize(
    ("options", "failing", "says"),
    [
        (["--mean", "0.5,0.5,0.5"], {"b.npy"}, "mean has length 3, expected 4"),
        (["--channels", "gray"], {"b.npy"}, "expected an image of 1 or 3 channels, got 4"),
        (["--std", "1,1,1,1"], {"a.npy", "c.npy"}, "std has length 4, expected 3"),
    ],
)
def test_arrays_that_a_recipe_does_not_fit_fail_alone(
    options: list[str], failing: set[str], says: str, gradviz: Gradviz, tmp_path: Path
) -> None:
    model = script("x * x / 2", tmp_path / "model.ts")
    for name, channels in (("a", 3), ("b", 4), ("c", 3)):
        np.save(f"{name}.npy", np.ones((channels, 3, 4), np.float32))
    result = gradviz("saliency", model, "?.npy", *options)
    assert result.exit_code == 4
    said = errors(result)
    assert len(said) == len(failing)
    assert all(says in each for each in said)
    found = lines()
    assert {line["image"] for line in found if line["status"] == "error"} == failing
    assert {line["error"]["type"] for line in found if "error" in line} == {"ImageError"}


def test_a_recipe_that_fits_no_picture_is_the_commands_fault(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    Path("photos").mkdir()
    for n in range(2):
        Image.new("RGB", (4, 3)).save(f"photos/{n}.png")
    model = script("x * x / 2", tmp_path / "model.ts")
    result = gradviz("saliency", model, "photos", "--mean", "0.5,0.5")
    assert result.exit_code == 2
    (said,) = errors(result)
    assert "mean has length 2, expected 3" in said


def test_what_ails_an_image_is_said_once_not_for_every_seed(
    gradviz: Gradviz, tmp_path: Path
) -> None:
    """One image cannot be read, the model raises on another, and both have three seeds."""
    model = script(OnlyGray(), tmp_path / "model.ts")
    Path("broken.npy").write_bytes(b"\x93NUMPY")
    for name, channels in (("hated", 3), ("liked", 4)):
        np.save(f"{name}.npy", np.ones((channels, 3, 4), np.float32))
    seeds = [word for spec in ("ones", "channel:0", "pixel:0,0") for word in ("--seed", spec)]
    result = gradviz("saliency", model, "*.npy", *seeds)
    assert result.exit_code == 4
    said = errors(result)
    assert len(said) == 2, said
    assert "broken.npy" in said[0] and "hated.npy" in said[1] and "only gray images" in said[1]
    assert len(lines()) == 9


def test_two_images_that_ail_alike_are_both_named(gradviz: Gradviz, tmp_path: Path) -> None:
    model = script(OnlyGray(), tmp_path / "model.ts")
    for name in "ab":
        np.save(f"{name}.npy", np.ones((3, 3, 4), np.float32))
    result = gradviz("saliency", model, "?.npy", "--seed", "ones")
    assert result.exit_code == 3
    first, second = errors(result)
    assert "a.npy" in first and "b.npy" in second


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--colormap", "virids"], "did you mean viridis?"),
        (["--clip", "101"], "--clip 101"),
        (["--scale", "loud"], "--scale loud"),
        (["--seed", "tpo"], "did you mean top?"),
        (["--preprocess", "absent.yaml"], "absent.yaml"),
        (["--overwrite", "--resume"], "--overwrite and --resume"),
    ],
)
def test_what_is_wrong_with_the_command_is_noticed_before_the_model_is_read(
    options: list[str], says: str, gradviz: Gradviz
) -> None:
    Image.new("RGB", (4, 3)).save("photo.png")
    Path("model.ts").write_bytes(b"no model")
    result = gradviz("saliency", "model.ts", "photo.png", *options)
    assert result.exit_code == 2
    (said,) = errors(result)
    assert says in said and "model.ts" not in said
