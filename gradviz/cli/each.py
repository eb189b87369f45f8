"""`--each`: one command for each of several models, in copies of a process that has read torch.

A copy is a fork: it begins where the command alone would begin, whatever the models before it did,
and so its numbers are the same bytes. Nothing is computed before, so that no thread is lost.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass, replace
from functools import partial, wraps
from glob import glob, has_magic
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradviz.cli.console import Console, columns, reporting
from gradviz.cli.process import results_stream
from gradviz.errors import ExitCode, UsageError
from gradviz.text import one_line

if TYPE_CHECKING:
    from gradviz.runs.schema import EachDocument, EachEntry

FLAG = "--each"

END = b"\0"
"""Ends the document that a copy prints; the names of modules follow."""

PACKAGES = (
    *("gradviz", "torch", "numpy", "PIL", "cmap", "sympy", "mpmath", "safetensors"),
    *("torchvision", "timm", "transformers", "segmentation_models_pytorch"),
)
"""The packages whose modules are imported for all models as soon as one has needed them."""


def model_in_place(words: Sequence[str]) -> list[str]:
    """Put the glob of `--each` in the place of MODEL too, since arguments are told by their order.

    Args:
        words: the words behind the name of a command.
    """
    for place, word in enumerate(words):
        if word == "--":
            break
        flag, equals, value = word.partition("=")
        if flag == FLAG and (equals or place + 1 < len(words)):
            return [value if equals else words[place + 1], *words]
    return list(words)


def over_models(name: str, command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `--each`.

    Args:
        name: the name of the command.
        command: the function that runs it for one model, called by keyword.
    """

    @wraps(command)
    def call(**given: Any) -> None:
        pattern = given["model_options"].each
        if pattern is None:
            command(**given)
            return
        with reporting(given["message_options"]) as console:
            out, models = _folder(given), find_models(pattern, _folder(given))
            _check_apart(given)
            import_module("gradviz.model.load")  # imports torch
            # Looking for garbage would write into the memory that copies share.
            gc.collect()
            gc.freeze()
            entries = []
            for model, place in models.items():
                folder = None if out is None else out / place
                console.detail(f"{model}: begins")
                code, text = _in_copy(partial(_alone, name, command, given, model, folder))
                entries.append(_entry(model, folder, code, text))
            _report(name, entries, console)

    return call


def find_models(pattern: str, out: Path | None) -> dict[str, str]:
    """Find the models that a glob stands for, in the order of their names.

    Args:
        pattern: the glob, or a path; `**` stands for any number of folders.
        out: the output folder, which is no model.

    Returns:
        the path of each model, and the folder of its results below the output folder.

    Raises:
        UsageError: there is none.
    """
    parts = Path(pattern).parts
    magic = next((n for n, part in enumerate(parts) if has_magic(part)), len(parts) - 1)
    root = Path(*parts[:magic])
    own = None if out is None else os.path.realpath(out)
    matches = sorted(glob(pattern, recursive=True))  # noqa: PTH207  a Path would lose `./`
    found = [path for path in matches if os.path.realpath(path) != own]
    if not found:
        raise UsageError(f"{FLAG} {pattern!r}: no file or folder matches; check the path")
    return {path: Path(path).relative_to(root).as_posix() for path in found}


def _folder(given: Mapping[str, Any]) -> Path | None:
    """Return the folder of `-o`."""
    found: Path | None = next(each.out for each in given.values() if hasattr(each, "out"))
    return found


def _check_apart(given: Mapping[str, Any]) -> None:
    """Refuse options that write one file for all models.

    Raises:
        UsageError: one is given.
    """
    for group in given.values():
        for option in ("figure", "csv"):
            if getattr(group, option, None) is not None:
                raise UsageError(
                    f"--{option}: one file cannot have the results of several models; leave out "
                    f"--{option}, or {FLAG}"
                )


def _alone(
    name: str, command: Callable[..., None], given: Mapping[str, Any], model: str, out: Path | None
) -> None:
    """Run the command for one model, with its document on stdout."""
    sys.argv = command_of_one(sys.argv, name, model, out)
    own: dict[str, Any] = {**given, "model": model}
    for key, group in given.items():
        changed: dict[str, Any] = {"each": None, "out": out, "json": True, "about": model}
        if is_dataclass(group) and not isinstance(group, type):
            own[key] = replace(group, **{k: v for k, v in changed.items() if hasattr(group, k)})
    command(**own)


