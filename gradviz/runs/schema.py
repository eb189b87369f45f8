"""The JSON documents that gradviz writes and prints, as types.

Every document has a `schema`, the version of its type, and a `kind`. Keys that a type does not have
are kept as they are, so that a later version can add some without a new schema. NaN and Inf are
null in a file. Documents of older schemas are read by `gradviz/runs/conversion.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StrictInt,
    ValidationError,
    WithJsonSchema,
)

from gradviz.marks import Mark
from gradviz.text import one_line, shortened, strict_json


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value


def _path_below(value: object) -> str:
    path = PurePosixPath(_text(value))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{path} is outside the folder")
    return str(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number")
    return value


# Not pydantic's own checks: they refuse file names that are not UTF-8, and write 1 as 1.0.
String = Annotated[str, PlainValidator(_text), WithJsonSchema({"type": "string"})]
FilePath = Annotated[str, PlainValidator(_path_below), WithJsonSchema({"type": "string"})]
"""A path relative to the run's folder that does not lead out of it."""
Number = Annotated[float, PlainValidator(_number), WithJsonSchema({"type": "number"})]

OfAxes = Annotated[list[Number | None], Field(min_length=2, max_length=2)]
"""One number along x and one along y."""
OfSides = Annotated[list[Number | None], Field(min_length=4, max_length=4)]
"""One number for each of left, top, right and bottom."""
Pixel = Annotated[list[StrictInt], Field(min_length=2, max_length=2)]
Corners = Annotated[list[StrictInt], Field(min_length=4, max_length=4)]
Sides = Annotated[list[StrictBool], Field(min_length=4, max_length=4)]

RunKind = Literal["saliency", "receptive-field"]
"""The commands whose runs have results."""


class JsonObject(BaseModel):
    """A JSON object: the keys that are known have types, the others are kept."""

    model_config = ConfigDict(
        extra="allow", frozen=True, defer_build=True, use_attribute_docstrings=True
    )

    def content(self) -> dict[str, Any]:
        """Return the object's keys and values, without the keys that were not given."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def json_text(self, indent: int | None = 2) -> str:
        """Write the object as strict JSON."""
        return strict_json(self.content(), indent)


class Document(JsonObject):
    """A whole document."""

    version: Literal[1] = Field(alias="schema")
    """The version of this format."""


def damage(error: ValueError) -> str:
    """Describe in one line the first value that does not have its type."""
    if not isinstance(error, ValidationError):
        return one_line(error)
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return one_line(f"no {key}")
    return one_line(f"{key}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": "))


# run.json -----------------------------------------------------------------------------------------


class ImageName(JsonObject):
    """An image that results are about."""

    name: String
    """The path relative to the folder or glob that was given."""


class ImageRecord(ImageName):
    """An image of a run, and what tells it from another of the same name."""

    path: String
    """The path of the file, relative to the folder in which the command was given."""
    size: StrictInt | None = Field(default=None, alias="bytes")
    """The size of the file, if there was one."""
    modified: StrictInt | None = None
    """When the file was last changed, in ns since 1970; not in run.json, but in
    environment.json."""


class InputRecord(JsonObject):
    """A file that entered the model beside the images."""

    path: String | None
    """The file; null for values that Python handed in."""
    size: StrictInt | None = Field(alias="bytes")
    """The size of the file."""
    sha256: String | None
    """The SHA-256 of the file."""


class ModelRecord(JsonObject):
    """The model that was run."""

    path: String | None
    """The file; null for a module that Python handed in."""
    sha256: String | None
    """The SHA-256 of the file, if it has one."""
    format: String
    """TorchScript, safetensors, and so on."""
    card: String | None
    """The model card that was read."""
    arch: String | None
    """The factory that built the architecture."""
    arch_args: dict[String, Any]
    """The arguments of the factory."""
    weights_key: String | None
    """The dotted key of the weights in the checkpoint."""
    output: String | None
    """The key of the output that was chosen."""
    boxes: String | None = None
    """The form of a detector's boxes, if it was given."""
    labels: list[String]
    """The names of the classes."""
    input_shape: list[StrictInt | None] | None
    """The [N, C, H, W] that the model was exported for; null if there is no such limit."""
    inputs: dict[String, InputRecord] | None = None
    """The inputs beside the images by the model's arguments; not there for a model without."""
    layout: String | None = None
    """The layout of layers' outputs, if `--layout` said it."""
    device: String
    """The device: cpu, cuda or cuda:N."""
    precision: String
    """The type of the input's numbers."""
    optimized: StrictBool = False
    """True if a faster form of the model computed."""


