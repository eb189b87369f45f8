"""The map between the pixels of the image file and those of the input tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Array, Box, Size
from gradviz.errors import ImageError, SeedError, UsageError
from gradviz.image.preprocess import Preprocess
from gradviz.image.sizes import both, crop_axis, padded_size, resized_size

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The map between the pixels of the image file and those of the tensor that enters the model.

    The image is resized as a whole, then cropped, then padded. Coordinates are continuous: pixel
    `i` covers `[i, i + 1)` and has its centre at `i + 0.5`; x and u run to the right, y and v down.
    The image file's pixels are meant upright, as a viewer shows them (EXIF orientation applied).
    """

    image: Size
    """The width and height of the upright image file."""
    resized: Size
    """The width and height after the resize, before the crop."""
    origin: tuple[int, int]
    """The left and top edge of the part that is kept, in resized pixels."""
    input: Size
    """The width and height of the input tensor."""
    corner: tuple[int, int] = (0, 0)
    """The left and top edge of the part that is kept, in pixels of the input: the widths of the
    padding before it."""
    kept: Size | None = None
    """The width and height of the part that is kept; None if the input has no padding."""
    maker: str | None = None
    """The library's processor that made the input: where its pixels lie in the file is then not
    known; None if the steps here made it."""

    @property
    def picture(self) -> Box:
        """The box of the input's pixels that show the image; the others are padding."""
        (left, top), (width, height) = self.corner, self.kept or self.input
        return left, top, left + width, top + height

    @property
    def unchanged(self) -> bool:
        """True if the input's pixels are the file's own."""
        width, height = self.image
        same = self.image == self.resized == self.input and self.maker is None
        return same and self.picture == (0, 0, width, height)

    def check_placed(self) -> None:
        """Check that it is known where the input's pixels lie in the file.

        Raises:
            UsageError: a library's processor made the input.
        """
        check_placed(self.maker)

    def to_input(self, x: int, y: int) -> tuple[float, float]:
        """Map the centre of the file's pixel (x, y) to a point (u, v) of the input tensor.

        Args:
            x: the column in the file, from 0.
            y: the row in the file, from 0.

        Raises:
            SeedError: the pixel is outside the image, or its centre was cropped away.
            UsageError: a library's processor made the input.
        """
        self.check_placed()
        return self._axis_to_input("x", x, 0), self._axis_to_input("y", y, 1)

    def to_image(self, u: float, v: float) -> tuple[float, float]:
        """Map the point (u, v) of the input tensor to a point (x, y) of the file's image.

        A point in the padding is mapped to one outside the image, or outside the crop.

        Raises:
            UsageError: a library's processor made the input.
        """
        self.check_placed()
        x, y = (
            (point - corner + origin) * image / resized
            for point, corner, origin, image, resized in zip(
                (u, v), self.corner, self.origin, self.image, self.resized, strict=True
            )
        )
        return x, y

    def lookup(self) -> tuple[Indices, Indices]:
        """Find the input column that holds the centre of each file column [W]; likewise rows [H].

        Returns:
            columns and rows; -1 if the centre was cropped away.

        Raises:
            UsageError: a library's processor made the input.
        """
        self.check_placed()
        return self._axis_lookup(0), self._axis_lookup(1)

    def in_image(self, array: Array, fill: float) -> Array:
        """Draw an array of the input tensor's size in the file's pixels.

        Each file pixel takes the value of the input pixel that holds its centre.

        Args:
            array: [..., h, w].
            fill: the value of pixels whose centre was cropped away.

        Returns:
            [..., H, W], of the same dtype.
        """
        columns, rows = self.lookup()
        width, height = self.image
        drawn = np.full((*array.shape[:-2], height, width), fill, dtype=array.dtype)
        x, y = np.flatnonzero(columns >= 0), np.flatnonzero(rows >= 0)
        drawn[..., y[:, None], x] = array[..., rows[y][:, None], columns[x]]
        return drawn

    def in_input(self, array: Array, fill: float) -> Array:
        """Sample an array of the file's size at the pixels of the input tensor.

        Each input pixel takes the value of the file pixel that holds its centre.

        Args:
            array: [..., H, W].
            fill: the value of the padding.

        Returns:
            [..., h, w], of the same dtype.

        Raises:
            UsageError: a library's processor made the input.
        """
        self.check_placed()
        columns, rows = (
            (2 * (np.arange(size) + origin) + 1) * image // (2 * resized)
            for size, origin, image, resized in zip(
                self.kept or self.input, self.origin, self.image, self.resized, strict=True
            )
        )
        width, height = self.input
        sampled = np.full((*array.shape[:-2], height, width), fill, dtype=array.dtype)
        left, top, right, bottom = self.picture
        sampled[..., top:bottom, left:right] = array[..., rows[:, None], columns]
        return sampled

    def _axis_lookup(self, axis: int) -> Indices:
        """Find the input pixel of each file pixel along an axis.

        Computed in integers: a centre on the edge between two input pixels belongs to the second.
        """
        image, resized = self.image[axis], self.resized[axis]
        position = (2 * np.arange(image) + 1) * resized // (2 * image) - self.origin[axis]
        inside = (position >= 0) & (position < (self.kept or self.input)[axis])
        return np.where(inside, position + self.corner[axis], -1)

    def _axis_to_input(self, name: str, pixel: int, axis: int) -> float:
        image = self.image[axis]
        kept = np.flatnonzero(self._axis_lookup(axis) >= 0)
        if not 0 <= pixel < image:
            raise SeedError(f"{name} = {pixel} lies outside the image; expected 0 to {image - 1}")
        if pixel not in kept:
            valid = f"expected {kept[0]} to {kept[-1]}" if len(kept) else "nothing of it is left"
            raise SeedError(f"{name} = {pixel} was cropped away; {valid}, or crop less")
        return (
            (2 * pixel + 1) * self.resized[axis] / (2 * image)
            - self.origin[axis]
            + self.corner[axis]
        )


