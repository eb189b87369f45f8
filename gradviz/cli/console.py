"""Results on stdout, messages on stderr, and the exit code that a failure becomes."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, TextIO, TypeVar

import typer
from rich import progress
from rich.console import Console as Terminal
from rich.text import Text

from gradviz.cli.options import MessageOptions
from gradviz.cli.process import interruptible, reserved_stdout
from gradviz.cli.steps import EVERY, Steps
from gradviz.errors import ExitCode, GradvizError, OptionsMissing, UsageError
from gradviz.text import harmless, one_line

if TYPE_CHECKING:
    from gradviz.runs.schema import Document

_Item = TypeVar("_Item")


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Format rows as lines with columns of even width, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


_INTERRUPTED = "interrupted; what is finished stays, and --resume goes on from there"


class _Rate(progress.ProgressColumn):
    def render(self, task: progress.Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


class Console:
    """The output of one command: results to stdout, messages to stderr, as its options require."""

    def __init__(self, options: MessageOptions, stdout: TextIO) -> None:
        self._options = options
        self._stdout = stdout
        self._answered = False
        # Settled now: a model may replace sys.stderr.
        self._stderr = Terminal(file=sys.stderr)
        self._work: tuple[str, Steps, progress.Progress, progress.TaskID] | None = None

    def results(
        self, document: Document, rows: Iterable[str], *, despite_quiet: bool = False
    ) -> None:
        """Write the results: one JSON document with `--json`, else rows, unless `--quiet`.

        Args:
            document: the results for programs.
            rows: the same for people, one line each.
            despite_quiet: True if the command is of no use without them.
        """
        if self._options.json:
            rows = [document.json_text()]
            self._answered = True
        elif self._options.quiet and not despite_quiet:
            return
        else:
            rows = map(harmless, rows)
        for row in rows:
            self._stdout.write(row + "\n")
        self._stdout.flush()

    def document(self, document: Document, rows: Iterable[str], out: Path | None) -> None:
        """Write results as `results` does, and the document into a folder by its kind.

        Args:
            document: the results for programs.
            rows: the same for people, one line each.
            out: the folder; None for none.

        Raises:
            UsageError: the disk refuses.
        """
        if out is not None:
            from gradviz.files import write_whole

            content = (document.json_text() + "\n").encode()
            write_whole(
                out / f"{document.content()['kind']}.json", lambda file: file.write(content)
            )
        self.results(document, rows)

    def failure(self, error: BaseException, message: str, code: int) -> None:
        """Write the document of a failure with `--json`, unless results were written before.

        Args:
            error: the failure.
            message: the line for people.
            code: the exit code.
        """
        if self._options.json and not self._answered:
            from gradviz.runs.schema import ErrorDocument

            document = ErrorDocument(
                schema=1,
                kind="error",
                exit_code=int(code),
                type=type(error).__name__,
                message=one_line(message),
            )
            with suppress(UsageError):  # stdout cannot be written: stderr has the message
                self.results(document, ())

    def error(self, text: str) -> None:
        """Print an error, in one line."""
        self._print("error", "bold red", text)

    def warn(self, text: str) -> None:
        """Print a warning, in one line."""
        if not self._options.quiet:
            self._print("warning", "yellow", text)

    def note(self, text: str) -> None:
        """Print a note on progress."""
        if not self._options.quiet:
            self._show(Text(one_line(self._named(text))))

    def detail(self, text: str) -> None:
        """Print a detail that only `-v` shows."""
        if self._options.verbose:
            self.note(text)

    def progress(
        self, items: Iterable[_Item], total: int, what: str, points: int = 1
    ) -> Generator[_Item]:
        """Pass the items on, with a bar on a terminal.

        Args:
            items: the items, which take long to compute.
            total: the number of items.
            what: the name of the work.
            points: the most points that an item takes. If there are several, `show_points` moves
                the bar, and without a terminal a line on the progress is printed every ten seconds.
        """
        hidden = self._options.quiet or not self._stderr.is_terminal
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            _Rate(),
            progress.TimeRemainingColumn(),
        )
        # Results go to stdout as they are: Rich would otherwise catch them for its own stream.
        with progress.Progress(
            *columns, console=self._stderr, disable=hidden, transient=True, redirect_stdout=False
        ) as bar:
            task = bar.add_task(what if points == 1 else f"{what} points", total=total * points)
            steps = Steps(total, points)
            self._work = what, steps, bar, task
            for item in items:
                steps.end_item()
                self._show_steps()
                yield item
        self._work = None

    @contextmanager
    def steps(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show the step that a long computation is at.

        Without a terminal, a line is printed every ten seconds.

        Args:
            what: the name of the work.

        Returns:
            the function that takes the next step, in words.
        """
        shown = self._stderr.is_terminal and not self._options.quiet
        status = self._stderr.status(what) if shown else None
        told = monotonic()

        def show(step: str) -> None:
            nonlocal told
            text = one_line(f"{what}: {step}")
            if status is not None:
                status.update(Text(text))
            elif monotonic() - told >= EVERY:
                told = monotonic()
                self.note(text)

        with status or nullcontext():
            yield show

    def show_points(self, done: int) -> None:
        """Show how many points of the current image are done."""
        if self._work is not None:
            self._work[1].count_points(done)
            self._show_steps()

    def _show_steps(self) -> None:
        if self._work is not None:
            what, steps, bar, task = self._work
            bar.update(task, completed=steps.done)
            if steps.points > 1 and bar.disable and (line := steps.due()) is not None:
                self.note(f"{what}: {line}")

    def _print(self, kind: str, style: str, text: str) -> None:
        self._show(Text.assemble((f"{kind}: ", style), one_line(self._named(text))))

    def _named(self, text: str) -> str:
        """Put the model in front of a message, if there are several."""
        about = self._options.about
        return text if not about or about in text else f"{about}: {text}"

    def _show(self, text: Text) -> None:
        with suppress(ValueError):  # a model may close the stream
            self._stderr.print(text, soft_wrap=True)


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError(
            f"the working folder cannot be read ({error.strerror}): go to another one"
        ) from error