class RunRecord(Document):
    """run.json of `saliency` and `receptive-field`: everything needed to run it again."""

    version: Literal[2] = Field(alias="schema")  # type: ignore[assignment]
    """The version of this format."""
    kind: RunKind
    """The command."""
    command: list[String]
    """The command line of the program. Paths, here and below, are relative to the folder in which
    it was given; but seeds stay as they were given. A page from Python records its call, as one
    word."""
    folder: String | None = None
    """The folder in which the command was given; not in run.json, but in environment.json, as the
    next three."""
    versions: dict[String, String] = {}
    """The versions of gradviz, torch and Python, and of the packages that `--arch` imports."""
    started: String | None = None
    """When the run began, in UTC."""
    machine: dict[String, String] = {}
    """The machine, as far as numbers may depend on it."""
    model: ModelRecord
    """The model."""
    preprocess: dict[String, Any]
    """The recipe, with the keys of a card."""
    preprocess_from: dict[String, String] = {}
    """The file or option that each step of the recipe comes from; a step that is not here is not
    taken."""
    settings: dict[String, Any]
    """The command's own options."""
    files: dict[String, String]
    """The SHA-256 of every other file that was read, by its path."""
    images: list[ImageRecord]
    """The images, in order."""
    writes: list[String]
    """The names of the files that a result may have."""


class Environment(Document):
    """environment.json: what changes if the command is given at another time or place."""

    kind: Literal["environment"]
    """The content of the document."""
    folder: String | None = None
    """The absolute folder in which the command was given."""
    versions: dict[String, String] = {}
    """The versions of gradviz, torch and Python, and of the packages that `--arch` imports."""
    started: String | None = None
    """When the run began, or was resumed, in UTC."""
    machine: dict[String, String] = {}
    """The machine, as far as numbers may depend on it: `system`, `processor`, `instructions`,
    `threads`, and `gpu` if one computed."""
    modified: dict[String, StrictInt] = {}
    """When the file of each image was last changed, in ns since 1970, by the image's name."""


class ComparedRun(JsonObject):
    """One of the runs that are compared, and how it was made."""

    path: String
    """The folder of the run, as it was named."""
    kind: RunKind
    """The command that wrote it."""
    versions: dict[String, String]
    """The versions, as in environment.json."""
    model: dict[String, Any]
    """The model, as in run.json, without `path` and `card`."""
    preprocess: dict[String, Any]
    """The recipe, as in run.json."""
    settings: dict[String, Any]
    """The settings, as in run.json."""
    files: dict[String, String]
    """The other files, as in run.json, by their names."""


class CompareRecord(Document):
    """run.json of `compare -o`."""

    kind: Literal["compare"]
    """The command."""
    command: list[String]
    """The command line of the program."""
    runs: list[ComparedRun]
    """The runs, the first of which the others are compared with."""
    images: list[ImageName]
    """The images of all runs."""
    writes: list[String]
    """The names of the pictures that an item may have."""


AnyRecord = RunRecord | CompareRecord


def record_type(content: Any) -> type[AnyRecord]:
    """Return the type of a run.json by its content."""
    of_compare = isinstance(content, Mapping) and content.get("kind") == "compare"
    return CompareRecord if of_compare else RunRecord


# results.jsonl ------------------------------------------------------------------------------------


class ResultKey(JsonObject):
    """The image and the seed of a line of results.jsonl."""

    image: String
    """The name of the image, as in run.json."""
    seed: String | None
    """The spec; null for an image that failed before its seed was known."""


