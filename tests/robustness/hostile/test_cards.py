"""Cards that are more than data, or that mean two things."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from tests.helpers import victim

Fails = Callable[..., str]

MODEL = "model: weights.pt\n"
LAUGHS = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
"""9⁹ words, if the aliases are followed."""

CARDS: dict[str, tuple[str | bytes, str]] = {
    "a duplicate key": (MODEL + "output: a\noutput: b\n", "line 3: duplicate key 'output'"),
    "a duplicate key further in": (
        MODEL + "arch_args: {width: 1, width: 2}\n",
        "line 2: duplicate key 'width'",
    ),
    "a Python tag": ("model: !!python/object/apply:os.system ['touch sung']\n", "line 1: the tag"),
    "a Python name": (MODEL + "output: !!python/name:os.system\n", "line 2: the tag"),
    "a tag of its own": (MODEL + "output: !exec touch sung\n", "line 2: the tag"),
    "a harmless tag": (MODEL + "output: !!str 1\n", "line 2: the tag"),
    "anchors that explode": (LAUGHS, "line 1: anchors and aliases are not allowed"),
    "an alias of itself": ("model: &a [*a]\n", "line 1: anchors and aliases are not allowed"),
    "a merge key": (MODEL + "arch_args:\n  <<: {width: 1}\n", "line 3: the merge key"),
    "lists a thousand deep": (MODEL + "labels: " + "[" * 2000 + "]" * 2000, "is not YAML"),
    "an unknown key": (MODEL + "archh: a:b\n", "line 2: unknown key 'archh': did you mean arch?"),
    "a key that is no text": (MODEL + "7: a\n", "line 2: a key must be text, got 7"),
    "a wrong type": (
        MODEL + "labels: 7\n",
        "line 2: labels must be a list of text, or a file of labels, got 7",
    ),
    "two documents": (MODEL + "---\nmodel: other.pt\n", "line 2: but found another document"),
    "a list": ("- model: weights.pt\n", "line 1: must be a mapping"),
    "a comment alone": ("# nothing\n", "line 1: must be a mapping"),
    "no UTF-8": (b"model: \xff\xfe\n", "is not UTF-8 text (byte 7)"),
    "a control character": (MODEL + "output: \x00\n", "is not YAML"),
    "a number of a million digits": (
        MODEL + "arch_args: {a: " + "9" * 10**6 + "}\n",
        "is not YAML",
    ),
    "itself as its model": ("model: card.yaml\n", "is a card too"),
    "no model": ("output: a\n", "the card names no model"),
}
"""What the card says, and a piece of what is said of it."""


@pytest.mark.parametrize("case", CARDS)
def test_cards(case: str, healthy: Path, fails: Fails, tmp_path: Path) -> None:
    text, says = CARDS[case]
    content = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "card.yaml").write_bytes(content)
    shutil.copy(healthy / "checkpoint.pt", tmp_path)
    said = fails(2, "card.yaml", healthy / "photo.png", *victim.ARCH)
    assert says in said and "card.yaml" in said


@pytest.mark.parametrize("case", ["a Python tag", "an alias of itself", "a duplicate key"])
def test_what_lies_beside_a_model_is_read_as_strictly(
    case: str, healthy: Path, fails: Fails, tmp_path: Path
) -> None:
    shutil.copy(healthy / "scripted.ts", tmp_path)
    (tmp_path / "scripted.yaml").write_text(str(CARDS[case][0]))
    assert CARDS[case][1] in fails(2, "scripted.ts", healthy / "photo.png")


def test_anchors_of_another_program_are_left_aside(
    healthy: Path, saliency: Callable[..., Result], tmp_path: Path
) -> None:
    shutil.copy(healthy / "scripted.ts", tmp_path)
    (tmp_path / "scripted.yaml").write_text(LAUGHS)
    assert saliency("scripted.ts", healthy / "photo.png").exit_code == 0


def test_a_card_that_nobody_named_builds_nothing(
    healthy: Path, fails: Fails, tmp_path: Path
) -> None:
    (tmp_path / "evil.py").write_text("open('sung', 'w')\n")
    (tmp_path / "weights.yaml").write_text(MODEL + "arch: evil.py:net\n")
    shutil.copy(healthy / "checkpoint.pt", tmp_path)
    assert "holds weights only" in fails(2, "checkpoint.pt", healthy / "photo.png")
    assert not (tmp_path / "sung").exists()


def test_a_preprocessing_recipe_is_read_as_strictly(
    healthy: Path, fails: Fails, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text("resize: !!python/object/apply:os.system ['touch sung']")
    said = fails(
        2, healthy / "scripted.ts", healthy / "photo.png", "--preprocess", tmp_path / "recipe.yaml"
    )
    assert "line 1: the tag" in said


def test_a_value_of_the_command_line_is_read_as_strictly(
    healthy: Path, fails: Fails, saliency: Callable[..., Result]
) -> None:
    for value in ("!!python/name:os.system", "&a [*a]", "{a: 1, a: 2}"):
        words = [healthy / "checkpoint.pt", healthy / "photo.png", *victim.ARCH]
        fails(2, *words, "--arch-arg", f"width={value}")
