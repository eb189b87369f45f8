"""The image files that the command line's arguments stand for, each under its own name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from PIL import Image

from gradviz.errors import UsageError
from gradviz.image import heic

_NO_PICTURES = {"BUFR", "GRIB", "HDF5", "MPEG"}
"""Formats that Pillow recognises but cannot decode: data files and films."""


@dataclass(frozen=True)
class Source:
    """One image file to work on."""

    path: Path
    """The path of the file."""
    name: str
    """The POSIX path relative to the given folder or glob root; the file name of a single file."""
    place: Path = field(init=False, repr=False)
    """The absolute path: a model may change the working folder at any time."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", self.path.absolute())


@dataclass(frozen=True)
class FoundImages:
    """The image files that arguments stand for."""

    sources: tuple[Source, ...]
    """The image files, sorted by name, never empty. Names are unique."""
    ignored: int
    """The number of files in the folders that are not pictures."""


def find_images(arguments: Sequence[str], out: Path | None) -> FoundImages:
    """Find the image files that `arguments` (files, folders and globs) name.

    An argument that exists is taken as a path, even if it could be read as a glob. Folders are
    searched recursively for the suffixes of Pillow's formats. Hidden entries, `out` and folders
    that hold a `run.json` are left out. A file that is named, also by a glob, is always included. A
    file or folder that is reached twice, also through a link, is included once, under its first
    name.

    Args:
        arguments: files, folders and globs.
        out: the output folder, which is not searched.

    Raises:
        UsageError: an argument matches nothing, a folder cannot be searched, two files have one
            name, or no image is left.
    """
    walk = _Walk(out)
    for argument in arguments:
        try:
            walk.add(argument)
        except OSError as error:
            place = error.filename or argument
            raise UsageError(
                f"{place}: cannot be searched ({error.strerror}); make it readable, or leave it out"
            ) from error
    sources = sorted(walk.sources.values(), key=lambda source: source.name)
    if out is not None:
        _check_apart(arguments, sources, out)
    for first, second in pairwise(sources):
        if first.name == second.name:
            raise UsageError(
                f"{first.path} and {second.path} share the name {first.name}, so their results "
                "would too; name a folder above both, or rename one"
            )
    if not sources:
        raise UsageError(
            f"no image found in {', '.join(arguments)} ({len(walk.ignored)} other files; the "
            "output folder and folders with a run.json are not searched); name an image file"
        )
    return FoundImages(tuple(sources), len(walk.ignored - walk.sources.keys()))


def _check_apart(arguments: Sequence[str], sources: Sequence[Source], out: Path) -> None:
    real = os.path.realpath(out)
    if any(os.path.realpath(argument) == real for argument in arguments if argument):
        raise UsageError(f"{out}: is a folder of the images; choose another -o")
    for source in sources:
        if os.path.realpath(source.path) == os.path.join(real, source.name):  # noqa: PTH118
            raise UsageError(
                f"{out}: the results of {source.path} would take its place; choose another -o"
            )


class _Walk:
    """A collection of files, recognised by their real paths so that links cannot loop or repeat."""

    def __init__(self, out: Path | None) -> None:
        self.sources: dict[str, Source] = {}
        self.ignored: set[str] = set()
        self._out = os.path.realpath(out) if out else None
        self._searched: set[str] = set()

    def add(self, argument: str) -> None:
        path = Path(argument)
        # Path("") is the current folder, but an unset shell variable must not mean all of it.
        if argument and path.exists():
            self._add(path, path if path.is_dir() else path.parent)
            return
        root, pattern = _split(path)
        matches = list(self._matches(root, pattern)) if pattern and root.is_dir() else []
        if not matches:
            raise UsageError(
                f"{argument!r}: no such file or folder, and no glob with matches; check the path"
            )
        for match in matches:
            self._add(match, root)

    def _add(self, path: Path, root: Path) -> None:
        """Add a path that was named: the file itself, or the pictures in the folder."""
        if not path.is_dir():
            self._take(path, root)
            return
        for file in self._files(path):
            if file.suffix.lower() in _suffixes():
                self._take(file, root)
            else:
                self.ignored.add(os.path.realpath(file))

    def _take(self, path: Path, root: Path) -> None:
        source = Source(path, path.relative_to(root).as_posix())
        self.sources.setdefault(os.path.realpath(path), source)

    def _files(self, folder: Path) -> Iterator[Path]:
        """Yield every file under a folder."""
        real = os.path.realpath(folder)
        if real in self._searched or self._holds_results(folder):
            return
        self._searched.add(real)
        for path in _visible(folder):
            if path.is_dir():
                yield from self._files(path)
            else:
                yield path

    def _matches(self, folder: Path, pattern: tuple[str, ...]) -> Iterator[Path]:
        """Yield the paths under a folder that match a glob, part by part.

        The standard library's globs do not fit: they match hidden entries, follow links in circles,
        or differ between versions of Python. Here `**` does not follow links and does not enter
        results.
        """
        if not pattern:
            yield folder
            return
        part, rest = pattern[0], pattern[1:]
        if part == "**":
            if not self._holds_results(folder):
                yield from self._matches(folder, rest)
                for path in _visible(folder):
                    if path.is_dir() and not path.is_symlink():
                        yield from self._matches(path, pattern)
            return
        for path in sorted(folder.iterdir()) if part.startswith(".") else _visible(folder):
            if fnmatchcase(path.name, part) and (path.is_dir() or not rest):
                yield from self._matches(path, rest)

    def _holds_results(self, folder: Path) -> bool:
        return os.path.realpath(folder) == self._out or (folder / "run.json").exists()


def _visible(folder: Path) -> list[Path]:
    """List the entries of a folder that are not hidden, by name; links last, so real names win."""
    entries = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(entries, key=lambda path: (path.is_symlink(), path.name))


def _split(path: Path) -> tuple[Path, tuple[str, ...]]:
    """Split a glob into the longest prefix without magic characters, and the parts after it."""
    for i, part in enumerate(path.parts):
        if any(character in part for character in "*?["):
            return Path(*path.parts[:i]), path.parts[i:]
    return path, ()


@cache
def _suffixes() -> frozenset[str]:
    """Return the lower-case suffixes of the picture formats that can be opened here."""
    formats = Image.registered_extensions()
    known = Image.OPEN.keys() - _NO_PICTURES
    suffixes = frozenset(suffix for suffix, name in formats.items() if name in known)
    return suffixes | heic.HEIC_SUFFIXES if find_spec("pillow_heif") else suffixes
