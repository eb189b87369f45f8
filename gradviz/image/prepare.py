"""Preparing an image: from a picture to the tensor that enters the model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from gradviz.arrays import Array, Box, Bytes, Floats
from gradviz.errors import ImageError, UsageError
from gradviz.image.frame import Frame, frame_of
from gradviz.image.preprocess import Preprocess
from gradviz.image.read import Picture, in_unit, luma


@dataclass(frozen=True, eq=False)
class Prepared:
    """One image, ready for the model; its tensor is computed when it is first used."""

    levels: Floats | Bytes
    """The levels [C, h, w], channels in the picture's order."""
    white: int
    """The level that stands for 1."""
    preprocess: Preprocess
    """The recipe, of which channel order, range, mean and std are still to be applied."""
    frame: Frame
    """The place of its pixels in the image file."""
    notes: tuple[str, ...] = ()
    """The parts of the file that were left out, for people."""
    made: Floats | None = None
    """The tensor itself if a library's processor made it; `levels` are then there to be shown."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the tensor, [C, h, w]."""
        channels, height, width = self.levels.shape
        return channels, height, width

    @property
    def bgr(self) -> bool:
        """True if the tensor's channels are in the order blue, green, red."""
        return self.preprocess.channels == "bgr"

    @cached_property
    def tensor(self) -> torch.Tensor:
        """The normalised image, float32 [C, h, w], on the CPU."""
        width, height = self.frame.input
        return self.part((0, 0, width, height))

    def part(self, box: Box) -> torch.Tensor:
        """Compute the pixels of the tensor in a box.

        Args:
            box: x0, y0, x1, y1 in pixels of the tensor.

        Returns:
            float32 [C, y1 − y0, x1 − x0], normalised.
        """
        x0, y0, x1, y1 = box
        if self.made is not None:
            return torch.from_numpy(self.made[:, y0:y1, x0:x1].copy())
        pixels = in_unit(self.levels[:, y0:y1, x0:x1], self.white)
        normalised = _normalised(pixels, self.preprocess)
        if self.preprocess.order == "normalise,pad":
            left, top, right, bottom = self.frame.picture
            columns, rows = np.arange(x0, x1), np.arange(y0, y1)[:, None]
            inside = (left <= columns) & (columns < right) & (top <= rows) & (rows < bottom)
            normalised = np.where(inside, normalised, _column(self.preprocess.pad_value))
        return torch.from_numpy(normalised)

    @cached_property
    def shown(self) -> Bytes:
        """The RGB picture that the model gets, before range, mean and std: uint8 [h, w, 3]."""
        return as_shown(self.levels, self.white, self.preprocess.bands)


def prepare(picture: Picture, preprocess: Preprocess) -> Prepared:
    """Choose channels, resize, crop, pad, and normalise, in this order.

    A gray picture becomes three equal channels for rgb and bgr. An array keeps its channels, unless
    the recipe names bgr or gray. The resize is antialiased and leaves an image that already has the
    size untouched.

    Args:
        picture: the upright pixels.
        preprocess: the recipe.

    Raises:
        ImageError: the image does not fit the recipe's sizes.
        UsageError: `mean`, `std` or `channels` do not fit its channels.
    """
    where = f"{picture.path}: " if picture.path else ""
    if preprocess.processor is not None:
        return _by_library(picture, preprocess, where)
    height, width = picture.levels.shape[1:]
    try:
        frame = frame_of((width, height), preprocess)
        levels, white = _levels(picture, frame, preprocess)
        # An array has the channels that the model takes.
        if picture.kind == "picture" or preprocess.channels != "rgb":
            levels = _channels(levels, preprocess.channels)
        _check_numbers(preprocess, len(levels))
        levels = _crop(_resize(levels, frame, preprocess.interpolation), frame)
        levels = _pad(levels, white, frame, preprocess)
    except UsageError as error:
        # The recipe fixes the number of channels of a picture, not of an array.
        kind = ImageError if picture.kind == "array" else type(error)
        raise kind(f"{where}{error}") from error
    return Prepared(levels, white, preprocess, frame, picture.notes)


def as_shown(levels: Floats | Bytes, white: int, bands: tuple[int, ...] | None = None) -> Bytes:
    """Convert levels [C, h, w] to an RGB picture [h, w, 3], clipped to [0, `white`].

    One channel is shown in gray. If there are neither 1 nor 3 channels, their mean is shown,
    stretched from black to white; or the chosen bands are, stretched together.

    Args:
        levels: [C, h, w].
        white: the level that stands for 1.
        bands: the channels to show, from 1: one, or red, green and blue.
    """
    height, width = levels.shape[1:]
    if levels.dtype != np.uint8 or bands:
        pixels = in_unit(levels, white)
        if bands:
            pixels = pixels[[band - 1 for band in bands]]
        elif len(pixels) not in (1, 3):
            pixels = pixels.mean(axis=0, keepdims=True)
        if bands or len(levels) not in (1, 3):
            pixels = pixels - pixels.min()
            pixels = pixels / (pixels.max() or 1)
        levels = np.round(pixels.clip(0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels, (3, height, width)).transpose(1, 2, 0))


