"""Shards of a run: together they are the run, whoever does which, and in whatever order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import gradviz.runs.lock
from gradviz.errors import UsageError
from gradviz.runs.lock import lock_folder
from gradviz.runs.names import LOCK
from gradviz.runs.resume import RunWriter
from gradviz.runs.schema import Done, ResultLine
from gradviz.runs.shards import Shard, shard_from, shard_here
from tests.helpers.formats import script
from tests.helpers.nets import scores

Run = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and 21 images, and no ranks of torchrun's around."""
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    script(scores(), "m.ts")
    rng = np.random.default_rng(0)
    Path("in").mkdir()
    for n in range(21):
        np.save(f"in/{n:02}.npy", rng.random((3, 9, 8), np.float32))
    return tmp_path


COMMAND = ("saliency", "m.ts", "in/*.npy", "--seed", "top", "--seed", "class:1", "--batch-size", 4)


@pytest.fixture
def saliency(place: Path, gradviz: Run) -> Run:
    """The command, with more arguments."""
    return lambda *arguments: gradviz(*COMMAND, *arguments)


@pytest.fixture
def done(saliency: Run) -> Run:
    """The command, which must do all."""

    def run(*arguments: object) -> None:
        result = saliency(*arguments)
        assert result.exit_code == 0, result.stderr

    return run


def contents(out: str | Path) -> dict[str, bytes]:
    """All that was written for the images."""
    paths = [path for path in Path(out).rglob("*.*") if path.is_file() and ".json" not in path.name]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


def lines(out: str | Path) -> list[ResultLine]:
    return RunWriter(Path(out)).lines()


def same(a: str | Path, b: str | Path) -> bool:
    return contents(a) == contents(b) and lines(a) == lines(b)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_make_the_same_run_byte_for_byte(done: Run, count: int) -> None:
    done("-o", "whole")
    for index in range(count, 0, -1):
        done("-o", "parts", "--shard", f"{index}/{count}")
    assert same("whole", "parts")
    names = sorted(path.name for path in Path("parts").glob("*.json*"))
    # 21 images are six batches of 4, so that a seventh shard has nothing to do.
    filled = [f"results.{index}-of-{count}.jsonl" for index in range(1, min(count, 6) + 1)]
    assert names == sorted([*filled, "run.json", "environment.json"])
    shares = [{line.image for line in RunWriter(Path("parts"), Shard(i + 1, count)).own()}
              for i in range(count)]  # fmt: skip
    assert sum(map(len, shares)) == 21
    assert all(int(name[:2]) // 4 % count == i for i, names in enumerate(shares) for name in names)
    assert not Path("parts", LOCK).exists()


def test_the_last_shard_draws_all_on_one_scale(done: Run) -> None:
    done("-o", "whole", "--scale", "shared")
    done("-o", "parts", "--scale", "shared", "--shard", "2/2")
    assert not list(Path("parts").rglob("*.png"))
    done("-o", "parts", "--scale", "shared", "--shard", "1/2")
    assert list(Path("parts").rglob("*.png")) and same("whole", "parts")


@pytest.mark.parametrize("shards", [(), ("1/2", "2/2"), ("2/2", "1/2")], ids=" ".join)
@pytest.mark.parametrize("damage", ["another", "broken"])
def test_a_resumed_run_shares_the_scale_of_the_images_that_are_there(
    done: Run, saliency: Run, damage: str, shards: tuple[str, ...]
) -> None:
    """The image that sets the scale is replaced by a weaker one, or by none."""
    done("-o", "alone")
    there = [line for line in lines("alone") if isinstance(line, Done)]
    strongest = max(there, key=lambda line: line.scales["heatmap"])
    parts: list[tuple[str, ...]] = [("--shard", shard) for shard in shards] or [()]
    for part in parts:
        done("-o", "out", "--scale", "shared", *part)
    before = scales("out")
    assert before[strongest.seed] == strongest.scales["heatmap"]
    if damage == "broken":
        Path("in", strongest.image).write_bytes(b"none")
    else:
        weakest = min(there, key=lambda line: line.scales["heatmap"])
        np.save(f"in/{strongest.image}", np.load(f"in/{weakest.image}"))
    code = 4 if damage == "broken" else 0
    again = [saliency("-o", "out", "--resume", "--scale", "shared", *part) for part in parts]
    assert max(each.exit_code for each in again) == code
    assert saliency("-o", "fresh", "--scale", "shared").exit_code == code
    assert scales("out")[strongest.seed] < before[strongest.seed]
    if damage == "another":
        assert same("out", "fresh")
    assert lines("out") == lines("fresh")


def scales(out: str) -> dict[str, float]:
    """The scale of each seed, which all its images share."""
    found = {(line.seed, line.scales["heatmap"]) for line in lines(out) if isinstance(line, Done)}
    assert len(found) == len(dict(found))
    return dict(found)


def test_resume_does_what_a_lost_shard_left(done: Run) -> None:
    done("-o", "whole")
    done("-o", "parts", "--shard", "1/2")
    done("-o", "parts", "--shard", "2/2")
    # As after a crash in its second batch: a line cut short, and files without a line.
    path = Path("parts/results.2-of-2.jsonl")
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:10]) + rows[10][:30])
    Path("parts/14.npy/top/.gradient.npy.part").write_bytes(b"half")
    stamp = Path("parts/00.npy/top/gradient.npy").stat().st_mtime_ns
    done("-o", "parts", "--shard", "2/2", "--resume")
    assert same("whole", "parts")
    assert path.read_bytes() == b"".join(rows)
    assert Path("parts/00.npy/top/gradient.npy").stat().st_mtime_ns == stamp


