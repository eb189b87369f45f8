"""Cards say how a model is loaded; what is wrong with them is said with file and line."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradviz.errors import ModelError, UsageError
from gradviz.image.preprocess import Preprocess
from gradviz.model.card import card_beside, read_card, read_preprocess
from gradviz.model.load import load_model
from tests.helpers import small_nets

NETS = Path(small_nets.__file__)

FULL = """\
model: weights.safetensors
arch: nets.py:small_net
arch_args: {width: 4}
preprocess: {resize: 128, multiple: 8, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
output: depth
labels: [circle, square, no]
"""

PREPROCESS = Preprocess(resize=128, multiple=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def written(folder: Path, text: str, name: str = "card.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_everything_that_a_card_can_say(tmp_path: Path) -> None:
    card = read_card(written(tmp_path, FULL))
    assert card.model == tmp_path / "weights.safetensors"
    assert card.arch == f"{tmp_path / 'nets.py'}:small_net"
    assert card.arch_args == {"width": 4}
    assert card.preprocess == PREPROCESS
    assert card.output == "depth"
    assert card.labels == ("circle", "square", "no")
    assert card.weights_key is None


def test_an_arch_in_a_package_is_no_path(tmp_path: Path) -> None:
    assert read_card(written(tmp_path, "arch: a.b:net\n")).arch == "a.b:net"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("model: a.pt\nlabel: [a]\n", ["line 2", "'label'", "did you mean labels"]),
        ("path: a.pt\n", ["line 1", "unknown key 'path'"]),
        ("zzz: 1\n", ["line 1", "expected model, arch"]),
        ("unit: 3\n", ["line 1", "text such as m"]),
        ("output: a\noutput: b\n", ["line 2", "duplicate key 'output'"]),
        ("model: a.pt\noutput: 0\n", ["line 2", "output must be text, got 0", "quote it"]),
        ("model: 3\n", ["line 1", "model must be a path", "got 3"]),
        ("labels: circle\n", ["line 1", "labels must be a list of text", "'circle'"]),
        ("labels:\n  - a\n  - true\n", ["line 3", "labels.1 must be", "got True", "quote it"]),
        ("arch: net.py:f\narch_args: [1]\n", ["line 2", "arch_args must be a mapping", "[1]"]),
        ("arch_args:\n  1: 2\n", ["line 2", "arch_args.1 must be a mapping from argument"]),
        ("preprocess: imagenet\n", ["line 1", "preprocess must be a mapping", "'imagenet'"]),
        ("a: 1\npreprocess: {rezise: 3}\n", ["line 1", "unknown key 'a'"]),
        ("model: a\npreprocess: {rezise: 3}\n", ["line 2", "preprocess", "rezise"]),
        ("- a\n", ["line 1", "mapping"]),
    ],
)
def test_a_wrong_card(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_card(path)
    message = str(caught.value)
    assert all(part in message for part in [str(path), *parts]), message
    assert "\n" not in message


@pytest.fixture
def folder(tmp_path: Path, files: Path) -> Path:
    """Weights, their architecture and two scripts, without cards."""
    shutil.copy(NETS, tmp_path / "nets.py")
    for name in ("weights.safetensors", "checkpoint.pt", "scripted.ts", "traced.ts"):
        shutil.copy(files / name, tmp_path / name)
    return tmp_path


def test_a_named_card_loads_its_model(folder: Path, net: nn.Module) -> None:
    path = written(folder, FULL.replace("output: depth\n", ""))
    model = load_model(path)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model(x), net(x))
    assert model.path == folder / "weights.safetensors"
    assert model.card == path
    assert model.labels == ("circle", "square", "no")
    assert model.preprocess == PREPROCESS
    assert model.arch == f"{folder / 'nets.py'}:small_net"
    assert model.arch_args == {"width": 4}


def test_flags_win_over_the_card(folder: Path) -> None:
    text = FULL.replace("weights.safetensors", "checkpoint.pt") + "weights_key: ema\n"
    path = written(folder, text)
    with pytest.raises(UsageError, match="no weights under 'ema'"):
        load_model(path)
    model = load_model(path, weights_key="state_dict", output="logits", arch_args={"classes": 3})
    assert (model.weights_key, model.output) == ("state_dict", "logits")
    assert model.arch_args == {"width": 4, "classes": 3}
    with pytest.raises(ModelError, match=r"first.weight: file \[4, 3, 3, 3\] vs model \[5,"):
        load_model(path, weights_key="state_dict", arch_args={"width": 5})
    model = load_model(path, weights_key="state_dict", arch="tests.helpers.small_nets:small_net")
    assert (model.arch, model.arch_args) == ("tests.helpers.small_nets:small_net", {})


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_card_beside_the_model_says_only_how_to_look(folder: Path, suffix: str) -> None:
    text = FULL.replace("weights.safetensors", "nothing.pt") + "weights_key: ema\n"
    path = written(folder, text, f"scripted{suffix}")
    card = card_beside(folder / "scripted.ts").card
    assert card is not None
    assert (card.model, card.arch, card.arch_args, card.weights_key) == (None, None, {}, None)
    model = load_model(folder / "scripted.ts")
    assert (model.card, model.output, model.preprocess) == (path, "depth", PREPROCESS)
    assert model.labels == ("circle", "square", "no")
    assert load_model(folder / "scripted.ts", output="out").output == "out"
    other = load_model(folder / "traced.ts")
    assert (other.card, other.output, other.labels) == (None, None, ())
    assert card_beside(folder / "traced.ts").card is None


def test_a_card_that_was_merely_found_loosens_no_limit(folder: Path) -> None:
    for number, most in ((10**12, 200_000_000), (5, 5)):
        path = written(folder, f"preprocess: {{max_pixels: {number}}}\n", "scripted.yaml")
        found = load_model(folder / "scripted.ts").preprocess
        assert found is not None and found.max_pixels == most
        named = read_card(path).preprocess
        assert named is not None and named.max_pixels == number


@pytest.mark.parametrize(
    "text",
    [
        "model: {type: resnet}\ntrain: {epochs: 3}\n",
        "defaults: &d {a: 1}\nmodel: {<<: *d}\n",
        "- a list\n",
        "# nothing\n",
        "preproces: {resize: 3}\n",
        "\tno YAML",
    ],
)
def test_a_file_of_another_program_beside_the_model_is_left_aside(folder: Path, text: str) -> None:
    path = written(folder, text, "scripted.yaml")
    model = load_model(folder / "scripted.ts")
    assert model.card is None and model.preprocess is None
    (note,) = model.notes
    assert note.startswith(f"{path}: ") and "not taken for the card of scripted.ts" in note


@pytest.mark.parametrize("text", ["labels: 7\n", "labels: [a]\nlabels: [b]\n", "output: &a x\n"])
def test_a_card_beside_the_model_that_is_wrong_is_refused(folder: Path, text: str) -> None:
    written(folder, text, "scripted.yaml")
    with pytest.raises(UsageError, match=r"scripted\.yaml, line"):
        load_model(folder / "scripted.ts")


def test_a_card_beside_weights_runs_no_architecture(folder: Path) -> None:
    written(folder, FULL, "weights.yaml")
    with pytest.raises(UsageError, match="weights only"):
        load_model(folder / "weights.safetensors")
    assert load_model(folder / "weights.yaml", output="x").arch is not None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("labels: [a]\n", "names no model"),
        ("model: nothing.pt\n", "nothing.pt: no such model file"),
        ("model: card.yaml\n", "is a card too"),
        ("model: scripted.ts\narch: nets.py:small_net\n", "leave out --arch"),
    ],
)
def test_a_card_that_leads_to_no_model(folder: Path, text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        load_model(written(folder, text))


def test_preprocessing_from_a_file_of_its_own_or_a_card(tmp_path: Path) -> None:
    alone = written(
        tmp_path,
        "resize: 128\nmultiple: 8\nmean: [0.5, 0.5, 0.5]\nstd: [0.25, 0.25, 0.25]\n",
        "alone.yaml",
    )
    assert read_preprocess(alone) == PREPROCESS
    assert read_preprocess(written(tmp_path, FULL)) == PREPROCESS
    for text, part in (
        ("preprocess:\n", "empty"),
        ("preprocess: {resize: 3}\nrezise: 4\n", "line 2"),
        ("rezise: 4\n", "rezise"),
    ):
        with pytest.raises(UsageError, match=f"wrong.yaml.*{part}"):
            read_preprocess(written(tmp_path, text, "wrong.yaml"))


def test_a_card_cannot_be_changed(tmp_path: Path) -> None:
    card: Any = read_card(written(tmp_path, FULL))
    with pytest.raises(ValueError, match="frozen"):
        card.output = "other"
