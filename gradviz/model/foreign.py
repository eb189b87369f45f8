"""The one place where foreign code, a user's model or factory, may raise anything."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from gradviz.descriptors import restore
from gradviz.errors import GradvizError, MemoryShort, ModelError, UsageError
from gradviz.files import NO_TEMPORARY, lacks_temporary
from gradviz.model.inputs import arguments_of
from gradviz.text import one_line


@contextmanager
def foreign_code(doing: str, called: nn.Module | None = None) -> Iterator[None]:
    """Run a block that calls foreign code, and turn whatever it raises into one line.

    Args:
        doing: what fails if it does, such as "net.ts: cannot be loaded".
        called: the module that is called with a batch of images, if one is.

    Raises:
        MemoryShort: the device has too little memory.
        UsageError: there is no temporary folder.
        ModelError: the block raised anything else; gradviz's own errors pass unchanged.
    """
    try:
        with same_surroundings():
            yield
    except GradvizError:
        raise
    except KeyboardInterrupt:  # the user's
        raise
    except BaseException as error:
        if lacks_temporary(error):
            raise UsageError(NO_TEMPORARY) from error
        kind = MemoryShort if is_memory_short(error) else ModelError
        raise kind(f"{doing}: {describe_error(error, called)}") from error


@contextmanager
def same_surroundings() -> Iterator[None]:
    """Go back to the working folder after the block, and open standard streams that it closed.

    Raises:
        ModelError: it closed other files of ours.
    """
    before = _working_folder()
    try:
        yield
    finally:
        if before is not None and _working_folder() != before:
            with suppress(OSError):
                os.chdir(before)
        closed = restore()
    if closed:
        raise ModelError("foreign code closed files that gradviz has open: let it close its own")


def _working_folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  called before and after every pass
    except OSError:
        return None  # it was deleted


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Put `folder` first on the import path, and restore the path afterwards."""
    before = sys.path[:]
    sys.path.insert(0, str(folder))
    # Python caches the content of folders, and a file may be newer.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


# What to do about an error of torch's -------------------------------------------------------------

SHORT_OF_MEMORY = r"out of memory|can't allocate memory|not enough memory"
"""The wording of too little memory in messages; TorchScript wraps them in its own errors."""

LONGEST_TEXT = 500
"""Characters of a message's beginning and end that are looked at."""

_CHANNELS = re.compile(r"to have (?P<expected>\d+) channels, but got (?P<got>\d+) channels")

_FIVE_AXES = re.compile(r"expected input\[\d+(, \d+){4}\]|5D (input|\(batched\))|5-dimensional")
_OTHER_INPUT = re.compile(
    r"missing \d+ required (positional|keyword-only)|is missing value for argument"
    r"|takes \d+ positional arguments? but|Expected a value of type|dictionary update sequence"
    r"|'Tensor' object has no attribute '(get|keys|items|values)'|too many indices for tensor"
    r"|not enough values to unpack|valid indices \(got|Ran into a kwarg keyword mismatch"
    r"|flatten user inputs with exported input|You have to specify"
)
"""The wording of a model that is called with something else than one batch of images."""

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"Sizes of tensors must match|The size of tensor a|shapes cannot be multiplied"
        r"|[Oo]utput size is too small|is invalid for input of size|can't be greater than actual"
        r"|Padding size should be less|negative (dimension|output size)|Expected more than 1"
        r"|Guard failed",
        "the image's size does not fit: use --resize, or --multiple with the model's stride",
    ),
    (
        SHORT_OF_MEMORY,
        "use --tile, --precision bfloat16, --resize or a smaller --batch-size",
    ),
    (
        r"should be the same|expected scalar type|must have the same dtype|same data type",
        "the model mixes number types: use --precision float32",
    ),
)
"""Patterns of PyTorch's messages, and advice for a user of gradviz."""


def describe_error(error: BaseException, called: nn.Module | None = None) -> str:
    """Describe an error in one line: its type, its essence, and what to do if that is known.

    A TorchScript error carries a traceback of its own; only its last line says what went wrong.

    Args:
        error: what was raised.
        called: the module that raised it when it was called with a batch of images.
    """
    text = _text_of(error)
    essence = _essence(text)
    if called is not None and (other := _other_input(text, called)):
        return f"{type(error).__name__}: {essence}: {other}"
    channels = _CHANNELS.search(essence)
    if channels is not None:
        return wrong_channels(int(channels["expected"]), int(channels["got"]))
    hint = next((hint for pattern, hint in _HINTS if re.search(pattern, essence)), None)
    said = f"{type(error).__name__}: {essence}" if essence else type(error).__name__
    return f"{said}: {hint}" if hint else said


def _other_input(message: str, called: nn.Module) -> str | None:
    """Describe what a module takes in place of a batch of images, and the way to give it."""
    if _FIVE_AXES.search(message):
        wanted = "an input of five axes, as of a video"
    elif _OTHER_INPUT.search(message):
        wanted = f"{arguments_of(called)}"
    else:
        return None
    return (
        f"the model wants {wanted}, and gradviz calls it with one batch of images [N, C, H, W]: "
        "give its other inputs with --input NAME=FILE, or write a small module whose forward takes "
        "that and calls the model"
    )


def is_memory_short(error: BaseException) -> bool:
    """Return True if an error means that memory is short."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or bool(re.search(SHORT_OF_MEMORY, _text_of(error)))


def _text_of(error: BaseException) -> str:
    """Return the beginning and the end of an error's message; empty if that fails."""
    try:
        text = str(error)
    except Exception:  # the class is foreign code too
        return ""
    if len(text) <= 2 * LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}…\n…{text[-LONGEST_TEXT:]}"


def wrong_channels(expected: int, got: int) -> str:
    """Describe an image with another number of channels than the model takes."""
    option = {1: "use --channels gray", 3: "use --channels rgb"}.get(
        expected, f"give arrays [{expected}, H, W] as images"
    )
    return f"the model takes {expected} channels and got {got}: {option}"


def _essence(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    # TorchScript may end in a line that names the error's type and nothing else.
    while len(lines) > 1 and re.fullmatch(r"(\w+\.)*\w*(Error|Exception):", lines[-1]):
        lines.pop()
    if not lines:
        return ""
    # CUDA's messages end in general advice; all others end in the point.
    line = lines[0] if lines[0].startswith("CUDA") else lines[-1]
    return one_line(re.sub(r"^(\w+\.)*\w*(Error|Exception): ", "", line)).rstrip(".")
