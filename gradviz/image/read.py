"""Reading an image file: upright pixels, channels first, nothing hidden and nothing clipped."""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError, _imaging

from gradviz.arrays import Array, Bytes, Floats, Size
from gradviz.errors import ImageError, UsageError
from gradviz.files import open_regular, reading
from gradviz.image import heic
from gradviz.image.array import array_format, read_array
from gradviz.image.bands import TIFF, has_bands, read_bands

WHITE = (255, 255, 255)
DEFAULT_MAX_PIXELS = 200_000_000

_ARRAY_SCALES = {"bool": 1, "uint8": 255, "uint16": 65535, "float16": 1, "float32": 1, "float64": 1}
"""The level that stands for 1, by the dtype of an array file."""

_KEY_SCALES = {"L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}
"""The factors by which Pillow stretches pixels of raw modes, but not the transparent colour."""


@dataclass
class _Pillow:
    """The current users of Pillow's settings, which belong to the whole process."""

    lock: threading.Lock
    limits: list[int]
    """The `max_pixels` of each user."""
    settings: ExitStack


_pillow = _Pillow(threading.Lock(), [], ExitStack())


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of one image, upright, before any preprocessing."""

    levels: Floats | Bytes
    """The levels [C, H, W]: C = 1 for gray and 3 (RGB) for colour in pictures, any number in
    arrays. Pictures of 8 bits stay bytes, which take a quarter of the memory."""
    kind: Literal["picture", "array"]
    """`picture` if a picture format was read, `array` if an array file was read."""
    path: Path | None = None
    """The file, named in messages; None for pixels without a file."""
    white: int = 1
    """The level that stands for 1."""
    notes: tuple[str, ...] = ()
    """The parts of the file that were left out, for people."""

    @property
    def pixels(self) -> Floats:
        """The pixels [C, H, W], float32: in [0, 1] for pictures, any finite values for arrays."""
        return in_unit(self.levels, self.white)


def in_unit(levels: Floats | Bytes, white: int) -> Floats:
    """Convert levels to float32, so that `white` becomes 1.

    Args:
        levels: [C, H, W].
        white: the level that stands for 1.
    """
    return levels.astype(np.float32, copy=False) / np.float32(white)


def luma(rgb: Floats) -> Floats:
    """Compute the brightness [H, W] of RGB pixels [3, H, W], by the weights of ITU-R BT.601."""
    return np.tensordot(np.array([0.299, 0.587, 0.114], np.float32), rgb, 1)


def read_image(
    path: Path,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    page: int | None = None,
    bands: bool = False,
) -> Picture:
    """Read a picture in any format that Pillow can open, a HEIC picture, or one array.

    Pictures are turned upright by their EXIF orientation. Transparent ones are composited on
    `background` (RGB, 0 to 255); a gray one stays gray only on a gray background. Gray levels of
    16 bits are divided by 65535, floats in [0, 1] are taken as they are. Of several pages or
    frames, one is read; a palette is colour. Arrays of uint8, uint16 and bool are scaled to [0, 1],
    floats are taken as they are. The bands of a TIFF that Pillow does not read are such an array.

    Args:
        path: the file.
        background: the colour behind transparent pixels, RGB from 0 to 255.
        max_pixels: the largest width × height.
        page: which page or frame, from 1; None for the first, with a note if there are others.
        bands: True to read a TIFF as an array of bands even if Pillow reads it as a picture.

    Raises:
        ImageError: the file cannot be read, has no pixels or too many, lacks the page, or has
            values without a known range.
    """
    try:
        if array_format(path) is None:
            with reading(path, ImageError), open_regular(path) as file:
                is_tiff = file.read(4) in TIFF
            if bands and is_tiff:
                return _read_bands(path, max_pixels, page)
            return _read_picture(path, background, max_pixels, page)
        _check_page(path, page, 1)
        return Picture(_scaled(read_array(path), path, max_pixels), "array", path)
    except ImageError:
        raise
    except UsageError as error:
        raise ImageError(str(error)) from error


def picture_of(
    image: Image.Image,
    *,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Picture:
    """The pixels of an image that Pillow holds, as `read_image` reads them from a file.

    Raises:
        ImageError: it has too many pixels, or values without a known range.
    """
    path = Path(getattr(image, "filename", "") or "image")
    with reading(path, ImageError), _settings_of_pillow(max_pixels):
        _check_size(path, image.size, max_pixels)
        return _upright(path, ImageOps.exif_transpose(image), background, None)


def _read_picture(
    path: Path, background: tuple[int, int, int], max_pixels: int, page: int | None
) -> Picture:
    # From an open file, for Pillow maps a named one into memory, and then takes the sides of an
    # uncompressed TIFF that lies on its side (orientation 5 to 8) for each other.
    with reading(path, ImageError), _settings_of_pillow(max_pixels), open_regular(path) as file:
        try:
            pages = _count_pages(file)
            image = Image.open(file)
            if has_bands(image):
                return _read_bands(path, max_pixels, page)
            _check_kind(path, image)
            _check_size(path, image.size, max_pixels)
            _check_page(path, page, pages)
            if page is not None and pages > 1:
                image.seek(page - 1)
            key = _transparent_key(image)
            image.load()
        except UnidentifiedImageError as error:
            file.seek(0)
            begins = file.read(12)
            file.seek(0)
            if begins.startswith(TIFF):
                return _read_bands(path, max_pixels, page)
            if begins[4:] not in heic.HEIC_BRANDS:
                raise ImageError(
                    f"{path}: not an image; expected a picture, or a tensor in a .npy, .pt or "
                    ".safetensors file"
                ) from error
            photo = heic.HeicPicture(path, file)
            _check_page(path, page, photo.pages)
            _check_size(path, photo.size(page), max_pixels)
            picture = _upright(path, photo.decode(page), background, None)
            return replace(picture, notes=_left_out(page, photo.pages, "main one"))
        except Image.DecompressionBombError as error:
            raise ImageError(
                f"{path}: more than {2 * max_pixels} pixels, expected at most {max_pixels} in all; "
                "allow more with --max-pixels"
            ) from error
        with image:
            # The picture inside an icon may have another size than its header states.
            _check_size(path, image.size, max_pixels)
            picture = _upright(path, image, background, key)
    return replace(picture, notes=_left_out(page, pages))


def _left_out(page: int | None, pages: int, taken: str = "first") -> tuple[str, ...]:
    if page is not None or pages == 1:
        return ()
    return (f"the {taken} of {pages} pages or frames is used; choose one with --page N",)


def _read_bands(path: Path, max_pixels: int, page: int | None) -> Picture:
    array, pages = read_bands(path, page)
    pixels = _scaled(array, path, max_pixels)
    return Picture(pixels, "array", path, notes=_left_out(page, pages))


def _upright(
    path: Path, image: Image.Image, background: tuple[int, int, int], key: Array | None
) -> Picture:
    """The pixels of a decoded image, whose one transparent colour [C] may be `key`."""
    ImageOps.exif_transpose(image, in_place=True)
    has_alpha = image.has_transparency_data and key is None
    levels, white = _levels(path, image, has_alpha)
    planes = np.moveaxis(np.atleast_3d(levels), -1, 0)
    if key is None and not has_alpha:
        kept = planes if planes.dtype == np.uint8 else planes.astype(np.float32)
        return Picture(kept, "picture", path, white)
    planes = np.ascontiguousarray(planes, np.float32)
    values = in_unit(planes, white)
    if key is None:
        values, alpha = values[:-1], values[-1:]
    else:
        alpha = (planes != key.reshape(-1, 1, 1)).any(axis=0, keepdims=True).astype(np.float32)
    on = np.asarray(background, np.float32).reshape(3, 1, 1) / np.float32(255)
    if len(set(background)) == 1:
        on = on[:1]
    return Picture(values * alpha + on * (1 - alpha), "picture", path)


PAGED = frozenset({"AVIF", "DCX", "FLI", "GIF", "IM", "PNG", "SPIDER", "TIFF", "WEBP"})
"""Pillow's formats of several pages or frames, all of which are pictures of their own. A phone's
JPEG may hold another size of the same picture, or a map of distances; a PSD holds the layers of
one."""


def _count_pages(file: BinaryIO) -> int:
    """Count the pages or frames of a picture; 1 if the count is unknown."""
    pages = 1
    with suppress(Exception):  # a damaged page need not keep the first one from being read
        image = Image.open(file)
        if image.format in PAGED:
            pages = getattr(image, "n_frames", 1)
    file.seek(0)
    return pages


def _check_page(path: Path, page: int | None, pages: int) -> None:
    if page is not None and page > pages:
        raise ImageError(f"{path}: has no page {page}; expected --page 1 to {pages}")


@contextmanager
def _settings_of_pillow(max_pixels: int) -> Iterator[None]:
    """Set our size limit in Pillow, and silence its warnings and log lines on stderr.

    These settings belong to the whole process: the first thread that enters makes them, and the
    last one that leaves restores them. Pillow gets the largest limit of all threads inside, which
    applies to pictures inside pictures; each thread also checks its own limit.
    """
    with _pillow.lock:
        if not _pillow.limits:
            _pillow.settings.enter_context(_quiet())
        _pillow.limits.append(max_pixels)
        Image.MAX_IMAGE_PIXELS = max(_pillow.limits)
    try:
        yield
    finally:
        with _pillow.lock:
            _pillow.limits.remove(max_pixels)
            if _pillow.limits:
                Image.MAX_IMAGE_PIXELS = max(_pillow.limits)
            else:
                _pillow.settings.close()


@contextmanager
def _quiet() -> Iterator[None]:
    log, silence = logging.getLogger("PIL"), logging.NullHandler()
    with warnings.catch_warnings(), _quiet_libtiff():
        # Warnings of other threads stay visible.
        warnings.filterwarnings("ignore", module=r"PIL\b")
        limit = Image.MAX_IMAGE_PIXELS
        log.addHandler(silence)
        try:
            yield
        finally:
            log.removeHandler(silence)
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _quiet_libtiff() -> Iterator[None]:
    """Keep libtiff from writing to stderr, past Python; Pillow raises its errors anyway."""
    try:
        handler = ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler
    except AttributeError:  # built into Pillow, out of reach
        yield
        return
    handler.restype, handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = handler(None)
    try:
        yield
    finally:
        handler(before)


def _check_kind(path: Path, image: Image.Image) -> None:
    if image.format == "EPS":
        raise ImageError(
            f"{path}: PostScript is a program, and would be run to be drawn; save it as a PNG file"
        )


def _transparent_key(image: ImageFile.ImageFile) -> Array | None:
    """Find the one transparent colour [C] of a picture without an alpha channel, if it has one."""
    key = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "RGB", "I;16"):
        return None
    raw_mode = image.tile[0].args if image.tile else None
    scale = _KEY_SCALES.get(raw_mode, 1) if isinstance(raw_mode, str) else 1
    return np.floor(np.atleast_1d(key) * scale)


def _levels(path: Path, image: Image.Image, has_alpha: bool) -> tuple[Array, int]:
    """Extract an upright picture's levels and the level of white.

    Returns:
        [H, W] or [H, W, C], gray or RGB, alpha last; and the level that stands for 1.
    """
    if image.mode.startswith("I"):
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 65535:
            raise ImageError(
                f"{path}: gray levels from {levels.min()} to {levels.max()}, expected 0 to 65535; "
                "save them as 16-bit gray, or as a float .npy array"
            )
        return levels, 65535
    if image.mode == "F":
        levels = np.asarray(image)
        if not ((levels >= 0) & (levels <= 1)).all():
            raise ImageError(
                f"{path}: float levels from {levels.min():g} to {levels.max():g}, expected 0 to "
                "1; save them as a .npy array, which is taken as it is"
            )
        return levels, 1
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    mode += "A" if has_alpha else ""
    return np.asarray(image if image.mode == mode else image.convert(mode)), 255


def _scaled(array: Array, path: Path, max_pixels: int) -> Floats:
    """Convert an array file's content to float32 [C, H, W]."""
    shape = list(array.shape)
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3:
        raise ImageError(
            f"{path}: shape {shape}, expected [C,H,W], [1,C,H,W] or [H,W]; save one image a file"
        )
    channels, height, width = array.shape
    _check_size(path, (width, height * min(channels, 1)), max_pixels)
    scale = _ARRAY_SCALES.get(array.dtype.name)
    if scale is None:
        raise ImageError(
            f"{path}: {array.dtype.name} has no known range, expected uint8, uint16, bool or "
            "float; convert the array"
        )
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite: refused below
        values = array.astype(np.float32) / np.float32(scale)
    if not np.isfinite(values).all():
        raise ImageError(
            f"{path}: {np.count_nonzero(~np.isfinite(values))} values are NaN or infinite in "
            "float32, expected finite numbers; replace them"
        )
    return values


def _check_size(path: Path, size: Size, max_pixels: int) -> None:
    width, height = size
    if width * height == 0:
        raise ImageError(f"{path}: {width}x{height} pixels, expected at least 1x1; save it again")
    if width * height > max_pixels:
        raise ImageError(
            f"{path}: {width}x{height} pixels, expected at most {max_pixels} in all; "
            "allow more with --max-pixels"
        )
