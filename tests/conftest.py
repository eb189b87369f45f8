"""What every test may use: the command line, in this process, and the sample files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

# Small networks spend their time on starting threads; and as many tests run at once as cores are.
os.environ["OMP_NUM_THREADS"] = "1"

from tests.helpers.commands import Gradviz
from tests.helpers.paths import ROOT

# A shell's `make test &` starts them with it ignored, which programs respect, gradviz too.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many hostile files and models came to what they must; a test may count as several."""
    passed = [
        report
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and report.nodeid.startswith("tests/robustness/hostile/")
    ]
    if passed:
        cases = sum(dict(report.user_properties).get("cases", 1) for report in passed)
        terminalreporter.write_line(f"{cases} hostile cases held")


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and no wrapping, wherever the tests run."""
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def gradviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gradviz]:
    """Run `gradviz ARGUMENTS...` in an empty folder; a bug in gradviz fails the test."""
    from gradviz.cli.app import make_app

    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str | Path) -> Result:
        words = [str(argument) for argument in arguments]
        result = CliRunner().invoke(make_app(words[0] if words else ""), words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the sample models."""
    return ROOT / "sample_models"


@pytest.fixture(scope="session")
def images() -> Path:
    """The folder of the sample images."""
    return ROOT / "sample_images"
