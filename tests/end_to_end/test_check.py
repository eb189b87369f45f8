"""`gradviz check` as a user meets it."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.helpers.commands import Gradviz, document
from tests.helpers.formats import NEED_TRUST, save

HALVED = """
import torch
from torch import nn


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) / 2


class Halved(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return Half.apply(self.convolution(x))
"""


def net() -> nn.Module:
    """[N, 3, H, W] -> [N, 2, H - 2, W - 2]."""
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(convolution=nn.Conv2d(3, 2, 3), relu=nn.ReLU())).eval()


@pytest.fixture
def photo() -> Path:
    """An image in the folder where the test runs."""
    np.save("x.npy", np.random.default_rng(0).random((3, 8, 8), np.float32))
    return Path("x.npy")


def halved(path: str = "wrong.py") -> str:
    """The file of an architecture whose backward pass is wrong; its weights are in net.pt."""
    Path(path).write_text(HALVED)
    torch.save(net().state_dict(), "net.pt")
    return f"{path}:Halved"


def test_the_document(gradviz: Gradviz, photo: Path) -> None:
    torch.save(net(), "net.pt")
    result = gradviz(
        "check", "net.pt", photo, "--trust", "--json", "--seed", "ones", "--seed", "pixel:1,2"
    )
    found = document(result)
    assert result.exit_code == 0, result.stderr
    assert (found["schema"], found["kind"], found["ok"]) == (1, "check", True)
    assert found["precision"] == "float64"
    assert [test["seed"] for test in found["tests"]] == ["ones"] * 8 + ["pixel:1,2"] * 8
    names = [test["name"] for test in found["tests"]][:4]
    assert names == ["random 1", "random 2", "random 3", "gradient"]
    for test in found["tests"]:
        assert list(test) == [
            "name", "seed", "expected", "measured", "error", "step", "ok", "kink",
        ]  # fmt: skip
        assert test["ok"] is True
    weight = net().state_dict()["convolution.weight"]
    x = torch.from_numpy(np.load(photo))
    on = (net()(x[None])[0, :, 2, 1] > 0).float()
    expected = torch.einsum("o,ocij->cij", on, weight).abs().sum(0).max()
    pixel = found["tests"][12]
    assert pixel["name"].startswith("pixel")
    assert pixel["expected"] == pytest.approx(float(expected), rel=1e-5)


def test_the_table(gradviz: Gradviz, photo: Path) -> None:
    torch.save(net(), "net.pt")
    result = gradviz("check", "net.pt", photo, "--trust")
    rows = [re.split(r" {2,}", line) for line in result.stdout.splitlines()]
    assert rows[0] == ["seed", "test", "expected", "measured", "error", "step", "verdict"]
    assert len(rows) == 9 and {len(row) for row in rows} == {7}
    assert {row[-1] for row in rows[1:-1]} <= {"ok", "ok, beside a kink"}
    assert rows[-1][-1].startswith("linear over ") and rows[-1][-1].endswith("input's span")
    assert result.stderr == ""


def test_a_wrong_backward_pass(gradviz: Gradviz, photo: Path) -> None:
    result = gradviz("check", "net.pt", photo, "--arch", halved())
    lines = result.stderr.splitlines()
    failed = [line for line in result.stdout.splitlines() if line.endswith("FAILED")]
    assert result.exit_code == 6
    assert (len(lines), len(failed)) == (1, 7)
    rows = {row[1]: row for row in (re.split(r" {2,}", row) for row in failed)}
    name = lines[0].partition("the worst, ")[2].partition(":")[0]
    seed, _, expected, measured, error, *_ = rows[name]
    assert error == max((row[4] for row in rows.values()), key=float)
    assert lines[0].startswith(
        f"error: {seed}: 7 of 7 tests failed; the worst, {name}: the gradient predicts a slope of "
        f"{expected}, the model has {measured} over steps of"
    )
    assert lines[0].endswith("look for custom backward passes, detach() and no_grad() in the model")


class Rooted(nn.Module):
    """The root of what may be below 0, three layers before the output."""

    def __init__(self, shift: float, detached: bool = False) -> None:
        super().__init__()
        self.first, self.root = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1)
        self.last = nn.Conv2d(2, 1, 1)
        self.shift, self.detached = shift, detached

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.detached:
            y = y.detach()
        y = self.root((y.square() + self.shift).sqrt() if self.shift <= 0 else y + x[:, :2])
        z: Tensor = self.last(y)
        return z


@pytest.mark.parametrize(
    "shift, detached, told",
    [
        (-1e3, False, "the output is NaN or Inf where it is seeded: it begins at the layer root"),
        (1.0, True, "no gradient reaches first"),
    ],
    ids=["nan", "detached"],
)
def test_failures_of_one_cause_are_one_line(
    gradviz: Gradviz, photo: Path, shift: float, detached: bool, told: str
) -> None:
    torch.manual_seed(0)
    torch.save(Rooted(shift, detached).eval(), "net.pt")
    result = gradviz("check", "net.pt", photo, "--trust", "--seed", "ones", "--seed", "pixel:1,1")
    assert result.exit_code == 6
    lines = result.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["ones", "pixel"]
    assert all(" tests failed" in line and line.endswith(told) for line in lines), lines


def test_a_gradient_that_is_not_finite_is_told_with_its_layer(
    gradviz: Gradviz, photo: Path
) -> None:
    """At 0 the root has no slope, and its value is 0 all the same."""
    module = Rooted(0.0)
    with torch.no_grad():
        for weight in module.first.parameters():
            weight.zero_()
    torch.save(module.eval(), "net.pt")
    (line,) = gradviz("check", "net.pt", photo, "--trust").stderr.splitlines()
    assert line.endswith("the gradient is NaN or Inf from the layer first back to the image")


def test_quiet_and_json_fail_too(gradviz: Gradviz, photo: Path) -> None:
    arch = halved()
    quiet = gradviz("check", "net.pt", photo, "--arch", arch, "-q")
    assert quiet.exit_code == 6 and quiet.stdout == "" and quiet.stderr
    found = document(said := gradviz("check", "net.pt", photo, "--arch", arch, "--json"))
    assert said.exit_code == 6 and found["ok"] is False
    assert [test["ok"] for test in found["tests"]] == [False] * 7 + [True]
    gradient = found["tests"][3]
    assert gradient["measured"] == pytest.approx(2 * gradient["expected"])


OFFSET = """
import torch


class Offset(torch.nn.Conv2d):
    def forward(self, x):
        y = super().forward(x)
        return torch.cat([y, 1e9 + 1e-9 * y], 1)
"""


def test_what_rounding_hides(gradviz: Gradviz, photo: Path) -> None:
    Path("offset.py").write_text(OFFSET)
    torch.save({"weight": torch.ones(1, 3, 1, 1)}, "net.pt")
    arguments = ("in_channels=3", "out_channels=1", "kernel_size=1", "bias=false")
    command = ["check", "net.pt", photo, "--arch", "offset.py:Offset"]
    command += [word for argument in arguments for word in ("--arch-arg", argument)]
    hidden = gradviz(*command, "--seed", "channel:0", "--seed", "channel:1")
    assert hidden.exit_code == 6
    assert "error: channel:1: 7 of 7 slopes are too small beside the rounding" in hidden.stderr
    assert hidden.stdout.count("too noisy to tell") == 7 and "FAILED" not in hidden.stdout
    found = document(gradviz(*command, "--seed", "channel:1", "--json"))
    assert found["ok"] is False and [test["ok"] for test in found["tests"]] == [None] * 7 + [True]
    assert gradviz(*command, "--seed", "channel:0").exit_code == 0


class Rounds(nn.Conv2d):
    """Rounds its output to steps of 1/4096, and detaches the rounding."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + ((y * 4096).round() / 4096 - y).detach()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rounding_that_no_step_shows_is_not_proven(
    gradviz: Gradviz, photo: Path, precision: str
) -> None:
    """Over the long steps of float32 it looks like a line; the exit code is 6 all the same."""
    torch.manual_seed(0)
    torch.save(Rounds(3, 2, 3).eval(), "net.pt")
    command = ["check", "net.pt", photo, "--trust", "--seed", "ones", "--precision", precision]
    result = gradviz(*command)
    assert result.exit_code == 6
    found = document(gradviz(*command, "--json"))
    assert found["ok"] is False
    failed = [test["name"] for test in found["tests"] if test["ok"] is False]
    if precision == "float64":
        assert failed and found["unproven"] == []
    else:
        assert not failed and found["unproven"] == ["Add"]
        (line,) = (line for line in result.stderr.splitlines() if line.startswith("error: "))
        assert "(Add)" in line and line.endswith("not proven; use --precision float64")
    torch.save(net(), "net.pt")
    found = document(gradviz(*command, "--json"))
    assert found["ok"] is True and found["unproven"] == []


