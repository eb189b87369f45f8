"""Comparisons of small runs that are written by hand, file by file."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradviz.commands.compare.comparison import Comparison, Item, compare
from gradviz.commands.compare.write import write_comparison
from gradviz.errors import UsageError
from gradviz.heatmap.colours import load_palette
from gradviz.runs.resume import RunWriter
from tests.helpers import documents

Key = tuple[str, str | None]

G = np.array([[[4, -2], [0, 1]], [[0, 0], [2, 8]]], np.float32)
"""A gradient [2, 2, 2] whose largest value is 8."""
PALETTE = load_palette()
STATS = documents.STATS


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def write_lines(folder: Path, lines: list[dict[str, Any]]) -> None:
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def run_record(kind: str, names: list[str], /, **changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "versions": {"gradviz": "1", "torch": "2"},
        "model": documents.model(sha256="aa"),
        "settings": {"batch_size": 8},
        **changed,
    }
    images = given.pop("images", [documents.image(name) for name in names])
    return documents.run_record(kind, images, **given)


def saliency(
    folder: Path,
    results: Mapping[Key, object],
    stats: Mapping[str, object] = STATS,
    score: float | None = 1.0,
    **changed: Any,
) -> Path:
    """A saliency run of arrays by image and seed; a text is an error, None no array."""
    write(folder, "run.json", run_record("saliency", sorted({i for i, _ in results}), **changed))
    lines: list[dict[str, Any]] = []
    for (image, seed), array in results.items():
        if isinstance(array, str):
            lines.append(documents.failed(image, seed, array))
            continue
        files = {"heatmap": "h.png"}
        if array is not None:
            files["gradient"] = f"{image}/{seed}/gradient.npy"
            (folder / image / str(seed)).mkdir(parents=True, exist_ok=True)
            np.save(folder / files["gradient"], np.asarray(array))
        lines.append(documents.done(image, str(seed), files, stats=dict(stats), score=score))
    write_lines(folder, lines)
    return folder


def receptive_field(
    folder: Path,
    mask: np.ndarray,
    effective: np.ndarray,
    layers: Sequence[dict[str, Any]] = (),
    **facts: Any,
) -> Path:
    """A receptive-field run of one field, and of a network of this geometry."""
    geometry = facts.pop("geometry", documents.geometry(size=[3, 3]))
    write(folder, "run.json", run_record("receptive-field", ["noise", "mean"]))
    files = {}
    for name, array in {"structural": mask, "local": mask, "effective": effective}.items():
        files[f"{name}.npy"] = f"noise/pixel-1-2/{name}.npy"
        (folder / "noise/pixel-1-2").mkdir(parents=True, exist_ok=True)
        np.save(folder / files[f"{name}.npy"], array)
    write_lines(folder, [documents.field_done("noise", "pixel:1,2", files)])
    field = documents.field("noise", (1, 2), files, **facts)
    document = documents.field_document([field], geometry=geometry, layers=layers)
    write(folder, "field.json", document)
    return folder


def item(found: Comparison, image: str | None, seed: str | None = "ones") -> Item:
    (only,) = (each for each in found.items if (each.image, each.seed) == (image, seed))
    return only


def test_the_same_run_twice(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G, ("y.png", "ones"): 0 * G})
    found = compare(a, a)
    assert not found.failed
    assert not found.warnings
    assert found.metric.name == "relative-l2"
    equal = {"gradient": {"relative": 0, "relative-l2": 0, "max": 0, "cosine": 1, "iou": 1}}
    assert [each.measured for each in found.items] == [equal, equal]


def test_values_by_hand_and_the_worst_first(tmp_path: Path) -> None:
    images = ("a.png", "b.png", "c.png", "d.png")
    other = {image: G.copy() for image in images}
    other["b.png"][0, 0, 0] += 0.5  # of 8: 1/16
    other["c.png"] *= -1  # 16 of 8: 2
    del other["d.png"]
    a = saliency(tmp_path / "a", {(image, "ones"): G for image in images})
    b = saliency(tmp_path / "b", {(image, "ones"): array for image, array in other.items()})
    found = compare(a, b, tolerance=0.1)
    assert [each.image for each in found.items] == ["d.png", "c.png", "b.png", "a.png"]
    assert [each.image for each in found.failed] == ["d.png", "c.png"]
    assert item(found, "b.png").measured["gradient"]["relative"] == pytest.approx(1 / 16)
    assert item(found, "b.png").measured["gradient"]["max"] == pytest.approx(0.5)
    assert item(found, "c.png").measured["gradient"] == pytest.approx(
        {"relative": 2, "relative-l2": 2, "max": 16, "cosine": -1, "iou": 1}
    )


@pytest.mark.parametrize(
    ("metric", "tolerance", "fails"),
    [
        ("relative", None, True),
        ("relative", 0.0625, False),
        ("relative", 0.0624, True),
        ("max", 0.5, False),
        ("max", None, True),
        ("cosine", None, True),
        ("cosine", 0.99, False),
        ("iou", None, False),
    ],
)
def test_the_metric_and_the_tolerance_judge(
    tmp_path: Path, metric: str, tolerance: float | None, fails: bool
) -> None:
    changed = G.copy()
    changed[0, 0, 0] += 0.5  # cosine 0.9989…
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): changed})
    assert bool(compare(a, b, metric=metric, tolerance=tolerance).failed) == fails


def test_results_that_one_run_lacks(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G, ("x.png", "top"): G, ("y.png", "top"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): G, ("z.png", "top"): G})
    found = compare(a, b)
    assert item(found, "x.png", "top").problems == ("only in A",)
    assert item(found, "y.png", "top").problems == ("only in A",)
    assert item(found, "z.png", "top").problems == ("only in B",)
    assert len(found.failed) == 3
    assert not item(found, "x.png", "ones").problems


def test_failures(tmp_path: Path) -> None:
    results: dict[Key, object] = {("x.png", "ones"): G, ("y.png", "ones"): "no image"}
    a = saliency(tmp_path / "a", results | {("z.png", "ones"): G})
    b = saliency(tmp_path / "b", results | {("z.png", "ones"): "no memory"})
    found = compare(a, b)
    assert item(found, "z.png").problems == ("failed in B: no memory",)
    assert item(compare(b, a), "z.png").problems == ("failed in A: no memory",)
    assert [each.image for each in found.failed] == ["z.png"]
    assert found.warnings == ("y.png (ones): failed in both runs, and not compared",)


def test_an_image_that_failed_under_the_default_seed(tmp_path: Path) -> None:
    # Without --seed, the seed's name is known only where the image came so far.
    a = saliency(tmp_path / "a", {("x.png", "top"): G})
    b = saliency(tmp_path / "b", {("x.png", None): "not an image"})
    (only,) = compare(a, b).items
    assert (only.seed, only.problems) == ("top", ("failed in B: not an image",))
    (only,) = compare(b, a).items
    assert (only.seed, only.problems) == ("top", ("failed in A: not an image",))


def test_images_that_neither_run_came_to(tmp_path: Path) -> None:
    images = run_record("saliency", ["x.png", "y.png"])["images"]
    a = saliency(tmp_path / "a", {("x.png", "ones"): G}, images=images)
    found = compare(a, a)
    assert item(found, "y.png", None).problems == ("no result in either run: both were cut short",)
    assert [each.image for each in found.failed] == ["y.png"]


def test_nothing_to_compare_is_no_agreement(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): "no image"})
    with pytest.raises(UsageError, match="no result in either to compare"):
        compare(a, a)
    b = saliency(tmp_path / "b", {})
    with pytest.raises(UsageError, match="no result in either to compare"):
        compare(b, b)


def test_other_shapes_are_a_difference(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): G[:, :1]})
    (only,) = compare(a, b, tolerance=9).failed
    assert only.problems == ("gradient was [2, 2, 2], is [2, 1, 2]",)
    assert not only.measured


@pytest.mark.parametrize(
    ("x", "y", "broken"),
    [
        (np.nan, np.nan, 0),
        (np.inf, np.inf, 0),
        (np.inf, -np.inf, 1),
        (np.nan, np.inf, 1),
        (np.nan, 4, 1),
        (4, -np.inf, 1),
    ],
)
def test_nan_and_inf_are_equal_to_themselves_only(
    tmp_path: Path, x: float, y: float, broken: int
) -> None:
    one, other = G.copy(), G.copy()
    one[0, 0, 0], other[0, 0, 0] = x, y
    a = saliency(tmp_path / "a", {("x.png", "ones"): one})
    b = saliency(tmp_path / "b", {("x.png", "ones"): other})
    (only,) = compare(a, b, tolerance=9).items
    assert only.measured["gradient"] == pytest.approx(
        {"relative": 0, "relative-l2": 0, "max": 0, "cosine": 1, "iou": 1}
    )
    message = "gradient: 1 values are NaN or Inf in one run and not the other"
    assert only.problems == ((message,) if broken else ())


def test_without_arrays_the_statistics_are_compared(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): None, ("y.png", "ones"): None})
    b = saliency(tmp_path / "b", {("x.png", "ones"): G, ("y.png", "ones"): None}, score=2.0)
    found = compare(a, b)
    assert item(found, "x.png").worst(found.metric) == ("score", 0.5)
    (warning,) = found.warnings
    assert item(found, "y.png").measured["range"] == {"relative": 0, "relative-l2": 0, "max": 0}
    assert warning.startswith("x.png (ones), y.png (ones): without arrays in both runs")
    with pytest.raises(UsageError, match=r"--metric cosine: .* use relative or relative-l2 or max"):
        compare(a, b, metric="cosine")


def test_statistics_that_are_nan(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): None}, {**STATS, "min": None, "max": None})
    b = saliency(tmp_path / "b", {("x.png", "ones"): None})
    assert not compare(a, a).failed
    assert "range: 2 values are NaN or Inf" in compare(a, b).failed[0].problems[0]


def test_arrays_that_one_method_writes_and_the_other_does_not(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): G})
    text = (b / "results.jsonl").read_text().replace('"gradient":', '"attribution":')
    (b / "results.jsonl").write_text(text)
    assert compare(a, b).failed[0].problems == ("attribution only in B", "gradient only in A")


def test_each_run_has_its_own_paths(tmp_path: Path) -> None:
    """Folders of seeds get a hash if another seed of the run has the same name."""
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): 2 * G})
    (a / "x.png/ones").rename(a / "x.png/ones-01234567")
    text = (a / "results.jsonl").read_text().replace("x.png/ones/", "x.png/ones-01234567/")
    (a / "results.jsonl").write_text(text)
    for one, other in ((a, b), (b, a)):
        (only,) = compare(one, other).items
        assert only.measured["gradient"]["max"] == 8 and not only.problems


def test_what_was_different_is_named(tmp_path: Path) -> None:
    results: dict[Key, object] = {("x.png", "ones"): G}
    a = saliency(tmp_path / "a", results, files={"old/base.npy": "11"})
    b = saliency(
        tmp_path / "b",
        results,
        versions={"gradviz": "1", "torch": "3"},
        model=documents.model(path="elsewhere/m.pt", sha256="bb", card="c"),
        settings={"batch_size": 1},
        files={"new/base.npy": "11"},
        images=[documents.image("x.png", path="/other/x.png", bytes=10, modified=2)],
    )
    found = compare(a, b)
    assert not found.failed
    assert found.warnings == (
        "the runs were made differently: versions.torch was 2, is 3; model.sha256 was aa, is bb; "
        "settings.batch_size was 8, is 1; images.x.png.bytes was 9, is 10",
    )


MASK = np.array([[True, True], [True, False]])


def test_receptive_fields(tmp_path: Path) -> None:
    a = receptive_field(tmp_path / "a", MASK, G[0])
    found = compare(a, a)
    assert (found.metric.name, found.failed, found.warnings) == ("iou", [], ())
    assert set(item(found, "noise", "pixel:1,2").measured) == {"structural", "local", "effective"}

    b = receptive_field(
        tmp_path / "b", ~MASK | [[False, False], [True, False]], G[0], box=[0, 1, 1, 1]
    )
    found = compare(a, b, tolerance=0.2)
    only = item(found, "noise", "pixel:1,2")
    assert only.measured["structural"]["iou"] == 1 / 4
    assert only.facts["box"] == ([0, 0, 1, 1], [0, 1, 1, 1])
    assert only.problems == ("box was [0, 0, 1, 1], is [0, 1, 1, 1]",)
    assert found.failed == [only]


def test_a_field_that_became_partial_or_global_is_a_difference(tmp_path: Path) -> None:
    a = receptive_field(tmp_path / "a", MASK, G[0])
    b = receptive_field(tmp_path / "b", MASK, G[0], status="partial")
    everywhere: dict[str, Any] = {"global": True}
    c = receptive_field(tmp_path / "c", MASK, G[0], **everywhere)
    assert compare(a, b).failed[0].problems == ("status was exact, is partial",)
    assert compare(a, c).failed[0].problems == ("global was False, is True",)


def test_the_network_itself(tmp_path: Path) -> None:
    def layer(size: int, through: str | None = None) -> dict[str, Any]:
        return documents.layer("conv", size=[size, size], global_through=through)

    a = receptive_field(tmp_path / "a", MASK, G[0], layers=[layer(3)])
    b = receptive_field(tmp_path / "b", MASK, G[0], layers=[layer(5, "mean")])
    c = receptive_field(tmp_path / "c", MASK, G[0], geometry=documents.geometry(global_through="x"))
    assert compare(a, b).failed[0].problems == ("conv: size was [3, 3], is [5, 5]",)
    (network,) = compare(a, c).failed
    assert network.problems == ("size was [3, 3], is None",)
    assert network.name == "the network"


def test_the_map_of_boxes(tmp_path: Path) -> None:
    a, b = (receptive_field(tmp_path / name, MASK, G[0]) for name in "ab")
    boxes = np.zeros((2, 3, 4), np.int32)
    np.save(a / "boxes.npy", boxes)
    boxes[1, 2, :2] = 7
    np.save(b / "boxes.npy", boxes)
    (network,) = compare(a, b).failed
    assert network.problems == ("boxes.npy: 2 of 24 sides of boxes are elsewhere",)
    (b / "boxes.npy").unlink()
    assert compare(a, b).failed == compare(b, a).failed == []


def test_runs_of_two_kinds(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = receptive_field(tmp_path / "b", MASK, G[0])
    with pytest.raises(UsageError, match=r"a is a run of saliency, .*b of receptive-field; name"):
        compare(a, b)


def test_a_receptive_field_run_that_was_cut_short(tmp_path: Path) -> None:
    a = receptive_field(tmp_path / "a", MASK, G[0])
    (a / "field.json").unlink()
    with pytest.raises(UsageError, match=r"holds no field\.json, so its run was cut short"):
        compare(a, a)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    with pytest.raises(UsageError, match=r"nowhere: holds no run\.json, so it is no run; name"):
        compare(tmp_path / "nowhere", a)
    write(tmp_path / "c", "run.json", documents.compare_record())
    with pytest.raises(UsageError, match="c: is a run of compare; name"):
        compare(a, tmp_path / "c")


DAMAGE: dict[str, tuple[str, bytes]] = {
    "no JSON": ("run.json", b"{"),
    "no text": ("run.json", b"\xff\xfe\x00"),
    "deep": ("run.json", b"[" * 100_000),
    "a list": ("run.json", b"[]"),
    "no model": ("run.json", b'{"kind": "saliency", "images": []}'),
    "kind is a list": ("run.json", b'{"kind": [], "images": []}'),
    "an environment of words": ("environment.json", b'{"schema": 1, "versions": "2"}'),
    "no environment": ("environment.json", b"{"),
    "no seed": ("results.jsonl", b'{"image": "x", "status": "ok"}\n'),
    "seed is a list": (
        "results.jsonl",
        b'{"image": "x", "seed": [], "status": "error", "error": {"message": ""}}\n',
    ),
    "files is a list": (
        "results.jsonl",
        b'{"image": "x", "seed": "", "status": "ok", "files": []}\n',
    ),
    "score is a word": (
        "results.jsonl",
        b'{"image": "x", "seed": "", "status": "ok", "files": {}, "score": "much", "stats": '
        b'{"min": 0, "max": 0, "abs_mean": 0, "l2": 0, "nonfinite": 0}}\n',
    ),
    "no array": ("x.png/ones/gradient.npy", b"not an array"),
    "cut short": ("x.png/ones/gradient.npy", b"\x93NUMPY\x01\x00v\x00"),
    "an archive": ("x.png/ones/gradient.npy", b"PK\x03\x04"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_an_error_of_the_folder(tmp_path: Path, name: str) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): G})
    file, content = DAMAGE[name]
    (b / file).write_bytes(content)
    with pytest.raises(UsageError, match=f"^{re.escape(str(b))}.*; "):
        compare(a, b)


def test_a_record_leads_nowhere_else(tmp_path: Path) -> None:
    np.save(tmp_path / "secret.npy", G)
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    results = a / "results.jsonl"
    line = results.read_text()
    for place in ("../secret.npy", str(tmp_path / "secret.npy")):
        results.write_text(line.replace("x.png/ones/gradient.npy", place))
        with pytest.raises(UsageError, match=r"secret\.npy is outside the folder"):
            compare(a, a)


def test_an_array_that_is_gone_or_of_words_or_lies_about_its_size(tmp_path: Path) -> None:
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    b = saliency(tmp_path / "b", {("x.png", "ones"): np.array(["word"])})
    with pytest.raises(UsageError, match=r"gradient\.npy: not an array of numbers"):
        compare(a, b)
    array = b / "x.png/ones/gradient.npy"
    with array.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (2**50,)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UsageError, match=r"gradient\.npy: damaged"):
        compare(a, b)
    array.unlink()
    with pytest.raises(UsageError, match=r"gradient\.npy: No such file"):
        compare(a, b)


def test_pictures_of_a_seed_have_one_scale(tmp_path: Path) -> None:
    results = [("x.png", "ones"), ("y.png", "ones"), ("y.png", "top")]
    a = saliency(tmp_path / "a", dict.fromkeys(results, G))
    b = saliency(tmp_path / "b", dict(zip(results, (G + 1, G - 4, G + 0.5), strict=True)))
    store = RunWriter(tmp_path / "out")
    document = write_comparison(compare(a, b), store, PALETTE, ["gradviz"])
    scales = {(each.image, each.seed): each.scales for each in document.items}
    assert scales == {
        ("x.png", "ones"): {"gradient": 4},
        ("y.png", "ones"): {"gradient": 4},
        ("y.png", "top"): {"gradient": 0.5},
    }
    for each in document.items:
        assert (store.out / each.files["gradient"]).is_file()
    assert json.loads((store.out / "compare.json").read_text()) == json.loads(document.json_text())
    with pytest.raises(UsageError, match="is one of the runs"):
        write_comparison(compare(a, b), RunWriter(a), PALETTE, ["gradviz"])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


def spoilt(value: Any, data: st.DataObject) -> Any:
    """A JSON value in which something, at any depth, is another."""
    if isinstance(value, (dict, list)) and value and data.draw(st.integers(0, 3)):
        keys = [*value] if isinstance(value, dict) else range(len(value))
        key: Any = data.draw(st.sampled_from(keys))
        changed: Any = value.copy()
        if data.draw(st.booleans()):
            changed[key] = spoilt(value[key], data)
        else:
            del changed[key]
        return changed
    return data.draw(junk)


def test_what_numbers_do_not_depend_on_may_be_another(tmp_path: Path) -> None:
    """The records that `test_no_record_is_a_bug` spoils are not all refused."""
    a = saliency(tmp_path / "a", {("x.png", "ones"): G})
    changes: list[dict[str, Any]] = [
        {"command": ["another"]},
        {"folder": "/elsewhere"},
        {"versions": {"gradviz": "0.0.1"}},
        {"of a later version": [1, {"a": None}]},
    ]
    for n, changed in enumerate(changes):
        b = tmp_path / f"b{n}"
        shutil.copytree(a, b)
        record = json.loads((b / "run.json").read_text())
        (b / "run.json").write_text(json.dumps({**record, **changed}) + "\n")
        found = compare(a, b, tolerance=0.1)
        document = write_comparison(found, RunWriter(tmp_path / f"out{n}"), PALETTE, [])
        assert document.ok and len(document.items) == 1


@pytest.mark.parametrize("name", ["run.json", "results.jsonl", "field.json"])
@settings(max_examples=40, derandomize=True, deadline=None)
@given(data=st.data())
def test_no_record_is_a_bug(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        a = saliency(Path(folder, "a"), {("x.png", "ones"): G})
        if name == "field.json" or data.draw(st.booleans()):
            a = receptive_field(Path(folder, "f"), MASK, G[0])
        b = Path(folder, "b")
        shutil.copytree(a, b)
        content = spoilt(json.loads((b / name).read_text()), data)
        (b / name).write_text(json.dumps(content) + "\n")
        with suppress(UsageError):
            for pair in ((a, b), (b, a)):
                found = compare(*pair, tolerance=0.1)
                out = RunWriter(Path(folder, "out"))
                write_comparison(found, out, PALETTE, []).json_text()
