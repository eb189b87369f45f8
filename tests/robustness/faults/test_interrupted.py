"""A run that is killed again and again, and resumed, leaves what an undisturbed one leaves.

Each test starts about a dozen copies of a process that has imported everything, of some tenths of
a second each. `make fuzz` kills the two shards 100 times.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from tests.helpers.formats import script
from tests.helpers.processes import Started, photos
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.process

KILLS = 6


def contents(out: Path) -> dict[str, object]:
    """Every file of a run; of the record, what is the same however often it was resumed."""
    found: dict[str, object] = {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }
    record = json.loads((out / "run.json").read_bytes())
    del found["environment.json"]
    return {**found, "run.json": {**record, "command": None}}


@pytest.fixture
def work(tmp_path: Path) -> list[str | Path]:
    return [*short_run(tmp_path, 24), "--batch-size", "3"]


def short_run(place: Path, count: int) -> list[str | Path]:
    """A run of some tenths of a second, with a picture that cannot be read."""
    folder = photos(place / "photos", count)
    (folder / "0007.png").write_bytes(b"no picture")
    model = script("x * x / 2", place / "model.ts")
    return ["saliency", model, folder, "--seed", "ones", "--seed", "pixel:1,1"]


@pytest.mark.parametrize("scale", ["image", "shared"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_at_random_moments(
    number: signal.Signals, scale: str, tmp_path: Path, work: list[str | Path]
) -> None:
    work += ["--scale", scale]
    started = time.monotonic()
    whole = Started([*work, "-o", tmp_path / "whole"], tmp_path).wait()
    took = time.monotonic() - started
    assert whole is not None and whole.code == 4

    out = tmp_path / "out"
    moments = random.Random(int(number))
    done: set[int] = set()
    cut_short = 0
    for turn in range(KILLS):
        process = Started([*work, "-o", out, "--resume"], tmp_path)
        if turn:
            time.sleep(moments.uniform(0, took))
        else:  # in the middle for certain: a first result is there, and the last one is not
            wait_until((out / "results.jsonl").exists, process.process.is_alive, every=0.001)
        process.send(number)
        left = process.wait()
        assert left is not None and left.code in (4, ended(number)), left
        cut_short += left.code == ended(number)
        if number != signal.SIGKILL:
            assert [*out.rglob("*.part")] == []
            last = left.stderr.splitlines()[-1]
            assert last.startswith("error: interrupted") == (left.code == 130), left.stderr
        before, done = done, finished(out)
        assert before <= done
    assert cut_short
    final = Started([*work, "-o", out, "--resume"], tmp_path).wait()
    assert final is not None and final.code == 4, final
    assert contents(out) == contents(tmp_path / "whole")


def ended(number: signal.Signals) -> int:
    return -number if number == signal.SIGKILL else 130


def finished(out: Path) -> set[int]:
    """The batches of three images and two seeds that need not be computed again."""
    results = out / "results.jsonl"
    rows = results.read_bytes().split(b"\n")[:-1] if results.exists() else []
    lines = [json.loads(row) for row in rows]
    count = Counter(int(line["image"][:4]) // 3 for line in lines if line["status"] == "ok")
    return {batch for batch, results in count.items() if results == 6}


ROUNDS = 100 if os.environ.get("GRADVIZ_FUZZ") == "long" else 4


@pytest.mark.parametrize("scale", ["image", "shared"])
def test_two_shards_that_are_killed_at_the_same_moment(
    scale: str, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """Then resumed, each by itself: the same bytes as of shards that nobody disturbed."""
    work = [*short_run(tmp_path, 8), "--batch-size", "1", "--scale", scale]
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()

    def start(out: Path, *more: str) -> list[Started]:
        shards = zip((1, 2), places, strict=True)
        return [Started([*work, "-o", out, "--shard", f"{n}/2", *more], at) for n, at in shards]

    shards = start(tmp_path / "whole")
    wait_until_begun(tmp_path / "whole", shards)
    started = time.monotonic()
    for shard in shards:
        left = shard.wait()
        assert left is not None and left.code in (0, 4), left
    took = time.monotonic() - started
    whole = contents(tmp_path / "whole")
    moments = random.Random(scale)
    killed = both = torn = 0
    for turn in range(ROUNDS):
        out = tmp_path / f"out{turn}"
        shards = start(out, "--resume")
        wait_until_begun(out, shards)
        if turn:
            time.sleep(moments.uniform(0, took))
        else:  # in the middle of an image for certain
            wait_until_torn(out, whole, shards)
        for shard in shards:
            shard.send(signal.SIGKILL)
        codes = [left.code for left in [shard.wait() for shard in shards] if left is not None]
        killed += codes.count(-signal.SIGKILL)
        both += codes == 2 * [-signal.SIGKILL]
        torn += bool(torn_images(out, whole))
        for shard in start(out, "--resume"):
            left = shard.wait()
            assert left is not None and left.code in (0, 4), left
        assert contents(out) == whole, turn
        shutil.rmtree(out)
    assert killed and both and torn
    record_property("rounds", f"{ROUNDS}: both killed in {both}, an image torn in {torn}")


def torn_images(out: Path, whole: Iterable[str]) -> set[str]:
    """The images that have some of their arrays, or of their pictures, and not all."""
    found = set()
    for suffix in (".npy", ".png"):
        due = Counter(name.split("/")[0] for name in whole if name.endswith(suffix))
        there = Counter(path.relative_to(out).parts[0] for path in out.rglob(f"[!.]*{suffix}"))
        files = {name: count for name, count in there.items() if not name.startswith("results")}
        found |= {name for name, count in files.items() if 0 < count < due[name]}
    return found


def wait_until_begun(out: Path, shards: Sequence[Started]) -> None:
    wait_until((out / "run.json").exists, lambda: any_alive(shards), every=0.001)


def any_alive(shards: Sequence[Started]) -> bool:
    return any(shard.process.is_alive() for shard in shards)


def wait_until_torn(out: Path, whole: Iterable[str], shards: Sequence[Started]) -> None:
    """Let shards go on, a moment at a time, until an image is torn; they are stopped then."""

    def torn() -> set[str]:
        for shard in shards:
            shard.send(signal.SIGCONT)
        time.sleep(0.002)
        for shard in shards:
            shard.send(signal.SIGSTOP)
        time.sleep(0.01)  # each of their threads stops for itself
        return torn_images(out, whole)

    wait_until(torn, lambda: any_alive(shards), every=0)