def check_placed(maker: str | None) -> None:
    """Check that no library's processor makes inputs, of which nothing says where they lie.

    Args:
        maker: the processor; None for the steps of a recipe.

    Raises:
        UsageError: there is one.
    """
    if maker is not None:
        raise UsageError(
            f"{maker} makes the tensor by itself, and the way back to the photo is not known: use "
            "pixels of the input (--frame input, pixel:X,Y), without --inside"
        )


def frame_of(image: Size, preprocess: Preprocess) -> Frame:
    """Compute where the input of an image of this size lies in it.

    Args:
        image: width and height of the upright image file.
        preprocess: the recipe, of which the sizes, the crop and the padding are used.

    Raises:
        ImageError: the crop is larger than the resized image, the image is larger than the size to
            which it is to be padded, or it gets more than `max_pixels`.
    """
    resized = resized_size(image, preprocess)
    _check_pixels(image, "resized", resized, preprocess.max_pixels)
    crop = both(preprocess.crop) if preprocess.crop else resized
    if preprocess.crop_rule is None and (crop[0] > resized[0] or crop[1] > resized[1]):
        raise ImageError(
            f"crop {_by(crop)} does not fit in the image, which is {_by(resized)} after the "
            "resize; crop less or resize to more"
        )
    _check_pixels(image, "cropped", crop, preprocess.max_pixels)
    padded = padded_size(crop, preprocess)
    if padded[0] < crop[0] or padded[1] < crop[1]:
        raise ImageError(
            f"pad {_by(padded)} is less than the image, which is {_by(crop)} after resize and "
            "crop; pad to more, or resize to less"
        )
    _check_pixels(image, "padded", padded, preprocess.max_pixels)
    origin, corner, size = zip(
        *(_axis_of(*sides, preprocess) for sides in zip(resized, crop, padded, strict=True)),
        strict=True,
    )
    return Frame(image, resized, origin, padded, corner, size)


def _axis_of(resized: int, crop: int, padded: int, preprocess: Preprocess) -> tuple[int, int, int]:
    """Compute origin, corner and size along an axis."""
    origin, before = crop_axis(resized, crop, preprocess.crop_rule)
    if preprocess.pad_at == "around":
        before += (padded - crop) // 2
    return origin, before, min(resized, crop)


def _check_pixels(image: Size, done: str, size: Size, most: int) -> None:
    if size[0] * size[1] > most:
        raise ImageError(
            f"{_by(image)} would be {done} to {_by(size)}, expected at most {most} pixels; "
            f"{_LESS[done]}, or allow more with --max-pixels"
        )


_LESS = {"resized": "resize to less", "cropped": "crop to less", "padded": "pad to less"}


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