def test_a_whole_resume_takes_the_shards_together(done: Run) -> None:
    done("-o", "whole")
    done("-o", "parts", "--shard", "2/3")
    done("-o", "parts", "--resume")
    assert same("whole", "parts")
    assert Path("parts/results.jsonl").read_bytes() == Path("whole/results.jsonl").read_bytes()
    assert [path.name for path in Path("parts").glob("*.jsonl")] == ["results.jsonl"]


@pytest.mark.parametrize(
    "arguments, says",
    [
        (("--shard", "1/2"), "--overwrite to replace"),
        (("--shard", "1/3", "--resume"), "not cut into shards like results.1-of-3.jsonl"),
        (("--shard", "1/2", "--resume", "--clip", 98), "settings.clip was 99.0, is 98.0"),
        (("--shard", "0/2"), "write it as I/N"),
        (("--shard", "3/2"), "write it as I/N"),
        (("--shard", "1"), "write it as I/N"),
        (("--shard", "1/2", "--figure", "f.png"), "one shard has not all results"),
    ],
)
def test_what_does_not_fit_is_refused(
    done: Run, saliency: Run, arguments: tuple[object, ...], says: str
) -> None:
    done("-o", "out", "--shard", "1/2")
    before = {**contents("out"), "lines": lines("out")}
    result = saliency("-o", "out", *arguments)
    assert result.exit_code == 2 and says in result.stderr
    assert before == {**contents("out"), "lines": lines("out")}