class Stats(JsonObject):
    """Statistics of an array's finite values."""

    min: Number | None
    """The smallest value; null if none is finite."""
    max: Number | None
    """The largest value."""
    abs_mean: Number | None
    """The mean of |g|."""
    l2: Number | None
    """The Euclidean norm."""
    zero_fraction: Number | None
    """The share of values that are 0."""
    nonfinite: StrictInt
    """The number of values that are NaN or Inf."""
    scale: Number | None
    """The value that gets the heatmap's strongest colour."""
    inside: Number | None = None
    """The share of the map's energy inside of the mask of `--inside`."""


class ClassEntry(JsonObject):
    """A class of a model."""

    index: StrictInt
    """The number of the class, from 0."""
    label: String | None
    """The name of the class; null if the model has no label for it."""

    @property
    def name(self) -> str:
        """The number and the label in short, for people."""
        label = "" if self.label is None else f" ({shortened(one_line(self.label), 40)})"
        return f"{self.index}{label}"


class AnswerEntry(ClassEntry):
    """A class that was asked about, and what the model gives it."""

    score: Number | None
    """The output value of the class; on a dense output, its sum over the map."""
    share: Number | None
    """The share of the class among all classes, from 0 to 1: the softmax of the output, or the
    output itself if it is made of probabilities. Null for a dense output, a single value, or
    outputs of a sigmoid, each of which is a probability of its own."""

    @property
    def percent(self) -> str | None:
        """The share with three digits, for people."""
        return None if self.share is None else f"{100 * self.share:.3g} %"

    def __str__(self) -> str:
        """The class and its share in one phrase."""
        return f"class {self.name}" + (f", share {self.percent}" if self.percent else "")


class Absorbed(JsonObject):
    """The relevance that a pass absorbs, by its cause."""

    biases: Number | None
    """The relevance of the biases of layers and norms."""
    constants: Number | None
    """The relevance of other constants that are added or stand beside, such as position
    embeddings."""
    epsilon: Number | None
    """The relevance that the term takes which keeps divisors from zero."""
    softmax: Number | None
    """The relevance of the constant term in the expansion of softmax."""


class DetectionEntry(ClassEntry):
    """A box that was asked about, and what the model gives it."""

    score: Number | None
    """The probability that the model gives its class, from 0 to 1, by which boxes are ranked."""
    box: OfSides | None
    """x0, y0, x1, y1 in pixels of the image file; null if it is not known where the input lies."""
    box_in_input: OfSides
    """x0, y0, x1, y1 in pixels of the input."""

    @property
    def place(self) -> str:
        """The box in short, for people."""
        sides = self.box_in_input if self.box is None else self.box
        text = ", ".join("?" if side is None else f"{side:.1f}" for side in sides)
        return f"{text} of the input" if self.box is None else text

    def __str__(self) -> str:
        """The class, its score and the box in one phrase."""
        score = "NaN" if self.score is None else f"{self.score:.3g}"
        return f"class {self.name}, score {score}, box {self.place}"


Point = Annotated[list[Number], Field(min_length=2, max_length=2)]


class MarkEntry(JsonObject):
    """The place that a term of a seed asks about."""

    term: String
    """The text of the term, without its factor."""
    factor: Number
    """The factor before the term; below 0 if it is subtracted."""
    outline: Annotated[list[Annotated[list[Point], Field(min_length=1)]], Field(min_length=1)]
    """The corners [x, y] of closed lines around the place, in pixels of the input."""

    @property
    def mark(self) -> Mark:
        """The mark, to be drawn."""
        rings = tuple(tuple((x, y) for x, y in ring) for ring in self.outline)
        return Mark(self.term, self.factor, rings)


HexColour = Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]


