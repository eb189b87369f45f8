"""A seed: the choice of the cotangent `v` that enters the backward pass.

A seed is a spec such as `pixel:64,48`. It is parsed once, before any model is loaded, and turned
into a cotangent for each image: a tensor of the shape of that image's output. It is the seed vector
of automatic differentiation (Griewank and Walther 2008, doi:10.1137/1.9780898717761), and has
nothing to do with random numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import SeedError, UsageError
from gradviz.seeds.answers import Answer, answer_for, label_warnings
from gradviz.seeds.class_names import class_index
from gradviz.seeds.kinds import KINDS, ArrayFile, Kind
from gradviz.seeds.outputs import Layout, layout_of, planes_of
from gradviz.seeds.places import Site
from gradviz.text import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from gradviz.arrays import Box, Size


@dataclass(frozen=True)
class Seed:
    """A parsed seed."""

    spec: str
    """The spec as the user wrote it."""
    kind: Kind
    """Its row of the table."""
    values: tuple[Any, ...] = field(compare=False)
    """The text after the colon, as that row parses it."""

    @property
    def file(self) -> Path | None:
        """The file that the spec names, or None."""
        return next((each.path for each in self.values if isinstance(each, ArrayFile)), None)

    @property
    def class_name(self) -> str | None:
        """The class that the spec names other than by its number, or None."""
        named = self.kind.names_class and isinstance(self.values[-1], str)
        return self.values[-1] if named else None

    def cotangent(self, y: Tensor, site: Site) -> Tensor:
        """Compute the cotangent for one image's output.

        Args:
            y: that image's output, of any shape without the batch axis.
            site: the image's frame and the model's labels.

        Returns:
            `v`, of the shape, type and device of `y`.

        Raises:
            SeedError: the seed does not fit this output; the message has the valid range.
        """
        layout = layout_of(y)
        if layout not in self.kind.layouts:
            fitting = " or ".join(form.value for form in Layout if form in self.kind.layouts)
            raise SeedError(
                f"seed {self.spec}: needs {fitting}, but one image's output has the shape "
                f"{list(y.shape)}; use {_alternatives(layout)}"
            )
        with self._named():
            return self.kind.build(planes_of(y), site, *self.values).reshape(y.shape)

    def answer(self, y: Tensor, site: Site) -> Answer | None:
        """Describe the class whose output the cotangent takes.

        Args:
            y: one image's output, which the seed fits.
            site: the image's frame and the model's labels.

        Returns:
            the class with its score and share; None if the seed is no question about one class.
        """
        if self.kind.takes is None:
            return None
        planes = planes_of(y)
        index = self.kind.takes(planes, site, *self.values)
        return None if index is None else answer_for(planes, index, site.labels, site.apart)

    def warnings(self, y: Tensor, site: Site) -> tuple[str, ...]:
        """Warn if labels may name other classes than those that the seed is about.

        Args:
            y: one image's output.
            site: the image's frame and the model's labels.
        """
        about_classes = self.kind.takes is not None or self.class_name is not None
        return label_warnings(len(planes_of(y)), site.labels) if about_classes else ()

    def box(self, size: Size, site: Site) -> Box:
        """Find the bounding box of the non-zero part of `cotangent` on a dense map.

        Args:
            size: width and height of the output map.
            site: the image's frame and the model's labels.

        Returns:
            the box; the whole map if the size alone does not determine a smaller one.

        Raises:
            SeedError: the box does not fit in the map; the message has the valid range.
        """
        if self.kind.box is None:
            return (0, 0, *size)
        with self._named():
            return self.kind.box(size, site, *self.values)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except SeedError as error:
            raise SeedError(f"seed {self.spec}: {error}") from None


def parse_seed(spec: str) -> Seed:
    """Parse the spec of a seed, and read the file that it names.

    Args:
        spec: the text, such as `pixel:64,48`.

    Raises:
        SeedError: the spec has none of the table's forms, or its file cannot be read.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None and spec.isdecimal():
        raise SeedError(
            f"seed {spec}: no seed is a number; did you mean --random-seed {spec}, or --seed "
            f"class:{spec}?"
        )
    if kind is None:
        hint = nearest(name, KINDS, f"use one of {', '.join(KINDS)}")
        of_class = "" if colon else f"; the score of a class has the seed class:{name}"
        raise SeedError(f"seed {spec}: no seed is called {name!r}; {hint}{of_class}")
    if bool(colon) != bool(argument) or (argument and not kind.argument):
        raise SeedError(f"seed {spec}: write it as {kind.form}")
    try:
        return Seed(spec, kind, kind.parse(argument))
    except UsageError as error:
        raise SeedError(f"seed {spec}: {error}") from None
    except ValueError:
        raise SeedError(f"seed {spec}: write it as {kind.form}") from None


def check_labels(seeds: Sequence[Seed], labels: Sequence[str]) -> None:
    """Check the class names of seeds before any image is read.

    Args:
        seeds: the seeds.
        labels: the names of the model's classes.

    Raises:
        SeedError: the model does not have a class; the message has the nearest name.
    """
    for seed in seeds:
        if seed.class_name is not None:
            try:
                class_index(seed.class_name, labels)
            except SeedError as error:
                raise SeedError(f"seed {seed.spec}: {error}") from None


def default_seed(y: Tensor) -> Seed:
    """Return the seed for one image's output if the user names none: `top` for class scores.

    Args:
        y: the output without the batch axis.
    """
    return parse_seed("top" if layout_of(y) is Layout.SCORES else "ones")


def _alternatives(layout: Layout) -> str:
    return ", ".join(kind.name for kind in KINDS.values() if layout in kind.layouts)
