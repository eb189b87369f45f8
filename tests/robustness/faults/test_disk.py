"""A disk that is full, a folder that is read-only, and files that go away while they are used.

A process of its own takes about two seconds; the rest runs here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from gradviz.image.find import Source
from gradviz.image.load import LoadedImage, load_image
from gradviz.image.preprocess import Preprocess
from tests.helpers.commands import Gradviz, errors, lines
from tests.helpers.formats import script
from tests.helpers.processes import gradviz as process
from tests.helpers.processes import photos

FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
"""No file may become longer, which a program notices as it notices a full disk."""

HUMBLE = """
import ctypes
# No capability, and so none to override permissions: root is as good as anyone.
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""

VANISHING = """
from pathlib import Path
import torch
from torch import nn

{at_import}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("one", torch.zeros(1))

    def forward(self, x):
        {in_forward}
        return self.one * x * x / 2
"""
"""A network whose code takes files away."""


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and path.name not in ("run.json", "environment.json")
    }


VIEW = ["--view", "overlay"]
SEEDS = [word for n in range(4) for word in ("--seed", f"pixel:{n},0")]


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "side", "options"),
    [
        ("environment.json", 4, []),
        ("run.json", 4, []),
        ("0000.png/ones/gradient.npy", 100, ["--seed", "ones"]),
        ("0000.png/ones/overlay.png", 100, ["--seed", "ones", "--array", "none", *VIEW]),
        ("results.jsonl", 4, SEEDS),
    ],
)
def test_a_disk_that_is_full(
    name: str, side: int, options: list[str], tmp_path: Path, gradviz: Gradviz
) -> None:
    """There is room for the other files, and for all of this one but a byte."""
    folder = photos(tmp_path / "photos", 8, size=(side, side))
    model = script("x * x / 2", tmp_path / "model.ts")
    words = ["saliency", str(model), str(folder), "--batch-size", "2", *options]
    assert gradviz(*words, "-o", tmp_path / "whole").exit_code == 0
    size = (tmp_path / "whole" / name).stat().st_size
    out = tmp_path / "out"
    # The longest file that is written before; run.json is some bytes shorter for another folder.
    before = (tmp_path / "whole/environment.json").stat().st_size
    limit = {"environment.json": 1, "run.json": before + 9}.get(name, size - 1)
    done = process(*words, "-o", out, before=FULL.format(limit=limit))
    assert done.returncode == 2, done.stderr
    assert Path(errors(done)[0].split(": ")[1]).name == Path(name).name
    assert not [*out.rglob("*.part")]
    assert all(path.suffix not in (".npy", ".png") or whole(path) for path in out.rglob("*.*"))
    assert gradviz(*words, "-o", out, "--resume").exit_code == 0
    assert contents(out) == contents(tmp_path / "whole")


def whole(path: Path) -> bool:
    if path.is_file():
        np.load(path) if path.suffix == ".npy" else Image.open(path).load()
    return True


# Permissions --------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("path", "mode", "code", "says"),
    [
        ("place", 0o555, 2, "not writable"),
        ("place/out", 0o555, 2, "not writable"),
        ("place/out/0000.png", 0o555, 2, "Permission denied"),
        ("place/out/results.jsonl", 0o000, 2, "Permission denied"),
        ("photos/0000.png", 0o000, 4, "permission denied"),
        ("photos", 0o000, 2, "Permission denied"),
        ("model.ts", 0o000, 2, "Permission denied"),
        ("model.yaml", 0o000, 2, "Permission denied"),
    ],
)
def test_what_may_not_be_read_or_written(
    path: str, mode: int, code: int, says: str, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", 2)
    model = script("x * x / 2", tmp_path / "model.ts")
    (tmp_path / "model.yaml").write_text("preprocess: {channels: rgb}")
    out = tmp_path / "place" / "out"
    if "out" in path:
        (out / "0000.png").mkdir(parents=True)
        (out / "results.jsonl").touch()
    else:
        out.parent.mkdir()
    (tmp_path / path).chmod(mode)
    try:
        done = process("saliency", model, folder, "-o", out, before=HUMBLE)
    finally:
        (tmp_path / path).chmod(0o777)
    assert done.returncode == code, done.stderr
    (said,) = errors(done)
    assert says in said and path in said
    assert not [*tmp_path.rglob("*.part")]


# Files that go away -------------------------------------------------------------------------------


@pytest.fixture
def vanishing(gradviz: Gradviz, tmp_path: Path) -> Callable[..., Result]:
    """Run with a network that runs code when it is built, or whenever it is called."""
    folder = photos(tmp_path / "photos", 8)
    torch.save({"one": torch.ones(1)}, "weights.pt")
    Image.new("L", (6, 5), 255).save("mask.png")

    def run(*options: str, at_import: str = "", in_forward: str = "pass") -> Result:
        Path("net.py").write_text(VANISHING.format(at_import=at_import, in_forward=in_forward))
        words = [folder, "--arch", "net.py:Net", "--batch-size", "1"]
        return gradviz("saliency", "weights.pt", *words, *options)

    return run


@pytest.mark.parametrize("frame", ["input", "image"])
def test_images_that_are_deleted_while_the_run_is_going(
    frame: str, vanishing: Callable[..., Result]
) -> None:
    """A few are in memory already; of the rest each fails alone."""
    gone = "[path.unlink() for path in Path('photos').iterdir() if path.name != '0000.png']"
    result = vanishing("--frame", frame, in_forward=gone)
    assert result.exit_code == 4, result.stderr
    found = lines()
    assert [line["image"] for line in found] == [f"000{n}.png" for n in range(8)]
    failed = [line for line in found if line["status"] == "error"]
    assert 1 <= len(failed) <= 7 and found[0]["status"] == "ok"
    for line in failed:
        assert line["error"]["type"] == "ImageError"
        assert f"{line['image']}: no such file" in line["error"]["message"]
        assert not [*Path("gradviz-out", line["image"]).rglob("*.*")]  # nor half a result
    assert result.stderr.count("error: ") == len(failed)


@pytest.mark.parametrize(("frame", "code"), [("input", 0), ("image", 4)])
def test_images_that_are_deleted_once_they_are_read(
    frame: str, code: int, vanishing: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures in the photo's own pixels are drawn on the photo, which is read again."""

    def read_and_delete(source: Source, preprocess: Preprocess) -> LoadedImage:
        image = load_image(source, preprocess)
        source.path.unlink()
        return image

    monkeypatch.setattr("gradviz.commands.saliency.run.load_image", read_and_delete)
    result = vanishing("--frame", frame)
    assert result.exit_code == code, result.stderr
    assert [line["image"] for line in lines()] == [f"000{n}.png" for n in range(8)]
    assert {line["status"] for line in lines()} == {"error" if code else "ok"}
    assert bool([*Path("gradviz-out").glob("*.png")]) == (not code)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("weights.pt", []),
        ("net.py", []),
        ("mask.png", ["--seed", "mask:mask.png"]),
        ("mask.png", ["--inside", "mask.png"]),
    ],
)
def test_files_that_are_deleted_before_the_run_is_recorded(
    name: str, options: list[str], vanishing: Callable[..., Result]
) -> None:
    result = vanishing(*options, at_import=f"Path({name!r}).unlink()")
    assert result.exit_code == 2
    assert errors(result) == [f"error: {name}: no such file; check the path"]
    assert not Path("gradviz-out").exists()
