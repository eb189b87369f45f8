"""`gradviz saliency --figure`: one figure of all results."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
import zlib
from base64 import b64decode
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import Gradviz
from tests.helpers.formats import script

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Its gradient is the image itself."""
    return script("x * x / 2", "square.ts")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    path = tmp_path / "$a_1$.png"  # no formula
    Image.fromarray(np.broadcast_to(ramp[None, :, None], (24, 32, 3)).copy()).save(path)
    return path


def texts(svg: Path) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.parse(svg).iter(f"{SVG}text")]


def content_of(pdf: bytes) -> bytes:
    """The streams of a PDF that can be unpacked, one after the other."""
    found = b""
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with suppress(zlib.error):
            found += zlib.decompress(stream)
    return found


def test_a_figure_has_a_row_for_every_result(gradviz: Gradviz, model: str, photo: Path) -> None:
    shutil.copy(photo, "other.png")
    result = gradviz(
        "saliency", model, photo, "other.png", "--seed", "ones", "--seed", "pixel:3,4",
        "--view", "signed", "--figure", "figures/all.svg",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = texts(Path("figures/all.svg"))
    assert "gradient of square.ts" in found
    rows = [text for text in found if ".png, " in text]
    assert rows == [
        f"{image}, {seed}" for image in ("$a_1$.png", "other.png") for seed in ("ones", "pixel:3,4")
    ]
    for name in ("input", "overlay", "signed"):
        assert found.count(name) == 1
    pictures = list(ElementTree.parse("figures/all.svg").iter(f"{SVG}image"))
    assert len(pictures) >= 4 * 3
    # Scale bars from -3 to 3, the sum of the strongest pixel's channels.
    numbers = {
        float(text.replace("\u2212", "-")) for text in found if re.fullmatch(r"[\u2212\d.]+", text)
    }
    assert min(numbers) == -max(numbers) and 2 <= max(numbers) <= 3


@pytest.mark.parametrize(
    ("seed", "label"), [("ones", "Σ|g| (km/h / input)"), ("loss:l1=t.npy", "Σ|g| (score / input)")]
)
def test_the_unit_of_the_output_is_that_of_the_card(
    gradviz: Gradviz, model: str, photo: Path, seed: str, label: str
) -> None:
    np.save("t.npy", np.zeros((3, 24, 32), np.float32))
    Path("square.yaml").write_text("unit: km/h\n")
    result = gradviz("saliency", model, photo, "--seed", seed, "--figure", "f.svg")
    assert result.exit_code == 0, result.stderr
    assert label in texts(Path("f.svg"))


@pytest.mark.parametrize(
    ("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")]
)
def test_the_same_figure_is_the_same_bytes(
    gradviz: Gradviz, model: str, photo: Path, kind: str, begins: bytes
) -> None:
    for name in ("first", "second"):
        result = gradviz("saliency", model, photo, "-o", name, "--figure", f"{name}.{kind.upper()}")
        assert result.exit_code == 0, result.stderr
    first, second = (Path(f"{name}.{kind.upper()}").read_bytes() for name in ("first", "second"))
    assert first == second and first.startswith(begins)


def test_a_picture_has_the_colours_of_the_map(gradviz: Gradviz, model: str, photo: Path) -> None:
    gradviz(
        "saliency", model, photo, "--view", "heatmap", "--figure", "f.png", "--colormap", "viridis"
    )
    figure = np.asarray(Image.open("f.png").convert("RGB")).reshape(-1, 3)
    heatmap = np.asarray(Image.open("gradviz-out/$a_1$.png/ones/heatmap.png"))
    seen = {tuple(colour) for colour in np.unique(figure, axis=0)}
    assert {tuple(colour) for colour in np.unique(heatmap.reshape(-1, 3), axis=0)} <= seen


def test_a_blank_map_has_no_scale_bar(gradviz: Gradviz, model: str) -> None:
    Image.new("RGB", (8, 8)).save("black.png")
    assert gradviz("saliency", model, "black.png", "--figure", "f.svg").exit_code == 0
    assert not [text for text in texts(Path("f.svg")) if re.fullmatch(r"[\d.]+", text)]


def test_what_failed_is_left_out(gradviz: Gradviz, model: str, photo: Path) -> None:
    Path("broken.png").write_text("no image")
    result = gradviz("saliency", model, photo, "broken.png", "--figure", "f.svg")
    assert result.exit_code == 4
    assert [text for text in texts(Path("f.svg")) if ".png, " in text] == ["$a_1$.png, ones"]
    result = gradviz("saliency", model, "broken.png", "--figure", "none.svg", "-o", "none")
    assert result.exit_code == 2 and not Path("none.svg").exists()


