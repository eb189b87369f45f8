"""`--each`: the same numbers as single commands, whatever the models before left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from gradviz.cli.each import command_of_one, find_models, model_in_place
from gradviz.errors import UsageError
from tests.helpers.processes import gradviz as process
from tests.helpers.waiting import wait_until

PLAIN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)) * torch.linspace(0.5, 1.5, x.shape[-1]))
"""

LEAVES = """
import logging, os, random, signal, sys, warnings
import numpy, torch
from plain import Net as Plain

def leave():
    torch.manual_seed(7); random.seed(7); numpy.random.seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)
    warnings.simplefilter("error")
    logging.disable(logging.CRITICAL)
    os.chdir("/")
    os.umask(0o077)
    os.environ["RANK"] = "1"
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    torch.relu = torch.sigmoid
    sys.modules["plain"] = None
    sys.path.clear()

class Net(Plain):
    def forward(self, x):
        found = self.second(self.first(x).clamp(min=0))
        leave()
        return found
"""

STOPS = """
import os, signal
from plain import Net as Plain

class Net(Plain):
    def forward(self, x):
        {}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Cards whose names sort as they are listed, and a photo."""
    torch.manual_seed(0)
    folder = tmp_path / "models"
    folder.mkdir()
    weights = {
        "first.weight": torch.randn(4, 3, 3, 3),
        "first.bias": torch.randn(4),
        "second.weight": torch.randn(2, 4, 3, 3),
        "second.bias": torch.randn(2),
    }
    torch.save(weights, folder / "weights.pt")
    (folder / "plain.py").write_text(PLAIN)
    (folder / "leaves.py").write_text(LEAVES)
    card(folder, "1-leaves", "leaves")
    card(folder, "2-plain", "plain")
    Image.effect_noise((12, 10), 90).convert("RGB").save(tmp_path / "photo.png")
    return folder


def card(folder: Path, name: str, module: str, weights: str = "weights.pt") -> None:
    text = f"model: {weights}\narch: {module}.py:Net\npreprocess: {{resize: 10}}\n"
    (folder / f"{name}.yaml").write_text(text)


def contents(out: str) -> dict[str, bytes]:
    found = {
        str(path.relative_to(out)): path.read_bytes()
        for path in Path(out).rglob("*")
        if path.is_file() and path.name != "environment.json"
    }
    record = json.loads(found.pop("run.json"))
    del record["command"]
    return {**found, "run.json": json.dumps(record).encode()}


SMOOTH = ["--method", "smoothgrad", "--samples", "3", "--seed", "ones"]


def test_the_same_bytes_as_single_commands(models: Path) -> None:
    words = ["photo.png", *SMOOTH, "-q"]
    done = process("saliency", "--each", "models/*.yaml", *words, "-o", "all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for name in ("1-leaves", "2-plain"):
        alone = process("saliency", f"models/{name}.yaml", *words, "-o", name)
        assert alone.returncode == 0, alone.stderr
        assert contents(f"all/{name}.yaml") == contents(name)
        modes = {path.stat().st_mode for path in Path("all", f"{name}.yaml").rglob("*.png")}
        assert modes == {path.stat().st_mode for path in Path(name).rglob("*.png")}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["receptive-field"], "size [5, 5], stride [1, 1], fields: 1"),
        (["check", "photo.png"], "7 of 7 tests passed"),
        (["inspect"], "2 layers"),
    ],
)
def test_the_same_documents_as_single_commands(words: list[str], says: str, models: Path) -> None:
    command, *images = words
    every = [command, "--each", "models/*.yaml", *images, "-o", "all"]
    done = process(*every, "--json", "-q")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["command"], found["exit_code"]) == ("each", command, 0)
    assert [each["model"] for each in found["models"]] == [
        "models/1-leaves.yaml",
        "models/2-plain.yaml",
    ]
    single = [command, "models/2-plain.yaml", *images, "-o", "one", "--json"]
    alone = json.loads(process(*single).stdout)
    assert found["models"][1]["document"] == alone
    name = {"receptive-field": "field.json"}.get(command, f"{command}.json")
    assert json.loads(Path("all/2-plain.yaml", name).read_text()) == alone
    table = process(*every, *(["--overwrite"] if command == "receptive-field" else [])).stdout
    assert says in table.splitlines()[2]