@contextmanager
def reporting(options: MessageOptions) -> Iterator[Console]:
    """Turn errors of the core into one line and an exit code.

    Any other exception, but for a disk's refusal, is a bug in gradviz and keeps its traceback, exit
    code 1.
    """
    with interruptible(), reserved_stdout() as stdout, warnings.catch_warnings():
        if options.quiet:  # those of libraries as well as ours
            warnings.simplefilter("ignore")
        console = Console(options, stdout)
        log, details = logging.getLogger("gradviz"), _Details(console)
        log.addHandler(details)
        log.setLevel(logging.INFO if options.verbose else logging.WARNING)
        try:
            _check_working_folder()
            yield console
        except KeyboardInterrupt as error:
            console.error(_INTERRUPTED)
            console.failure(error, _INTERRUPTED, ExitCode.INTERRUPTED)
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        except typer.Exit:
            raise
        except Exception as error:
            failure = _explained(error)
            if failure is None:
                console.failure(error, str(error), ExitCode.BUG)
                raise
            if options.debug:
                traceback.print_exception(error, file=sys.stderr)
            message = _message(failure)
            console.error(message)
            console.failure(failure, message, failure.exit_code)
            raise typer.Exit(failure.exit_code) from None
        finally:
            log.removeHandler(details)


def _explained(error: Exception) -> GradvizError | None:
    """Phrase a failure that the user can understand; None for a bug."""
    if isinstance(error, GradvizError):
        return error
    if isinstance(error, PermissionError):
        # pathlib raises it if only the folder above may not be entered.
        return UsageError(
            f"{error.filename}: permission denied; make it readable, or name another one"
        )
    from gradviz.files import NO_TEMPORARY, lacks_temporary

    return UsageError(NO_TEMPORARY) if lacks_temporary(error) else None


_LONGEST_COMMAND = 1000
"""The most characters of a command that a message repeats: a shell may have listed many images."""


def _message(error: GradvizError) -> str:
    """Phrase an error for people, with the command to copy if options are missing from it."""
    words = sys.argv[1:]
    if isinstance(error, OptionsMissing) and sum(map(len, words)) <= _LONGEST_COMMAND:
        return error.with_command(words)
    return str(error)


class _Details(logging.Handler):
    """Prints what the core logs: warnings, and details for `-v`."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        warns = record.levelno >= logging.WARNING
        (self._console.warn if warns else self._console.detail)(record.getMessage())
