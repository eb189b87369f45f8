"""The view of the output: its colours, its legend and its place."""

from __future__ import annotations

import numpy as np
from cmap import Colormap
from PIL import Image

from gradviz.heatmap.colours import NONFINITE
from gradviz.heatmap.output import (
    LEGEND_WIDTH,
    OutputLegend,
    class_areas,
    class_colour,
    picture_of_classes,
    picture_of_values,
    with_legend,
)
from gradviz.image.frame import Frame


def test_values_have_the_colours_between_their_ends() -> None:
    plane = np.array([[2.0, 3.0], [np.nan, 4.0]], np.float32)
    pixels = np.asarray(picture_of_values(plane, 2, 4, (4, 4)))
    viridis = Colormap("bids:viridis")
    expected = 255 * np.asarray(viridis(np.array([0.0, 0.5, 1.0])))[:, :3]
    corners = pixels[::2, ::2]
    found = [corners[0, 0], corners[0, 1], corners[1, 1]]
    assert np.abs(np.array(found, int) - expected).max() <= 1
    assert corners[1, 0].tolist() == list(NONFINITE)
    assert (pixels == pixels[::2, ::2].repeat(2, 0).repeat(2, 1)).all()  # cells stay cells


def test_an_even_map_has_one_colour() -> None:
    pixels = np.asarray(picture_of_values(np.full((3, 3), 7.0), 7, 7, (3, 3)))
    assert (pixels == pixels[0, 0]).all()


def test_in_the_images_frame_the_output_lies_where_the_input_does() -> None:
    """An image of 8×4 that entered as the middle of 8×8: rows 2 to 6."""
    frame = Frame((8, 4), (8, 4), (0, 0), (8, 8), (0, 2), (8, 4))
    winners = np.zeros((8, 8), np.intp)
    winners[2, 5] = 1
    pixels = np.asarray(picture_of_classes(winners, (8, 8), frame))
    assert pixels.shape == (4, 8, 3)
    assert np.argwhere((pixels == class_colour(1)).all(-1)).tolist() == [[0, 5]]


def test_neighbouring_classes_differ_in_colour() -> None:
    colours = np.array([class_colour(n) for n in range(150)], int)
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 150
    assert len({tuple(colour) for colour in colours}) == 150


def test_areas_are_shares_of_the_map() -> None:
    winners = np.array([[2, 2, 0], [2, 5, 0]])
    assert class_areas(winners, 2) == [(2, 0.5), (0, 1 / 3)]


def test_a_legend_leaves_the_picture_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    legend = OutputLegend(("class 1",), ((255, 0, 0),), 0.25, 8.0)
    drawn = np.asarray(with_legend(Image.fromarray(pixels), legend))
    assert (drawn[:5, :7] == pixels).all() and drawn.shape[1] == LEGEND_WIDTH
    below = drawn[5:].reshape(-1, 3)
    assert (below == (255, 0, 0)).all(axis=1).sum() > 50  # the key of the class
    assert len(np.unique(below, axis=0)) > 100  # the bar
    assert (drawn[:5, 7:] == 255).all()
