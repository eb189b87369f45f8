"""The resources that a process shares with its shell: standard streams and signals.

This module imports next to nothing, so that it takes effect before the rest of gradviz is read.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from gradviz.descriptors import keep, kept
from gradviz.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def prepare_process() -> None:
    """Make streams that cannot fail halfway, and let signals end the process quietly."""
    # A file opened later would get the number of a closed stream.
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = results_stream(1, sys.stdout)
    # A copy, since a model may close the descriptor.
    messages = os.dup(2)
    keep(messages, spare=2)
    sys.stderr = _text(_MessageStream(messages, "w"), sys.stderr, _Messages)
    for each in _handled_signals():
        signal.signal(each, _leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise KeyboardInterrupt, so that unfinished work is cleaned up.

    Python raises it between two of its own instructions, of which a loop in TorchScript has none.
    So a second signal ends the process at once, from a thread that waits for it.
    """
    before = {each: signal.signal(each, _interrupt) for each in _handled_signals()}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    earlier = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_at_second, args=(reader, before.keys()), daemon=True).start()
    try:
        with kept(writer):
            yield
    finally:
        signal.set_wakeup_fd(earlier)
        os.close(writer)
        for each, handler in before.items():
            signal.signal(each, handler)


def _end_at_second(reader: int, awaited: Collection[int]) -> None:
    """Read the numbers of signals as they come, until the other end is closed."""
    count = 0
    with kept(reader):
        while number := os.read(reader, 1):
            count += number[0] in awaited
            if count == 2:
                _leave(number[0], None)
    os.close(reader)


def _handled_signals() -> list[signal.Signals]:
    """List the signals that are not ignored, as they are under `nohup` and a script's `&`."""
    return [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]


def _leave(number: int, frame: FrameType | None) -> None:
    # A module that is being imported may swallow the exception, or replace it.
    with suppress(OSError):
        os.write(2, b"error: interrupted\n")
    os._exit(ExitCode.INTERRUPTED)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def results_stream(number: int, like: TextIO | None) -> TextIO:
    """Open a text stream to the file descriptor `number`, in the encoding of another stream.

    Writing to it raises UsageError if the disk is full.

    Args:
        number: the file descriptor.
        like: the stream whose encoding is used.
    """
    return _text(_ResultStream(number, "w", closefd=number > 2), like)


class _Messages(io.TextIOWrapper):
    """The text of messages; it stays open if a model closes it."""

    def close(self) -> None:
        self.flush()


def _text(
    raw: io.FileIO, like: TextIO | None, kind: type[io.TextIOWrapper] = io.TextIOWrapper
) -> TextIO:
    return kind(
        io.BufferedWriter(raw),
        encoding="utf-8" if like is None else like.encoding,
        errors="backslashreplace",
        line_buffering=True,
    )


class _ResultStream(io.FileIO):
    """The stream of results; a reader that closes it early, such as `head`, is no error."""

    gone = False

    def write(self, data: ReadableBuffer, /) -> int:
        if not self.gone:
            try:
                return super().write(data)
            except OSError as error:
                self.gone = True  # the rest of the buffer would fail again at the end
                if not isinstance(error, BrokenPipeError):
                    raise UsageError(f"stdout: {error.strerror}; send it elsewhere") from error
        return memoryview(data).nbytes


class _MessageStream(io.FileIO):
    """The stream of messages; errors of a closed or full stderr are ignored."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


@contextmanager
def reserved_stdout() -> Iterator[TextIO]:
    """Reserve the standard output for results: what a model prints goes to stderr.

    Libraries in C print past `sys.stdout`, and as late as the end of the process. So the descriptor
    itself is redirected permanently, and results are written to a copy of it.
    """
    stdout = sys.stdout
    try:
        copy = os.dup(stdout.fileno())
    except (OSError, ValueError):  # not a real file, as in a test or a notebook
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    stdout.flush()
    os.dup2(sys.stderr.fileno(), stdout.fileno())
    with kept(copy), results_stream(copy, stdout) as results:
        yield results
