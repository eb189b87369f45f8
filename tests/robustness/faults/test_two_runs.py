"""Two runs into one folder at once: the second is refused, and the first does not notice.

The first one is stopped in the middle while the second tries, so nothing depends on who is faster.
A run is a copy of a process that has imported everything, of some tenths of a second.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.commands import Gradviz
from tests.helpers.formats import script
from tests.helpers.processes import Started, photos
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.process


@pytest.fixture
def work(tmp_path: Path) -> list[str]:
    folder, model = photos(tmp_path / "photos", 40), script("x * x / 2", tmp_path / "model.ts")
    return ["saliency", str(model), str(folder), "--batch-size", "2"]


@pytest.fixture
def stopped(work: list[str], tmp_path: Path) -> Iterator[Started]:
    """A run into `out` that has begun, and does not go on until it is told to."""
    run = Started([*work, "-o", tmp_path / "out"], tmp_path)
    results = tmp_path / "out" / "results.jsonl"
    wait_until(results.exists, run.process.is_alive, every=0.001)
    run.send(signal.SIGSTOP)
    before: dict[str, bytes] = {}
    while before != (before := contents(results.parent)):
        time.sleep(0.05)  # each of its threads stops for itself
    yield run
    run.send(signal.SIGKILL)
    run.wait()


def contents(out: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("second", ["--overwrite", "--resume", "receptive-field"])
def test_the_second_is_refused(
    second: str, stopped: Started, work: list[str], gradviz: Gradviz, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = contents(out)
    command = [*work, second]
    if second == "receptive-field":
        command = [second, work[1], "--overwrite"]
    result = gradviz(*command, "-o", out)
    assert result.exit_code == 2
    (said,) = result.stderr.splitlines()
    assert said.startswith(f"error: {out}: ") and "one run at a time" in said
    assert contents(out) == before
    stopped.send(signal.SIGCONT)
    ended = stopped.wait()
    assert ended is not None and ended.code == 0, ended
    assert gradviz(*work, "-o", tmp_path / "alone").exit_code == 0
    mine, alone = (
        {name.removeprefix(str(place)): data for name, data in contents(place).items()}
        for place in (out, tmp_path / "alone")
    )
    assert mine.keys() == alone.keys()
    other = {name for name in mine if mine[name] != alone[name]}
    assert other - {"/environment.json"} == {"/run.json"}


def test_a_run_that_was_killed_is_in_nobodys_way(
    stopped: Started, work: list[str], gradviz: Gradviz, tmp_path: Path
) -> None:
    stopped.send(signal.SIGKILL)
    stopped.wait()
    result = gradviz(*work, "-o", tmp_path / "out", "--resume")
    assert result.exit_code == 0, result.stderr
