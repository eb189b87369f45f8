"""`gradviz saliency` as a user meets it: what it writes, says, refuses and resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

import gradviz as package
from gradviz.cli.app import COMMANDS
from gradviz.runs.folder import RunFolder
from tests.helpers.commands import Gradviz, contents, lines
from tests.helpers.formats import script
from tests.helpers.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path, images: Path) -> Path:
    """A folder of three pictures, one of them deeper, and a file that is none."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(images / "room_01.png", folder)
    shutil.copy(images / "room_02.png", folder / "deep")
    shutil.copy(images / "shapes_01.png", folder)
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_what_is_written(gradviz: Gradviz, models: Path, folder: Path) -> None:
    result = gradviz(
        "saliency", models / "depth.ts", folder, "--seed", "ones", "--seed", "pixel:64,48"
    )
    assert result.exit_code == 0, result.stderr
    out = Path("gradviz-out")
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == sorted(
        ["run.json", "environment.json", "results.jsonl"]
        + [
            f"{image}/{seed}/{name}"
            for image in ("deep/room_02.png", "room_01.png", "shapes_01.png")
            for seed in ("ones", "pixel-64-48")
            for name in ("gradient.npy", "heatmap.png", "overlay.png")
        ]
    )
    for line in lines(out):
        assert list(line) == [
            "image",
            "seed",
            "status",
            "files",
            "output_shape",
            "score",
            *(["marks"] if line["seed"] == "pixel:64,48" else []),
            "stats",
            "scales",
            "warnings",
        ]
        gradient = np.load(out / line["files"]["gradient"])
        assert gradient.dtype == np.float32 and gradient.shape == (3, 128, 128)
        assert line["output_shape"] == [1, 128, 128]
        assert line["stats"] == pytest.approx(
            {
                "min": gradient.min(),
                "max": gradient.max(),
                "abs_mean": np.abs(gradient).mean(),
                "l2": np.sqrt((gradient.astype(float) ** 2).sum()),
                "zero_fraction": (gradient == 0).mean(),
                "nonfinite": 0,
                "scale": line["scales"]["heatmap"],
            },
            rel=1e-5,
        )
        total = np.abs(gradient).sum(axis=0)
        scale = np.percentile(total[total > 0], 99)
        assert line["stats"]["scale"] == pytest.approx(scale, rel=1e-5)
    assert "1 other" in result.stderr


def test_the_pixel_seeds_field_is_compact(gradviz: Gradviz, models: Path, images: Path) -> None:
    gradviz("saliency", models / "depth.ts", images / "room_01.png", "--seed", "pixel:64,48")
    gradient = np.load("gradviz-out/room_01.png/pixel-64-48/gradient.npy")
    energy = np.abs(gradient).sum(axis=0)
    y, x = np.mgrid[:128, :128]
    near = (abs(x - 64) <= 32) & (abs(y - 48) <= 32)
    assert energy[near].sum() > 0.8 * energy.sum()
    assert (energy == 0).mean() > 0.05


def test_the_class_map_lights_up_the_shape(gradviz: Gradviz, models: Path, images: Path) -> None:
    """The triangle of shapes_01 is the one blue thing on its brown ground."""
    gradviz("saliency", models / "shapes.yaml", images / "shapes_01.png", "--seed", "top")
    energy = np.abs(np.load("gradviz-out/shapes_01.png/top/gradient.npy")).sum(axis=0)
    size = energy.shape[::-1]
    picture = np.asarray(Image.open(images / "shapes_01.png").resize(size), int)
    shape = picture[..., 2] - picture[..., 0] > 40
    near = np.asarray(Image.fromarray(np.uint8(shape)).filter(ImageFilter.MaxFilter(9)), bool)
    assert near.mean() < 0.4
    assert energy[near].sum() > 0.8 * energy.sum()


