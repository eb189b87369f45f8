"""A seed: the choice of the cotangent `v` that enters the backward pass.

A seed is a spec such as `pixel:64,48`, or a sum of such terms. It is parsed once, before any model
is loaded, and turned into a cotangent for each image: a tensor of the shape of that image's output.
It is the seed vector of automatic differentiation (Griewank and Walther 2008,
doi:10.1137/1.9780898717761), and has nothing to do with random numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from gradviz.errors import SeedError
from gradviz.marks import Mark
from gradviz.seeds.answers import Answer
from gradviz.seeds.boxes import Detection
from gradviz.seeds.class_names import class_index
from gradviz.seeds.outputs import OutputKind, output_kind
from gradviz.seeds.places import Site, bounding_box
from gradviz.seeds.terms import Term, parse_term

if TYPE_CHECKING:
    from torch import Tensor

    from gradviz.arrays import Box, Size

SEPARATOR = re.compile(r" ([+-]) ")
"""The text between two terms of a sum."""

FACTOR = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\*(?=.)", re.ASCII)
"""The factor before a term."""


@dataclass(frozen=True)
class Seed:
    """A parsed seed: a sum of terms, which is most often one."""

    spec: str
    """The spec as the user wrote it."""
    terms: tuple[tuple[float, Term], ...] = field(compare=False)
    """The terms, each with the factor before it."""

    def files(self, images: Iterable[str]) -> list[Path]:
        """List the files that it reads for images.

        Args:
            images: their names.

        Raises:
            SeedError: a folder that the spec names has none for an image, or more than one.
        """
        found: list[Path] = []
        for _, term in self.terms:
            with self._named(term):
                found += (file for image in images for file in term.files(image))
        return list(dict.fromkeys(found))

    def for_image(self, image: str) -> Seed:
        """Return the seed with the file of an image in place of each folder that the spec names.

        Args:
            image: the name of the image.

        Raises:
            SeedError: as `files`; or the file cannot be read.
        """
        terms = []
        for factor, term in self.terms:
            with self._named(term):
                terms.append((factor, term.for_image(image)))
        return replace(self, terms=tuple(terms))

    @property
    def class_names(self) -> list[str]:
        """The classes that the spec names other than by their numbers."""
        return [term.class_name for _, term in self.terms if term.class_name is not None]

    @property
    def bounded(self) -> bool:
        """True if the size of the map alone determines the box of the cotangent."""
        return all(term.kind.box is not None for _, term in self.terms)

    @property
    def takes_class(self) -> bool:
        """True if it may be a question about one class."""
        return len(self.terms) == 1 and self.terms[0][1].kind.takes is not None

    @property
    def of_places(self) -> bool:
        """True if a term is about some pixels of a dense output."""
        return any(term.of_places for _, term in self.terms)

    @property
    def of_losses(self) -> bool:
        """True if every term is a loss."""
        return all(term.kind.measures is not None for _, term in self.terms)

    @property
    def about_boxes(self) -> bool:
        """True if a term is about a detection."""
        return any(term.of_detections for _, term in self.terms)

    @property
    def of_one_box(self) -> bool:
        """True if it is about one detection."""
        return len(self.terms) == 1 and self.about_boxes

    @property
    def reads_map(self) -> bool:
        """True if a term fits an output [N, H, W] that is a map, and no other of that rank."""
        return any(term.reads_map for _, term in self.terms)

    @property
    def asked(self) -> list[str]:
        """The parts of detections that its terms ask for: `boxes`, `scores`."""
        sides = {term.side is not None for _, term in self.terms if term.fits_detections}
        return [part for part, of_side in (("boxes", True), ("scores", False)) if of_side in sides]

    @property
    def at_photo(self) -> bool:
        """True if a term names a pixel of the image file."""
        return any(term.at_photo for _, term in self.terms)

    def has(self, kind: str) -> bool:
        """Return True if a term is of this kind.

        Args:
            kind: its name in the table, such as `at`.
        """
        return any(term.kind.name == kind for _, term in self.terms)

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
        parts = []
        for factor, term in self.terms:
            with self._named(term):
                v = term.cotangent(y, site)
            parts.append(v if factor == 1 else factor * v)
        return reduce(lambda one, two: one + two, parts)

    def answer(self, y: Tensor, site: Site) -> Answer | None:
        """Describe the class whose output the cotangent takes.

        Args:
            y: one image's output, which the seed fits.
            site: the image's frame and the model's labels.

        Returns:
            the class with its score and share; None if the seed is no question about one class.
        """
        return self.terms[0][1].answer(y, site) if self.takes_class else None

    def detection(self, y: Tensor, site: Site) -> Detection | None:
        """Describe the detection whose number the cotangent takes.

        Args:
            y: one image's packed detections, which the seed fits.
            site: the image's frame and the model's labels.

        Returns:
            its class, score and box; None if the seed is about none, or about several.
        """
        return self.terms[0][1].detection(y, site) if self.of_one_box else None

    def loss(self, y: Tensor, site: Site) -> float | None:
        """Compute the loss whose gradient the cotangent makes.

        Args:
            y: one image's output, which the seed fits; or a part of it, of which it is the share.
            site: the image's frame and the model's labels.

        Returns:
            the loss, or the sum of its terms; None if a term is no loss.
        """
        found = [(factor, term.measure(y, site)) for factor, term in self.terms]
        losses = [factor * loss for factor, loss in found if loss is not None]
        return sum(losses) if len(losses) == len(found) else None

    def marks(self, y: Tensor, site: Site) -> tuple[Mark, ...]:
        """Outline what its terms ask about.

        Args:
            y: one image's output, which the seed fits; or a part of it, if the site says which.
            site: the image's frame, and the centres of output pixels if they are known.

        Returns:
            a mark for each term that is about a detection, or about some pixels of a dense output.
        """
        found = ((factor, term, term.outline(y, site)) for factor, term in self.terms)
        return tuple(Mark(term.spec, factor, outline) for factor, term, outline in found if outline)

    def warnings(self, y: Tensor, site: Site) -> tuple[str, ...]:
        """Warn if labels may name other classes than those that the seed is about.

        Args:
            y: one image's output.
            site: the image's frame and the model's labels.
        """
        every = (warning for _, term in self.terms for warning in term.warnings(y, site))
        return tuple(dict.fromkeys(every))

    def box(self, size: Size, site: Site) -> Box:
        """Find a box that holds the non-zero part of `cotangent` on a dense map.

        Args:
            size: width and height of the output map.
            site: the image's frame and the model's labels.

        Returns:
            the box; the whole map if the size alone does not determine a smaller one.

        Raises:
            SeedError: the box does not fit in the map; the message has the valid range.
        """
        boxes = []
        for _, term in self.terms:
            with self._named(term):
                boxes.append(term.box(size, site))
        return bounding_box(boxes)

    @contextmanager
    def _named(self, term: Term) -> Iterator[None]:
        with _naming(self.spec, None if len(self.terms) == 1 else term.spec):
            yield


def parse_seed(spec: str, files: bool = True) -> Seed:
    """Parse the spec of a seed, and read the files that it names.

    Args:
        spec: the text, such as `pixel:64,48` or `class:cat - 0.6*class:dog`. Terms are separated by
            ` + ` or ` - `, with the spaces.
        files: False to refuse terms that name files.

    Raises:
        SeedError: a term has none of the table's forms, or its file may or can not be read.
    """
    first, *rest = SEPARATOR.split(spec)
    signs, texts = ["+", *rest[::2]], [first, *rest[1::2]]
    terms = []
    for sign, text in zip(signs, texts, strict=True):
        with _naming(spec, text if rest else None, hint=SUM if rest else ""):
            if rest and not text:
                raise SeedError("a term is missing")
            factor, term = _weighted(text, files)
        terms.append((-factor if sign == "-" else factor, term))
    return Seed(spec, tuple(terms))


def _weighted(text: str, files: bool) -> tuple[float, Term]:
    """Parse a term with the factor before it; 1 if there is none."""
    found = FACTOR.match(text)
    if found is None:
        return 1.0, parse_term(text, files)
    factor = float(found[1])
    if not isfinite(factor):
        raise SeedError(f"the factor {found[1]} is too large")
    return factor, parse_term(text[found.end() :], files)


SUM = (
    "; ' + ' and ' - ' separate the terms of a sum: give a class whose label has them by its "
    "number, and rename a file that has them"
)
"""The part of a message about a term that may be half a name."""


@contextmanager
def _naming(spec: str, term: str | None, hint: str = "") -> Iterator[None]:
    """Begin the message of an error with the seed, and with the term if there are several."""
    try:
        yield
    except SeedError as error:
        of_term = f"{term}: " if term else ""
        raise SeedError(f"seed {spec}: {of_term}{error}{hint}") from None


def check_labels(seeds: Sequence[Seed], labels: Sequence[str]) -> None:
    """Check the class names of seeds before any image is read.

    Args:
        seeds: the seeds.
        labels: the names of the model's classes.

    Raises:
        SeedError: the model does not have a class; the message has the nearest name.
    """
    for seed in seeds:
        for name in seed.class_names:
            with _naming(seed.spec, None):
                class_index(name, labels)


def ask_for_boxes(seeds: Sequence[Seed]) -> bool:
    """Return True if seeds are about detections.

    Args:
        seeds: the seeds of a run.

    Raises:
        SeedError: some terms are, and others cannot be.
    """
    of_boxes = [seed for seed in seeds if seed.about_boxes]
    terms = [term for seed in seeds for _, term in seed.terms]
    others = [term.spec for term in terms if not term.fits_detections]
    if of_boxes and others:
        raise SeedError(
            f"seed {of_boxes[0].spec}: is about detections, and {others[0]} about an output as it "
            "is: give them in two runs"
        )
    return bool(of_boxes)


def default_seed(y: Tensor, detects: bool = False) -> Seed:
    """Return the seed for one image's output if the user names none.

    Args:
        y: the output without the batch axis.
        detects: True if it holds packed detections.

    Returns:
        `box:0` for detections, `top` for class scores, `ones` for other outputs.
    """
    if detects:
        return parse_seed("box:0")
    return parse_seed("top" if output_kind(y) is OutputKind.SCORES else "ones")
