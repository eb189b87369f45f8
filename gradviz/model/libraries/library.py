"""Libraries that are installed only if somebody needs them."""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gradviz.errors import GradvizError, ModelError
from gradviz.model.foreign import describe_error, same_surroundings
from gradviz.model.formats.imported import ImportedCode

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "critical",
}
"""The environment variables that huggingface_hub and transformers read once, when they are
imported."""

_QUIET = ("transformers", "timm", "huggingface_hub", "segmentation_models_pytorch")
"""The loggers of libraries that comment on what they load."""


@dataclass(frozen=True)
class Library:
    """A library that builds networks."""

    package: str
    """The name to import."""
    extra: str
    """The extra of gradviz that installs it."""

    def module(self, where: str, name: str = "") -> Any:
        """Import the library, or one of its modules.

        Args:
            where: the beginning of the message, such as "models/vit".
            name: the dotted name of the module in the library; empty for the library itself.

        Raises:
            ModelError: it is missing or broken; the message has the command that installs it.
        """
        with self.importing(where):
            return importlib.import_module(".".join(filter(None, (self.package, name))))

    @contextmanager
    def importing(self, where: str) -> Iterator[None]:
        """Turn whatever an import raises in the block into one line with the command that mends it.

        Args:
            where: the beginning of the message.

        Raises:
            ModelError: the library, or one that it needs, is missing or broken.
        """
        command = f"pip install 'gradviz[{self.extra}]'"
        try:
            with same_surroundings():
                yield
        except GradvizError:
            raise
        except Exception as error:  # whatever a broken library raises
            cause = _innermost(error)
            if isinstance(cause, ModuleNotFoundError):
                missing = str(cause.name).partition(".")[0]
                who = "" if missing == self.package else f"{self.package} "
                problem = f"{who}needs {missing}, which is not installed"
            else:
                problem = f"{self.package} cannot be imported: {describe_error(cause)}"
                command = command.replace("install", "install --force-reinstall")
                if "torchvision" in str(cause):  # built for another torch than the one that is here
                    command = "pip install --force-reinstall torch torchvision"
            raise ModelError(f"{where}: {problem}: {command}") from error

    def code(self) -> ImportedCode:
        """Describe the library for the record of a run."""
        with suppress(importlib.metadata.PackageNotFoundError):
            return ImportedCode(packages={self.package: importlib.metadata.version(self.package)})
        return ImportedCode()


def _innermost(error: BaseException) -> BaseException:
    """Return the error at which an import failed first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextmanager
def offline() -> Iterator[None]:
    """Keep libraries from downloading anything, and from commenting, while the block runs.

    A backbone may ask for weights of its own, even if the folder has them.
    """
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    levels = {name: logging.getLogger(name).level for name in _QUIET}
    try:
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError:
        constants = None
    try:
        if constants is not None:
            constants.HF_HUB_OFFLINE = True
        for name in _QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if constants is not None:
            asked = (before["HF_HUB_OFFLINE"], before["TRANSFORMERS_OFFLINE"])
            constants.HF_HUB_OFFLINE = any(map(_is_true, asked))


def _is_true(value: str | None) -> bool:
    return value is not None and value.upper() in ("1", "ON", "YES", "TRUE")


TRANSFORMERS = Library("transformers", "transformers")
TIMM = Library("timm", "timm")
TORCHVISION = Library("torchvision", "torchvision")
SMP = Library("segmentation_models_pytorch", "smp")