class OutputEntry(JsonObject):
    """The part of the model's output that the view `output` shows."""

    shows: Literal["values", "classes", "class", "boxes", "other"]
    """`values`: one channel of a map; `classes`: the class that wins at each place of it; `class`:
    the class that ranks first; `boxes`: the detections; `other`: its shape alone."""
    channel: StrictInt | None
    """The channel of `values`."""
    low: Number | None
    """The value of the lowest colour of `values`: the smallest that is finite."""
    high: Number | None
    """The value of the highest colour: the largest that is finite."""
    lines: list[String]
    """The lines of the legend: classes or boxes."""
    colours: list[HexColour]
    """The colour of each line of `classes`, as #rrggbb."""
    size: Pixel | None
    """The width and height of the picture in output.png, above the legend; null if it was not
    drawn."""

    @property
    def caption(self) -> str:
        """The legend in one line, for people."""
        ends = [] if self.low is None or self.high is None else [(self.low, self.high)]
        return "; ".join([*self.lines, *(f"{low:.4g} to {high:.4g}" for low, high in ends)])


class FieldDone(ResultKey):
    """A line of a receptive-field run: the field is there. Its numbers are in field.json."""

    seed: String
    """`pixel:X,Y`."""
    status: Literal["ok"]
    """The result is there."""
    files: dict[String, FilePath]
    """The files by name, as paths relative to the run's folder."""


class Spread(JsonObject):
    """The distribution of a statistic over images."""

    count: StrictInt
    """The number of images that have it, as a number that is neither NaN nor Inf."""
    mean: Number | None
    """The mean; null if no image has it."""
    median: Number | None
    """The median."""
    q1: Number | None
    """The first quartile, interpolated linearly."""
    q3: Number | None
    """The third quartile."""


class MeanEntry(JsonObject):
    """The images of a mean, and how their statistics are distributed."""

    count: StrictInt
    """The number of images in the mean."""
    left_out: list[String]
    """The names of the images that are not in it: they failed, or are of another size."""
    statistics: dict[String, Spread]
    """`score`, the keys of `stats`, and the gaps and the loss, if there are any."""


class Done(FieldDone):
    """A line of a saliency run: the gradient or attribution is there."""

    seed: String
    """The spec of the seed."""
    output_shape: list[StrictInt]
    """The shape of the model's output for this image, without the batch axis; of a detector, the
    number of its boxes and that of the numbers of each."""
    score: Number | None
    """⟨v, y⟩, the number that was differentiated."""
    answer: AnswerEntry | None = Field(default=None, alias="class")
    """The class that `top` or `class:` took; not there for other seeds."""
    detection: DetectionEntry | None = None
    """The box that `box:` or `object:` took; not there for other seeds."""
    marks: list[MarkEntry] = []
    """The places that the terms of the seed ask about; not there for a seed about the whole
    output."""
    output: OutputEntry | None = None
    """The output of the model; there with the view `output` and with `--array all`."""
    loss: Number | None = None
    """The loss at the image itself; not there unless every term of the seed is one."""
    layer: String | None = None
    """The layer that was read, if one was: the name that `--layer` takes."""
    layer_reason: String | None = None
    """The reason why that layer was read; not there if `--layer` named it."""
    gated: StrictInt | None = None
    """The number of activations that the method's rule held at."""
    samples: StrictInt | None = None
    """The number of points, if the method takes several."""
    completeness: Number | None = None
    """⟨v, f(x) − f(baseline)⟩ − Σ attribution, if there is a baseline."""
    absorbed: Absorbed | None = None
    """The relevance that does not arrive at the input, if the method hands relevance back."""
    conservation: Number | None = None
    """⟨v, y⟩ − Σ attribution − Σ absorbed, if the method hands relevance back."""
    tiles: StrictInt | None = None
    """The number of parts that the image was computed in."""
    parts: Literal["proved", "tried"] | None = None
    """The evidence that the tiles agree with the whole: proved by the model's operations for this
    size, or tried in numbers."""
    over: MeanEntry | None = None
    """The images whose mean this is, with `--mean-of-images`; not there for an image."""
    stats: Stats
    """Statistics of the array."""
    scales: dict[String, Number]
    """The values that get the strongest colour, by view."""
    warnings: list[String]
    """Warnings for a reader of the pictures."""


