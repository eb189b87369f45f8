"""Folders of runs that somebody changed: every command ends with an exit code and in lines.

Nothing outside of the folder is touched, nor are the user's own files in it. A mutant takes some
tenths of a second; `make fuzz` tries 500 of each kind.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from tests.helpers.formats import script
from tests.helpers.processes import photos

Gradviz = Callable[..., Result]

MUTANTS = 500 if os.environ.get("GRADVIZ_FUZZ") == "long" else 24
CODES = {0, 2, 3, 4, 6}

CANARIES = {
    "saliency": ("above.txt", "beside/ones/gray.png", "run/notes.txt", "run/0.png/mine/gray.png"),
    "receptive-field": ("above.txt", "beside/x.npy", "run/notes.txt", "run/noise/mine/local.png"),
}

DIGITS = "9" * 5000
DEEP = 100_000 * "[" + 100_000 * "]"
TEXTS = (DIGITS, "-" + DIGITS, DEEP, "NaN", "1e999", "-0", '"\\ud800"', '"\\u0000"', "")
"""What stands in a document as it is, JSON or not."""
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 2**70, "", ".", "..", "../above.txt", "notes.txt", "/", "a\0b"),
    *("\x1b[31m", 300 * "a", "0.png", "ones", "mine", "gray.png", "compare", "saliency"),
    *([], {}, [[]], [{}], {"a": 1}, ["../../above.txt"], [None], [1, 2, 3, 4], ["mine", "gray"]),
)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


ARRAYS = (
    *(npy(np.ones(shape, np.float32)) for shape in ((3, 0, 0), (0,), (), (3, 4), (1, 1, 1), (9,))),
    *(npy(np.ones((3, 4, 3), kind)) for kind in ("complex64", "bool", "float16", "int64", "U3")),
    npy(np.full((3, 4, 3), np.nan, np.float32)),
    npy(np.full((3, 4, 3), 3e38, np.float32)),
    npy(np.array([{}], object)),
    npy(np.ones((3, 4, 3), np.float32)).replace(b"(3, 4, 3)", b"(3, 4, 9)"),
    npy(np.ones((3, 4, 3), np.float32)).replace(b"(3, 4, 3)", b"(9**9, 3)"),
)


def nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value, as what holds it and the key or index."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += nodes(value[key])
    return found


def change_document(path: Path, chance: random.Random) -> None:
    """Change one to three values of a JSON document, or of a line."""
    rows = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = chance.randrange(len(rows))
    content = json.loads(rows[place])
    raw = None
    for _ in range(chance.randint(1, 3)):
        holder, key = chance.choice(nodes(content))
        match chance.randrange(5):
            case 0:
                del holder[key]
            case 1:
                holder[key] = "@raw@"
                raw = chance.choice(TEXTS)
            case 2 if isinstance(holder, list):
                holder.append(holder[key])
            case _:
                holder[key] = chance.choice(VALUES)
        if not nodes(content):
            break
    rows[place] = json.dumps(content)
    if raw is not None:
        rows[place] = rows[place].replace('"@raw@"', raw)
    if chance.random() < 0.1:
        rows.insert(0, chance.choice(rows))
    path.write_text("\n".join(rows) + chance.choice(["\n", ""]))


def change_file(path: Path, chance: random.Random) -> None:
    """Damage a file, or put something else in its place."""
    data = bytearray(path.read_bytes())
    match chance.randrange(9):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(data[: chance.randrange(len(data) + 1)])
        case 2:
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            path.write_bytes(data)
        case 3:
            path.write_bytes(b"")
        case 4:
            path.write_bytes(bytes(len(data)))
        case 5:
            path.unlink()
            path.mkdir()
        case 6:
            path.unlink()
            os.mkfifo(path)
        case 7:
            path.unlink()
            path.symlink_to(chance.choice(["../above.txt", str(Path("above.txt").absolute()), "."]))
        case _:
            path.write_bytes(chance.choice(ARRAYS))


def mutate(run: Path, chance: random.Random) -> None:
    """Change something in the folder of a run."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and "canary" not in text(path))
    documents = [path for path in files if path.suffix in (".json", ".jsonl")]
    if chance.random() < 0.65:
        change_document(chance.choice(documents), chance)
    elif chance.random() < 0.9:
        change_file(chance.choice(files), chance)
    else:
        folder = chance.choice(sorted({path.parent for path in files} - {run}))
        shutil.rmtree(folder)
        folder.symlink_to(Path("beside").absolute())


def text(path: Path) -> str:
    return path.read_bytes()[:20].decode(errors="replace")


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, photos, and a finished run of each kind."""
    place = tmp_path_factory.mktemp("originals")
    script("x * x / 2", place / "model.ts")
    photos(place / "photos", 2, size=(3, 4))
    for path in (place / "photos").iterdir():
        path.rename(path.with_name(path.name.removeprefix("000")))
    return place


COMMANDS = {
    "saliency": ["saliency", "model.ts", "photos", "--seed", "ones", "--view", "gray"],
    "receptive-field": ["receptive-field", "model.ts", "--input-size", "3x4"],
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_changed_folders(
    kind: str, originals: Path, gradviz: Gradviz, tmp_path: Path, record_property: Any
) -> None:
    for name in ("model.ts", "photos"):
        (tmp_path / name).symlink_to(originals / name)
    command = [*COMMANDS[kind], "-o"]
    assert gradviz(*command, "whole").exit_code == 0
    problems: list[str] = []
    for number in range(MUTANTS):
        for again in ("report", "compare", "drawn", "--overwrite", "--resume"):
            if again == "--resume" and kind != "saliency":
                continue
            for name in ("run", "beside", "drawn"):
                shutil.rmtree(name, ignore_errors=True)
            shutil.copytree("whole", "run")
            for canary in CANARIES[kind]:
                Path(canary).parent.mkdir(parents=True, exist_ok=True)
                Path(canary).write_text(f"canary {canary}")
            chance = random.Random(f"{kind} {number}")
            mutate(Path("run"), chance)
            there = {canary for canary in CANARIES[kind] if Path(canary).exists()}
            around = outside()
            words = {
                "report": ["report", "run", "-o", "page.html"],
                "compare": ["compare", "whole", "run"],
                "drawn": ["compare", "run", "whole", "-o", "drawn"],
            }.get(again, [*command, "run", again])
            case = f"mutant {kind} {number}, {again}"
            try:
                result = gradviz(*words)
            except Exception as error:
                problems.append(f"{case}: {error!r} in {place_of(error)}")
                continue
            if result.exit_code not in CODES or not all(map(harmless, lines(result))):
                problems.append(f"{case}: {result.exit_code} {result.stderr[:500]!r}")
            if there != {each for each in there if intact(each)}:
                problems.append(f"{case}: a file of the user's own is gone")
            if around != outside():
                problems.append(f"{case}: something changed outside of the folder")
    assert not problems, "\n".join(problems)
    record_property("cases", MUTANTS)


def outside() -> dict[Path, bytes]:
    """All files but those that the commands may write."""
    return {
        path: path.read_bytes()
        for path in Path().rglob("*")
        if path.parts[0] not in ("run", "drawn", "page.html") and path.is_file()
    }


def lines(result: Result) -> list[str]:
    return [row.replace("\t", " ") for row in (result.stderr + result.stdout).split("\n")]


def harmless(line: str) -> bool:
    return len(line) < 3000 and line.isprintable()


def place_of(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return str(next((each for each in reversed(frames) if "gradviz" in each.filename), frames[-1]))


def intact(canary: str) -> bool:
    path = Path(canary)
    return path.is_file() and path.read_text() == f"canary {canary}"