def _by_library(picture: Picture, preprocess: Preprocess, where: str) -> Prepared:
    """Let a library's processor make the levels."""
    name, process = str(preprocess.processor), preprocess.process
    if process is None:
        raise UsageError(
            f"{where}{name} makes the tensor, and only the folder of its model has it: give a "
            "whole recipe with --preprocess"
        )
    if picture.kind != "picture":
        raise ImageError(
            f"{where}{name} takes pictures, not arrays: give --preprocess none if the array is to "
            "enter as it is"
        )
    height, width = picture.levels.shape[1:]
    made = process(as_shown(picture.levels, picture.white))
    size = (made.shape[2], made.shape[1])
    if size[0] * size[1] > preprocess.max_pixels:
        raise ImageError(
            f"{where}{name} makes {size[0]}x{size[1]} of it, expected at most "
            f"{preprocess.max_pixels} pixels; allow more with --max-pixels"
        )
    frame = Frame((width, height), size, (0, 0), size, maker=name)
    _check_numbers(preprocess, len(made))
    levels = made * _column(preprocess.std or (1.0,)) + _column(preprocess.mean or (0.0,))
    return Prepared(levels, 1, preprocess, frame, picture.notes, made)


def _levels(picture: Picture, frame: Frame, preprocess: Preprocess) -> tuple[Array, int]:
    """Choose the numbers in which the steps compute, and the level that stands for 1."""
    if preprocess.levels == "bytes" and picture.kind == "picture":
        if picture.levels.dtype == np.uint8:
            return picture.levels, 255
        return np.round(picture.pixels.clip(0, 1) * 255).astype(np.uint8), 255
    mixed = preprocess.channels == "gray" and len(picture.levels) > 1
    if mixed or frame.resized != frame.image:  # mixing levels needs more than bytes
        return picture.pixels, 1
    return picture.levels, picture.white


def _channels(pixels: Array, channels: str) -> Array:
    """Convert [C, H, W] to RGB or, for `gray`, to luma; return it unchanged unless C is 1 or 3."""
    count, height, width = pixels.shape
    if count not in (1, 3):
        if channels != "rgb":
            raise UsageError(
                f"channels {channels}: expected an image of 1 or 3 channels, got {count}; "
                "leave --channels out"
            )
        return pixels
    if channels != "gray":
        return np.broadcast_to(pixels, (3, height, width))
    if count == 1:
        return pixels
    if pixels.dtype == np.uint8:  # in Pillow's integers
        rgb = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        return np.asarray(rgb.convert("L"))[None]
    return luma(pixels)[None]


def _resize(pixels: Array, frame: Frame, interpolation: str) -> Array:
    if frame.resized == frame.image:
        return pixels
    # Pillow weighs in double precision; torch's float32 is off by up to 1/2500 at 4000 pixels.
    planes = (Image.fromarray(plane) for plane in pixels)
    kind = Image.Resampling[interpolation.upper()]
    return np.stack([np.asarray(plane.resize(frame.resized, kind)) for plane in planes])


def _crop(pixels: Array, frame: Frame) -> Array:
    (left, top), (width, height) = frame.origin, frame.kept or frame.input
    if (width, height) == frame.resized:
        return pixels
    # A copy, so that the whole image can be freed.
    return pixels[:, top : top + height, left : left + width].copy()


def _pad(pixels: Array, white: int, frame: Frame, preprocess: Preprocess) -> Array:
    """Put the picture into the input's size; the padding is black if it is added later."""
    width, height = frame.input
    if pixels.shape[1:] == (height, width):
        return pixels
    value = (0.0,) if preprocess.order == "normalise,pad" else preprocess.pad_value
    levels = _column(value, np.float64) * white / 255
    if pixels.dtype == np.uint8 and (levels != levels.astype(np.uint8)).any():
        pixels = pixels.astype(np.float32)
    left, top, right, bottom = frame.picture
    padded = np.empty((len(pixels), height, width), pixels.dtype)
    padded[:] = levels
    padded[:, top:bottom, left:right] = pixels
    return padded


def _column(numbers: tuple[float, ...], kind: type = np.float32) -> Array:
    """Make an array [C, 1, 1] of one number per channel, or of one for all."""
    return np.array(numbers).astype(kind).reshape(-1, 1, 1)


def _normalised(pixels: Floats, preprocess: Preprocess) -> Floats:
    if preprocess.channels == "bgr":
        pixels = pixels[::-1]
    low, high = preprocess.range
    with np.errstate(all="ignore"):  # numbers beyond float32 are NaN or Inf, and so are the results
        pixels = low + pixels * (high - low)
        for name, apply in (("mean", np.subtract), ("std", np.divide)):
            numbers = getattr(preprocess, name)
            if numbers is not None:
                pixels = apply(pixels, _column(numbers))
    return np.ascontiguousarray(pixels)


def _check_numbers(preprocess: Preprocess, channels: int) -> None:
    for name in ("mean", "std"):
        numbers = getattr(preprocess, name)
        if numbers is not None and len(numbers) != channels:
            raise UsageError(
                f"{name} has length {len(numbers)}, expected {channels}, one number per channel of "
                f"the tensor; change --{name} or --channels"
            )
    if preprocess.bands is not None and max(preprocess.bands) > channels:
        raise UsageError(
            f"bands: there is no band {max(preprocess.bands)}; expected --bands 1 to {channels}"
        )
    if len(preprocess.pad_value) not in (1, channels):
        raise UsageError(
            f"pad_value has length {len(preprocess.pad_value)}, expected 1 or {channels}, one "
            "number per channel of the tensor"
        )
