"""The map between the pixels of the image file and those of the input tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradviz.arrays import Array, Size
from gradviz.errors import ImageError, SeedError
from gradviz.image.preprocess import Preprocess

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Frame:
    """The map between the pixels of the image file and those of the tensor that enters the model.

    The image is resized as a whole, then cropped. Coordinates are continuous: pixel `i` covers
    `[i, i + 1)` and has its centre at `i + 0.5`; x and u run to the right, y and v down. The image
    file's pixels are meant upright, as a viewer shows them (EXIF orientation applied).
    """

    image: Size
    """The width and height of the upright image file."""
    resized: Size
    """The width and height after the resize, before the crop."""
    origin: tuple[int, int]
    """The left and top edge of the crop, in resized pixels."""
    input: Size
    """The width and height of the input tensor."""

    def to_input(self, x: int, y: int) -> tuple[float, float]:
        """Map the centre of the file's pixel (x, y) to a point (u, v) of the input tensor.

        Args:
            x: the column in the file, from 0.
            y: the row in the file, from 0.

        Raises:
            SeedError: the pixel is outside the image, or its centre was cropped away.
        """
        return self._axis_to_input("x", x, 0), self._axis_to_input("y", y, 1)

    def to_image(self, u: float, v: float) -> tuple[float, float]:
        """Map the point (u, v) of the input tensor to a point (x, y) of the file's image."""
        x, y = (
            (point + origin) * image / resized
            for point, origin, image, resized in zip(
                (u, v), self.origin, self.image, self.resized, strict=True
            )
        )
        return x, y

    def lookup(self) -> tuple[Indices, Indices]:
        """Find the input column that holds the centre of each file column [W]; likewise rows [H].

        Returns:
            columns and rows; -1 if the centre was cropped away.
        """
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

    def in_input(self, array: Array) -> Array:
        """Sample an array of the file's size at the pixels of the input tensor.

        Each input pixel takes the value of the file pixel that holds its centre.

        Args:
            array: [..., H, W].

        Returns:
            [..., h, w], of the same dtype.
        """
        columns, rows = (
            (2 * (np.arange(size) + origin) + 1) * image // (2 * resized)
            for size, origin, image, resized in zip(
                self.input, self.origin, self.image, self.resized, strict=True
            )
        )
        return array[..., rows[:, None], columns]

    def _axis_lookup(self, axis: int) -> Indices:
        """Find the input pixel of each file pixel along an axis.

        Computed in integers: a centre on the edge between two input pixels belongs to the second.
        """
        image, resized = self.image[axis], self.resized[axis]
        position = (2 * np.arange(image) + 1) * resized // (2 * image) - self.origin[axis]
        return np.where((position >= 0) & (position < self.input[axis]), position, -1)

    def _axis_to_input(self, name: str, pixel: int, axis: int) -> float:
        image = self.image[axis]
        kept = np.flatnonzero(self._axis_lookup(axis) >= 0)
        if not 0 <= pixel < image:
            raise SeedError(f"{name} = {pixel} lies outside the image; expected 0 to {image - 1}")
        if pixel not in kept:
            valid = f"expected {kept[0]} to {kept[-1]}" if len(kept) else "nothing of it is left"
            raise SeedError(f"{name} = {pixel} was cropped away; {valid}, or crop less")
        return (2 * pixel + 1) * self.resized[axis] / (2 * image) - self.origin[axis]


def frame_of(image: Size, preprocess: Preprocess) -> Frame:
    """Compute where the input of an image of this size lies in it.

    Args:
        image: width and height of the upright image file.
        preprocess: the recipe, of which the sizes and the crop are used.

    Raises:
        ImageError: the crop is larger than the resized image, or the resized image has more than
            `max_pixels`.
    """
    resized = _resized(image, preprocess)
    if resized[0] * resized[1] > preprocess.max_pixels:
        raise ImageError(
            f"{_by(image)} would be resized to {_by(resized)}, expected at most "
            f"{preprocess.max_pixels} pixels; resize to less, or allow more with --max-pixels"
        )
    crop = _both(preprocess.crop) if preprocess.crop else resized
    if crop[0] > resized[0] or crop[1] > resized[1]:
        raise ImageError(
            f"crop {_by(crop)} does not fit in the image, which is {_by(resized)} after the "
            "resize; crop less or resize to more"
        )
    left, top = (round((side - kept) / 2) for side, kept in zip(resized, crop, strict=True))
    return Frame(image, resized, (left, top), crop)


def _resized(image: Size, preprocess: Preprocess) -> Size:
    width, height = image
    match preprocess.resize:
        case int(shorter):
            least = min(image)
            # Rounded down as in torchvision, so that its models get the sizes of their training.
            width, height = width * shorter // least, height * shorter // least
        case (width, height):
            pass
    if step := preprocess.multiple:
        # To the nearest, halves up, in integers: exact for any size.
        width, height = (max(1, (2 * side + step) // (2 * step)) * step for side in (width, height))
    return width, height


def _both(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
