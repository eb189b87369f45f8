"""Seeds on boxes: their gradient is autograd's, of the number that is written out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradviz
from gradviz.errors import SeedError, UsageError
from gradviz.model.load import wrap
from gradviz.model.model import Model
from tests.helpers.detector_nets import Cells, Queries, cell_number, query_number
from tests.helpers.formats import models

LABELS = ("cat", "dog", "bird")
SIDES = (None, "x0", "y0", "x1", "y1", "cx", "cy", "w", "h")
FORMATS = ("pickled.pt", "scripted.ts", "traced.ts", "frozen.ts", "program.pt2")
WIDTH, HEIGHT = 40, 24


def image() -> Tensor:
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))


def found(model: Model, spec: str, **choices: Any) -> Any:
    """The result of a seed, at any score."""
    (result,) = gradviz.saliency(model, image()[0], spec, **{"box_score": 0.0, **choices})
    return result


def by_hand(net: nn.Module, number: Callable[[Any], Tensor]) -> tuple[float, np.ndarray]:
    """A number of the output, and its gradient at the image."""
    x = image().requires_grad_()
    value = number(net(x))
    (gradient,) = torch.autograd.grad(value, x)
    assert gradient.abs().max() > 0
    return value.item(), gradient[0].numpy()


def close(result: Any, expected: tuple[float, np.ndarray]) -> None:
    value, gradient = expected
    assert result.score == pytest.approx(value, rel=1e-5)
    assert np.linalg.norm(result.array - gradient) <= 1e-5 * np.linalg.norm(gradient)


def first_cell(net: nn.Module) -> int:
    """The cell of the highest score whose box has an area: `box:0`."""
    return int(net(image())[0, 4:].max(0).values.argmax())


def first_query(net: nn.Module) -> int:
    return int(net(image())["logits"][0].softmax(1)[:, :-1].max(1).values.argmax())


def labelled(model: Model, **facts: Any) -> Model:
    return replace(model, labels=LABELS, **facts)


@pytest.mark.parametrize("side", SIDES)
def test_one_stage_in_every_format(tmp_path: Path, side: str | None) -> None:
    net = Cells().eval().requires_grad_(False)
    row = first_cell(net)
    expected = by_hand(net, lambda y: cell_number(y, row, side))
    spec = "box:0" if side is None else f"box:0:{side}"
    names = FORMATS if side in (None, "x0") else ()
    for name, model in models(net, image(), tmp_path, *names).items():
        result = found(labelled(model, boxes="cxcywh"), spec)
        close(result, expected)
        score = cell_number(net(image()), row, None)
        assert result.detection.score == pytest.approx(score.item()), name


@pytest.mark.parametrize("side", SIDES)
def test_queries_in_every_format(tmp_path: Path, side: str | None) -> None:
    """The number of a class is its logit; the tracer takes no dict."""
    net = Queries().eval().requires_grad_(False)
    row = first_query(net)
    expected = by_hand(net, lambda y: query_number(y, row, side, (WIDTH, HEIGHT)))
    spec = "box:0" if side is None else f"box:0:{side}"
    names = [name for name in FORMATS if name != "traced.ts"] if side in (None, "x0") else []
    for model in models(net, image(), tmp_path, *names).values():
        result = found(labelled(model), spec)
        close(result, expected)
        share = net(image())["logits"][0, row].softmax(0)[:-1]
        assert result.detection.score == pytest.approx(float(share.max()), rel=1e-5)
        assert result.detection.label == LABELS[int(share.argmax())]


def test_queries_without_a_class_for_no_object_have_sigmoids() -> None:
    """As Deformable DETR and RT-DETR: as many numbers as classes."""
    net = Queries(classes=2).eval().requires_grad_(False)
    logits = net(image())["logits"][0]
    row = int(logits.max(1).values.argmax())
    result = found(labelled(wrap(net)), "box:0")
    assert result.detection.score == pytest.approx(float(logits[row].max().sigmoid()))
    close(result, by_hand(net, lambda y: y["logits"][0, row].max()))


def test_objectness_is_multiplied() -> None:
    """[N, A, 5+C]: the score is a product, and so is its gradient."""
    net = Cells(objectness=True, across=False).eval().requires_grad_(False)
    y = net(image())[0]
    row = int((y[:, 4] * y[:, 5:].max(1).values).argmax())
    expected = by_hand(net, lambda y: y[0, row, 4] * y[0, row, 5:].max())
    for labels in (LABELS, ()):  # [N, A, 5+C] is what the shape says as well
        model = wrap(net, labels=labels, boxes="cxcywh")
        close(found(model, "box:0"), expected)


class Chosen(nn.Module):
    """As torchvision: a list of dicts, here of the best three cells."""

    def __init__(self, detach: str = "") -> None:
        super().__init__()
        self.cells = Cells()
        self.detach = detach

    def forward(self, image: Tensor) -> list[dict[str, Tensor]]:
        made = []
        for each in self.cells(image):
            centre, size = each[:2].T, each[2:4].T
            boxes = torch.cat([centre - size / 2, centre + size / 2], 1)
            scores, labels = each[4:].max(0)
            scores = scores.detach() if self.detach == "scores" else scores
            boxes = boxes.detach() if self.detach == "boxes" else boxes
            best = scores.topk(3).indices
            made.append({"boxes": boxes[best], "labels": labels[best], "scores": scores[best]})
        return made


@pytest.mark.parametrize("side", SIDES)
def test_lists_of_chosen_boxes(side: str | None) -> None:
    net = Chosen().eval().requires_grad_(False)
    row = first_cell(net.cells)
    spec = "box:0" if side is None else f"box:0:{side}"
    x = image().requires_grad_()
    value = cell_number(net.cells(x), row, side)
    (gradient,) = torch.autograd.grad(value, x)
    close(found(labelled(wrap(net)), spec), (value.item(), gradient[0].numpy()))


def test_the_methods_agree_with_the_gradient_where_they_must() -> None:
    """Integrated Gradients add up; points around the image have the same cells."""
    model = labelled(wrap(Cells()), boxes="cxcywh")
    result = found(model, "box:0:x0", method="integrated-gradients")
    x0 = [
        cell_number(model.module(x), first_cell(model.module), "x0")
        for x in (image(), torch.zeros_like(image()))
    ]
    assert result.array.sum() == pytest.approx(float(x0[0] - x0[1]), abs=0.02)
    with pytest.raises(SeedError, match="other points than the image have others"):
        found(labelled(wrap(Chosen())), "box:0", method="smoothgrad")


def test_detached_parts_are_refused_by_name() -> None:
    with pytest.raises(SeedError, match=r"box:0:x0: the model detaches its boxes, in the model"):
        found(labelled(wrap(Chosen("boxes"))), "box:0:x0")
    with pytest.raises(SeedError, match=r"box:0: the model detaches its scores"):
        found(labelled(wrap(Chosen("scores"))), "box:0")
    assert found(labelled(wrap(Chosen("boxes"))), "box:0").warnings == ()


class Refined(nn.Module):
    """Boxes that begin at a suggestion, which is cut off, and end with a gradient of their own."""

    def __init__(self, no_grad: bool) -> None:
        super().__init__()
        self.suggestion = nn.Conv2d(3, 4, 5, stride=4, padding=2)
        self.cells = Cells()
        self.no_grad = no_grad

    def forward(self, image: Tensor) -> Tensor:
        if self.no_grad:
            with torch.no_grad():
                first = self.suggestion(image)
        else:
            first = self.suggestion(image).detach()
        y: Tensor = self.cells(image)
        return torch.cat([y[:, :4] + torch.tanh(first).flatten(2), y[:, 4:]], 1)


@pytest.mark.parametrize(("no_grad", "where"), [(True, "suggestion"), (False, "the model itself")])
def test_branches_that_are_left_out_are_named(no_grad: bool, where: str) -> None:
    result = found(labelled(wrap(Refined(no_grad)), boxes="cxcywh"), "box:0:x0")
    (warning,) = result.warnings
    assert warning.startswith(
        f"the boxes may also depend on a branch that the model detaches, in {where}:"
    )
    assert found(labelled(wrap(Cells()), boxes="cxcywh"), "box:0:x0").warnings == ()


def test_readings_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(UsageError, match=r"form of the detector's boxes cannot be told.*--boxes"):
        found(labelled(wrap(Cells())), "box:0")
    with pytest.raises(UsageError, match=r"4 numbers for each box.*not known: give the names"):
        found(wrap(Queries()), "box:0")
    with pytest.raises(UsageError, match=r"7 numbers for each box, and there are 1 classes"):
        found(wrap(Cells(), labels=["cat"]), "box:0")
    with pytest.raises(UsageError, match=r"--boxes xy: give xyxy, xywh, cxcywh"):
        wrap(Cells(), boxes="xy")
    with pytest.raises(
        UsageError, match=r"holds no boxes that can be read: it is a tensor \[1, 6, "
    ):
        found(wrap(nn.Conv2d(3, 6, 3)), "box:0")