def test_one_failing_model_does_not_stop_the_others(models: Path) -> None:
    (models / "killed.py").write_text(STOPS.format("os.kill(os.getpid(), signal.SIGKILL)"))
    (models / "left.py").write_text(STOPS.format("os._exit(0)"))
    card(models, "0-killed", "killed")
    card(models, "0-left", "left")
    card(models, "0-lost", "plain", weights="gone.pt")
    (models / "0-wrong.yaml").write_text("model: weights.pt\ncolour: red\n")
    words = ["saliency", "--each", "models/*.yaml", "photo.png", "-o", "all"]
    done = process(*words, "--expect", "l2>=1e9")
    assert done.returncode == 3, done.stderr
    rows = [row.split()[:2] for row in done.stdout.splitlines()[1:]]
    assert rows == [
        ["3", "models/0-killed.yaml"],
        ["3", "models/0-left.yaml"],
        ["2", "models/0-lost.yaml"],
        ["2", "models/0-wrong.yaml"],
        ["6", "models/1-leaves.yaml"],
        ["6", "models/2-plain.yaml"],
    ]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert all(line.startswith("error: ") and "models/" in line for line in errors)
    assert "signal 9" in done.stderr and "Traceback" not in done.stderr
    lines = Path("all/2-plain.yaml/results.jsonl").read_text().splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["ok"]


def test_a_run_is_resumed(models: Path) -> None:
    words = ["saliency", "--each", "models/*.yaml", "photo.png", "--seed", "ones", "-o", "all"]
    assert process(*words, "-q").returncode == 0
    arrays = sorted(Path("all").rglob("gradient.npy"))
    before = [array.read_bytes() for array in arrays]
    stamp = arrays[0].stat().st_mtime_ns
    arrays[1].unlink()
    assert process(*words, "-q").returncode == 2
    done = process(*words, "-q", "--resume")
    assert done.returncode == 0, done.stderr
    assert [array.read_bytes() for array in arrays] == before
    assert arrays[0].stat().st_mtime_ns == stamp
    command = json.loads(Path("all/2-plain.yaml/run.json").read_text())["command"]
    again = process(*command[1:])
    assert again.returncode == 0, again.stderr


def test_a_signal_ends_the_model_too(models: Path) -> None:
    sleeps = "open('pid', 'w').write(str(os.getpid())); import time; time.sleep(60)"
    (models / "sleeps.py").write_text(STOPS.format(sleeps))
    card(models, "0-sleeps", "sleeps")
    words = ["saliency", "--each", "models/*.yaml", "photo.png"]
    started = subprocess.Popen(
        [sys.executable, "-m", "gradviz", *words], stderr=subprocess.PIPE, text=True
    )
    pid = Path("pid")
    wait_until(lambda: pid.exists() and pid.read_text(), lambda: started.poll() is None)
    started.send_signal(signal.SIGTERM)
    _, says = started.communicate(timeout=30)
    assert started.returncode == 130 and "interrupted" in says, says
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not Path("gradviz-out/1-leaves.yaml").exists()


def test_threads(models: Path) -> None:
    for count in ("1", "3"):
        words = ["saliency", "models/2-plain.yaml", "photo.png", "--threads", count, "-o", count]
        done = process(*words, "-q")
        assert done.returncode == 0, done.stderr
        machine = json.loads(Path(count, "environment.json").read_text())["machine"]
        assert machine["threads"] == count


def test_a_figure_of_several_models_is_refused(models: Path) -> None:
    words = ["saliency", "--each", "models/*.yaml", "photo.png", "--figure", "f.png"]
    done = process(*words)
    assert done.returncode == 2 and "--figure: " in done.stderr
    done = process("saliency", "--each", "nothing/*.yaml", "photo.png", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["kind"] == "error"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--each", "m/*", "a.png"], ["m/*", "--each", "m/*", "a.png"]),
        (["a.png", "--each=m/*"], ["m/*", "a.png", "--each=m/*"]),
        (["m", "a.png"], ["m", "a.png"]),
        (["m", "--each"], ["m", "--each"]),
        (["m", "--", "--each", "b"], ["m", "--", "--each", "b"]),
    ],
)
def test_the_glob_stands_in_place_of_the_model(words: list[str], expected: list[str]) -> None:
    assert model_in_place(words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("g check --each m/* a.png", "g check m/a a.png -o o/a"),
        ("g saliency a.png --each=m/* -o o", "g saliency m/a a.png -o o -o o/a"),
        ("g saliency --each m/* -- -a.png", "g saliency m/a -o o/a -- -a.png"),
    ],
)
def test_the_command_of_one_model(words: str, expected: str) -> None:
    name = words.split()[1]
    assert command_of_one(words.split(), name, "m/a", Path("o/a")) == expected.split()
    assert "-o o/a" not in " ".join(command_of_one(words.split(), name, "m/a", None))


def test_models_of_a_glob() -> None:
    for name in ("m/b.yaml", "m/a.yaml", "m/deep/a.yaml", "m/.hidden.yaml", "out/x"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert find_models("m/*.yaml", None) == {"m/a.yaml": "a.yaml", "m/b.yaml": "b.yaml"}
    assert find_models("m/**/a.yaml", None) == {
        "m/a.yaml": "a.yaml",
        "m/deep/a.yaml": "deep/a.yaml",
    }
    assert find_models("m/a.yaml", None) == {"m/a.yaml": "a.yaml"}
    assert find_models("*", Path("out")) == {"m": "m"}
    with pytest.raises(UsageError, match="no file or folder matches"):
        find_models("m/*.pt", None)
