"""Small detectors of three families, with random weights, and the reading of each by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Cells(nn.Module):
    """One-stage: [N, 4+C, A], boxes as centre and size in pixels; every cell has its own."""

    def __init__(self, classes: int = 3, objectness: bool = False, across: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.Tanh(), nn.Conv2d(6, 6, 3, padding=1)
        )
        self.sides = nn.Conv2d(6, 4, 1)
        self.scores = nn.Conv2d(6, classes + int(objectness), 1)
        nn.init.normal_(self.scores.weight, std=2)
        self.across = across

    def forward(self, image: Tensor) -> Tensor:
        features = torch.tanh(self.features(image))
        rows, columns = features.shape[2], features.shape[3]
        x = ((torch.arange(columns, device=image.device) + 0.5) * 4).expand(rows, columns)
        y = ((torch.arange(rows, device=image.device) + 0.5) * 4)[:, None].expand(rows, columns)
        sides = self.sides(features)
        centre = torch.stack([x, y]) + sides[:, :2]
        cells = torch.cat(
            [centre, 4 * (sides[:, 2:] + 1).exp(), self.scores(features).sigmoid()], 1
        )
        flat = cells.flatten(2)
        return flat if self.across else flat.transpose(1, 2)


class Queries(nn.Module):
    """As DETR: logits [N, Q, C+1] and boxes [N, Q, 4] as shares of the image."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.features = nn.Conv2d(3, 8, 5, stride=4, padding=2)
        self.asked = nn.Parameter(torch.randn(6, 8))
        self.labels = nn.Linear(8, classes + 1)
        self.boxes = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        tokens = torch.tanh(self.features(image)).flatten(2)
        weights = (self.asked @ tokens).softmax(2)
        found = torch.tanh(weights @ tokens.transpose(1, 2) + self.asked)
        return {"logits": 3 * self.labels(found), "pred_boxes": self.boxes(found).sigmoid()}


def cells_net() -> nn.Module:
    return Cells()


def queries_net() -> nn.Module:
    return Queries()


def cell_number(output: Tensor, row: int, side: str | None) -> Any:
    """One number of a cell of `Cells`, by hand."""
    cx, cy, w, h = output[0, :4, row]
    if side is None:
        return output[0, 4:, row].max()
    return {"x0": cx - w / 2, "y0": cy - h / 2, "x1": cx + w / 2, "y1": cy + h / 2, "cx": cx,
            "cy": cy, "w": w, "h": h}[side]  # fmt: skip


def query_number(output: dict[str, Tensor], row: int, side: str | None, of: tuple[int, int]) -> Any:
    """One number of a query of `Queries`, in pixels of an image of this width and height."""
    if side is None:
        return output["logits"][0, row, :-1].max()
    width, height = of
    cx, cy, w, h = output["pred_boxes"][0, row]
    return {"x0": (cx - w / 2) * width, "y0": (cy - h / 2) * height, "x1": (cx + w / 2) * width,
            "y1": (cy + h / 2) * height, "cx": cx * width, "cy": cy * height, "w": w * width,
            "h": h * height}[side]  # fmt: skip
