"""`gradviz saliency --expect` and `--inside`: what a CI job holds the gradients to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.commands import Gradviz, lines
from tests.helpers.formats import script

LEFT_ONLY = "2 * x[..., :1] + x[..., 1:2]"
"""Looks at the left column twice as much as at the next, and at nothing else."""


@pytest.fixture
def photos(gradviz: Gradviz) -> Path:
    """Two pictures of 4×3 pixels, the second with a black pixel, in an empty folder."""
    folder = Path("photos")
    folder.mkdir()
    pixels = np.full((3, 4, 3), 128, np.uint8)
    Image.fromarray(pixels).save(folder / "p.png")
    pixels[1, 2] = 0
    Image.fromarray(pixels).save(folder / "q.png")
    return folder


def mask(name: str, *columns: int) -> Path:
    """A mask of 4×3 pixels that is white in these columns."""
    pixels = np.zeros((3, 4), np.uint8)
    pixels[:, columns] = 255
    Path(name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(name)
    return Path(name)


def test_the_share_inside_is_recorded(gradviz: Gradviz, photos: Path) -> None:
    model = script(LEFT_ONLY, "left.ts")
    result = gradviz("saliency", model, photos, "--inside", mask("m.png", 0))
    assert result.exit_code == 0
    assert [line["stats"]["inside"] for line in lines()] == [pytest.approx(4 / 5)] * 2
    run = json.loads(Path("gradviz-out/run.json").read_text())
    assert run["settings"]["inside"] == "m.png"
    assert run["files"].keys() == {"m.png"}


def test_what_does_not_hold_is_said_of_each_image(gradviz: Gradviz, photos: Path) -> None:
    model = script(LEFT_ONLY, "left.ts")
    masks = mask("masks/p.png", 0).parent
    mask("masks/q.png", 1, 2, 3)
    given = ("saliency", model, photos, "--inside", masks, "-q")
    result = gradviz(*given, "--expect", "inside >= 0.5", "--expect", "nonfinite==0", "-o", "a")
    assert result.exit_code == 6
    assert result.stderr == ("error: --expect: q.png (ones): expected inside>=0.5, measured 0.2\n")
    assert gradviz(*given, "--expect", "inside>=0.2", "-o", "b").exit_code == 0


def test_quantities_that_every_result_has(gradviz: Gradviz, photos: Path) -> None:
    model = script("x.sqrt()", "root.ts")  # its slope at 0 is infinite
    given = ("saliency", model, photos, "--seed", "ones", "--seed", "pixel:0,0", "-q")
    result = gradviz(
        *given, "--expect", "nonfinite==0", "--expect", "zero_fraction<=0.9", "--expect", "max<2"
    )
    assert result.exit_code == 6
    # 3 of 36 values are infinite under ones; under the pixel 0 · ∞ is NaN, and 3 of 33 are left.
    assert sorted(result.stderr.splitlines()) == [
        "error: --expect: p.png (pixel:0,0): expected zero_fraction<=0.9, measured 0.916667",
        "error: --expect: q.png (ones): expected nonfinite==0, measured 3",
        "error: --expect: q.png (pixel:0,0): expected nonfinite==0, measured 3",
        "error: --expect: q.png (pixel:0,0): expected zero_fraction<=0.9, measured 0.909091",
    ]


def test_a_share_that_is_no_number_holds_nothing(gradviz: Gradviz, photos: Path) -> None:

    model = script("0 * x", "nothing.ts")
    given = ("saliency", model, photos / "p.png", "--inside", mask("m.png", 0), "-q")
    result = gradviz(*given, "--expect", "inside<=1")
    assert result.exit_code == 6
    assert "expected inside<=1, measured nan" in result.stderr
    assert lines()[0]["stats"]["inside"] is None
    again = gradviz(*given, "--expect", "inside<=1", "--resume")  # reads null back
    assert (again.exit_code, again.stderr) == (6, result.stderr)


def test_a_mask_that_does_not_fit_fails_its_image_alone(gradviz: Gradviz, photos: Path) -> None:
    model = script(LEFT_ONLY, "left.ts")
    masks = mask("masks/p.png", 0).parent
    Image.new("L", (3, 3), 255).save(masks / "q.png")
    result = gradviz("saliency", model, photos, "--inside", masks, "--expect", "inside>=0.9")
    assert result.exit_code == 4  # before 6
    assert "q.png: a mask of 3x3 pixels, expected 4x3 as in the image" in result.stderr
    assert "p.png (ones): expected inside>=0.9, measured 0.8" in result.stderr
    assert [line["status"] for line in lines()] == ["ok", "error"]
    assert not Path("gradviz-out/q.png").exists()


def test_shared_scales_keep_the_share(gradviz: Gradviz, photos: Path) -> None:
    model = script(LEFT_ONLY, "left.ts")
    gradviz("saliency", model, photos, "--inside", mask("m.png", 1), "--scale", "shared")
    assert [line["stats"]["inside"] for line in lines()] == [pytest.approx(1 / 5)] * 2


def test_another_mask_is_another_run(gradviz: Gradviz, photos: Path) -> None:
    model = script(LEFT_ONLY, "left.ts")
    given = ("saliency", model, photos, "--inside", mask("m.png", 1))
    assert gradviz(*given).exit_code == 0
    mask("m.png", 2)
    result = gradviz(*given, "--resume")
    assert result.exit_code == 2
    assert "files.m.png was " in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--expect", "inside>=0.5"], "--expect inside: inside of what? name a mask with --inside"),
        (["--expect", "size>=3"], "there is no size; expect one of inside, nonfinite,"),
        (["--expect", "nonfinite"], "write it as QUANTITY OP NUMBER"),
        (["--inside", "nowhere.png"], "--inside nowhere.png: no such file or folder"),
        (["--inside", "photos/.."], "no mask for p.png; expected p with the suffix"),
    ],
)
def test_mistakes_are_noticed_before_the_model_is_loaded(
    gradviz: Gradviz, photos: Path, options: list[str], message: str
) -> None:
    result = gradviz("saliency", "no-model.ts", photos, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not Path("gradviz-out").exists()