class FailureReason(JsonObject):
    """The reason of a failure."""

    type: String
    """The class of the error, such as `ImageError`."""
    message: String
    """The message: what is wrong, and what to do next."""


class Failed(ResultKey):
    """A line of any run: there is no result."""

    status: Literal["error"]
    """There is no result."""
    error: FailureReason
    """The reason of the failure."""


ResultLine = Done | FieldDone | Failed
"""A line of results.jsonl."""


def parse_line(content: Any) -> ResultLine:
    """Read a line of results.jsonl as a type.

    Raises:
        ValueError: it is not such a line.
    """
    keys = content if isinstance(content, Mapping) else {}
    if keys.get("status") == "error":
        return Failed.model_validate(content)
    measured = keys.keys() & Done.model_fields.keys() - FieldDone.model_fields.keys()
    return (Done if measured else FieldDone).model_validate(content)


class SaliencyDocument(Document):
    """The document that `saliency --json` prints."""

    kind: Literal["saliency"]
    """The command."""
    run: RunRecord
    """The content of run.json."""
    results: list[Done | Failed]
    """The lines of results.jsonl."""


# field.json ---------------------------------------------------------------------------------------


class LocalExtent(JsonObject):
    """The extent of the local field at an image."""

    area: StrictInt
    """The number of pixels whose gradient is not 0."""


class SquareExtent(JsonObject):
    """A square in the middle of a map."""

    side: StrictInt
    """The side in pixels; odd, or 0 for a map without contribution."""
    ratio: Number
    """The share of the map's pixels that the square covers."""


class EffectiveExtent(JsonObject):
    """The spread of the pixels that matter, weighted by how much they matter."""

    squares: dict[String, StrictInt]
    """The side of the centred square that holds a percentage of the energy."""
    mean: OfAxes | None
    """The mean x and y of the energy."""
    sigma: OfAxes | None
    """The standard deviations about the mean, in pixels."""
    area_4_55: StrictInt
    """The number of pixels above 4.55 % of the peak."""
    replknet: dict[String, SquareExtent | None]
    """RepLKNet's high-contribution area, by percentage."""
    nonfinite: StrictInt
    """The number of pixels that are NaN or Inf."""


class FieldEntry(JsonObject):
    """The receptive field of one output pixel at one image."""

    image: String
    """The name of the image; `noise` without one; `mean` of all."""
    pixel: Pixel
    """[x, y] in the output map."""
    status: Literal["exact", "partial"]
    """`partial`: more may matter than the structural field shows."""
    lost_at: list[String]
    """The operations that made it partial."""
    box: Corners | None
    """The [x0, y0, x1, y1] of the structural field, inclusive; null if it is empty."""
    size: Pixel | None
    """[width, height] of the box."""
    clipped: Sides | None
    """True for each side, left, top, right and bottom, beyond which the field goes on."""
    area: StrictInt
    """The number of pixels of the structural field."""
    fill: Number | None
    """The area divided by that of the box."""
    is_global: StrictBool = Field(alias="global")
    """True if an operation makes the field global."""
    global_through: String | None
    """The operation that makes it global, if one does."""
    local: LocalExtent
    """The extent of the local field."""
    effective: EffectiveExtent
    """The extent of the effective field: how much each pixel matters."""
    files: dict[String, FilePath]
    """The files by name, as paths relative to the run's folder."""


class GeometryEntry(JsonObject):
    """The unclipped field of an output or layer, in input pixels; null if it is global."""

    size: OfAxes | None
    """The width and height, the largest over a period."""
    stride: OfAxes | None
    """Input pixels per output pixel."""
    padding: OfAxes | None
    """The most pixels by which a first field reaches over the border."""
    centre: OfAxes | None
    """The middle of output pixel 0's field; pixel i is [i, i + 1)."""
    halo: OfSides | None
    """[left, top, right, bottom] of the overlap that tiled inference needs."""
    period: OfAxes | None
    """The shift after which the field repeats its shape."""
    global_through: String | None
    """The operation that makes it global, if it is known."""