def test_text_is_legible_at_the_width_of_a_column(
    gradviz: Gradviz, model: str, photo: Path
) -> None:
    result = gradviz("saliency", model, photo, "--figure", "f.svg", "--figure-width", "88")
    assert result.exit_code == 0, result.stderr
    root = ElementTree.parse("f.svg").getroot()
    assert root.get("width") == f"{88 / 25.4 * 72:.6f}".rstrip("0") + "pt"
    assert str(root.get("viewBox")).split()[2] == str(root.get("width")).removesuffix("pt")
    styles = [str(each.get("style")) for each in root.iter(f"{SVG}text")]
    sizes = [
        float(size) for style in styles for size in re.findall(r"font(?:-size)?: ([\d.]+)px", style)
    ]
    assert len(sizes) == len(styles) and min(sizes) >= 6


def test_the_colour_bar_has_quantity_and_unit(gradviz: Gradviz, model: str, photo: Path) -> None:
    for method, view, label in (
        ("gradient", "heatmap", "Σ|g| (score / input)"),
        ("input-x-gradient", "signed", "Σg (score)"),
    ):
        command = ["saliency", model, photo, "--method", method, "--view", view, "--overwrite"]
        assert gradviz(*command, "--figure", "f.svg").exit_code == 0
        assert label in texts(Path("f.svg"))


def test_a_pdf_has_pages_and_its_fonts(gradviz: Gradviz, model: str, photo: Path) -> None:
    seeds = [f"--seed=pixel:{n},0" for n in range(26)]
    result = gradviz("saliency", model, photo, *seeds, "--figure", "f.pdf", "--figure-width", "120")
    assert result.exit_code == 0, result.stderr
    written = Path("f.pdf").read_bytes()
    boxes = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", written)
    assert len(boxes) > 3 and b"/FontFile2" in written and b"/CreationDate" not in written
    assert all(float(width) == pytest.approx(120 / 25.4 * 72) for width, _ in boxes)
    assert max(float(height) for _, height in boxes) <= 240 / 25.4 * 72 + 1e-3
    sizes = [float(size) for size in re.findall(rb"/F\S+ ([\d.]+) Tf", content_of(written))]
    assert len(sizes) > 26 * 4 and 6 <= min(sizes) <= max(sizes) <= 8


def test_columns_put_results_side_by_side(gradviz: Gradviz, model: str, photo: Path) -> None:
    seeds = [f"--seed=pixel:{n},0" for n in range(4)]
    sizes = []
    for columns in ("1", "2"):
        command = ["saliency", model, photo, *seeds, "--overwrite", "--figure", "f.png"]
        assert gradviz(*command, "--figure-columns", columns).exit_code == 0
        with Image.open("f.png") as figure:
            sizes.append(figure.size)
    assert sizes[0][0] == sizes[1][0] == round(183 / 25.4 * 300)
    assert sizes[1][1] < 0.4 * sizes[0][1]


def test_the_figure_follows_the_frame(gradviz: Gradviz, model: str, photo: Path) -> None:
    """In a vector file pictures keep their pixels: the photo's own, or the input's."""
    for frame, size in (("image", (32, 24)), ("input", (16, 12))):
        command = ["saliency", model, photo, "--resize", "16x12", "--frame", frame, "--overwrite"]
        assert gradviz(*command, "--figure", "f.svg").exit_code == 0
        pictures = [*ElementTree.parse("f.svg").iter(f"{SVG}image")]
        sizes = []
        for picture in pictures:
            data = str(picture.get("{http://www.w3.org/1999/xlink}href")).partition("base64,")[2]
            with Image.open(BytesIO(b64decode(data))) as shown:
                sizes.append(shown.size)
        assert sizes[:3] == [size] * 3


def test_a_resumed_run_draws_the_same_figure(gradviz: Gradviz, model: str, photo: Path) -> None:
    shutil.copy(photo, "other.png")
    command = ["saliency", model, photo, "other.png", "--figure", "f.pdf"]
    assert gradviz(*command).exit_code == 0
    before = Path("f.pdf").read_bytes()
    Path("f.pdf").unlink()
    Path("gradviz-out/other.png/ones/gradient.npy").unlink()
    assert gradviz(*command, "--resume").exit_code == 0
    assert Path("f.pdf").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--figure", "f.jpg"], "expected a file that ends in png, pdf, svg"),
        (["--figure", "png"], "expected a file that ends in png, pdf, svg"),
        (["--figure", "f.png", "--array", "none"], "leave out --array none"),
        (["--figure", "folder.png"], "is a folder; name a file in it"),
        (["--figure", "$a_1$.png"], "is a file that the run reads"),
        (["--figure", "f.png", *(f"--seed=pixel:{n},0" for n in range(25))], "more than the 24"),
        (
            ["--figure", "f.svg", "--figure-columns", "9"],
            "27 pictures side by side do not fit into 183",
        ),
        (["--figure-width", "88"], "--figure-width: of which figure? give --figure FILE"),
        (["--figure-columns", "2"], "--figure-columns: of which figure? give --figure FILE"),
    ],
)
def test_figures_that_cannot_be_are_refused_before_the_run(
    gradviz: Gradviz, model: str, photo: Path, arguments: list[str], says: str
) -> None:
    Path("folder.png").mkdir()
    before = photo.read_bytes()
    result = gradviz("saliency", model, photo, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr and len(result.stderr.splitlines()) == 1
    assert not Path("gradviz-out").exists() and photo.read_bytes() == before
