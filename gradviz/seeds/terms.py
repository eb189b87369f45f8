"""A term of a seed: one row of the table of seeds, with what its text names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradviz.errors import SeedError, UsageError
from gradviz.marks import Ring, around, outline_of
from gradviz.seeds.answers import Answer, answer_for, label_warnings
from gradviz.seeds.array_files import ArrayFile, ArrayFolder
from gradviz.seeds.boxes import Detection, detection_at, weights_of
from gradviz.seeds.kinds import KINDS, Kind
from gradviz.seeds.outputs import OutputKind, planes_of
from gradviz.seeds.places import Site, edges_in_input, part_of
from gradviz.text import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from gradviz.arrays import Box, Size


@dataclass(frozen=True)
class Term:
    """A parsed term of a seed."""

    spec: str
    """The text of the term."""
    kind: Kind
    """Its row of the table."""
    values: tuple[Any, ...]
    """The text after the colon, as that row parses it."""

    def files(self, image: str) -> list[Path]:
        """List the files that it reads for an image.

        Raises:
            SeedError: its folder has none for the image, or more than one.
        """
        fixed = [each.path for each in self.values if isinstance(each, ArrayFile)]
        return fixed + [each.file(image) for each in self.values if isinstance(each, ArrayFolder)]

    def for_image(self, image: str) -> Term:
        """Return the term with the file of an image in place of a folder.

        Raises:
            SeedError: as `files`; or the file cannot be read.
        """
        values = (each.of(image) if isinstance(each, ArrayFolder) else each for each in self.values)
        return replace(self, values=tuple(values))

    @property
    def class_name(self) -> str | None:
        """The class that the text names other than by its number, or None."""
        named = self.kind.names_class and isinstance(self.values[-1], str)
        return self.values[-1] if named else None

    @property
    def of_places(self) -> bool:
        """True if it is about some pixels of a dense output."""
        return self.kind.box is not None or self.kind.inside is not None

    @property
    def of_detections(self) -> bool:
        """True if it is about one detection."""
        return self.kind.build is None

    @property
    def fits_detections(self) -> bool:
        """True if it can be asked of a detector."""
        return OutputKind.DETECTIONS in self.kind.outputs

    @property
    def reads_map(self) -> bool:
        """True if it fits an output [N, H, W] that is a map, and no other of that rank."""
        fitting = self.kind.outputs
        return OutputKind.DENSE in fitting and OutputKind.ROWS not in fitting

    @property
    def side(self) -> str | None:
        """The number of a box that it asks for, or None."""
        return self.values[1] if self.of_detections and len(self.values) > 1 else None

    @property
    def at_photo(self) -> bool:
        """True if it names a pixel of the image file."""
        over_pixel = self.kind.name == "box" and not isinstance(self.values[0], int)
        return self.kind.name == "at" or over_pixel

    def cotangent(self, y: Tensor, site: Site) -> Tensor:
        """Compute the cotangent for one image's output.

        Args:
            y: that image's output, of any shape without the batch axis.
            site: the image's frame and the model's labels.

        Returns:
            `v`, of the shape, type and device of `y`.

        Raises:
            SeedError: the term does not fit this output; the message has the valid range.
        """
        form = site.kind_of(y)
        if form not in self.kind.outputs:
            fitting = " or ".join(each.value for each in OutputKind if each in self.kind.outputs)
            given = f"one image's output has the shape {list(y.shape)}"
            if form is OutputKind.ROWS:
                given = f"{given}, and {site.no_map}"
            elif form is OutputKind.DETECTIONS:
                given = f"the output holds {form.value}"
            raise SeedError(f"needs {fitting}, but {given}; use {_alternatives(form)}")
        if form is OutputKind.DETECTIONS:
            assert self.kind.picks is not None
            return weights_of(y, self.kind.picks(y, site, *self.values), self.side)
        assert self.kind.build is not None
        return self.kind.build(planes_of(y), site, *self.values).reshape(y.shape)

    def answer(self, y: Tensor, site: Site) -> Answer | None:
        """Describe the class whose output the cotangent takes.

        Args:
            y: one image's output, which the term fits.
            site: the image's frame and the model's labels.

        Returns:
            the class with its score and share; None if the term is no question about one class.
        """
        if self.kind.takes is None:
            return None
        planes = planes_of(y)
        index = self.kind.takes(planes, site, *self.values)
        return None if index is None else answer_for(planes, index, site.labels, site.apart)

    def measure(self, y: Tensor, site: Site) -> float | None:
        """Compute the number whose gradient the cotangent makes, if that is not ⟨v, y⟩: the loss.

        Args:
            y: one image's output, which the term fits; or a part of it, of which it is the share.
            site: the image's frame and the model's labels.
        """
        if self.kind.measures is None:
            return None
        return self.kind.measures(planes_of(y), site, *self.values)

    def detection(self, y: Tensor, site: Site) -> Detection | None:
        """Describe the detection whose number the cotangent takes.

        Args:
            y: one image's packed detections, which the term fits.
            site: the image's frame and the model's labels.

        Returns:
            its class, score and box; None if the term is about no detection.
        """
        if not self.of_detections or self.kind.picks is None:
            return None
        (row,) = self.kind.picks(y, site, *self.values)
        return detection_at(y, row, site)

    def warnings(self, y: Tensor, site: Site) -> tuple[str, ...]:
        """Warn if labels may name other classes than the one that the term is about.

        Args:
            y: one image's output.
            site: the image's frame and the model's labels.
        """
        if site.suppression is not None:  # the number of classes was checked as it was read
            return ()
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
        return self.kind.box(size, site, *self.values)

    def outline(self, y: Tensor, site: Site) -> tuple[Ring, ...]:
        """Outline the detection or the output pixels that it asks about.

        Args:
            y: one image's output, which the term fits; or a part of it, if the site says which.
            site: the image's frame, and the centres of output pixels if they are known.

        Returns:
            closed lines in pixels of the input; none if the term is about the whole output, or
            about a box that is not finite.
        """
        if (found := self.detection(y, site)) is not None:
            return around(*found.box_in_input) if all(map(isfinite, found.box_in_input)) else ()
        if not self.of_places or site.frame is None:
            return ()
        size = part_of(planes_of(y), site).of
        columns, rows = edges_in_input(size, site)
        if self.kind.inside is not None:
            return outline_of(self.kind.inside(size, site, *self.values), columns, rows)
        x0, y0, x1, y1 = self.box(size, site)
        return around(columns[x0], rows[y0], columns[x1], rows[y1])


def parse_term(spec: str, files: bool = True) -> Term:
    """Parse the spec of a term, and read the file that it names.

    Args:
        spec: the text, such as `pixel:64,48`.
        files: False to refuse a term that names a file.

    Raises:
        SeedError: the spec has none of the table's forms, or its file may or can not be read.
    """
    name, colon, argument = spec.partition(":")
    kind = KINDS.get(name)
    if kind is None and spec.isdecimal():
        raise SeedError(
            f"no seed is a number; did you mean --random-seed {spec}, or --seed class:{spec}?"
        )
    if kind is None:
        hint = nearest(name, KINDS, f"use one of {', '.join(KINDS)}")
        of_class = "" if colon else f"; the score of a class has the seed class:{name}"
        raise SeedError(f"no seed is called {name!r}; {hint}{of_class}")
    if bool(colon) != bool(argument) or (argument and not kind.argument):
        raise SeedError(f"write it as {kind.form}")
    if not files and kind.names_file(argument):
        raise SeedError("names a file, and none is read here; use gradviz saliency")
    try:
        return Term(spec, kind, kind.parse(argument))
    except UsageError as error:
        raise SeedError(str(error)) from None
    except ValueError:
        raise SeedError(f"write it as {kind.form}") from None


def _alternatives(form: OutputKind) -> str:
    return ", ".join(kind.name for kind in KINDS.values() if form in kind.outputs)