class NamedLayer(JsonObject):
    """A layer that is measured."""

    name: String
    """The name that `--layer` takes."""
    channels: StrictInt
    """The number of channels of its output."""


class LayerGeometry(GeometryEntry, NamedLayer):
    """The unclipped field of a layer."""


class FieldDocument(Document):
    """field.json, which `receptive-field --json` also prints."""

    kind: Literal["receptive-field"]
    """The command."""
    fields: list[FieldEntry]
    """The fields, one for each image and pixel."""
    geometry: GeometryEntry
    """The geometry of the output, or of `--layer`."""
    layers: list[LayerGeometry]
    """Every layer, with `--layers`."""


# compare.json -------------------------------------------------------------------------------------


class ItemEntry(JsonObject):
    """One image and seed in the first run and a later one, or the network itself."""

    run: StrictInt = Field(default=1, ge=1)
    """The place of the later run in `runs`: 1 is the second."""
    image: String | None
    """The name of the image; null for the network."""
    seed: String | None
    """The spec of the seed."""
    ok: StrictBool
    """True if it passes."""
    value: Number | None
    """The metric of the array that differs most."""
    problems: list[String]
    """Differences that no tolerance excuses."""
    measured: dict[String, dict[String, Number | None]]
    """The values of all metrics by array."""
    facts: dict[String, Any]
    """[A, B] of a receptive field's `status`, `box` and `global`."""
    files: dict[String, FilePath] = {}
    """The picture of each array's difference, with `-o`."""
    scales: dict[String, Number | None] = {}
    """The |A − B| that gets the strongest colour, with `-o`."""


class CompareDocument(Document):
    """compare.json, which `compare --json` also prints."""

    kind: Literal["compare"]
    """The command."""
    ok: StrictBool
    """True if every item passes."""
    metric: String
    """The metric that judges."""
    tolerance: Number
    """The farthest value of it that passes."""
    runs: Annotated[list[ComparedRun], Field(min_length=2)]
    """The first run, and the later ones, each of which is compared with it."""
    warnings: list[String]
    """Warnings for a reader of the verdict."""
    items: list[ItemEntry]
    """The items, the worst first."""
    growth: FilePath | None = None
    """The chart of the effective fields of more than two runs, with `-o`."""


# What inspect, check and report print -------------------------------------------------------------


class ModelSize(JsonObject):
    """The size of a model."""

    count: StrictInt
    """The number of parameters."""
    size: StrictInt = Field(alias="bytes")
    """The bytes that they take."""


class InspectedModel(ModelRecord):
    """The inspected model."""

    trust: String
    """The consent that loading it takes, by the code that it may run."""
    parameters: ModelSize
    """The size of its parameters."""


class InspectedInput(JsonObject):
    """An input of the model."""

    source: String = Field(alias="from")
    """The image, or `random`."""
    shape: list[StrictInt]
    """[N, C, H, W] as it entered."""


class InspectedOutput(JsonObject):
    """An output of the model."""

    key: String | None
    """The key that `--output` takes; null for a bare tensor."""
    shape: list[StrictInt]
    """Its shape, with the batch axis."""
    type: String
    """The type of its numbers."""
    layout: String
    """The meaning of its axes."""
    seeds: list[String]
    """The kinds of seeds that fit."""
    chosen: StrictBool
    """True if this output was differentiated."""


class InspectedLayer(JsonObject):
    """A layer, and the norms of its activation and gradient."""

    name: String
    """The name that `--layer` takes."""
    shape: list[StrictInt]
    """The shape of its output, with the batch axis."""
    stride: OfAxes | None
    """The input pixels per place of its map; null if its output is not a map."""
    activation: Number | None
    """The Euclidean norm of its output."""
    gradient: Number | None
    """The Euclidean norm of the gradient there; null if none arrives."""
    dead: Number | None
    """The share of its channels that are 0 everywhere."""


class InspectedDetections(JsonObject):
    """The detections of a detector."""

    boxes: StrictInt
    """The number of boxes that the model suggests."""
    count: StrictInt
    """The number of detections that are left after gradviz's own suppression."""
    first: list[DetectionEntry]
    """The first five of them, by falling score."""


