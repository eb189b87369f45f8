"""Reading a mask: one weight for each pixel of an image or an output."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradviz.arrays import Floats
from gradviz.errors import UsageError
from gradviz.image.array import array_format, read_array
from gradviz.image.read import luma, read_image


def read_mask(path: Path) -> Floats:
    """Read weights [H, W]: an array's values unchanged, a picture's levels in [0, 1].

    Transparent parts of a picture have the weight 0.

    Raises:
        UsageError: the file cannot be read, has several pages, or an array is not [H, W] or
            [1, H, W].
    """
    if array_format(path) is None:
        picture = read_image(path, background=(0, 0, 0))
        if picture.notes:
            raise UsageError(f"{path}: has several pages or frames; save the mask as a file alone")
        pixels = picture.pixels
        return pixels[0] if len(pixels) == 1 else luma(pixels)
    weights = read_array(path)
    if weights.ndim == 3 and len(weights) == 1:
        weights = weights[0]
    if weights.ndim != 2:
        raise UsageError(f"{path}: a mask has the shape [H, W], not {list(weights.shape)}")
    return weights.astype(np.float32)
