"""Each seed's cotangent against one written out by hand, and each misuse against its message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from gradviz.errors import SeedError
from gradviz.image.frame import Frame
from gradviz.seeds.kinds import KINDS
from gradviz.seeds.losses import LOSSES
from gradviz.seeds.places import Part, Site
from gradviz.seeds.seed import check_labels, default_seed, parse_seed

SCORES = torch.tensor([0.5, 3.0, -1.0, 2.0])
DENSE = torch.tensor(
    [
        [[0.0, 9.0, 1.0], [5.0, 0.0, 0.0]],
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
    ]
)
"""Two channels of two rows and three columns; channel 0 wins at (1, 0) and (0, 1)."""
LABELS = ("circle", "square", "triangle", "star")


def cotangent(spec: str, y: Tensor, site: Site | None = None) -> Any:
    v = parse_seed(spec).cotangent(y, site or Site())
    assert v.shape == y.shape and v.dtype == y.dtype
    return v.tolist()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ones", [1, 1, 1, 1]),
        ("class:2", [0, 0, 1, 0]),
        ("channel:2", [0, 0, 1, 0]),
        ("class:star", [0, 0, 0, 1]),
        ("top", [0, 1, 0, 0]),
        ("top:1", [0, 1, 0, 0]),
        ("top:2", [0, 0, 0, 1]),
        ("top:4", [0, 0, 1, 0]),
    ],
)
def test_scores(spec: str, expected: list[float]) -> None:
    assert cotangent(spec, SCORES, Site(labels=LABELS)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("ones", [[[1, 1, 1], [1, 1, 1]], [[1, 1, 1], [1, 1, 1]]]),
        ("class:1", [[[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]]),
        ("class:square", [[[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]]]),
        ("channel:0", [[[1, 1, 1], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]]),
        ("top", [[[0, 1, 0], [1, 0, 0]], [[1, 0, 1], [0, 1, 1]]]),
        ("top:2", [[[1, 0, 1], [0, 1, 1]], [[0, 1, 0], [1, 0, 0]]]),
        ("predicted:0", [[[0, 1, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]]),
        ("predicted:1", [[[0, 0, 0], [0, 0, 0]], [[1, 0, 1], [0, 1, 1]]]),
        ("pixel:2,0", [[[0, 0, 1], [0, 0, 0]], [[0, 0, 1], [0, 0, 0]]]),
        ("pixel:0,1,1", [[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [1, 0, 0]]]),
        ("region:1,0,3,1", [[[0, 1, 1], [0, 0, 0]], [[0, 1, 1], [0, 0, 0]]]),
        ("region:0,0,1,2,0", [[[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]]),
    ],
)
def test_dense(spec: str, expected: list[float]) -> None:
    assert cotangent(spec, DENSE, Site(labels=LABELS)) == expected


@pytest.mark.parametrize("spec", ["ones", "top", "pixel:1,1", "region:0,0,2,1", "class:0"])
def test_a_map_without_channels_is_one_channel(spec: str) -> None:
    assert cotangent(spec, DENSE[0]) == cotangent(spec, DENSE[:1])[0]


def test_equal_scores_rank_by_their_index() -> None:
    assert cotangent("top", torch.zeros(3)) == [1, 0, 0]
    assert cotangent("top:3", torch.zeros(3)) == [0, 0, 1]


@pytest.mark.parametrize(
    ("spec", "y", "message"),
    [
        ("class:4", SCORES, "channel 4 is outside the output: 0 to 3"),
        ("class:-1", SCORES, "channel -1 is outside the output: 0 to 3"),
        ("top:5", SCORES, "rank 5 is outside the 4 classes: 1 to 4"),
        ("top:0", SCORES, "rank 0 is outside the 4 classes: 1 to 4"),
        ("pixel:1,1", SCORES, "needs a dense map"),
        ("predicted:0", SCORES, "needs a dense map"),
        ("pixel:3,0", DENSE, "x 3 is outside the output: 0 to 2"),
        ("pixel:0,2", DENSE, "y 2 is outside the output: 0 to 1"),
        ("pixel:0,-1", DENSE, "y -1 is outside the output: 0 to 1"),
        ("pixel:0,0,2", DENSE, "channel 2 is outside the output: 0 to 1"),
        ("region:1,0,1,1", DENSE, "x from 1 to 1 is not a range within 0 to 3"),
        ("region:0,0,1,3", DENSE, "y from 0 to 3 is not a range within 0 to 2"),
        ("channel:2", DENSE, "channel 2 is outside the output: 0 to 1"),
        ("class:0", torch.zeros(2, 3, 4, 5), "needs class scores"),
        ("class:sqare", SCORES, "did you mean square or star?"),
        ("class:zebra", SCORES, "the classes are circle, square, triangle, star"),
        ("at:0,0", DENSE, "use pixel:X,Y"),
    ],
)
def test_a_seed_that_does_not_fit_says_what_would(spec: str, y: Tensor, message: str) -> None:
    with pytest.raises(SeedError) as error:
        parse_seed(spec).cotangent(y, Site(labels=LABELS))
    assert str(error.value).startswith(f"seed {spec}: ") and message in str(error.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "no seed is called ''; use one of ones"),
        ("pixle:1,2", "did you mean pixel?"),
        ("42", "did you mean --random-seed 42, or --seed class:42?"),
        ("ones:1", "write it as ones"),
        ("pixel", "write it as pixel:X,Y[,C]"),
        ("pixel:", "write it as pixel:X,Y[,C]"),
        ("pixel:1", "write it as pixel:X,Y[,C]"),
        ("pixel:1,2,3,4", "write it as pixel:X,Y[,C]"),
        ("pixel:1.5,2", "write it as pixel:X,Y[,C]"),
        ("region:1,2,3", "write it as region:X0,Y0,X1,Y1[,C]"),
        ("top:first", "write it as top[:N]"),
        ("top:", "write it as top[:N]"),
        ("class:", "write it as class:K|NAME"),
        ("tensor:absent.npy", "absent.npy"),
        ("mask:absent.png", "absent.png"),
    ],
)
def test_a_spec_that_cannot_be_read_says_how_to_write_it(spec: str, message: str) -> None:
    with pytest.raises(SeedError, match=r"^seed ") as error:
        parse_seed(spec)
    assert message in str(error.value)


def test_class_names_are_checked_before_any_image() -> None:
    check_labels([parse_seed("class:star"), parse_seed("class:7"), parse_seed("top")], LABELS)
    with pytest.raises(SeedError, match="did you mean triangle"):
        check_labels([parse_seed("class:traingle")], LABELS)
    with pytest.raises(SeedError, match="no class names"):
        check_labels([parse_seed("class:star")], ())


@pytest.mark.parametrize(
    ("spec", "file", "class_name"),
    [
        ("top", None, None),
        ("class:2", None, None),
        ("class:star", None, "star"),
        ("loss:ce=2", None, None),
        ("loss:ce=star", None, "star"),
        ("loss:mse=v=1.npy", "v=1.npy", None),
        ("tensor:v=1.npy", "v=1.npy", None),
        ("mask:v=1.npy", "v=1.npy", None),
    ],
)
def test_a_seed_tells_the_file_and_the_class_that_it_names(
    spec: str,
    file: str | None,
    class_name: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("v=1.npy", np.zeros((2, 3)))
    seed = parse_seed(spec)
    assert seed.files(["a.png"]) == ([] if file is None else [Path(file)])
    assert seed.class_names == ([] if class_name is None else [class_name])


@given(
    image=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    stride=st.integers(1, 4),
    data=st.data(),
)
def test_at_is_the_output_pixel_that_covers_the_files_pixel(
    image: tuple[int, int], stride: int, data: st.DataObject
) -> None:
    """Brute force: both grids are laid over one fine grid, and the middle of the file's pixel is
    looked up among the output's."""
    width, height = (stride * -(-side // stride) for side in image)
    frame = Frame(image, (width, height), (0, 0), (width, height))
    x = data.draw(st.integers(0, image[0] - 1))
    y = data.draw(st.integers(0, image[1] - 1))
    v = parse_seed(f"at:{x},{y}").cotangent(
        torch.zeros(1, height // stride, width // stride), Site(frame)
    )
    expected = []
    for point, side, count in ((y, image[1], height // stride), (x, image[0], width // stride)):
        of_file = np.repeat(np.arange(side), 2 * count)
        of_output = np.repeat(np.arange(count), 2 * side)
        places = np.flatnonzero(of_file == point)
        expected.append([int(of_output[places[len(places) // 2]])])
    assert np.nonzero(v[0].numpy()) == tuple(expected)
    assert v.sum() == 1


def test_a_mask_is_resized_by_its_nearest_level(tmp_path: Path) -> None:
    levels = np.array([[0, 255], [51, 102]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "mask.png")
    expected = np.kron(levels / 255, np.ones((2, 3)))
    found = parse_seed(f"mask:{tmp_path}/mask.png").cotangent(torch.zeros(2, 4, 6), Site())
    np.testing.assert_allclose(found.numpy(), [expected, expected], atol=1e-7)


def test_a_mask_of_numbers_counts_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.array([[-2.0, 0.5, 7.0]]))
    assert cotangent(f"mask:{tmp_path}/mask.npy", torch.zeros(1, 3)) == [[-2.0, 0.5, 7.0]]
    np.save(tmp_path / "flat.npy", np.zeros(3))
    with pytest.raises(SeedError, match=r"a mask has the shape \[H, W\], not \[3\]"):
        parse_seed(f"mask:{tmp_path}/flat.npy")


@pytest.mark.parametrize("shape", [(2, 2, 3), (1, 2, 2, 3)])
def test_a_tensor_is_taken_as_it_is(shape: tuple[int, ...], tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(12.0).reshape(shape))
    assert cotangent(f"tensor:{tmp_path}/v.npy", DENSE) == np.arange(12.0).reshape(2, 2, 3).tolist()


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros((2, 3, 2)))
    with pytest.raises(SeedError, match=r"\[2, 3, 2\], one image's output \[2, 2, 3\]"):
        parse_seed(f"tensor:{tmp_path}/v.npy").cotangent(DENSE, Site())


def test_a_tensor_of_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.zeros(7))
    with pytest.raises(SeedError, match=rf"\[7\], one image's output \[{len(SCORES)}\]$"):
        parse_seed(f"tensor:{tmp_path}/v.npy").cotangent(SCORES, Site())


def test_the_default_follows_the_output() -> None:
    assert default_seed(SCORES).spec == "top"
    assert default_seed(DENSE).spec == default_seed(DENSE[0]).spec == "ones"
    assert default_seed(torch.zeros(2, 3, 4, 5)).spec == "ones"


def test_forms_read_as_the_contract_writes_them() -> None:
    assert [kind.form for kind in KINDS.values()] == [
        "ones",
        "class:K|NAME",
        "top[:N]",
        "predicted:K",
        "pixel:X,Y[,C]",
        "at:X,Y[,C]",
        "region:X0,Y0,X1,Y1[,C]",
        "channel:C",
        "mask:FILE",
        "tensor:FILE",
        "loss:NAME=TARGET",
        "box:N|at:X,Y[:x0|y0|x1|y1|cx|cy|w|h]",
        "object:K|NAME",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "ones",
            "class:1",
            "top",
            "top:2",
            "predicted:0",
            "channel:1",
            "pixel:4,3",
            "pixel:2,1,1",
        ),
        *("at:5,4", "region:1,0,5,4", "region:2,2,6,3,1", "mask:mask.npy", "tensor:v.npy"),
        *("loss:ce=1", "loss:mse=v.npy", "loss:l1=v.npy"),
    ],
)
def test_the_cotangent_of_a_part_is_that_part_of_the_cotangent(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    np.save("v.npy", random.standard_normal((2, 5, 7)))
    np.save("mask.npy", random.random((3, 4)))
    y = torch.from_numpy(random.standard_normal((2, 5, 7)))
    frame = Frame((7, 5), (7, 5), (0, 0), (7, 5))
    seed = parse_seed(spec)
    whole = seed.cotangent(y, Site(frame))
    left, top, right, bottom = seed.box((7, 5), Site(frame))
    outside = whole.clone()
    outside[:, top:bottom, left:right] = 0
    assert not outside.any()
    for box in [(0, 0, 7, 5), (0, 0, 3, 2), (3, 1, 7, 5), (4, 3, 5, 4), (0, 4, 7, 5)]:
        x0, y0, x1, y1 = box
        part = seed.cotangent(y[:, y0:y1, x0:x1], Site(frame, part=Part(box, (7, 5))))
        torch.testing.assert_close(part, whole[:, y0:y1, x0:x1], rtol=1e-15, atol=0)


def test_a_box_is_as_small_as_the_seed_tells() -> None:
    assert parse_seed("pixel:4,3,1").box((7, 5), Site()) == (4, 3, 5, 4)
    assert parse_seed("region:1,0,5,4").box((7, 5), Site()) == (1, 0, 5, 4)
    assert parse_seed("top").box((7, 5), Site()) == (0, 0, 7, 5)
    frame = Frame((14, 10), (14, 10), (0, 0), (14, 10))
    assert parse_seed("at:13,0").box((7, 5), Site(frame)) == (6, 0, 7, 1)
    with pytest.raises(SeedError, match="seed pixel:7,0: x 7 is outside the output: 0 to 6"):
        parse_seed("pixel:7,0").box((7, 5), Site())


def test_no_row_reads_a_file_where_none_may_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("there.npy", np.ones((2, 2), np.float32))
    reading = set()
    for kind in KINDS:
        for text in ("there.npy", *(f"{loss}=there.npy" for loss in LOSSES)):
            spec = f"{kind}:{text}"
            try:
                files = parse_seed(spec).files(["photo.png"])
            except SeedError:
                continue
            if files:
                reading.add(kind)
                with pytest.raises(SeedError, match="names a file"):
                    parse_seed(f"ones - 2*{spec}", files=False)
    assert reading == {"mask", "tensor", "loss"}
    assert parse_seed("loss:ce=3", files=False).files(["photo.png"]) == []