class InspectDocument(Document):
    """The document that `inspect --json` prints."""

    kind: Literal["inspect"]
    """The command."""
    model: InspectedModel
    """The model."""
    inputs: list[InspectedInput]
    """The inputs of the model."""
    outputs: list[InspectedOutput]
    """The outputs of the model."""
    classes: list[AnswerEntry] = []
    """The five classes that rank first for the image; empty without an image or class scores."""
    detections: InspectedDetections | None = None
    """The detections of a detector; null for other models."""
    seed: String
    """The seed that was differentiated."""
    layers: list[InspectedLayer]
    """The layers in execution order."""
    warnings: list[String]
    """Warnings of what may mislead about this model."""


TREND = "trend"
"""The name of the test that is shown and not judged."""


class CheckTest(JsonObject):
    """One comparison of the gradient with finite differences of the model.

    Slopes are rises of ⟨v, y⟩ per unit step; a step of 1 moves the input value that moves most by
    1, in the units of the tensor that enters the model. The numbers of a kink are those beside it.
    """

    name: String
    """`random N`, `gradient`, `pixel X,Y` or `trend`."""
    seed: String
    """The spec of the seed."""
    expected: Number | None
    """The slope that the gradient predicts; of a pixel Σ|g|, as in the heatmap."""
    measured: Number | None
    """The slope that the model has."""
    error: Number | None
    """Their distance, relative to their size."""
    step: Number | None
    """The step over which it was measured; of the trend, the longest at which it holds."""
    ok: StrictBool | None
    """True if they agree; null if rounding hides it; true for the trend."""
    kink: StrictBool
    """True if they agree beside the image only."""

    @property
    def judged(self) -> bool:
        """True if the test can fail; a trend is only shown."""
        return self.name != TREND


class CheckDocument(Document):
    """The document that `check --json` prints."""

    kind: Literal["check"]
    """The command."""
    ok: StrictBool
    """True if the gradient is proven right."""
    precision: String
    """The type of the least precise numbers in the model."""
    tolerance: Number
    """The largest relative error that passes."""
    span: Number
    """The largest minus the smallest value of the input."""
    tests: list[CheckTest]
    """All tests."""
    unproven: list[String]
    """The operations whose derivative cannot be told at this precision: values that are detached
    and added again, and backward passes of the model's own. Empty in float64."""


class ReportDocument(Document):
    """The document that `report --json` prints."""

    kind: Literal["report"]
    """The command."""
    file: String
    """The page that was written."""
    size: StrictInt = Field(alias="bytes")
    """The size of the file."""
    notes: list[String]
    """Notes on the inputs that could not be shown, with reasons."""


class ExploreDocument(Document):
    """The document that `explore --json` prints."""

    kind: Literal["explore"]
    """The command."""
    address: String
    """The address of the page; its token works once."""
    host: String
    """The address that it listens on."""
    port: StrictInt
    """The port."""


class ErrorDocument(Document):
    """The document of a command that fails, printed with `--json` in place of its own."""

    kind: Literal["error"]
    """There is no other document."""
    exit_code: StrictInt
    """The exit code of the process."""
    type: String
    """The class of the error, such as `UsageError`."""
    message: String
    """The line that stderr shows."""


class EachEntry(JsonObject):
    """One of several models that a command ran for."""

    model: String
    """The path of the model."""
    folder: String | None
    """The folder of its results; null without `-o`."""
    exit_code: StrictInt
    """The exit code that the command alone has."""
    signal: StrictInt | None
    """The signal that ended the model's process, if one did."""
    document: dict[String, Any] | None
    """The document that the command alone prints; null if there is none."""


class EachDocument(Document):
    """The document that a command prints with `--each` and `--json`."""

    kind: Literal["each"]
    """Several models."""
    command: String
    """The command."""
    exit_code: StrictInt
    """The exit code of the process: of those of the models, the one that takes precedence."""
    models: list[EachEntry]
    """The models, sorted by path."""
