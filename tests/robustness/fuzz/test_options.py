"""Any text for any option of any command: a result or one line that says what is wrong.

An example takes some milliseconds, and some tenths of a second where it runs the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from typer.main import get_command

from gradviz.cli.app import COMMANDS, make_app
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script
from tests.robustness.fuzz.rounds import FUZZ
from tests.robustness.fuzz.texts import anything, near, numbers

ARGUMENTS = {
    "saliency": ["model.ts", "photo.png", "--overwrite"],
    "receptive-field": ["model.ts", "photo.png", "--overwrite"],
    "inspect": ["model.ts", "photo.png"],
    "check": ["model.ts", "photo.png"],
    "compare": ["run", "run", "--overwrite"],
    "report": ["run", "--out=page.html"],
    "explore": ["model.ts", "nowhere.png", "--no-browser"],  # it would serve for ever
}
"""What each command works on."""
CODES = {0, 2, 3, 4, 5, 6}


def options(command: str) -> list[str]:
    """The long names of the options that take a value."""
    group: Any = get_command(make_app(command))
    return [
        max(parameter.opts, key=len)
        for parameter in group.commands[command].params
        if parameter.param_type_name == "option" and not parameter.is_flag
    ]


OPTIONS = {command: options(command) for command in COMMANDS}

values = st.one_of(numbers, near(",", "x", ":", "=", ">=", "."), anything)


@pytest.fixture
def place(gradviz: Gradviz) -> Gradviz:
    """A folder with a model, a photo, and a run."""
    script(nn.Conv2d(3, 2, 3), "model.ts")
    Image.new("RGB", (6, 5), (200, 100, 50)).save("photo.png")
    assert gradviz("saliency", "model.ts", "photo.png", "-o", "run").exit_code == 0
    return gradviz


@pytest.mark.parametrize("command", ARGUMENTS)
@FUZZ
@given(data=st.data())
def test_any_text_for_any_option(command: str, place: Gradviz, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(OPTIONS[command]), min_size=1, max_size=2))
    given = [f"{option}={data.draw(inside(option))}" for option in chosen]
    result = place(command, *ARGUMENTS[command], *given)
    assert result.exit_code in CODES
    if not result.stderr.startswith("Usage:"):
        lines = result.stderr.split("\n")
        assert [line for line in lines if line.startswith("error: ")] or result.exit_code == 0
        assert "Traceback" not in result.stderr


def inside(option: str) -> st.SearchStrategy[str]:
    """What an option may be given; nothing is to be written outside the test's own folder."""
    if option == "--out":
        return values.filter(lambda text: not Path(text).is_absolute() and ".." not in text)
    return values


def test_every_command_is_fuzzed() -> None:
    assert ARGUMENTS.keys() == COMMANDS.keys()
    assert all(OPTIONS.values())
