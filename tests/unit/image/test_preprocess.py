"""The recipe: what it accepts from cards and from the command line, and what it says otherwise."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from gradviz.errors import UsageError
from gradviz.image.preprocess import IMAGENET, Preprocess, preprocess_from

WRONG: dict[str, list[Any]] = {
    "resize": [
        *(0, -1, True, 22.5, "x", "3x", "3x4x5", [1], [1, 0], {}),
        *("fit:", "fit:0", "fit:-1", "fit:8x8", "fit:1e3", "fit:1000000000", "multiple:8"),
    ],
    "multiple": [0, "8x8", "two", [8]],
    "crop": ["0", "1.5", [1, 2, 3]],
    "mean": ["", "a", [], [True], True, ["0.5", None], [float("nan")], "inf"],
    "std": ["0", "1,-1", [0.0]],
    "range": ["1,0", "0", "0,0", [0, 1, 2], None],
    "channels": ["RGBA", 3, None],
    "background": ["0,0", [0, 0, 256], [0, 0, 0.5], "red", "a\nb"],
    "max_pixels": [0, "many", None],
    "levels": ["byte", None, 8],
    "longest": [0, "fit:8"],
    "keep_aspect": [True, "yes"],
    "crop_pct": [0, "0", 1.01, -1, "half", float("nan"), 1e-300],
    "round": ["down", 1],
    "interpolation": ["cubic", 3, None],
    "crop_rule": ["timm", True],
    "pad": [0, "fit:8", "multiple:0", "multiple:8x8", [8], f"multiple:{'9' * 5000}"],
    "pad_at": ["centre", None],
    "pad_value": ["", "black", None, [float("inf")]],
    "order": ["normalise", "pad, normalise", None],
}


@pytest.mark.parametrize(
    ("key", "text", "value", "expected"),
    [
        ("resize", "224", 224, 224),
        ("resize", "320x240", [320, 240], (320, 240)),
        ("resize", " 320 x 240 ", (320, 240), (320, 240)),
        ("multiple", "32", 32, 32),
        ("crop", "64x48", [64, 48], (64, 48)),
        ("mean", "0.5, 0.25,1", [0.5, 0.25, 1], (0.5, 0.25, 1.0)),
        ("std", "2", 2, (2.0,)),
        ("range", "-1,1", [-1, 1], (-1.0, 1.0)),
        ("channels", "bgr", "bgr", "bgr"),
        ("background", "0,128,255", [0, 128, 255], (0, 128, 255)),
        ("max_pixels", "1000", 1000, 1000),
        ("resize", "fit: 640", "fit:640", "fit:640"),
        ("pad", "multiple:14", "multiple:14", "multiple:14"),
        ("pad", "640x480", [640, 480], (640, 480)),
        ("pad_value", "124,116,104", [124, 116, 104], (124.0, 116.0, 104.0)),
        ("pad_value", "114", 114, (114.0,)),
        ("longest", "1333", 1333, 1333),
    ],
)
def test_text_and_values_mean_the_same(
    key: str, text: str, value: object, expected: object
) -> None:
    from_text, from_yaml = preprocess_from({key: text}, "x"), preprocess_from({key: value}, "x")
    assert from_text == from_yaml
    assert getattr(from_text, key) == expected


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in WRONG.items() for value in values]
)
def test_a_wrong_value(key: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        preprocess_from({"resize": 8, key: value}, "card.yaml")
    message = str(caught.value)
    assert message.startswith(f"card.yaml: {key}: expected ")
    assert message.endswith(" ".join(f"got {value!r}".split()))
    assert "\n" not in message


def test_an_unknown_key() -> None:
    with pytest.raises(UsageError, match=r"^card\.yaml: unknown key resiz; did you mean resize\?$"):
        preprocess_from({"resiz": 8}, "card.yaml")
    with pytest.raises(UsageError, match=r"unknown key 7; expected one of .*resize, longest"):
        preprocess_from({7: 8}, "card.yaml")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "recipe",
    [
        Preprocess(),
        IMAGENET,
        Preprocess(
            resize=(3, 4),
            multiple=8,
            crop=(5, 6),
            mean=(0.1,),
            std=(0.3,),
            range=(-1, 1),
            channels="gray",
            background=(1, 2, 3),
            max_pixels=99,
        ),
        Preprocess(
            resize="fit:8",
            longest=9,
            keep_aspect="least",
            crop_pct=0.5,
            round="even",
            interpolation="lanczos",
            crop_rule="transformers",
            pad="multiple:7",
            pad_at="around",
            pad_value=(1, 2, 3),
            order="normalise,pad",
            levels="bytes",
        ),
    ],
)
def test_it_survives_json(recipe: Preprocess) -> None:
    stored = json.loads(json.dumps(recipe.as_dict(), allow_nan=False))
    assert preprocess_from(stored, "run.json") == recipe
    assert stored.keys() == Preprocess.model_fields.keys()


def test_a_letterbox_is_a_fit_and_a_pad() -> None:
    written = {"resize": "fit:640", "pad": 640, "pad_at": "around", "pad_value": 114}
    assert preprocess_from({"letterbox": "640"}, "x") == preprocess_from(written, "x")
    assert Preprocess(letterbox=640) == preprocess_from(written, "x")  # type: ignore[call-arg]
    assert preprocess_from({"letterbox": 8, "pad_value": 0}, "x").pad_value == (0,)


def test_rescale_is_a_range() -> None:
    assert preprocess_from({"rescale": 1 / 255}, "x").range == (0, 1)
    assert preprocess_from({"rescale": 1}, "x").range == (0, 255)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"letterbox": 0}, "letterbox: expected a side below 1000000000 (640), got 0"),
        ({"letterbox": 10**9}, "letterbox: expected a side below .*, got 1000000000"),
        ({"letterbox": "8x8"}, "letterbox: expected a side .*, got '8x8'"),
        ({"rescale": 0}, "rescale: expected a factor above 0 .*, got 0"),
        ({"rescale": 1e300}, "rescale: expected a factor .*, got 1e.300"),
        ({"letterbox": 8, "crop": 4}, "letterbox: stands for crop, which is given as well"),
        ({"letterbox": 8, "resize": 4}, "letterbox: stands for resize, which is given as well"),
        ({"rescale": 1, "range": "0,1"}, "rescale: stands for range, which is given as well"),
        ({"crop_pct": 0.5, "crop": 4}, "crop_pct: needs resize, the size of the crop"),
        ({"leterbox": 8}, "unknown key leterbox; did you mean letterbox"),
    ],
)
def test_short_forms_that_cannot_be(given: dict[str, object], reason: str) -> None:
    pattern = reason.replace("(640)", r"\(640\)")
    with pytest.raises(UsageError, match=rf"^card\.yaml: {pattern}") as caught:
        preprocess_from(given, "card.yaml")
    assert "\n" not in str(caught.value)


def test_it_is_a_value() -> None:
    assert hash(Preprocess()) == hash(preprocess_from({}, "x"))
    with pytest.raises(ValueError, match="frozen"):
        IMAGENET.crop = 5


@pytest.mark.process
def test_it_needs_no_torch() -> None:
    """The recipe, the search and the reading of pictures work before torch is imported."""
    code = """import sys, gradviz.image.preprocess, gradviz.image.find
sys.exit("torch" in sys.modules)"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_recipe_of_imagenet_is_that_of_torchvisions_first_weights() -> None:
    """`ResNet50_Weights.IMAGENET1K_V1.transforms()`: 256, then 224 in the middle."""
    assert (IMAGENET.resize, IMAGENET.crop) == (256, 224)
    assert (IMAGENET.mean, IMAGENET.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    given = {
        key for key, value in IMAGENET.as_dict().items() if value != Preprocess().as_dict()[key]
    }
    assert given == {"resize", "crop", "mean", "std"}
