"""Folders of transformers on the page of `gradviz explore`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import gradviz
from gradviz.commands.explore.answers import Answers
from gradviz.commands.explore.packing import unpacked
from gradviz.commands.explore.question import OutputAsked, Question
from gradviz.commands.explore.session import ExploredModel, Session
from gradviz.commands.explore.worker import Task
from gradviz.image.find import find_images
from gradviz.image.preprocess import preprocess_from
from tests.helpers.paths import ROOT
from tests.libraries.small_transformers import Small

pytestmark = pytest.mark.transformers

Saved = Callable[[str], tuple[Path, Small]]


def answers_of(saved: Saved, name: str) -> Answers:
    folder, small = saved(name)
    recipe = preprocess_from({"resize": f"{small.side}x{small.side}"}, "the test")
    explored = ExploredModel(name, gradviz.load_model(folder), recipe)
    image = ROOT / "sample_images" / "room_01.png"
    return Answers(Session([explored], find_images([str(image)], None).sources, Path("out")))


def task() -> Task:
    return Task("test", lambda task: None)


def asked(number: int, seed: str) -> Question:
    return Question(client="tab", number=number, seed=seed)


def test_a_depth_model_with_attention_has_both_questions(saved: Saved) -> None:
    answers = answers_of(saved, "DPT")
    header, arrays = unpacked(answers.output(OutputAsked(client="tab", number=1), task()))
    assert header["kind"] == "map"
    _, pushed = unpacked(answers.ask(asked(2, "reacts:9,7"), task()))
    _, pulled = unpacked(answers.ask(asked(3, "pixel:12,14"), task()))
    assert arrays["output"].shape == pushed["reaction"].shape
    there, scale = pulled["gradient"][:, 7, 9].sum(), abs(pulled["gradient"]).max()
    assert pushed["reaction"][0, 14, 12] == pytest.approx(there, rel=5e-3, abs=5e-3 * scale)


def test_a_detector_lists_its_boxes_and_answers_for_one(saved: Saved) -> None:
    answers = answers_of(saved, "DETR")
    header, _ = unpacked(answers.output(OutputAsked(client="tab", number=1), task()))
    assert header["kind"] == "boxes"
    for each in header["detections"][:1]:
        found, _ = unpacked(answers.ask(asked(2, f"box:{each['place']}"), task()))
        assert found["detection"]["score"] == pytest.approx(each["score"], rel=1e-5)


def test_a_classifier_lists_its_classes(saved: Saved) -> None:
    answers = answers_of(saved, "ViT")
    header, _ = unpacked(answers.output(OutputAsked(client="tab", number=1), task()))
    assert header["kind"] == "classes"
    first = header["classes"][0]
    found, _ = unpacked(answers.ask(asked(2, f"class:{first['index']}"), task()))
    assert found["score"] == pytest.approx(first["score"], rel=1e-5)
