"""`gradviz receptive-field --figure`: several output pixels in one picture."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradviz.commands.receptive_field.print_figure import PIXEL_COLOURS
from tests.helpers.commands import Gradviz, failed
from tests.helpers.formats import script

SVG = "{http://www.w3.org/2000/svg}"
PIXELS = ("--pixel", "9,5", "--pixel", "at:70,50", "--pixel", "30,20")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A network whose field is 7×7 at a stride of 2."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 1, 3, 1, 1))
    return script(net, "net.ts")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    levels = np.random.default_rng(0).integers(60, 200, (60, 96, 3), np.uint8)
    Image.fromarray(levels).save("photo.png")
    return "photo.png"


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.parse(svg).iter(f"{SVG}text")]


def pictures(svg: str) -> list[tuple[int, int]]:
    """The sizes of the pictures in their own pixels."""
    sizes = []
    for each in ElementTree.parse(svg).iter(f"{SVG}image"):
        data = str(each.get("{http://www.w3.org/1999/xlink}href")).partition("base64,")[2]
        with Image.open(BytesIO(b64decode(data))) as picture:
            sizes.append(picture.size)
    return sizes


def test_each_pixel_has_a_colour_and_an_entry_of_the_legend(
    gradviz: Gradviz, model: str, photo: str
) -> None:
    result = gradviz("receptive-field", model, photo, *PIXELS, "--figure", "f.svg")
    assert result.exit_code == 0, result.stderr
    found = texts("f.svg")
    assert "receptive fields of net.ts" in found and "photo.png" in found
    for asked in ("pixel 9,5", "at 70,50", "pixel 30,20"):
        # Once in the legend, once above its close-up.
        assert found.count(asked) == 2
    for share in (20, 50, 99):
        assert found.count(f"{share} % of the effective field") == 1
    written = Path("f.svg").read_text()
    for colour in PIXEL_COLOURS[:3]:
        assert f"stroke: #{''.join(f'{round(255 * part):02x}' for part in colour)}" in written
    unused = "".join(f"{round(255 * part):02x}" for part in PIXEL_COLOURS[3])
    assert f"stroke: #{unused}" not in written


def test_the_figure_follows_the_frame(gradviz: Gradviz, model: str, photo: str) -> None:
    for frame, size in (("image", (96, 60)), ("input", (48, 30))):
        command = ["receptive-field", model, photo, "--resize", "48x30", "--frame", frame]
        result = gradviz(*command, "--figure", f"{frame}.svg", "-o", frame)
        assert result.exit_code == 0, result.stderr
        assert pictures(f"{frame}.svg")[0] == size


def test_images_noise_and_means(gradviz: Gradviz, model: str, photo: str) -> None:
    Image.new("RGB", (96, 60), "red").save("red.png")
    command = ["receptive-field", model, photo, "red.png", "--figure", "f.svg", "-o", "all"]
    assert gradviz(*command, "--figure-columns", "3").exit_code == 0
    assert [text for text in texts("f.svg") if re.fullmatch(r"\w+\.png|mean", text)] == [
        "photo.png",
        "red.png",
        "mean",
    ]
    assert gradviz("receptive-field", model, "--figure", "n.svg", "-o", "noise").exit_code == 0
    assert "noise" in texts("n.svg")


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_bytes(
    gradviz: Gradviz, model: str, photo: str, kind: str
) -> None:
    written = []
    for name in ("first", "second"):
        command = ["receptive-field", model, photo, *PIXELS, "--figure", f"{name}.{kind}"]
        assert gradviz(*command, "--figure-width", "88", "-o", name).exit_code == 0
        written.append(Path(f"{name}.{kind}").read_bytes())
    assert written[0] == written[1]


def test_a_dead_network_has_a_figure(gradviz: Gradviz, photo: str) -> None:
    """Its gradient is zero, so that there are no contours."""
    model = script("x * 0", "dead.ts")
    result = gradviz("receptive-field", model, photo, "--figure", "f.svg")
    assert result.exit_code == 0, result.stderr
    assert "box of the structural field" in texts("f.svg")
    assert not [text for text in texts("f.svg") if "effective" in text]


def test_what_failed_is_left_out(gradviz: Gradviz, model: str, photo: str) -> None:
    Path("broken.png").write_text("no image")
    result = gradviz("receptive-field", model, photo, "broken.png", "--figure", "f.svg")
    assert result.exit_code == 4 and "photo.png" in texts("f.svg")
    result = gradviz("receptive-field", model, "broken.png", "--figure", "none.svg", "-o", "none")
    assert result.exit_code == 2 and not Path("none.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--figure", "f.jpg"],
            "error: --figure f.jpg: expected a file that ends in png, pdf, svg",
        ),
        (["--figure", "photo.png"], "error: --figure photo.png: is a file that the run reads"),
        (
            ["--figure", "f.png", *(f"--pixel={n},0" for n in range(8))],
            "error: --figure: 8 pixels are more than its 7 colours",
        ),
        (
            ["--figure", "gradviz-out/photo.png/pixel-24-15/overlay.png"],
            "error: --figure gradviz-out/photo.png/pixel-24-15/overlay.png: is the place of a "
            "result",
        ),
        (["--figure-width", "88"], "error: --figure-width: of which figure?"),
    ],
)
def test_figures_that_cannot_be_are_refused_before_the_run(
    arguments: list[str], said: str, gradviz: Gradviz, model: str, photo: str
) -> None:
    failed(gradviz("receptive-field", model, photo, *arguments), 2, said)
    assert not Path("gradviz-out").exists()
