"""The recipe that turns the pixels of a file into the tensor that enters the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gradviz.errors import UsageError
from gradviz.image.read import DEFAULT_MAX_PIXELS, WHITE
from gradviz.text import nearest, one_line


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
Reals = Annotated[tuple[_Real, ...], Field(min_length=1), BeforeValidator(_numbers)]
Positives = Annotated[tuple[_Positive, ...], Field(min_length=1), BeforeValidator(_numbers)]
Bounds = Annotated[tuple[_Real, _Real], AfterValidator(_ascending), BeforeValidator(_numbers)]
BackgroundColour = Annotated[tuple[_Level, _Level, _Level], BeforeValidator(_numbers)]


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
    background: BackgroundColour = Field(
        default=WHITE, description="R,G,B of 0 to 255 (255,255,255)"
    )
    """The colour behind transparent pixels."""
    channels: Literal["rgb", "bgr", "gray"] = Field(default="rgb", description="rgb, bgr or gray")
    """The channels of the tensor: three in this order, or one of luma (ITU-R BT.601)."""
    resize: SideOrSize | None = Field(
        default=None, description="the shorter side (224) or WIDTHxHEIGHT (320x240)"
    )
    """The shorter side in pixels, with the aspect kept and the longer side rounded down; or width
    and height; None for the image's own size."""
    multiple: Count | None = Field(default=None, description="a number of pixels (32)")
    """The number to whose nearest multiple both sides are rounded; at least one multiple is
    left."""
    crop: SideOrSize | None = Field(
        default=None, description="a side (224) or WIDTHxHEIGHT (320x240)"
    )
    """The side, or width and height, of the part in the centre that is kept; None to keep all."""
    range: Bounds = Field(default=(0.0, 1.0), description="two rising numbers LOW,HIGH (0,255)")
    """The values that black and white become, before `mean` and `std`."""
    mean: Reals | None = Field(default=None, description="one number per channel (0.5,0.5,0.5)")
    """The number subtracted from each channel, in the tensor's order of channels."""
    std: Positives | None = Field(
        default=None, description="one number above 0 per channel (0.5,0.5,0.5)"
    )
    """The number by which each channel is divided, after `mean` is subtracted."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values, which `preprocess_from` reads back."""
        return self.model_dump(mode="json")


IMAGENET = Preprocess(resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""The recipe that classifiers trained on ImageNet expect."""

RECIPES = {"imagenet": IMAGENET, "none": Preprocess()}
"""The recipes that have a name."""


def recipe_named(recipe: Preprocess | str) -> Preprocess:
    """A recipe, which may be given by its name.

    Raises:
        UsageError: it is neither a recipe nor the name of one.
    """
    found = RECIPES.get(recipe) if isinstance(recipe, str) else recipe
    if not isinstance(found, Preprocess):
        raise UsageError(
            f"preprocess: expected a gradviz.Preprocess or one of {', '.join(RECIPES)}, got "
            f"{recipe!r}"
        )
    return found


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
        key = str(error.errors()[0]["loc"][0])
        raise UsageError(one_line(f"{where}: {_complaint(key, mapping)}")) from error


def _complaint(key: str, mapping: Mapping[str, object]) -> str:
    fields = Preprocess.model_fields
    if key in fields:
        return f"{key}: expected {fields[key].description}, got {mapping[key]!r}"
    hint = nearest(key, fields, f"expected one of {', '.join(fields)}")
    return f"unknown key {key}; {hint}"