def test_overwrite_takes_another_runs_results_away_once(done: Run) -> None:
    done("-o", "out", "--view", "signed")
    for index in (1, 2):
        done("-o", "out", "--shard", f"{index}/2", "--overwrite")
    done("-o", "whole")
    assert same("out", "whole")
    # The same again: each shard replaces its own.
    stamp = Path("out/04.npy/top/gradient.npy").stat().st_mtime_ns
    done("-o", "out", "--shard", "1/2", "--overwrite")
    assert same("out", "whole")
    assert Path("out/04.npy/top/gradient.npy").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "first, second",
    [
        ((), ("--shard", "1/2")),
        (("--shard", "1/2"), ("--shard", "2/2", "--seed", "class:2")),
        (("--shard", "1/2"), ("--shard", "1/3")),
    ],
)
def test_a_shard_takes_no_results_away_by_itself(
    done: Run, saliency: Run, first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    done("-o", "out", *first)
    before, kept = contents("out"), lines("out")
    result = saliency("-o", "out", *second)
    assert result.exit_code == 2 and "--overwrite to replace" in result.stderr
    assert contents("out") == before and lines("out") == kept


HOLDER = """
import sys
from pathlib import Path
from gradviz.runs.lock import Shard
from gradviz.runs.lock import lock_folder
with lock_folder(Path(sys.argv[1]), Shard(*map(int, sys.argv[2:])) if sys.argv[2:] else None):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "held, wanted, free",
    [
        ((), (), False),
        ((), (1, 2), False),
        ((1, 2), (), False),
        ((1, 2), (1, 2), False),
        ((1, 2), (2, 2), True),
        ((), (2, 2), False),
        ((), (4096, 4096), False),
        ((2, 2), (), False),
        ((4096, 4096), (), False),
        ((2, 3), (1, 3), True),
        ((2, 3), (3, 3), True),
    ],
)
def test_one_run_at_a_time(
    tmp_path: Path, held: tuple[int, ...], wanted: tuple[int, ...], free: bool
) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path), *map(str, held)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        try:
            with lock_folder(tmp_path, Shard(*wanted) if wanted else None):
                assert free
        except UsageError as error:
            assert not free and "one run at a time" in str(error)
        assert (tmp_path / LOCK).exists()
        holder.stdin.close()
    with lock_folder(tmp_path, None):
        assert (tmp_path / LOCK).exists()
    assert not (tmp_path / LOCK).exists()


@pytest.mark.process
@pytest.mark.parametrize("other", [1, 3, None])
def test_other_shards_are_seen_on_both_sides(tmp_path: Path, other: int | None) -> None:
    if other is None:
        with lock_folder(tmp_path, Shard(2, 3)) as lock, lock.exclusive():
            assert not lock.has_others(Shard(2, 3))
        return
    command = [sys.executable, "-c", HOLDER, str(tmp_path), str(other), "3"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        with lock_folder(tmp_path, Shard(2, 3)) as lock:
            for _ in range(2):  # looking takes no place away
                with lock.exclusive():
                    assert lock.has_others(Shard(2, 3))
        holder.stdin.close()


@pytest.mark.process
def test_looking_for_others_keeps_them_out_no_longer(tmp_path: Path) -> None:
    with lock_folder(tmp_path, Shard(2, 3)) as lock:
        with lock.exclusive():
            assert not lock.has_others(Shard(2, 3))
        for index, free in ((1, True), (2, False), (3, True)):
            command = [sys.executable, "-c", HOLDER, str(tmp_path), str(index), "3"]
            done = subprocess.run(command, input="", capture_output=True, text=True, check=False)
            assert (done.returncode == 0) == free, done.stderr


@pytest.mark.parametrize("leaves", ["nothing", "another"])
def test_a_lock_file_that_goes_away_while_it_is_locked(
    leaves: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever held it before has removed it; the lock that is held is that of the file there."""
    lock = gradviz.runs.lock._lock
    calls: list[int] = []

    def late(file: int, first: int, length: int) -> bool:
        if not calls:
            (tmp_path / LOCK).unlink()
            if leaves == "another":
                (tmp_path / LOCK).touch()
        calls.append(first)
        return lock(file, first, length)

    monkeypatch.setattr(gradviz.runs.lock, "_lock", late)
    with lock_folder(tmp_path, None) as held:
        assert os.path.samestat(os.fstat(held._file), (tmp_path / LOCK).stat())
    assert not (tmp_path / LOCK).exists()


@pytest.mark.process
def test_a_shard_that_comes_as_the_same_one_leaves_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is locked any more when the file is closed, as the last act; another shard works."""
    came: list[int] = []
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]

    def late(file: int) -> None:
        done = subprocess.run([*command, "1", "3"], input="", capture_output=True, text=True)
        came.append(done.returncode)
        os.close(file)

    with subprocess.Popen([*command, "2", "3"], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        monkeypatch.setattr(gradviz.runs.lock, "os", SimpleNamespace(**{**vars(os), "close": late}))
        with lock_folder(tmp_path, Shard(1, 3)):
            pass
        holder.stdin.close()
    assert came == [0]


COMER = """
import sys, time
from pathlib import Path
import gradviz.runs.lock
from gradviz.errors import UsageError
from gradviz.runs.shards import Shard
from gradviz.runs.lock import lock_folder
folder, index = Path(sys.argv[1]), int(sys.argv[2])
count = folder / "count"

def add():
    number = int(count.read_text())
    time.sleep(0)
    count.write_text(str(number + 1))

done = 0
while done < 300:
    if done % 3 == 0:  # a whole run, alone
        try:
            with lock_folder(folder, None):
                add()
                done += 1
        except UsageError:
            pass
    else:
        try:
            with lock_folder(folder, Shard(index, 3)) as lock, lock.exclusive():
                add()
                done += 1
        except UsageError:
            pass
"""


@pytest.mark.process
def test_shards_come_and_go_without_being_in_each_others_way(tmp_path: Path) -> None:
    """Each adds 1 to a number 300 times, which is less than 900 if two are there at once."""
    (tmp_path / "count").write_text("0")
    comers = [
        subprocess.Popen([sys.executable, "-c", COMER, str(tmp_path), str(index)])
        for index in (1, 2, 3)
    ]
    assert [comer.wait(120) for comer in comers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "900"
    assert not (tmp_path / LOCK).exists()


@pytest.mark.process
def test_a_shard_of_something_else_is_refused_while_others_work(done: Run, saliency: Run) -> None:
    done("-o", "out", "--shard", "1/2")
    command = [sys.executable, "-c", HOLDER, "out", "1", "2"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        holder.stdout.readline()
        result = saliency("-o", "out", "--shard", "2/2", "--overwrite", "--clip", 98)
        assert result.exit_code == 2 and "other shards are at work" in result.stderr
        holder.stdin.close()
    done("-o", "out", "--shard", "2/2", "--overwrite", "--clip", 98)
    assert len(lines("out")) == 2 * 9


def test_shares_by_name() -> None:
    assert shard_from("2/4") == Shard(2, 4)
    for text in ("", "1", "0/1", "5/4", "1/0", "-1/2", "1/2/3", "a/b", "1/99999", "²/3"):
        with pytest.raises(UsageError, match="--shard"):
            shard_from(text)
    assert shard_here(None, {}) is None
    assert shard_here("2/4", {}) == Shard(2, 4)
    assert shard_here(None, {"RANK": "0", "WORLD_SIZE": "3"}) == Shard(1, 3)
    assert shard_here(None, {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert shard_here(None, {"RANK": "0"}) is None
    for environment in ({"RANK": "3", "WORLD_SIZE": "3"}, {"RANK": "a", "WORLD_SIZE": "3"}):
        with pytest.raises(UsageError, match="RANK"):
            shard_here(None, environment)
    with pytest.raises(UsageError, match="torchrun"):
        shard_here("1/2", {"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.process
def test_two_ranks_of_torchrun_are_one_run(done: Run) -> None:
    """One real start: two processes that begin at the same moment."""
    done("-o", "whole")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    program = [sys.executable, "-m", "gradviz", *map(str, COMMAND), "-o", "ranks"]
    ended = subprocess.run(
        [*torchrun, "--no-python", *program],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert same("whole", "ranks")
    assert json.loads(Path("ranks/run.json").read_text())["kind"] == "saliency"
    assert len(list(Path("ranks").glob("results.*-of-2.jsonl"))) == 2


def test_a_shard_that_replaces_its_results_leaves_no_old_ones_and_those_of_others(
    done: Run, saliency: Run
) -> None:
    """An image that was computed before and is broken now; a line that names another's files."""
    for index in (1, 2):
        done("-o", "out", "--shard", f"{index}/2")
    path = Path("out/results.1-of-2.jsonl")
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    rows[0]["files"]["gradient"] = "04.npy/top/gradient.npy"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("in/01.npy").write_bytes(b"none")
    # Only the command that replaces them may not bring them back.
    result = saliency("-o", "out", "--shard", "1/2", "--overwrite")
    assert result.exit_code == 4, result.stderr
    assert Path("out/04.npy/top/gradient.npy").exists()
    assert not Path("out/01.npy").exists()
