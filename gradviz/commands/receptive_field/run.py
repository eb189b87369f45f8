"""A receptive-field run: geometry, fields, boxes and layers, written as they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Bytes, Mask
from gradviz.commands.receptive_field.draw import pictures_of
from gradviz.commands.receptive_field.mean import RunningMean
from gradviz.commands.receptive_field.measure import Field, FieldMeter
from gradviz.errors import ImageError, ModelError, SeedError, UsageError
from gradviz.field.boxes import boxes_of
from gradviz.field.geometry import Geometry
from gradviz.files import write_npy
from gradviz.heatmap.colours import Palette
from gradviz.image.find import Source
from gradviz.image.load import load_image, load_photo
from gradviz.runs import schema
from gradviz.runs.folder import RunFolder
from gradviz.runs.names import BOXES, FIELDS, MEAN, NOISE
from gradviz.runs.record import RunSetup, check_same, describe
from gradviz.runs.results import Failure, failure_line
from gradviz.runs.resume import RunWriter
from gradviz.text import listed

MOST_FIELDS = 5
"""The most fields that a warning names; the others are counted."""


OF_FIELDS: dict[str, Callable[[schema.FieldEntry], Sequence[float]]] = {
    "partial": lambda field: [field.status == "partial"],
    "nonfinite": lambda field: [field.effective.nonfinite],
    "squares": lambda field: [field.effective.squares["99"]],
    "sigma": lambda field: _known(field.effective.sigma),
}
"""The quantities of `--expect` that each field has, beside `fill` and `area`."""


def _known(pair: Sequence[float | None] | None) -> list[float]:
    """Return the numbers of both axes; NaN, for which nothing holds, for one that is not known."""
    return [float("nan") if value is None else value for value in pair or (None, None)]


@dataclass(frozen=True)
class FieldOutcome:
    """The results of a run."""

    document: schema.FieldDocument
    """The content of field.json."""
    lines: tuple[schema.ResultLine, ...]
    """The lines of results.jsonl."""
    notes: tuple[str, ...] = ()
    """The parts of images that were left out."""

    @property
    def warnings(self) -> list[str]:
        """The warnings for a reader of the numbers."""
        fields = self.document.fields
        found = list(self.notes)
        if lost := sorted({name for field in fields for name in field.lost_at}):
            found.append(
                "the structural field is partial: more may matter than it shows, because of "
                f"{', '.join(lost)}"
            )
        if empty := [_name(each) for each in fields if each.area and not each.local.area]:
            found.append(
                "the gradient is zero, so that the local field is empty, though pixels can matter: "
                f"at {listed(empty, MOST_FIELDS)}"
            )
        if broken := [_name(each) for each in fields if each.effective.nonfinite]:
            found.append(
                "the gradient is NaN or Inf at some pixels, which are left out of the effective "
                f"field's sizes and count as local: at {listed(broken, MOST_FIELDS)}"
            )
        return found

    def measured(self, quantity: str) -> list[float]:
        """List all values of a quantity: of both axes, all sides, or every field.

        The size of a global field is infinite; its stride is NaN. `squares` are those of 99 % of
        the energy.
        """
        if quantity in OF_FIELDS:
            return [value for field in self.document.fields for value in OF_FIELDS[quantity](field)]
        if quantity in ("fill", "area"):
            # The fill of an empty box is undefined.
            return [getattr(field, quantity) or 0 for field in self.document.fields]
        unknown = float("nan" if quantity == "stride" else "inf")
        values = getattr(self.document.geometry, quantity) or [None]
        return [unknown if value is None else value for value in values]


def measure_fields(
    meter: FieldMeter,
    sources: Sequence[Source],
    folder: RunWriter,
    palette: Palette,
    command: Sequence[str] = (),
    on_field: Callable[[Field], object] = lambda field: None,
) -> FieldOutcome:
    """Measure the fields of a model, at images or at random input, and write them.

    Args:
        meter: the model, its recipe, and the choices of the run.
        sources: the images; empty for random input.
        folder: the folder that the results go into.
        palette: the colours of the effective field.
        command: the command line of the program, for run.json.
        on_field: receives each field that was written.

    Raises:
        UsageError: the output has no pixels, there is no such layer, or the disk refuses.
        ModelError: the model fails on random input, or draws random numbers.
    """
    settings = meter.settings
    if taken := {source.name for source in sources} & {NOISE, MEAN}:
        raise UsageError(f"an image cannot be called {taken.pop()}: its folder has that name")
    geometry = meter.geometry
    description = describe(
        RunSetup("receptive-field", meter.model, meter.recipe, settings),
        [*sources, *(Source(Path(name), name) for name in (NOISE, MEAN))],
        WRITES,
        command,
    )
    outcomes = _outcomes(meter, dict(zip(sources, description.images, strict=False)), geometry)
    if not sources:
        # A pixel outside the map is found before an earlier run is removed.
        outcomes = iter(list(outcomes))
    folder.begin(description, documents=(FIELDS, BOXES))
    entries: list[schema.FieldEntry] = []
    lines: list[schema.ResultLine] = []
    notes: dict[str, None] = {}
    shape = None
    with folder.appending() as append:
        for outcome in outcomes:
            if isinstance(outcome, Failure):
                lines.append(failure_line(outcome))
            else:
                shape = shape or outcome.local.shape
                notes |= dict.fromkeys(f"{outcome.image}: {note}" for note in outcome.notes)
                entries.append(write_field(folder, outcome, geometry, palette, settings.log))
                lines.append(_line(outcome, entries[-1].files))
                on_field(outcome)
            append(lines[-1])
    document = schema.FieldDocument(
        schema=1,
        kind="receptive-field",
        fields=entries,
        geometry=schema.GeometryEntry.model_validate(geometry.as_dict()),
        layers=_layers(meter) if settings.layers else [],
    )
    if settings.map and shape is not None:
        size = (shape[1], shape[0])
        boxes = boxes_of(meter.probe_at(size), meter.probe_at, geometry)
        folder.save(BOXES, partial(write_npy, _inclusive(boxes)))
    folder.save_document(FIELDS, document)
    return FieldOutcome(document, tuple(lines), tuple(notes))


def _outcomes(
    meter: FieldMeter, recorded: Mapping[Source, schema.ImageRecord], geometry: Geometry
) -> Iterator[Field | Failure]:
    """Yield the fields at every image, then their means; or at random input without images.

    Args:
        meter: the model, its recipe, and the choices of the run.
        recorded: the images as they were when the run began.
        geometry: the unclipped field.
    """
    if not recorded:
        yield from meter.at_noise(geometry)
        return
    means: dict[tuple[int, int], RunningMean] = {}
    for source, before in recorded.items():
        try:
            image = load_image(source, meter.recipe)
            in_photo = meter.settings.frame == "image"
            photo = load_photo(source, meter.recipe) if in_photo else None
            check_same(source, before)
            for field in meter.at_image(image):
                yield field if photo is None else field.drawn_in(photo, image.prepared.frame)
                means[field.pixel] = RunningMean.of(field, means.get(field.pixel))
        except (ImageError, ModelError, SeedError) as error:
            yield Failure(source.name, None, error)
    for mean in means.values():
        if mean.count > 1:
            yield mean.field()


def picture_reader(
    meter: FieldMeter, sources: Sequence[Source], folder: RunFolder
) -> Callable[[str], Bytes]:
    """Return a reader of the pictures [H, W, 3] that a run's fields are drawn over, by image name.

    It raises ImageError if the image cannot be read any more, or was replaced.

    Args:
        meter: the meter of the run.
        sources: the images of the run.
        folder: the folder of the run.
    """
    images = folder.record().images
    recorded = {each.name: each for each in images if isinstance(each, schema.ImageRecord)}
    named = {source.name: source for source in sources}

    def read(name: str) -> Bytes:
        source = named[name]
        if meter.settings.frame == "image":
            shown = load_photo(source, meter.recipe)
        else:
            shown = load_image(source, meter.recipe).prepared.shown
        check_same(source, recorded.get(name))
        return shown

    return read


def _name(field: schema.FieldEntry) -> str:
    return f"{field.image} (pixel {field.pixel[0]},{field.pixel[1]})"


def _line(field: Field, files: dict[str, str]) -> schema.FieldDone:
    x, y = field.pixel
    return schema.FieldDone(image=field.image, seed=f"pixel:{x},{y}", status="ok", files=files)


def _layers(meter: FieldMeter) -> list[schema.LayerGeometry]:
    """Measure the table of layers, in execution order."""
    layers = [layer for layer in meter.layers() if layer.is_map]
    geometries = meter.geometries([layer.name for layer in layers])
    return [
        schema.LayerGeometry.model_validate(
            {"name": layer.name, "channels": layer.channels, **geometry.as_dict()}
        )
        for layer, geometry in zip(layers, geometries, strict=True)
    ]


WRITES = (
    "structural.npy",
    "structural.png",
    "local.npy",
    "local.png",
    "effective.npy",
    "effective.png",
    "overlay.png",
    "closeup.png",
)
"""The files of each field; a small one alone has a close-up."""


def write_field(
    out: RunFolder, field: Field, geometry: Geometry, palette: Palette, log: bool
) -> schema.FieldEntry:
    """Write one field's arrays and pictures.

    Args:
        out: the folder of the run.
        field: the field.
        geometry: the unclipped field.
        palette: the colours of the effective field.
        log: True to draw the effective field in logarithmic colours.

    Returns:
        its object of field.json.
    """
    x, y = field.pixel
    folder = f"{field.image}/pixel-{x}-{y}"
    arrays = {
        "structural": field.structural.mask,
        "local": field.local,
        "effective": field.energy.astype(np.float32),
    }
    files = {}
    for name, array in arrays.items():
        files[f"{name}.npy"] = f"{folder}/{name}.npy"
        out.save(files[f"{name}.npy"], partial(write_npy, array))
    for name, picture in pictures_of(field, palette, log).items():
        files[f"{name}.png"] = f"{folder}/{name}.png"
        out.save(files[f"{name}.png"], partial(picture.save, format="PNG"))
    return schema.FieldEntry.model_validate({**_entry(field, geometry), "files": files})


def _entry(field: Field, geometry: Geometry) -> dict[str, Any]:
    """Describe one field for field.json's `fields`, without its `files`."""
    structural, box = field.structural, field.structural.box
    area = int(structural.mask.sum())
    size = None if box is None else [box[2] - box[0], box[3] - box[1]]
    return {
        "image": field.image,
        "pixel": list(field.pixel),
        "status": structural.status,
        "lost_at": list(structural.lost_at),
        "box": None if box is None else _inclusive(np.array(box)).tolist(),
        "size": size,
        "clipped": _clipped(field, geometry),
        "area": area,
        "fill": None if size is None else area / (size[0] * size[1]),
        "global": geometry.through is not None,
        "global_through": geometry.through,
        "local": {"area": int(field.local.sum())},
        "effective": field.statistics(geometry).as_dict(),
    }


def _inclusive(boxes: NDArray[Any]) -> NDArray[Any]:
    """Convert boxes [..., 4] for files: with inclusive edges, four times -1 for an empty one."""
    x0, y0, x1, y1 = np.moveaxis(boxes, -1, 0)
    empty = ((x0 == x1) | (y0 == y1))[..., None]
    written = np.where(empty, -1, boxes - np.array([0, 0, 1, 1]))
    return written.astype(boxes.dtype)


def _clipped(field: Field, geometry: Geometry) -> list[bool] | None:
    """Find the sides, left, top, right and bottom, beyond which the field goes on.

    Returns:
        True for each such side; None for an empty field.
    """
    if field.structural.box is None:
        return None
    if geometry.x is None or geometry.y is None:
        return [bool(line.any()) for line in _borders(field.structural.mask)]
    height, width = field.structural.mask.shape
    (left, right), (top, bottom) = (
        axis.extent(i) for axis, i in zip((geometry.x, geometry.y), field.pixel, strict=True)
    )
    return [left < 0, top < 0, right >= width, bottom >= height]


def _borders(mask: Mask) -> Sequence[Mask]:
    return mask[:, 0], mask[0], mask[:, -1], mask[-1]