def command_of_one(words: Sequence[str], name: str, model: str, out: Path | None) -> list[str]:
    """Write the command of one model.

    Args:
        words: the command line with `--each`.
        name: the name of the command.
        model: the model.
        out: the folder of its results, if there is one; the last `-o` of a command counts.
    """
    own = list(words)
    for place, word in enumerate(own):
        if word == FLAG or word.startswith(f"{FLAG}="):
            del own[place : place + (2 if word == FLAG else 1)]
            break
    if name in own:
        own.insert(own.index(name) + 1, model)
    end = own.index("--") if "--" in own else len(own)
    own[end:end] = [] if out is None else ["-o", str(out)]
    return own


def _in_copy(work: Callable[[], None]) -> tuple[int, bytes]:
    """Run a function in a copy of this process.

    Signals are passed on to it, once each.

    Returns:
        its exit code, −N if signal N ended it; and what it wrote to stdout.
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.close(reader)
        os._exit(_copy(work, writer))
    os.close(writer)
    received = []
    try:
        with os.fdopen(reader, "rb", buffering=0) as file:
            while content := file.read(1 << 20):
                received.append(content)
        _, status = os.waitpid(child, 0)
    except KeyboardInterrupt:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        raise
    *parts, names = b"".join(received).split(END)
    for module in names.decode().split():
        # A model may have changed what it imported, or its search path.
        with suppress(Exception):
            import_module(module)
    return os.waitstatus_to_exitcode(status), b"".join(parts)


def _copy(work: Callable[[], None], writer: int) -> int:
    """Do the work of a copy; return its exit code."""
    os.setpgid(0, 0)  # a terminal sends signals to all of a group; they are passed on instead
    before = {*sys.modules}
    os.dup2(writer, 1)
    code: int = ExitCode.DONE
    try:
        sys.stdout = results_stream(1, sys.stdout)
        try:
            work()
        except typer.Exit as end:
            code = end.exit_code
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        code = ExitCode.BUG
    new = (name for name in {*sys.modules} - before if name.partition(".")[0] in PACKAGES)
    with suppress(OSError):
        os.write(writer, END + " ".join(sorted(new)).encode(errors="replace"))
    sys.stderr.flush()
    return code


def _entry(model: str, folder: Path | None, code: int, text: bytes) -> EachEntry:
    from gradviz.runs.schema import EachEntry

    document = json.loads(text) if text.strip() else None
    ended = code < 0 or (code == ExitCode.DONE and document is None)
    return EachEntry(
        model=model,
        folder=None if folder is None else str(folder),
        exit_code=int(ExitCode.MODEL) if ended else code,
        signal=-code if code < 0 else None,
        document=document,
    )


def _report(name: str, entries: Sequence[EachEntry], console: Console) -> None:
    """Print one table of all models, or one document; exit by the known precedence."""
    from gradviz.runs.schema import EachDocument

    for entry in entries:
        if entry.document is None and entry.exit_code == ExitCode.MODEL:
            by = "" if entry.signal is None else f" by signal {entry.signal}"
            console.error(f"{entry.model}: its process was ended{by}; run it alone")
    code = ExitCode.winner({entry.exit_code for entry in entries})
    document = EachDocument(
        schema=1, kind="each", command=name, exit_code=int(code), models=list(entries)
    )
    console.results(document, _table(document))
    raise typer.Exit(code)


def _table(document: EachDocument) -> Iterator[str]:
    rows = [("exit", "model", document.command)]
    for entry in document.models:
        rows.append((str(entry.exit_code), one_line(entry.model), _summary(entry.document or {})))
    return columns(rows)


def _summary(document: Mapping[str, Any]) -> str:
    """Phrase what a document says in a few words."""
    from gradviz.runs.schema import TREND

    match document:
        case {"kind": "saliency", "results": results}:
            done = sum(result["status"] == "ok" for result in results)
            return f"{done} of {len(results)} results"
        case {"kind": "receptive-field", "geometry": geometry, "fields": fields}:
            through = geometry["global_through"]
            size = f"global, through {through}" if through else f"size {geometry['size']}"
            return f"{size}, stride {geometry['stride']}, fields: {len(fields)}"
        case {"kind": "check", "tests": tests}:
            judged = [test for test in tests if test["name"] != TREND]
            return f"{sum(test['ok'] is True for test in judged)} of {len(judged)} tests passed"
        case {"kind": "inspect", "layers": layers, "warnings": warnings}:
            return f"{len(layers)} layers, {len(warnings)} warnings"
        case {"kind": "error", "message": message}:
            return one_line(message)
    return "no answer"