ARGUMENTS = ("in_channels=3", "out_channels=2", "kernel_size=1", "bias=false")
CONVOLUTION = ["--arch", "torch.nn:Conv2d"]
CONVOLUTION += [word for argument in ARGUMENTS for word in ("--arch-arg", argument)]


def saved(kind: str) -> list[str]:
    """What names `net` in a format, on the command line."""
    match kind:
        case "checkpoint.pt":
            torch.save({"state_dict": {"weight": torch.ones(2, 3, 1, 1)}}, kind)
            return [kind, *CONVOLUTION]
        case "weights.safetensors":
            save_file({"weight": torch.ones(2, 3, 1, 1)}, kind)
            return [kind, *CONVOLUTION]
    save(net(), torch.rand(1, 3, 8, 8), Path(), kind)
    return [kind, "--trust"] if kind in NEED_TRUST else [kind]


KINDS = {
    "checkpoint.pt": "float64",
    "weights.safetensors": "float64",
    "pickled.pt": "float64",
    "scripted.ts": "float64",
    "traced.ts": "float64",
    "frozen.ts": "float32",
    "frozen_trace.ts": "float32",
    "program.pt2": "float64",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format(gradviz: Gradviz, photo: Path, kind: str) -> None:
    result = gradviz("check", *saved(kind), photo, "--json", "--seed", "channel:1")
    found = document(result)
    assert result.exit_code == 0 and found["ok"] is True, found
    assert found["precision"] == KINDS[kind]
    told = "computed in float32: longer steps are taken, and an error of 3.7% passes"
    assert (told in result.stderr) == (KINDS[kind] == "float32")


def test_the_precision_asked_for(gradviz: Gradviz, photo: Path) -> None:
    command = ("check", *saved("scripted.ts"), photo, "--json")
    assert document(gradviz(*command, "--precision", "float32"))["precision"] == "float32"
    assert document(gradviz(*command, "--precision", "float64"))["precision"] == "float64"
    refused = gradviz("check", *saved("frozen.ts"), photo, "--precision", "float64")
    assert refused.exit_code == 2 and "float32 constants" in refused.stderr


def test_the_random_seed(gradviz: Gradviz, photo: Path) -> None:
    command = ("check", *saved("scripted.ts"), photo)
    first, again, other = (
        gradviz(*command, "--random-seed", number).stdout for number in ("1", "1", "2")
    )
    assert first == again != other


def test_what_is_refused(gradviz: Gradviz, photo: Path) -> None:
    model = saved("scripted.ts")
    np.save("y.npy", np.zeros((3, 8, 8), np.float32))
    for arguments, code, said in (
        ((photo, "--seed", "pixel:9,0"), 2, "0 to 5"),
        ((photo, "--seed", "pixls"), 2, "no seed is called"),
        (("none.png",), 2, "no such file"),
        (("*.npy",), 2, "2 images; name one"),
        ((photo, "--precision", "float8"), 2, "expected one of"),
        ((photo, "--channels", "gray", "--resize", "2"), 3, "cannot run"),
    ):
        result = gradviz("check", *model, *arguments)
        assert result.exit_code == code, result.stderr
        assert said in result.stderr and len(result.stderr.splitlines()) == 1


SAMPLES = [
    *(("depth.ts", f"room_0{n}.png", "24") for n in range(1, 7)),
    *(("depth.ts", name, "24") for name in ("room_cutout.png", "room_phone.jpg")),
    *(("depth.ts", name, "24") for name in ("room_gray16.png", "room_wide.png")),
    *(("shapes.yaml", f"shapes_0{n}.png", "32") for n in range(1, 5)),
]


@pytest.mark.parametrize(("model", "name", "size"), SAMPLES)
def test_the_samples(
    gradviz: Gradviz, models: Path, images: Path, model: str, name: str, size: str
) -> None:
    seeds = {"depth.ts": ("ones", "pixel:9,11"), "shapes.yaml": ("ones", "top", "class:circle")}
    given = [word for seed in seeds[model] for word in ("--seed", seed)]
    result = gradviz("check", models / model, images / name, *given, "--resize", size, "--json")
    found = document(result)
    assert result.exit_code == 0 and found["ok"] is True, result.stderr
    assert len(found["tests"]) == 8 * len(seeds[model])
    for test in found["tests"]:
        assert test["name"] == "trend" or test["error"] < 1e-4


@pytest.mark.parametrize(("model", "name", "size"), [SAMPLES[0], SAMPLES[4], SAMPLES[-1]])
def test_the_samples_in_floats(
    gradviz: Gradviz, models: Path, images: Path, model: str, name: str, size: str
) -> None:
    """As a frozen TorchScript has to be: hundreds of ReLUs change within the steps."""
    for random_seed in range(3):
        result = gradviz(
            "check", models / model, images / name, "--seed", "ones", "--resize", size,
            "--precision", "float32", "--random-seed", str(random_seed),
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr


ROUNDED = """
import torch


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x * 255).round() / 255

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(x + ((x * 255).round() / 255 - x).detach())


class OwnRounded(torch.nn.Conv2d):
    def forward(self, x):
        return super().forward(Own.apply(x))
"""


@pytest.mark.parametrize("name, parts", [("Rounded", "(Add)"), ("OwnRounded", "(Own)")])
def test_what_long_steps_cannot_tell_is_warned_of(
    gradviz: Gradviz, photo: Path, name: str, parts: str
) -> None:
    Path("rounded.py").write_text(ROUNDED)
    torch.manual_seed(0)
    torch.save(nn.Conv2d(3, 2, 3).state_dict(), "net.pt")
    command = ["check", "net.pt", photo, "--arch", f"rounded.py:{name}"]
    for word in ("in_channels=3", "out_channels=2", "kernel_size=3"):
        command += ["--arch-arg", word]
    short = gradviz(*command, "--precision", "float32")
    assert parts in short.stderr and "use --precision float64" in short.stderr
    assert gradviz(*command).exit_code == 6
    plain = ["check", "net.pt", photo, "--arch", "torch.nn:Conv2d", *command[5:]]
    found = gradviz(*plain, "--precision", "float32")
    assert found.exit_code == 0 and "cannot be told" not in found.stderr


def valid(count: int) -> nn.Module:
    """3×3 in a row without padding, all ones: each pixel's gradient is strongest in its middle."""
    layers = [nn.Conv2d(3 if n == 0 else 1, 1, 3) for n in range(count)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    return nn.Sequential(*layers).eval()


class Gate(nn.Module):
    """Every pixel looks at all."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean((2, 3), keepdim=True)


def test_at_names_the_pixel_whose_field_lies_around(gradviz: Gradviz, tmp_path: Path) -> None:
    photo = Path("x.npy")
    np.save(photo, np.random.default_rng(0).random((3, 40, 40), np.float32))
    save(valid(9), torch.rand(2, 3, 64, 64), tmp_path, "scripted.ts")
    found = gradviz("check", "scripted.ts", photo, "--seed", "at:11,12", "--json")
    tests = json.loads(found.stdout)["tests"]
    assert "pixel 11,12" in [test["name"] for test in tests]
    assert "proportion" not in found.stderr

    save(Gate(), torch.rand(2, 3, 64, 64), tmp_path, "scripted.ts")
    found = gradviz("check", "scripted.ts", photo, "--seed", "at:11,12", "--seed", "at:3,3")
    assert found.stderr.count("taken by proportion") == 1
