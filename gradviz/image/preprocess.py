"""The recipe that turns the pixels of a file into the tensor that enters the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from gradviz.arrays import Bytes, Floats
from gradviz.errors import UsageError
from gradviz.image.read import DEFAULT_MAX_PIXELS, WHITE
from gradviz.text import listed, nearest, one_line


def _number(value: object) -> object:
    """Parse a number from the command line's text; return anything else unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return int(value)
    except ValueError:
        return float(value)


def _size(value: object) -> object:
    """Parse `320x240` as two numbers, `224` as one."""
    if isinstance(value, str) and "x" in value:
        return [_number(part) for part in value.split("x")]
    return _number(value)


def _numbers(value: object) -> object:
    """Parse `0.5,0.5` as a list of numbers, a single number as a list of one."""
    if isinstance(value, str):
        return [_number(part) for part in value.split(",")]
    return [value] if isinstance(value, int | float) else value


def _size_or(prefix: str) -> Callable[[object], object]:
    """Make a parser of sizes that leaves `PREFIX:N` as it is."""

    def parse(value: object) -> object:
        if isinstance(value, str) and value.strip().startswith(f"{prefix}:"):
            return f"{prefix}:{_number(value.partition(':')[2])}"
        return _size(value)

    return parse


def _one_or_three(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if len(numbers) not in (1, 3):
        raise ValueError(f"{len(numbers)} numbers")
    return numbers


def _ascending(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if not low < high:
        raise ValueError(f"{low} is not below {high}")
    return bounds


# Strict: a bool is not a number here, and 224.0 is not a count of pixels.
_Count = Annotated[int, Field(strict=True, gt=0)]
_Level = Annotated[int, Field(strict=True, ge=0, le=255)]
_Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Positive = Annotated[_Real, Field(gt=0)]

Count = Annotated[_Count, BeforeValidator(_number)]
SideOrSize = Annotated[_Count | tuple[_Count, _Count], BeforeValidator(_size)]
# Nine digits at most: more pixels than any memory holds, and a text of a million digits is refused.
_Fit = Annotated[str, Field(pattern=r"^fit:[1-9]\d{0,8}$")]
_Multiple = Annotated[str, Field(pattern=r"^multiple:[1-9]\d{0,8}$")]
ResizeSize = Annotated[_Count | tuple[_Count, _Count] | _Fit, BeforeValidator(_size_or("fit"))]
PadSize = Annotated[
    _Count | tuple[_Count, _Count] | _Multiple, BeforeValidator(_size_or("multiple"))
]
Share = Annotated[_Real, Field(ge=0.01, le=1), BeforeValidator(_number)]
Reals = Annotated[tuple[_Real, ...], Field(min_length=1), BeforeValidator(_numbers)]
Positives = Annotated[tuple[_Positive, ...], Field(min_length=1), BeforeValidator(_numbers)]
Bounds = Annotated[tuple[_Real, _Real], AfterValidator(_ascending), BeforeValidator(_numbers)]
Bands = Annotated[tuple[_Count, ...], AfterValidator(_one_or_three), BeforeValidator(_numbers)]
BackgroundColour = Annotated[tuple[_Level, _Level, _Level], BeforeValidator(_numbers)]


Process = Callable[[Bytes], Floats]
"""A library's processor: it makes the tensor [C, h, w] of an upright RGB picture [H, W, 3]."""


class Preprocess(BaseModel):
    """The steps from an image to the model's input, in the order of the fields.

    A field's `description` is the form of its value, in a card or on the command line.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pixels: Count = Field(
        default=DEFAULT_MAX_PIXELS, description="a number of pixels (200000000)"
    )
    """The largest width × height that is decoded, or resized to."""
    page: Count | None = Field(default=None, description="the number of a page, from 1 (2)")
    """The page or frame that is read of a picture with several; None for the first."""
    bands: Bands | None = Field(default=None, description="one band or three, from 1 (4,3,2)")
    """The channels of an array or a TIFF that pictures show: one in gray, or red, green and blue,
    stretched from black to white. A TIFF is then read as bands, all of which enter the model."""
    background: BackgroundColour = Field(
        default=WHITE, description="R,G,B of 0 to 255 (255,255,255)"
    )
    """The colour behind transparent pixels."""
    channels: Literal["rgb", "bgr", "gray"] = Field(default="rgb", description="rgb, bgr or gray")
    """The channels of the tensor: three in this order, or one of luma (ITU-R BT.601)."""
    levels: Literal["float", "bytes"] = Field(default="float", description="float or bytes")
    """`bytes` rounds the levels of a picture to whole numbers of 0 to 255 before and after the
    resize, as a picture of Pillow's has them; `float` never rounds them. Arrays keep their
    numbers."""
    resize: ResizeSize | None = Field(
        default=None,
        description="the shorter side (224), WIDTHxHEIGHT (320x240) or the longer side (fit:640)",
    )
    """The shorter side in pixels, with the aspect kept and the longer side rounded down; or width
    and height; or `fit:` and the longer side, with the shorter one rounded to the nearest; None
    for the image's own size."""
    longest: Count | None = Field(default=None, description="a number of pixels (1333)")
    """The most that the longer side may get if `resize` is the shorter one, which is then less."""
    keep_aspect: Literal["inside", "cover", "least"] | None = Field(
        default=None, description="inside, cover or least"
    )
    """The one scale for both sides if `resize` is width and height: the larger that fits inside
    them, the smaller that covers them, or of both sides' scales the one that is nearer to 1 (of
    two equally near, the height's); None to stretch the image."""
    crop_pct: Share | None = Field(default=None, description="a share of 0.01 to 1 (0.875)")
    """The share of the resized image that a crop of the size `resize` keeps: the numbers of
    `resize` are divided by it and rounded down."""
    multiple: Count | None = Field(default=None, description="a number of pixels (32)")
    """The number to whose nearest multiple both sides are rounded; at least one multiple is
    left."""
    round: Literal["even", "floor"] | None = Field(default=None, description="even or floor")
    """The rounding of a resized side to `multiple`, or to 1: `even` takes the nearest, and of two
    the even one; `floor` rounds down; None rounds to a whole number, then to the nearest multiple,
    and of two to the larger."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = Field(
        default="bilinear", description="nearest, bilinear, bicubic or lanczos"
    )
    """The filter of the resize, which is widened when the image gets smaller, except nearest."""
    crop: SideOrSize | None = Field(
        default=None, description="a side (224) or WIDTHxHEIGHT (320x240)"
    )
    """The side, or width and height, of the part in the centre that is kept; None to keep all."""
    crop_rule: Literal["torchvision", "transformers"] | None = Field(
        default=None, description="torchvision or transformers"
    )
    """The library whose centre crop is taken: both pad an image that is smaller than the crop.
    torchvision rounds half a pixel to the even one, transformers down, and in padding up; None
    rounds as torchvision and refuses smaller images."""
    pad: PadSize | None = Field(
        default=None, description="a side (640), WIDTHxHEIGHT (640x480) or a step (multiple:14)"
    )
    """The side, or width and height, to which the image is padded; or `multiple:` and the number
    to whose next multiple each side is; None for no padding."""
    pad_at: Literal["end", "around"] = Field(default="end", description="end or around")
    """The place of the padding: at the right and the bottom; or around the image, with the odd
    pixel at the right and the bottom."""
    pad_value: Reals = Field(
        default=(0.0,), description="one number, or one per channel (114 or 124,116,104)"
    )
    """The level of the padding, from 0 (black) to 255 (white); a number of the tensor if `order` is
    normalise,pad."""
    range: Bounds = Field(default=(0.0, 1.0), description="two rising numbers LOW,HIGH (0,255)")
    """The values that black and white become, before `mean` and `std`."""
    mean: Reals | None = Field(default=None, description="one number per channel (0.5,0.5,0.5)")
    """The number subtracted from each channel, in the tensor's order of channels."""
    std: Positives | None = Field(
        default=None, description="one number above 0 per channel (0.5,0.5,0.5)"
    )
    """The number by which each channel is divided, after `mean` is subtracted."""
    order: Literal["pad,normalise", "normalise,pad"] = Field(
        default="pad,normalise", description="pad,normalise or normalise,pad"
    )
    """The order of padding and of `range`, `mean` and `std`."""
    processor: Annotated[str, Field(strict=True)] | None = Field(
        default=None, description="the name of a library's processor"
    )
    """The processor of a library that makes the tensor of a picture, in place of the steps here;
    `mean` and `std` are then its own. None for these steps. Only a model's folder can name it."""
    _process: Process | None = PrivateAttr(default=None)
    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _spelled_out(cls, values: Any) -> Any:
        return spelled_out(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.crop_pct is not None and self.resize is None:
            raise UsageError("crop_pct: needs resize, the size of the crop")
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, which `preprocess_from` reads back."""
        return self.model_dump(mode="json")

    def unsized(self) -> Preprocess:
        """Return the recipe for pixels of the final size that no file holds."""
        absent = ("bands", "resize", "multiple", "crop", "pad", "processor")
        return self.model_copy(update=dict.fromkeys(absent))

    @property
    def process(self) -> Process | None:
        """The function of `processor`; None if the recipe was read from a document."""
        return self._process

    @property
    def origins(self) -> Mapping[str, str]:
        """The place that each step comes from, by its key; empty if unknown."""
        return self._origins

    def made_by(self, name: str, process: Process) -> Preprocess:
        """Return the recipe with a library's processor in place of its steps.

        Args:
            name: the processor's name.
            process: the function that makes the tensor.
        """
        recipe = self.model_copy(update={"processor": name})
        recipe._process = process
        return recipe

    def overridden(self, steps: Mapping[str, object], where: str, origin: str) -> Preprocess:
        """Put single steps over the recipe, and note where each step comes from.

        Args:
            steps: the values by key.
            where: the origin of the steps.
            origin: the origin of the recipe.

        Raises:
            UsageError: a value is wrong, or the recipe's processor has the step within it.
        """
        within = [key for key in steps if key not in _AT_READING]
        if self.processor is not None and within:
            raise UsageError(
                f"{where}: {self.processor} makes the tensor by itself: leave out "
                f"{listed(within, 3)}, or give a whole recipe with --preprocess"
            )
        recipe = preprocess_from({**self.as_dict(), **steps}, where)
        plain = Preprocess().as_dict()
        recipe._process = self._process
        recipe._origins = {
            key: where if key in steps else origin
            for key, value in recipe.as_dict().items()
            if key in steps or value != plain[key]
        }
        return recipe


_AT_READING = ("max_pixels", "page", "background")
"""The steps that hold while a file is read, whatever makes the tensor."""


_SIZED = ("resize", "longest", "keep_aspect", "crop_pct", "multiple", "round", "crop", "pad")


class _Short(BaseModel):
    """The short forms: keys that stand for several others."""

    model_config = ConfigDict(frozen=True)

    letterbox: Annotated[_Count, Field(lt=10**9), BeforeValidator(_number)] | None = Field(
        default=None, description="a side below 1000000000 (640)"
    )
    rescale: Annotated[_Positive, Field(lt=1e30), BeforeValidator(_number)] | None = Field(
        default=None, description="a factor above 0 and below 1e30 (0.00392156862745098)"
    )


def spelled_out(mapping: Mapping[str, object]) -> dict[str, object]:
    """Replace the short forms of a recipe by the keys that they stand for.

    `letterbox: N` resizes to `fit:N` and pads around to N×N with 114, as YOLO does. `rescale: F`,
    the factor on levels of 0 to 255, is the range from 0 to 255·F.

    Args:
        mapping: values by key.

    Raises:
        UsageError: a value is wrong, or a key that a short form stands for is given as well.
    """
    full = {key: value for key, value in mapping.items() if key not in _Short.model_fields}
    try:
        short = _Short.model_validate(dict(mapping))
    except ValidationError as error:
        raise UsageError(_complaint(error, mapping, _Short)) from error
    for name, stands_for in (("letterbox", _SIZED), ("rescale", ("range",))):
        for key in stands_for:
            if getattr(short, name) is not None and full.get(key) is not None:
                raise UsageError(f"{name}: stands for {key}, which is given as well; keep one")
    if (side := short.letterbox) is not None:
        full = dict.fromkeys(_SIZED) | {"pad_value": 114} | full
        full |= {"resize": f"fit:{side}", "pad": side, "pad_at": "around"}
    if short.rescale is not None:
        full["range"] = (0, 255 * short.rescale)
    return full


IMAGENET = Preprocess(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The recipe that classifiers trained on ImageNet expect."""

RECIPES = {"imagenet": IMAGENET, "none": Preprocess()}
"""The recipes that have a name."""


def preprocess_from(mapping: Mapping[str, object], where: str) -> Preprocess:
    """Read the recipe that a card, a file, `run.json` or the command line's text describes.

    Args:
        mapping: the values by key.
        where: the origin of the mapping, for messages.

    Raises:
        UsageError: a key is unknown, or a value is wrong.
    """
    try:
        return Preprocess.model_validate(dict(mapping))
    except ValidationError as error:
        complaint = _complaint(error, mapping, Preprocess)
        raise UsageError(one_line(f"{where}: {complaint}")) from error
    except UsageError as error:
        raise UsageError(one_line(f"{where}: {error}")) from error


def _complaint(
    error: ValidationError, mapping: Mapping[str, object], model: type[BaseModel]
) -> str:
    key = str(error.errors()[0]["loc"][0])
    fields = model.model_fields
    if key in fields:
        return f"{key}: expected {fields[key].description}, got {mapping.get(key)!r}"
    known = [*fields, *_Short.model_fields]
    hint = nearest(key, known, f"expected one of {', '.join(known)}")
    return f"unknown key {key}; {hint}"