def test_the_same_command_twice_gives_the_same_bytes(
    gradviz: Gradviz, models: Path, folder: Path
) -> None:
    command = ["saliency", models / "depth.yaml", folder, "--seed", "ones", "--view", "rgb"]
    for out in ("a", "b"):
        assert gradviz(*command, "-o", out).exit_code == 0
    assert contents("a") == contents("b")
    assert (Path("a") / "results.jsonl").read_text() == (Path("b") / "results.jsonl").read_text()


def test_ts_and_safetensors_of_one_model_agree(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    for name, out in (("depth.ts", "a"), ("depth.yaml", "b")):
        gradviz("saliency", models / name, images / "room_01.png", "-o", out)
    a, b = (np.load(f"{out}/room_01.png/ones/gradient.npy") for out in ("a", "b"))
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_json_is_one_strict_document(gradviz: Gradviz, models: Path, images: Path) -> None:
    result = gradviz(
        "saliency", models / "shapes.yaml", images / "shapes_01.png",
        "--seed", "top", "--seed", "class:triangle", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert list(document) == ["schema", "kind", "run", "results"]
    assert (document["schema"], document["kind"]) == (1, "saliency")
    record = json.loads(RunFolder(Path("gradviz-out")).record().json_text())
    assert document["run"] == record
    assert [line["seed"] for line in document["results"]] == ["top", "class:triangle"]
    assert document["results"][0]["score"] == document["results"][1]["score"]


def test_run_json_says_how_to_run_it_again(gradviz: Gradviz, models: Path, images: Path) -> None:
    gradviz("saliency", models / "depth.ts", images / "room_01.png", "--crop", "64", "--clip", "95")
    run = json.loads(Path("gradviz-out/run.json").read_text())
    assert run["schema"] == 2
    assert Path(run["model"]["path"]).samefile(models / "depth.ts")
    assert len(run["model"]["sha256"]) == 64
    assert run["preprocess"]["resize"] == 128 and run["preprocess"]["crop"] == 64
    assert run["settings"]["clip"] == 95
    (image,) = run["images"]
    assert image["name"] == "room_01.png" and Path(image["path"]).samefile(images / "room_01.png")
    assert run["writes"] == ["gradient.npy", "heatmap.png", "overlay.png"]
    environment = json.loads(Path("gradviz-out/environment.json").read_text())
    assert environment["folder"] == str(Path.cwd())
    assert {"gradviz", "torch", "python"} <= set(environment["versions"])


def test_python_returns_what_the_command_writes(
    gradviz: Gradviz, models: Path, folder: Path
) -> None:
    seeds = ["ones", "pixel:64,48"]
    options = [word for seed in seeds for word in ("--seed", seed)]
    gradviz("saliency", models / "depth.ts", folder, *options, "--view", "signed")
    model = package.load_model(models / "depth.ts")
    results = package.saliency(model, folder, seeds)
    written = lines()
    keys = [(line["image"], line["seed"]) for line in written]
    assert sorted(keys) == [(result.image, result.seed) for result in results]
    for result in results:
        line = written[keys.index((result.image, result.seed))]
        gradient = np.load(Path("gradviz-out") / line["files"]["gradient"])
        assert np.array_equal(result.array, gradient)
        assert result.score == line["score"]
        picture = Image.open(Path("gradviz-out") / line["files"]["signed"])
        assert np.array_equal(np.asarray(result.picture("signed")), np.asarray(picture))


@pytest.mark.parametrize(("model", "seed"), [("depth.ts", "ones"), ("shapes.yaml", "top")])
def test_the_default_seed(
    model: str, seed: str, gradviz: Gradviz, models: Path, images: Path
) -> None:
    assert gradviz("saliency", models / model, images / "shapes_02.png").exit_code == 0
    assert [line["seed"] for line in lines()] == [seed]


def test_every_view_has_its_picture(gradviz: Gradviz, models: Path, images: Path) -> None:
    from gradviz.heatmap.views import VIEWS

    options = [word for view in VIEWS for word in ("--view", view)]
    options += ["--seed", "pixel:90,40"]
    gradviz("saliency", models / "depth.ts", images / "room_wide.png", *options)
    (line,) = lines()
    assert set(line["files"]) == {"gradient", *VIEWS}
    pictures = {view: Image.open(Path("gradviz-out") / line["files"][view]) for view in VIEWS}
    assert {picture.size for picture in pictures.values()} == {(216, 128)}
    assert len({picture.tobytes() for picture in pictures.values()}) == len(VIEWS)


def test_attributions_are_called_so(gradviz: Gradviz, models: Path, images: Path) -> None:
    image = images / "room_01.png"
    gradviz("saliency", models / "depth.ts", image, "--method", "input-x-gradient", "-o", "a")
    gradviz("saliency", models / "depth.ts", image, "-o", "g")
    attribution = np.load("a/room_01.png/ones/attribution.npy")
    gradient = np.load("g/room_01.png/ones/gradient.npy")
    pixels = np.asarray(Image.open(image), np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(attribution, (pixels - 0.5) / 0.25 * gradient, rtol=1e-4, atol=1e-4)
    assert not Path("a/room_01.png/ones/gradient.npy").exists()


def test_arrays_can_be_left_out(gradviz: Gradviz, models: Path, images: Path) -> None:
    gradviz("saliency", models / "depth.ts", images / "room_01.png", "--array", "none")
    assert {Path(name).suffix for name in contents()} == {".png"}


def test_frame_image_draws_in_the_photos_own_pixels(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    """room_phone.jpg is stored on its side; its pictures are upright, and black off the crop."""
    gradviz(
        "saliency", models / "depth.ts", images / "room_phone.jpg",
        "--crop", "64", "--frame", "image", "--view", "heatmap", "--view", "overlay",
    )  # fmt: skip
    with Image.open(images / "room_phone.jpg") as photo:
        stored = photo.size
    heatmap = Image.open("gradviz-out/room_phone.jpg/ones/heatmap.png")
    assert heatmap.size == stored[::-1]
    pixels = np.asarray(heatmap).max(axis=-1)
    lit = np.argwhere(pixels > 40)
    (top, left), (bottom, right) = lit.min(axis=0), lit.max(axis=0)
    height, width = pixels.shape
    # The crop is 64 of the 128 pixels of the shorter side, and as many of the longer.
    assert right - left < width / 2 + 2 and bottom - top < width / 2 + 2
    assert abs((left + right) / 2 - width / 2) < 4 and abs((top + bottom) / 2 - height / 2) < 4
    assert np.load("gradviz-out/room_phone.jpg/ones/gradient.npy").shape == (3, 64, 64)


def test_at_follows_the_photos_pixels(gradviz: Gradviz, models: Path, images: Path) -> None:
    """room_02.png is 192×192 and enters as 128×128: its pixel (96, 72) is output pixel (64, 48)."""
    gradviz(
        "saliency", models / "depth.ts", images / "room_02.png",
        "--seed", "at:96,72", "--seed", "pixel:64,48",
    )  # fmt: skip
    at, pixel = (
        np.load(f"gradviz-out/room_02.png/{seed}/gradient.npy")
        for seed in ("at-96-72", "pixel-64-48")
    )
    assert np.array_equal(at, pixel)


def test_a_shared_scale_is_the_largest_of_the_images(
    gradviz: Gradviz, models: Path, folder: Path
) -> None:
    seeds = ["--seed", "ones", "--seed", "pixel:64,48"]
    gradviz("saliency", models / "depth.ts", folder, *seeds, "-o", "own")
    shared = gradviz("saliency", models / "depth.ts", folder, *seeds, "--scale", "shared")
    assert shared.exit_code == 0, shared.stderr
    for seed in ("ones", "pixel:64,48"):
        own = [line["stats"]["scale"] for line in lines("own") if line["seed"] == seed]
        found = [line["stats"]["scale"] for line in lines() if line["seed"] == seed]
        assert found == [max(own)] * 3
    largest = max(lines("own"), key=lambda line: line["stats"]["scale"])
    a, b = (Path(out) / largest["files"]["heatmap"] for out in ("own", "gradviz-out"))
    assert a.read_bytes() == b.read_bytes()
    differ = [name for name, content in contents("own").items() if content != contents()[name]]
    assert differ and all(name.endswith(".png") for name in differ)


def test_a_scale_of_ones_own(gradviz: Gradviz, models: Path, images: Path) -> None:
    image = images / "room_01.png"
    gradviz("saliency", models / "depth.ts", image, "--scale", "50", "--view", "gray")
    total = np.abs(np.load("gradviz-out/room_01.png/ones/gradient.npy")).sum(axis=0)
    gray = np.asarray(Image.open("gradviz-out/room_01.png/ones/gray.png"))[..., 0]
    assert np.abs(gray - 255 * np.minimum(total / 50, 1)).max() <= 0.51


# Batches, failures, resuming ----------------------------------------------------------------------


def test_a_broken_image_among_many_is_recorded_and_skipped(
    gradviz: Gradviz, models: Path, folder: Path
) -> None:
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    result = gradviz("saliency", models / "depth.ts", folder)
    assert result.exit_code == 4
    assert result.stderr.count("broken.png: not an image") == 1
    by_image = {line["image"]: line for line in lines()}
    assert by_image["broken.png"]["status"] == "error"
    assert by_image["broken.png"]["error"]["type"] == "ImageError"
    assert [image for image, line in by_image.items() if line["status"] == "ok"] == [
        "deep/room_02.png",
        "room_01.png",
        "shapes_01.png",
    ]


def test_a_seed_that_fits_no_image_is_the_commands_fault(
    gradviz: Gradviz, models: Path, folder: Path
) -> None:
    result = gradviz("saliency", models / "depth.ts", folder, "--seed", "pixel:128,0")
    assert result.exit_code == 2
    assert "x 128 is outside the output: 0 to 127" in result.stderr


def test_a_run_is_not_overwritten_unasked(gradviz: Gradviz, models: Path, images: Path) -> None:
    command = ["saliency", models / "depth.ts", images / "room_01.png"]
    assert gradviz(*command).exit_code == 0
    before = contents()
    refused = gradviz(*command, "--seed", "pixel:1,1")
    assert refused.exit_code == 2 and "--overwrite" in refused.stderr
    assert contents() == before
    assert gradviz(*command, "--seed", "pixel:1,1", "--overwrite").exit_code == 0
    assert [line["seed"] for line in lines()] == ["pixel:1,1"]
    assert not Path("gradviz-out/room_01.png/ones").exists()


def test_resume_finishes_to_the_same_bytes(gradviz: Gradviz, models: Path, folder: Path) -> None:
    command = ["saliency", models / "depth.ts", folder, "--batch-size", "2", "--resume"]
    assert gradviz(*command).exit_code == 0  # nothing there yet: begins
    whole = contents()
    record = Path("gradviz-out/results.jsonl").read_text()
    # As if killed in the second batch: a file is missing, a line is half written.
    Path("gradviz-out/shapes_01.png/ones/heatmap.png").unlink()
    Path("gradviz-out/results.jsonl").write_text(record[: record.rindex('"stats"')])
    untouched = Path("gradviz-out/room_01.png/ones/gradient.npy")
    os.utime(untouched, (1, 1))
    result = gradviz(*command)
    assert result.exit_code == 0, result.stderr
    assert contents() == whole
    assert Path("gradviz-out/results.jsonl").read_text() == record
    assert untouched.stat().st_mtime == 1
    other = gradviz(*command, "--clip", "90")
    assert other.exit_code == 2 and "settings.clip was 99.0, is 90.0" in other.stderr


def test_resume_tries_failed_images_again(
    gradviz: Gradviz, models: Path, folder: Path, images: Path
) -> None:
    late = folder / "late.png"
    late.write_bytes(b"")
    command = ["saliency", models / "depth.ts", folder, "--resume"]
    assert gradviz(*command).exit_code == 4
    shutil.copy(images / "room_03.png", late)
    assert gradviz(*command).exit_code == 0
    assert {line["image"]: line["status"] for line in lines()} == {
        "deep/room_02.png": "ok",
        "late.png": "ok",
        "room_01.png": "ok",
        "shapes_01.png": "ok",
    }


@pytest.mark.process
def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path, models: Path, images: Path) -> None:
    for n in range(200):
        shutil.copy(images / "room_wide.png", tmp_path / f"{n:03}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "gradviz", "saliency", models / "depth.ts", tmp_path,
         "-o", tmp_path / "out", "--batch-size", "1"],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    results = tmp_path / "out" / "results.jsonl"
    wait_until(
        lambda: results.exists() and results.read_text().count("\n") >= 2,
        lambda: process.poll() is None,
    )
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in stderr and "Traceback" not in stderr
    done = lines(tmp_path / "out")
    assert 2 <= len(done) < 200
    for line in done:
        for name in line["files"].values():
            assert (tmp_path / "out" / name).stat().st_size > 0
    assert not list((tmp_path / "out").rglob("*.part"))


# What is said -------------------------------------------------------------------------------------


def test_results_go_to_stdout_and_messages_to_stderr(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    command = ["saliency", models / "depth.ts", images / "room_01.png"]
    plain = gradviz(*command, "-o", "plain")
    assert plain.stdout.startswith("plain/room_01.png/ones\tscore ")
    assert "1 done, 0 failed" in plain.stderr and "preprocess:" not in plain.stderr
    verbose = gradviz(*command, "-o", "verbose", "-v")
    assert "preprocess: {" in verbose.stderr and '"resize": 128' in verbose.stderr
    quiet = gradviz(*command, "-o", "quiet", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_debug_shows_where_an_error_comes_from(gradviz: Gradviz) -> None:
    command = ["saliency", "absent.ts", "absent.png"]
    assert "Traceback" not in gradviz(*command).stderr
    assert "Traceback" in gradviz(*command, "--debug").stderr


@pytest.mark.process
@pytest.mark.parametrize("command", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    code = (
        "import sys\nfrom gradviz.cli.app import main\n"
        f"sys.argv = ['gradviz', *{command}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'numpy', 'PIL', 'yaml', 'pydantic', 'matplotlib', 'jinja2'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gradviz" in done.stdout


@pytest.mark.process
def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gradviz", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"gradviz {package.__version__}\n"


def test_help_lists_every_seed(gradviz: Gradviz) -> None:
    from gradviz.seeds.kinds import KINDS

    text = gradviz("saliency", "--help").stdout
    assert all(kind.form in text for kind in KINDS.values())


@pytest.mark.process
def test_shell_completion_knows_the_options() -> None:
    environment = {
        **os.environ,
        "_GRADVIZ_COMPLETE": "complete_bash",
        "COMP_WORDS": "gradviz saliency --view h",
        "COMP_CWORD": "3",
    }
    done = subprocess.run(
        [sys.executable, "-m", "gradviz"], env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == ["heatmap"], done.stderr


def test_a_warning_of_many_results_is_printed_of_some_and_counted(gradviz: Gradviz) -> None:
    script("x * 0", "zero.ts")
    for n in range(6):
        np.save(f"{n}.npy", np.full((3, 2, 2), n / 9, np.float32))
    found = gradviz("saliency", "zero.ts", "*.npy", "--seed", "ones")
    assert found.exit_code == 0
    told = [line for line in found.stderr.splitlines() if "zero everywhere" in line]
    assert [line.partition(" (")[0] for line in told[:3]] == [f"warning: {n}.npy" for n in range(3)]
    assert told[3:] == [
        told[0].replace("0.npy (ones):", "3 more results, listed in results.jsonl:")
    ]
    assert all("zero everywhere" in line["warnings"][0] for line in lines())
