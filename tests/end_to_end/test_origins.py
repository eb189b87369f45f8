"""Where the steps of the preprocessing come from, and the warning if nothing names any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gradviz.errors import UsageError
from gradviz.image.frame import Frame
from gradviz.image.prepare import prepare
from gradviz.image.preprocess import Preprocess, preprocess_from
from gradviz.image.read import Picture
from tests.helpers.commands import Gradviz

WARNING = "its preprocessing is not known"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    net = torch.nn.Conv2d(3, 2, 3)
    torch.jit.script(net).save(tmp_path / "net.pt")  # type: ignore[no-untyped-call]
    draws = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        pixels = draws.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    np.save(tmp_path / "a.npy", draws.random((3, 20, 24), np.float32))
    return tmp_path / "net.pt"


def test_a_model_without_preprocessing_is_named_once(gradviz: Gradviz, model: Path) -> None:
    result = gradviz("saliency", model, "a.png", "b.png", "--seed", "ones")
    assert result.exit_code == 0
    assert result.stderr.count(WARNING) == 1
    for command in ("check", "inspect", "receptive-field"):
        out = ["-o", "field"] if command == "receptive-field" else []
        assert WARNING in gradviz(command, model, "a.png", *out).stderr, command


@pytest.mark.parametrize(
    "given",
    [
        ["a.npy"],
        ["a.png", "--preprocess", "none"],
        ["a.png", "--range", "0,255"],
    ],
)
def test_no_warning_if_it_is_known_what_enters(
    gradviz: Gradviz, model: Path, given: list[str]
) -> None:
    result = gradviz("saliency", model, *given, "--seed", "ones")
    assert result.exit_code == 0
    assert WARNING not in result.stderr


def test_no_warning_without_an_image_or_with_a_card(gradviz: Gradviz, model: Path) -> None:
    assert WARNING not in gradviz("inspect", model).stderr
    assert WARNING not in gradviz("receptive-field", model).stderr
    model.with_suffix(".yaml").write_text("preprocess: {}")
    assert WARNING not in gradviz("saliency", model, "a.png", "--seed", "ones").stderr


def test_origins_are_in_the_record_and_do_not_hinder_resuming(
    gradviz: Gradviz, model: Path
) -> None:
    card = model.with_suffix(".yaml")
    card.write_text("preprocess: {resize: 16, mean: [0.1, 0.2, 0.3]}")
    command = ["saliency", "net.pt", "a.png", "--seed", "ones"]
    assert gradviz(*command, "--resize", "12").exit_code == 0
    record = json.loads((model.parent / "gradviz-out" / "run.json").read_text())
    assert record["preprocess_from"] == {"resize": "the command line", "mean": "net.yaml"}
    card.write_text("preprocess: {resize: 12, mean: [0.1, 0.2, 0.3]}")
    assert gradviz(*command, "--resume").exit_code == 0


def test_a_processor_that_a_document_names_is_not_there() -> None:
    recipe = preprocess_from({"processor": "ZoeDepthImageProcessor"}, "run.json")
    picture = Picture(np.zeros((3, 4, 4), np.uint8), "picture")
    with pytest.raises(UsageError, match="only the folder of its model has it"):
        prepare(picture, recipe)


def test_what_a_processor_makes_enters_unchanged_and_has_no_place_in_the_file() -> None:
    tensor = np.random.default_rng(0).standard_normal((3, 5, 7)).astype(np.float32)
    recipe = Preprocess(mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1)).made_by("P", lambda _: tensor)
    prepared = prepare(Picture(np.zeros((3, 9, 8), np.uint8), "picture"), recipe)
    assert np.array_equal(prepared.tensor.numpy(), tensor)
    assert np.array_equal(prepared.part((2, 1, 6, 4)).numpy(), tensor[:, 1:4, 2:6])
    means = np.reshape([0.1, 0.2, 0.3], (3, 1, 1))
    shown = np.round((tensor * np.reshape([0.3, 0.2, 0.1], (3, 1, 1)) + means).clip(0, 1) * 255)
    assert np.abs(prepared.shown.transpose(2, 0, 1) - shown).max() <= 1
    assert prepared.frame.image == (8, 9)
    assert not prepared.frame.unchanged
    for refused in (
        lambda frame: frame.to_input(1, 1),
        lambda frame: frame.to_image(1, 1),
        Frame.lookup,
        lambda frame: frame.in_image(tensor, 0),
        lambda frame: frame.in_input(np.zeros((9, 8)), 0),
    ):
        with pytest.raises(UsageError, match="the way back to the photo is not known"):
            refused(prepared.frame)
    with pytest.raises(UsageError, match="P takes pictures, not arrays"):
        prepare(Picture(np.zeros((3, 9, 8), np.float32), "array"), recipe)
