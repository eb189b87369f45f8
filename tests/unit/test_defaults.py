"""The defaults that the help prints are those that are used."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from gradviz.backward.integrated_gradients import MOST_POINTS, TOLERANCE
from gradviz.backward.sampling import POINTS, Sampling
from gradviz.cli import options
from gradviz.commands.receptive_field.measure import FieldSettings
from gradviz.commands.saliency.settings import Settings
from gradviz.heatmap.clip import CLIP
from gradviz.image.preprocess import Preprocess


def helped(group: Any, name: str) -> str:
    fields = {field.name: field for field in dataclasses.fields(group)}
    text: str = fields[name].metadata["option"].help
    return text.replace("\\[", "[")


DEFAULTS = {
    "points": (options.BackwardOptions, "samples", POINTS["noise"].samples),
    "noise": (options.BackwardOptions, "noise", Sampling.noise),
    "random seed": (options.BackwardOptions, "random_seed", Sampling.random_seed),
    "batch size": (options.BackwardOptions, "batch_size", Settings.batch_size),
    "clip": (options.OutputOptions, "clip", CLIP),
    "range": (options.InputOptions, "range", "0,1"),
    "background": (options.InputOptions, "background", "255,255,255"),
    "fields": (options.FieldOptions, "samples", FieldSettings.samples),
}


@pytest.mark.parametrize("what", DEFAULTS)
def test_the_help_prints_the_default(what: str) -> None:
    group, name, value = DEFAULTS[what]
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    assert f"[default: {shown}]" in helped(group, name)


def test_the_numbers_are_those_of_the_documentation() -> None:
    assert POINTS["noise"].samples == POINTS["spread"].samples == 32
    assert (POINTS["image"].samples, POINTS["path"].samples) == (1, None)
    assert [points.least for points in POINTS.values()] == [1, 1, 2, 1]
    assert (CLIP, Settings().clip, Sampling.noise, Settings.batch_size) == (99, 99, 0.15, 8)
    assert Settings().optimize and (Settings().tile, Settings().scale) == ("auto", "image")
    assert Preprocess().range == (0, 1) and Preprocess().background == (255, 255, 255)
    text = helped(options.BackwardOptions, "samples")
    found = re.search(r"until the gap is ([\d.]+) %, at most (\d+)", text)
    assert found is not None
    assert (float(found[1]) / 100, int(found[2])) == (TOLERANCE, MOST_POINTS)
