"""The sizes after each step, as the libraries themselves compute them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradviz.errors import ImageError
from gradviz.image.frame import frame_of
from gradviz.image.preprocess import preprocess_from
from gradviz.image.sizes import crop_axis, resized_size

sides = st.integers(1, 3000)

DETR = {"resize": 800, "longest": 1333}
YOLOS = {**DETR, "multiple": 16, "round": "floor"}
DEPTH_ANYTHING = {"resize": "518x518", "keep_aspect": "least", "multiple": 14, "round": "even"}
GLPN = {"multiple": 32, "round": "floor"}
BORDER = {"resize": "224x224", "crop_pct": 0.95, "keep_aspect": "inside"}
WIDE = {"resize": "320x224", "crop_pct": 0.875, "keep_aspect": "cover"}
BOUNDED = {"resize": "1333x800", "keep_aspect": "inside", "round": "floor"}
CONVNEXT = {"resize": 224, "crop_pct": 0.875}


@pytest.mark.parametrize(
    ("options", "image", "resized"),
    [
        (DETR, (640, 480), (1066, 800)),
        (DETR, (427, 640), (800, 1199)),
        (DETR, (333, 1000), (444, 1333)),
        (DETR, (97, 61), (1272, 800)),
        (DETR, (1378, 2067), (800, 1200)),
        (YOLOS, (640, 480), (1056, 800)),
        (YOLOS, (427, 640), (800, 1184)),
        (YOLOS, (333, 1000), (432, 1328)),
        (YOLOS, (97, 61), (1264, 800)),
        (YOLOS, (1378, 2067), (800, 1200)),
        (DEPTH_ANYTHING, (640, 480), (686, 518)),
        (DEPTH_ANYTHING, (427, 640), (350, 518)),
        (DEPTH_ANYTHING, (333, 1000), (168, 518)),
        (DEPTH_ANYTHING, (97, 61), (518, 322)),
        (DEPTH_ANYTHING, (1378, 2067), (518, 784)),
        (GLPN, (640, 480), (640, 480)),
        (GLPN, (427, 640), (416, 640)),
        (GLPN, (333, 1000), (320, 992)),
        (GLPN, (97, 61), (96, 32)),
        (GLPN, (1378, 2067), (1376, 2048)),
        (BORDER, (640, 480), (235, 176)),
        (BORDER, (427, 640), (157, 235)),
        (BORDER, (333, 1000), (78, 235)),
        (BORDER, (97, 61), (235, 148)),
        (BORDER, (1378, 2067), (157, 235)),
        (WIDE, (640, 480), (365, 274)),
        (WIDE, (427, 640), (365, 547)),
        (WIDE, (333, 1000), (365, 1096)),
        (WIDE, (97, 61), (407, 256)),
        (WIDE, (1378, 2067), (365, 548)),
        (BOUNDED, (640, 480), (1066, 800)),
        (BOUNDED, (427, 640), (533, 800)),
        (BOUNDED, (333, 1000), (266, 800)),
        (BOUNDED, (97, 61), (1272, 800)),
        (BOUNDED, (1378, 2067), (533, 800)),
        (BOUNDED, (566, 2347), (192, 799)),
        (CONVNEXT, (640, 480), (341, 256)),
        (CONVNEXT, (427, 640), (256, 383)),
        (CONVNEXT, (333, 1000), (256, 768)),
        (CONVNEXT, (97, 61), (407, 256)),
        (CONVNEXT, (1378, 2067), (256, 384)),
        ({"resize": "fit:640"}, (640, 480), (640, 480)),
        ({"resize": "fit:640"}, (427, 640), (427, 640)),
        ({"resize": "fit:640"}, (333, 1000), (213, 640)),
        ({"resize": "fit:640"}, (97, 61), (640, 402)),
        ({"resize": "fit:640"}, (1378, 2067), (427, 640)),
        # Of what the libraries make nothing, one multiple is left.
        (DEPTH_ANYTHING, (2031, 22), (518, 14)),
        (YOLOS, (22, 2031), (16, 1328)),
        ({"resize": "fit:640"}, (2000, 1), (640, 1)),
    ],
)
def test_sides_that_the_libraries_compute(
    options: Any, image: tuple[int, int], resized: tuple[int, int]
) -> None:
    """Taken from transformers 5.23, timm 1.0.31 and the rule that Ultralytics documents."""
    assert resized_size(image, preprocess_from(options, "test")) == resized


@given(sides, sides, st.integers(1, 600))
def test_fit_makes_the_longer_side_exact(width: int, height: int, side: int) -> None:
    fitted = resized_size((width, height), preprocess_from({"resize": f"fit:{side}"}, "test"))
    assert max(fitted) == side
    assert abs(min(fitted) - side * min(width, height) / max(width, height)) <= (
        0.5 if min(fitted) > 1 else 1
    )


@pytest.mark.parametrize(
    ("side", "kept", "rule", "place"),
    [
        (9, 4, None, (2, 0)),  # 2.5 to the even one
        (11, 4, "torchvision", (4, 0)),  # 3.5
        (11, 4, "transformers", (3, 0)),
        (5, 8, "torchvision", (0, 1)),
        (5, 8, "transformers", (0, 2)),
        (4, 4, "transformers", (0, 0)),
    ],
)
def test_where_a_centre_crop_begins(
    side: int, kept: int, rule: str | None, place: tuple[int, int]
) -> None:
    assert crop_axis(side, kept, rule) == place


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"letterbox": 10**8}, "40x30 would be resized to 100000000x75000000, expected at most"),
        ({"pad": 10**9}, "40x30 would be padded to 1000000000x1000000000, expected at most"),
        ({"pad": "multiple:999999999"}, "would be padded to 999999999x999999999"),
        ({"crop": 10**9, "crop_rule": "torchvision"}, "would be cropped to 1000000000x1000000000"),
        ({"pad": 39}, "pad 39x39 is less than the image, which is 40x30 after resize and crop"),
        ({"resize": 16, "pad": "20x16"}, "pad 20x16 is less than the image, which is 21x16"),
    ],
)
def test_sizes_that_cannot_be(options: Any, message: str) -> None:
    recipe = preprocess_from(options, "test")
    with pytest.raises(ImageError, match=message) as caught:
        frame_of((40, 30), recipe)
    assert "\n" not in str(caught.value)
