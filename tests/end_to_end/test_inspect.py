"""`gradviz inspect` as a user meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.helpers.commands import Gradviz, document, failed
from tests.helpers.formats import save, script
from tests.helpers.nets import Fails
from tests.helpers.paths import ROOT


def test_the_document(gradviz: Gradviz, models: Path, images: Path) -> None:
    found = document(gradviz("inspect", models / "depth.ts", images / "room_01.png", "--json"))
    assert list(found) == [
        "schema", "kind", "model", "inputs", "outputs", "seed", "layers", "warnings",
    ]  # fmt: skip
    assert (found["schema"], found["kind"], found["seed"]) == (1, "inspect", "ones")
    assert found["model"]["format"] == "TorchScript"
    assert found["inputs"] == [{"from": "room_01.png", "shape": [1, 3, 128, 128]}]
    (output,) = found["outputs"]
    assert (output["key"], output["shape"], output["chosen"]) == (None, [1, 1, 128, 128], True)
    assert found["warnings"] == []
    assert len(found["layers"]) == 27
    for layer in found["layers"]:
        assert list(layer) == ["name", "shape", "stride", "activation", "gradient", "dead"]
    last = found["layers"][-1]
    assert (last["name"], last["shape"], last["stride"]) == ("metres", [1, 1, 128, 128], [1, 1])
    assert last["gradient"] == pytest.approx(128)  # of as many ones as pixels


def test_the_seed_is_that_of_saliency(gradviz: Gradviz, models: Path, images: Path) -> None:
    command = [models / "depth.ts", images / "room_01.png", "--seed", "region:2,3,12,8", "--json"]
    found = document(gradviz("inspect", *command))
    assert found["seed"] == "region:2,3,12,8"
    assert found["layers"][-1]["gradient"] == pytest.approx(50**0.5)  # of 10x5 ones


def test_layers_have_the_names_that_other_commands_take(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    found = document(gradviz("inspect", models / "depth.ts", images / "room_01.png", "--json"))
    name = found["layers"][6]["name"]
    command = ["receptive-field", models / "depth.ts", images / "room_01.png", "--layer", name]
    result = gradviz(*command, "--pixel", "3,3", "--json")
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)["geometry"]["stride"]
    assert measured == found["layers"][6]["stride"]


def test_the_page(gradviz: Gradviz, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 4, 4)
    )
    with torch.no_grad():
        for parameter, value in zip(net.parameters(), (1, 1e-3, 1, 0), strict=True):
            parameter.fill_(value)
    result = gradviz("inspect", script(net, "net.ts"), "--input-size", "16x8")
    assert result.exit_code == 0 and result.stderr == ""
    assert result.stdout.splitlines()[:4] == [
        "model   net.ts: TorchScript; code by consent",
        "        21 parameters, 84 bytes",
        "input   [1, 3, 8, 16] random",
        "output  [1, 1, 2, 4] a dense map [N, C, H, W] or [N, H, W]",
    ]
    table = [line.split() for line in result.stdout.splitlines()[7:]]
    assert table[0] == ["layer", "shape", "stride", "activation", "dead", "gradient"]
    assert [row[:3] for row in table[1:]] == [
        ["0", "1x1x8x16", "1x1"],
        ["1", "1x1x8x16", "1x1"],
        ["2", "1x1x2x4", "4x4"],
    ]
    # ones through a 4x4 sum: √128; then a thousandth of it, three cells less; and √8 at the output
    assert [row[5] for row in table[1:]] == ["0.0113", "11.3", "2.83"]
    assert [row[6] for row in table[1:]] == ["█████", "████████", "███████▍"]


def test_a_gradient_that_is_zero_has_no_bar(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Conv2d(1, 1, 1))
    with torch.no_grad():
        list(net.parameters())[2].zero_()
    result = gradviz("inspect", script(net, "net.ts"), "--input-size", "8")
    assert "warning: no gradient reaches 0\n" in result.stderr
    assert result.stdout.splitlines()[-2].split()[-1] == "0"


def test_outputs_are_listed(gradviz: Gradviz, tmp_path: Path) -> None:
    result = gradviz(
        "inspect", script("{'map': x, 'scores': x.mean((2, 3))}", "net.ts"), "--input-size", "16"
    )
    assert "output  map [1, 3, 16, 16] a dense" in result.stdout
    assert "output  scores [1, 3] class scores" in result.stdout
    assert "warning: the model has 2 outputs; looking at map" in result.stderr
    named = gradviz("inspect", "net.ts", "--output", "scores", "--seed", "class:2", "--json")
    assert [output["chosen"] for output in document(named)["outputs"]] == [False, True]
    assert document(named)["seed"] == "class:2" and named.stderr == ""


def test_what_is_not_finite_is_null(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Conv2d(3, 3, 1, bias=False) for _ in range(3)))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1e30)
    layers = document(gradviz("inspect", script(net, "net.ts"), "--json", "-q"))["layers"]
    assert layers[1]["activation"] is None and layers[0]["gradient"] is None
    assert layers[0]["activation"] is not None
    assert "inf" in gradviz("inspect", "net.ts").stdout


def test_trust(gradviz: Gradviz, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3))
    Path("nets.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Conv2d(3, 2, 3))\n"
    )
    arch = ["--arch", "nets.py:net"]
    save_file(net.state_dict(), "weights.safetensors")
    torch.save(net.state_dict(), "weights.pt")
    torch.save(net.state_dict(), "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": net.state_dict(), "where": Path("here")}, "mixed.pt")
    whole = ("pickled.pt", "program.pt2", "scripted.ts", "frozen.ts")
    save(net, torch.rand(1, 3, 8, 8), tmp_path, *whole)
    tiers = {
        "weights.safetensors": "data, and an architecture by consent",
        "weights.pt": "data, and an architecture by consent",
        "old.pt": "data, and an architecture by consent",
        "mixed.pt": "needs --trust",
        "pickled.pt": "needs --trust",
        "program.pt2": "needs --trust",
        "scripted.ts": "code by consent",
        "frozen.ts": "code by consent",
    }
    for name, tier in tiers.items():
        given = [] if name in whole else arch
        trust = ["--trust"] if tier == "needs --trust" else []
        if trust:
            assert gradviz("inspect", name, *given).exit_code == 5, name
        found = document(gradviz("inspect", name, *given, *trust, "--json"))
        assert found["model"]["trust"] == tier, name


def test_quiet_and_verbose(gradviz: Gradviz, tmp_path: Path) -> None:
    path = script(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sigmoid()), "net.ts")
    quiet = gradviz("inspect", path, "-q")
    assert (quiet.stdout, quiet.stderr, quiet.exit_code) == ("", "", 0)
    assert "preprocess: {" in gradviz("inspect", path, "-v").stderr
    assert not Path("gradviz-out").exists()


CONV = nn.Conv2d(3, 2, 3)


@pytest.mark.parametrize(
    ("module", "arguments", "code", "parts"),
    [
        (CONV, ["absent.png"], 2, ["absent.png"]),
        (CONV, ["folder"], 2, ["folder: stands for 2 images", "name one"]),
        (CONV, ["folder/a.npy", "--input-size", "8"], 2, ["--input-size", "leave it out"]),
        (CONV, ["--input-size", "8x"], 2, ["--input-size 8x", "WxH"]),
        (CONV, ["--seed", "pixle:1,1"], 2, ["did you mean pixel?"]),
        (CONV, ["folder/a.npy", "--seed", "pixel:6,0"], 2, ["pixel:6,0", "0 to 5"]),
        (CONV, ["--seed", "class:cat"], 2, ["no class names"]),
        (CONV, ["--output", "map"], 2, ["leave out --output"]),
        (CONV, ["--input-size", "2"], 3, ["[1, 3, 2, 2]"]),
        (nn.Conv2d(4, 2, 3), ["folder/a.npy"], 3, ["takes 4 channels and got 3"]),
        (Fails(), [], 3, ["nothing pleases me", "--input-size WxH"]),
        ("x.argmax(1)", [], 3, ["cannot be differentiated", "argmax"]),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    module: nn.Module | str,
    arguments: list[str],
    code: int,
    parts: list[str],
    gradviz: Gradviz,
    tmp_path: Path,
) -> None:
    Path("folder").mkdir()
    for name in ("a", "b"):
        np.save(f"folder/{name}.npy", np.zeros((3, 8, 8), np.float32))
    if arguments == ["folder"]:
        for name in ("a", "b"):
            shutil.copy(ROOT / "sample_images/room_01.png", f"folder/{name}.png")
    result = gradviz("inspect", script(module, "net.ts"), *arguments)
    failed(result, code, *parts)
    assert result.stdout == ""


class Weighed(nn.Module):
    """3×3 in a row without padding, then each pixel times the number of its column."""

    def __init__(self) -> None:
        super().__init__()
        self.path = nn.Sequential(nn.Conv2d(3, 1, 3), *(nn.Conv2d(1, 1, 3) for _ in range(9)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.path(x)
        return y * torch.arange(y.shape[-1], device=y.device)


def test_at_names_the_pixel_whose_field_lies_around(gradviz: Gradviz, tmp_path: Path) -> None:
    command = ["inspect", script(Weighed(), "net.ts"), "--input-size", "64x64", "--json"]
    result = gradviz(*command, "--seed", "at:20,30")
    last = json.loads(result.stdout)["layers"][-1]
    assert last["gradient"] == 10  # ten pixels of each border are lost
    assert "proportion" not in result.stderr

    net = nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Upsample(size=64))
    result = gradviz("inspect", script(net, "all.ts"), *command[2:], "--seed", "at:20,30")
    assert any("by proportion" in each for each in json.loads(result.stdout)["warnings"])
    assert "by proportion" in result.stderr
