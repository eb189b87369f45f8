"""Marks in pictures: where they lie, and what they leave free."""

from __future__ import annotations

import numpy as np
from PIL import Image

from gradviz.heatmap.marks import ADDED, SUBTRACTED, draw_marks
from gradviz.image.frame import Frame
from gradviz.marks import Mark, around

GRAY = (90, 90, 90)


def marked(mark: Mark, size: tuple[int, int], frame: Frame | None = None) -> np.ndarray:
    picture = Image.new("RGB", size, GRAY)
    draw_marks(picture, [mark], frame)
    return np.asarray(picture)


def places(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The [x, y] of the pixels of a colour."""
    found: np.ndarray = np.argwhere((pixels == colour).all(axis=-1))[:, ::-1]
    return found


def test_a_box_is_drawn_along_its_sides() -> None:
    pixels = marked(Mark("region", 1.0, around(20, 30, 60, 80)), (100, 120))
    lit = places(pixels, ADDED)
    assert np.abs(lit.min(axis=0) - (20, 30)).max() <= 1
    assert np.abs(lit.max(axis=0) - (60, 80)).max() <= 1
    assert (pixels[40:70, 30:50] == GRAY).all() and (pixels[:25] == GRAY).all()


def test_a_pixel_stays_free_between_its_ticks() -> None:
    """The ticks lie around it, as far to each side."""
    pixels = marked(Mark("pixel", -1.0, around(40, 50, 41, 51)), (100, 100))
    assert (pixels[50, 40] == GRAY).all() and (pixels[49:52, 39:42] == GRAY).all()
    lit = places(pixels, SUBTRACTED)
    assert len(lit) and not len(places(pixels, ADDED))
    low, high = (40, 50) - lit.min(axis=0), lit.max(axis=0) - (40, 50)
    assert np.abs(low - high).max() <= 1 and low.max() < 12
    assert set(lit[:, 0][np.abs(lit[:, 1] - 50) > 1]) <= {39, 40, 41}


def test_in_the_images_frame_a_mark_lies_over_the_images_pixels() -> None:
    """An image of 200×100 that is halved, cropped and padded."""
    frame = Frame((200, 100), (100, 50), (10, 0), (96, 60), (8, 4), (80, 50))
    x, y = 61, 33
    u, v = frame.to_input(x, y)
    box = around(np.floor(u), np.floor(v), np.floor(u) + 1, np.floor(v) + 1)
    lit = places(marked(Mark("at", 1.0, box), (200, 100), frame), ADDED)
    centre = (lit.min(axis=0) + lit.max(axis=0)) / 2
    assert np.abs(centre - (x, y)).max() <= 1.5


def test_a_mark_beyond_the_picture_is_no_failure() -> None:
    for far in (500.0, 1e30, np.inf):
        box = around(-far, -far, far, far)
        assert (marked(Mark("box", 1.0, box), (20, 20)) == GRAY).all()
