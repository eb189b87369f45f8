"""The code that building a network brought in, by which two runs of one model are told apart."""

from __future__ import annotations

import hashlib
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ImportedCode:
    """The code of a network."""

    files: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each file outside of installed packages, by its path; that is relative if the
    file is below the working folder."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """The version of each installed package, by its name."""


def imported_code(before: Collection[str], named: str) -> ImportedCode:
    """Describe the modules that were imported, before they change or are forgotten.

    Args:
        before: the names of the modules that were there earlier.
        named: the module that was asked for; all of its package that is there counts as well.
    """
    package = named.partition(".")[0]
    found = {
        name: Path(file)
        for name, module in list(sys.modules.items())
        if (name not in before or name.partition(".")[0] == package)
        and isinstance(file := getattr(module, "__file__", None), str)
    }
    files = {name: file.absolute() for name, file in found.items() if not _is_python(file)}
    own = {name: file for name, file in files.items() if not _is_installed(file)}
    return ImportedCode(
        {_shown(file): _digest(file) for file in sorted(own.values()) if file.is_file()},
        dict(_versions({name.partition(".")[0] for name in files.keys() - own.keys()})),
    )


def _is_python(file: Path) -> bool:
    paths = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    installed = {"site-packages", "dist-packages"} & {*file.parts}
    return not installed and any(file.is_relative_to(path) for path in paths)


def _is_installed(file: Path) -> bool:
    return any(file.is_relative_to(path) for path in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    given = (*paths, *site.getsitepackages(), site.getusersitepackages())
    # gradviz itself has its version in every record.
    return (*map(Path, given), Path(__file__).parents[1])


def _versions(packages: set[str]) -> Iterator[tuple[str, str]]:
    for package in sorted(packages - {"gradviz", "torch"}):
        version = getattr(sys.modules.get(package), "__version__", None)
        with suppress(importlib.metadata.PackageNotFoundError, ValueError):
            version = importlib.metadata.version(package)
        if isinstance(version, str):
            yield package, version


def _shown(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
