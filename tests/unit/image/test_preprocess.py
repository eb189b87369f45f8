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
    "resize": [0, -1, True, 22.5, "x", "3x", "3x4x5", [1], [1, 0], {}],
    "multiple": [0, "8x8", "two", [8]],
    "crop": ["0", "1.5", [1, 2, 3]],
    "mean": ["", "a", [], [True], True, ["0.5", None], [float("nan")], "inf"],
    "std": ["0", "1,-1", [0.0]],
    "range": ["1,0", "0", "0,0", [0, 1, 2], None],
    "channels": ["RGBA", 3, None],
    "background": ["0,0", [0, 0, 256], [0, 0, 0.5], "red", "a\nb"],
    "max_pixels": [0, "many", None],
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
    with pytest.raises(UsageError, match=r"unknown key 7; expected one of .*resize, multiple"):
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
    ],
)
def test_it_survives_json(recipe: Preprocess) -> None:
    stored = json.loads(json.dumps(recipe.as_dict(), allow_nan=False))
    assert preprocess_from(stored, "run.json") == recipe
    assert stored.keys() == Preprocess.model_fields.keys()


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
