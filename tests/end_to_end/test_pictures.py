"""What options do to tensors and pictures, pixel by pixel.

The model's output is x² / 2 or a weighted sum, so that every gradient is known by hand; the
gradient of the first is the very tensor that entered the model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cmap import Colormap
from PIL import Image
from typer.testing import Result

from gradviz.commands.report.inputs import read_input
from gradviz.commands.report.page import report
from gradviz.heatmap.colours import load_palette
from gradviz.heatmap.draw import draw
from gradviz.heatmap.views import VIEWS
from tests.helpers.commands import OUT, Gradviz, gradient, line
from tests.helpers.formats import script
from tests.helpers.nets import HalfSquare

COLOURED = "x[:, 0] + 2 * x[:, 1] - 4 * x[:, 2]"
"""The three channels of every pixel weighed with 1, 2 and -4."""


def picture(image: str, view: str, seed: str = "ones", out: Path = OUT) -> np.ndarray:
    return np.asarray(Image.open(out / image / seed / f"{view}.png"))


@pytest.fixture
def photo(gradviz: Gradviz) -> np.ndarray:
    """photo.png, of random colours, 6 wide and 4 high; as uint8 [4, 6, 3]."""
    pixels = np.random.default_rng(0).integers(1, 256, (4, 6, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    return pixels


def done(result: Result) -> None:
    assert result.exit_code == 0, result.stderr


# What enters the model ----------------------------------------------------------------------------


def test_the_seed_at_follows_each_image_of_a_batch(gradviz: Gradviz) -> None:
    """Three files of different sizes enter as 8×8: (15, 7) is another pixel in each of them."""
    Path("photos").mkdir()
    for name, side in (("a", 16), ("b", 32), ("c", 64)):
        Image.new("RGB", (side, side), (200, 100, 50)).save(f"photos/{name}.png")
    model = script("x * x / 2", "model.ts")
    done(gradviz("saliency", model, "photos", "--resize", "8", "--seed", "at:15,7"))
    for name, (x, y) in {"a": (7, 3), "b": (3, 1), "c": (1, 0)}.items():
        lit = np.argwhere(gradient(f"{name}.png", "at-15-7").any(axis=0))
        assert lit.tolist() == [[y, x]]


def test_a_bgr_model_is_drawn_in_the_photos_colours(gradviz: Gradviz, photo: np.ndarray) -> None:
    options = ["--channels", "bgr", "--view", "rgb", "--view", "overlay", "--scale", "8"]
    done(gradviz("saliency", script("x * x / 2", "square.ts"), "photo.png", *options, "-o", "a"))
    entered = photo[..., ::-1].transpose(2, 0, 1) / 255
    np.testing.assert_allclose(gradient("photo.png", out=Path("a")), entered, atol=1e-6)
    done(gradviz("saliency", script(COLOURED, "colours.ts"), "photo.png", *options))
    assert gradient("photo.png")[:, 0, 0].tolist() == [1, 2, -4]
    # Red is the third channel: 255 · (0.5 - 0.5 · 4 / 8), and so on.
    assert picture("photo.png", "rgb")[0, 0].tolist() == [64, 159, 143]


def test_a_bgr_models_shared_scale_is_drawn_in_the_photos_colours(
    gradviz: Gradviz, photo: np.ndarray
) -> None:
    """With --scale shared, pictures come from the arrays on the disk."""
    options = ["--channels", "bgr", "--view", "rgb", "--scale", "shared"]
    done(gradviz("saliency", script(COLOURED, "colours.ts"), "photo.png", *options))
    assert picture("photo.png", "rgb")[0, 0].tolist() == [0, 191, 159]


def test_the_background_is_seen_through_transparent_pixels(gradviz: Gradviz) -> None:
    Image.new("RGBA", (3, 2), (255, 0, 0, 0)).save("glass.png")
    model = script("x * x / 2", "model.ts")
    done(gradviz("saliency", model, "glass.png", "-o", "white"))
    done(gradviz("saliency", model, "glass.png", "--background", "51,102,204"))
    assert (gradient("glass.png", out=Path("white")) == 1).all()
    np.testing.assert_allclose(gradient("glass.png")[:, 1, 2], [0.2, 0.4, 0.8], rtol=1e-6)
    # The overlay's backdrop too, in the photo's frame as well.
    seed = ["--background", "51,102,204", "--frame", "image", "--seed", "pixel:0,0", "-o", "frame"]
    done(gradviz("saliency", model, "glass.png", *seed))
    dim = 0.8 * (0.299 * 51 + 0.587 * 102 + 0.114 * 204)
    assert abs(int(picture("glass.png", "overlay", "pixel-0-0", Path("frame"))[1, 2, 0]) - dim) < 1


def test_flags_win_over_the_recipes_file_which_wins_over_the_card(
    gradviz: Gradviz, photo: np.ndarray
) -> None:
    """A file replaces the card's recipe as a whole; a flag replaces one step of the file's."""
    model = script("x * x / 2", "model.ts")
    Path("model.yaml").write_text("preprocess: {mean: [0.1, 0.1, 0.1], range: [0, 2]}\n")
    Path("file.yaml").write_text("mean: [0.2, 0.2, 0.2]\nstd: [0.5, 0.5, 0.5]\n")
    pixels = photo.transpose(2, 0, 1) / 255
    flag = ["--mean", "0.3,0.3,0.3"]
    cases: dict[str, tuple[list[str], np.ndarray]] = {
        "card": ([], 2 * pixels - 0.1),
        "card-flag": (flag, 2 * pixels - 0.3),
        "file": (["--preprocess", "file.yaml"], (pixels - 0.2) / 0.5),
        "file-flag": (["--preprocess", "file.yaml", *flag], (pixels - 0.3) / 0.5),
        "none": (["--preprocess", "none"], pixels),
    }
    for out, (options, expected) in cases.items():
        done(gradviz("saliency", model, "photo.png", *options, "-o", out))
        np.testing.assert_allclose(gradient("photo.png", out=Path(out)), expected, atol=1e-6)


def test_the_imagenet_recipe_reaches_the_tensor(gradviz: Gradviz) -> None:
    """256×256 pixels need no resize: the 224 in the middle, normalised."""
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save("photo.png")
    model = script("x * x / 2", "model.ts")
    done(gradviz("saliency", model, "photo.png", "--preprocess", "imagenet"))
    crop = pixels[16:240, 16:240] / 255
    expected = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(gradient("photo.png"), expected.transpose(2, 0, 1), atol=1e-5)


def test_a_mask_of_another_size_gives_each_pixel_the_level_at_its_centre(gradviz: Gradviz) -> None:
    """Three levels over five pixels: centres at 0.3, 0.9, 1.5, 2.1 and 2.7."""
    np.save("one.npy", np.ones((1, 2, 5), np.float32))
    np.save("mask.npy", np.array([[1.0, 2.0, 3.0]]))
    model = script("x * x / 2", "model.ts")
    done(gradviz("saliency", model, "one.npy", "--seed", "mask:mask.npy"))
    assert gradient("one.npy", "mask-mask.npy").tolist() == [[[1, 1, 2, 3, 3]] * 2]


# What is drawn ------------------------------------------------------------------------------------


def test_the_stats_scale_is_the_heatmaps_whatever_is_drawn(
    gradviz: Gradviz, photo: np.ndarray
) -> None:
    model = script(COLOURED, "model.ts")
    done(gradviz("saliency", model, "photo.png", "--view", "signed", "--view", "rgb"))
    # Σ|g| = 7, |Σg| = 1, and of the single numbers the largest is 4.
    assert line()["stats"]["scale"] == 7
    assert line()["scales"] == {"heatmap": 7, "signed": 1, "rgb": 4}


def test_in_the_images_frame_the_overlay_lies_on_the_photo_itself(gradviz: Gradviz) -> None:
    """The model sees an even gray; the photo is a chessboard of single pixels."""
    board = np.indices((64, 64)).sum(axis=0) % 2
    Image.fromarray(np.uint8(255 * np.repeat(board[..., None], 3, axis=-1))).save("board.png")
    model = script("x * x / 2", "model.ts")
    options = ["--resize", "8", "--seed", "pixel:0,0", "--frame", "image"]
    done(gradviz("saliency", model, "board.png", *options))
    overlay = picture("board.png", "overlay", "pixel-0-0")
    assert np.ptp(gradient("board.png", "pixel-0-0")[:, 0, 0]) == 0
    bare = np.ones((64, 64), bool)
    bare[:8, :8] = False
    expected = np.repeat(204 * board[..., None], 3, axis=-1)
    assert np.array_equal(overlay[bare], expected[bare])
    assert (overlay[:8, :8] != expected[:8, :8]).any(axis=-1).all()


def test_a_clip_by_energy_reaches_pictures_records_and_the_page(
    gradviz: Gradviz, photo: np.ndarray
) -> None:
    model = script(f"({COLOURED} * x[:, 0]).sum()", "model.ts")
    result = gradviz("saliency", model, "photo.png", "--clip", "energy:60", "--view", "gray")
    done(result)
    total = np.sort(np.abs(gradient("photo.png")).sum(axis=0, dtype=float).ravel())
    above = [(total[total > each] ** 2).sum() for each in total]
    scale = next(t for t, rest in zip(total, above, strict=True) if rest <= 0.4 * (total**2).sum())
    assert line()["scales"]["gray"] == pytest.approx(scale, rel=1e-6)
    assert json.loads((OUT / "run.json").read_text())["settings"]["clip"] == "energy:60"
    gray = picture("photo.png", "gray")[..., 0]
    assert (gray == 255).sum() == (total >= scale).sum()
    page = report([read_input(str(OUT))], images=True).html
    (shown,) = re.findall(r'"scales": \{"heatmap": ([\d.e-]+)', page)
    assert float(shown) == pytest.approx(scale, rel=1e-6)
    result = gradviz("saliency", model, "photo.png", "--clip", "energy:61", "--resume")
    assert result.exit_code == 2 and "settings.clip was energy:60, is energy:61" in result.stderr


def test_the_clip_reaches_the_pictures(gradviz: Gradviz, photo: np.ndarray) -> None:
    model = script("x * x / 2", "model.ts")
    total = photo.astype(np.float64).sum(axis=-1) / 255
    for clip in (30, 99, 100):
        options = ["--clip", str(clip), "--view", "gray", "-o", str(clip)]
        done(gradviz("saliency", model, "photo.png", *options))
        scale = np.percentile(total, clip)
        assert line(Path(str(clip)))["scales"]["gray"] == pytest.approx(scale, rel=1e-5)
        gray = picture("photo.png", "gray", out=Path(str(clip)))[..., 0]
        assert np.abs(gray - 255 * np.minimum(total / scale, 1)).max() <= 0.51


@pytest.mark.parametrize("view", ["heatmap", "positive", "overlay"])
def test_the_colour_map_reaches_the_pictures(
    view: str, gradviz: Gradviz, photo: np.ndarray
) -> None:
    np.save("one.npy", np.ones((3, 2, 2), np.float32))
    options = ["--colormap", "viridis", "--view", view]
    done(gradviz("saliency", script("x * x / 2", "model.ts"), "one.npy", *options))
    yellow = np.array([253, 231, 37])
    if view == "overlay":  # nine parts of the map, one of the dimmed white picture
        yellow = np.round(0.9 * yellow + 0.1 * 0.8 * 255)
    assert picture("one.npy", view)[0, 0].tolist() == yellow.tolist()


def test_a_diverging_colour_map_reaches_the_signed_picture(
    gradviz: Gradviz, photo: np.ndarray
) -> None:
    options = ["--colormap", "vik", "--view", "signed", "--view", "heatmap"]
    done(gradviz("saliency", script(COLOURED, "model.ts"), "photo.png", *options))
    lowest = [round(255 * part) for part in Colormap("crameri:vik")(0.0).rgba[:3]]
    assert picture("photo.png", "signed")[0, 0].tolist() == lowest
    assert picture("photo.png", "heatmap")[0, 0].tolist() == [252, 255, 164]  # inferno's last


def drawn(view: str, levels: list[float], backdrop: int = 0) -> list[int]:
    """The red of each level where a map from black to white is drawn on an even gray."""
    g = np.array([[levels]], np.float32)
    shown = np.full((1, len(levels), 3), backdrop, np.uint8)
    pixels = np.asarray(draw(g, VIEWS[view], 1.0, load_palette("gray"), shown))
    return [int(red) for red in pixels[0, :, 0]]


def test_a_level_takes_the_nearest_of_the_colours() -> None:
    """Of 255 colours from black to white, number i is round(255 · i / 254)."""
    assert drawn("heatmap", [0.4 / 254, 0.6 / 254, 100.4 / 254, 100.6 / 254]) == [0, 1, 100, 101]


def test_the_square_root_lets_weak_parts_of_an_overlay_show() -> None:
    """Weight 0.9 · √t, over 0.8 of the picture."""
    levels = [0.0, 1 / 25, 4 / 25, 9 / 25, 1.0]
    weights = 0.9 * np.array([0, 0.2, 0.4, 0.6, 1])
    for backdrop in (0, 200):
        expected = weights * 255 * levels + (1 - weights) * 0.8 * backdrop
        np.testing.assert_allclose(drawn("overlay", levels, backdrop), expected, atol=1.1)


# The far ends of the numbers ----------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_a_huge_gradient_is_drawn(view: str, gradviz: Gradviz) -> None:
    """Each number is a float32, the sum over the channels is none."""
    np.save("small.npy", np.full((3, 2, 2), 0.5, np.float32))
    result = gradviz("saliency", script("3e38 * x", "steep.ts"), "small.npy", "--view", view)
    done(result)
    assert "warning" not in result.stderr
    assert line()["stats"]["nonfinite"] == 0 and line()["warnings"] == []
    assert line()["stats"]["scale"] == pytest.approx(9e38, rel=1e-6)
    assert line()["score"] == pytest.approx(12 * 1.5e38, rel=1e-6)
    full = {
        "heatmap": [252, 255, 164],
        "positive": [252, 255, 164],
        "negative": [0, 0, 4],
        "gray": [255] * 3,
        "rgb": [255] * 3,
        "signed": [103, 0, 31],
        "overlay": [round(0.9 * c + 0.1 * 0.8 * 128) for c in (252, 255, 164)],
    }
    full["marked"] = full["overlay"]
    assert np.abs(picture("small.npy", view).astype(int) - full[view]).max() <= 1


@pytest.mark.parametrize(
    ("scale", "level"), [("1e-320", 255), ("1e-300", 255), ("1e39", 0), ("1e300", 0)]
)
def test_a_scale_beyond_float32(
    scale: str, level: int, gradviz: Gradviz, photo: np.ndarray
) -> None:
    model = script("x * x / 2", "model.ts")
    views = [word for view in VIEWS for word in ("--view", view)]
    meant = ["--preprocess", "none"]
    result = gradviz("saliency", model, "photo.png", "--scale", scale, *views, *meant)
    done(result)
    assert "warning" not in result.stderr.lower()
    assert line()["stats"]["scale"] == float(scale)
    assert (picture("photo.png", "gray") == level).all()


def test_every_command_tells_of_pages_that_it_leaves_out(gradviz: Gradviz) -> None:
    script(HalfSquare(), "model.ts")
    pages = [Image.new("RGB", (6, 5), (level,) * 3) for level in (51, 102)]
    pages[0].save("x.tiff", save_all=True, append_images=pages[1:])
    told = "the first of 2 pages or frames is used; choose one with --page N"
    for command in (
        ["saliency", "-o", "a"],
        ["check"],
        ["inspect"],
        ["receptive-field", "-o", "b"],
    ):
        found = gradviz(command[0], "model.ts", "x.tiff", *command[1:])
        assert found.exit_code == 0 and told in found.stderr, (command, found.stderr)
        chosen = gradviz(command[0], "model.ts", "x.tiff", *command[1:], *(
            ["--overwrite"] if len(command) > 1 else []
        ), "--page", "2")  # fmt: skip
        assert chosen.exit_code == 0 and "pages" not in chosen.stderr, (command, chosen.stderr)
    assert np.load("a/x.tiff/ones/gradient.npy") == pytest.approx(102 / 255)
    record = json.loads(Path("a/run.json").read_text())
    assert record["preprocess"]["page"] == 2
    wrong = gradviz("saliency", "model.ts", "x.tiff", "-o", "c", "--page", "3")
    assert wrong.exit_code == 2 and "has no page 3; expected --page 1 to 2" in wrong.stderr
