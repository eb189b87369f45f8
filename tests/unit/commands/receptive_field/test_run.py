"""What a receptive-field run says of its fields."""

from __future__ import annotations

import numpy as np

from gradviz.commands.receptive_field.run import _borders


def test_the_borders_of_a_global_field_come_in_the_order_of_the_sides() -> None:
    """Left, top, right, bottom; each is the only one that a mask touches."""
    places = {"left": (1, 0), "top": (0, 1), "right": (1, 3), "bottom": (2, 1)}
    for n, place in enumerate(places.values()):
        mask = np.zeros((3, 4), bool)
        mask[place] = True
        assert [bool(border.any()) for border in _borders(mask)] == [n == k for k in range(4)]
