"""Trust: the refusal to load a file that would run code, unless `--trust` is given.

`weights_only` keeps code from running. The scan below only names what was refused: it reads pickles
without executing them, and no decision depends on it.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from gradviz.errors import ModelError, TrustError
from gradviz.files import members
from gradviz.model.foreign import foreign_code, importable
from gradviz.model.formats.recognise import Content, recognise
from gradviz.model.support import Capability, Format, support
from gradviz.text import one_line


def load_saved(path: Path, trust: bool) -> object:
    """Load a file of torch.save onto the CPU.

    Args:
        path: the file.
        trust: True if the file may run code; then it may also hold modules and other objects.

    Raises:
        TrustError: the file names globals that only run with trust; the message lists them.
        ModelError: the file is damaged, or needs a class that cannot be imported here.
    """
    with foreign_code(f"{path}: cannot be loaded, perhaps it is damaged"):
        return _load_trusted(path) if trust else _load_weights(path)


def refuse_exported(path: Path) -> None:
    """Raise the TrustError for a `.pt2` file, naming the blocked globals in it, if any."""
    with foreign_code(f"{path}: cannot be read, perhaps it is damaged"):
        names = {name for data in _pickled(path) for name in _globals_in(data, path)}
        reason = support(Format.EXPORTED, Capability.WITHOUT_TRUST).reason
        raise _refusal(path, reason, _blocked(names))


def trust_tier(format: Format, path: Path | None, arch: str | None, own_code: bool = False) -> str:
    """Name the consent that loading a file takes, by the code that it may run.

    Args:
        format: the format of the file.
        path: the file; None for a module from Python.
        arch: the factory that built the network, if one did.
        own_code: True if code was imported that belongs to no installed library.
    """
    if format in (Format.SCRIPT, Format.FROZEN):
        return "code by consent"
    needed = support(format, Capability.WITHOUT_TRUST)
    in_folder = own_code and arch is None
    if not needed.supported or in_folder or (path is not None and _names_code(path)):
        return "needs --trust"
    return "data" if arch is None else "data, and an architecture by consent"


def refuse_zip_bomb(path: Path) -> None:
    """Refuse a `.pt2` file with an archive that would unpack to far more than its size.

    Raises:
        ModelError: it would, or it is damaged.
    """
    with foreign_code(f"{path}: cannot be read, perhaps it is damaged"):
        for data in _pickled(path):
            members(data, str(path), ModelError)


def _pickled(path: Path) -> Iterator[IO[bytes]]:
    """List the pickles in an exported program: sample inputs, and constants besides tensors."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                head = file.read(2)
            if re.match(rb"\x80[\x02-\x05]|PK", head):  # bare, or as torch.save writes it
                yield io.BytesIO(archive.read(member))


def _names_code(path: Path) -> bool:
    if recognise(path) is not Content.SAVED:
        return False
    with path.open("rb") as file:
        return bool(_blocked(_globals_in(file, path)))


def _load_weights(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own advice for a file that it refuses is to load it without this.
        if not isinstance(error, pickle.UnpicklingError) and "weights_only" not in str(error):
            raise
        with path.open("rb") as file:
            blocked = _blocked(_globals_in(file, path))
        if not blocked:
            raise ModelError(
                f"{path}: is no checkpoint that torch can read as weights, though it names nothing "
                "that would run: the file is damaged, download or copy it again"
            ) from error
        reason = support(Format.PICKLED, Capability.WITHOUT_TRUST).reason
        raise _refusal(path, reason, blocked) from error


def _load_trusted(path: Path) -> object:
    try:
        with importable(Path.cwd()):
            return torch.load(path, map_location="cpu", weights_only=False)
    except ImportError as error:
        raise ModelError(
            f"{path}: needs the module {error.name}, which cannot be imported here "
            f"({one_line(error)}): run gradviz from the folder that has it, or install it"
        ) from error
    except AttributeError as error:
        raise ModelError(
            f"{path}: needs a class that its module lacks ({one_line(error)}): run "
            "gradviz from the folder whose module defines it, or save the state dict and use --arch"
        ) from error


def _refusal(path: Path, reason: str, names: Iterable[str]) -> TrustError:
    listed = ", ".join(names)
    named = f" (it names {listed})" if listed else ""
    return TrustError(
        f"{path}: not loaded: {reason}{named}: give --trust if you trust whoever made the file"
    )


def _globals_in(file: IO[bytes], path: Path) -> set[str]:
    """List the globals, as `module name`, in a file of torch.save, zip or legacy."""
    found = members(file, str(path), ModelError)
    if not found:
        file.seek(0)
        # Number, version, machine, the object itself, and the names of the storages that follow.
        return {name for _ in range(5) for name in _globals_in_pickle(file)}
    with zipfile.ZipFile(file) as archive:
        pickles = [archive.read(each) for each in found if each.filename.endswith("data.pkl")]
    return {name for data in pickles for name in _globals_in_pickle(io.BytesIO(data))}


def _globals_in_pickle(file: IO[bytes]) -> Iterator[str]:
    strings = ["", ""]
    memo: dict[int, str] = {}
    try:
        for opcode, argument, _ in pickletools.genops(file):
            match opcode.name:
                case "GLOBAL" | "INST":
                    yield str(argument)
                case "STACK_GLOBAL":
                    yield f"{strings[-2]} {strings[-1]}"
                case "MEMOIZE":
                    memo[len(memo)] = strings[-1]
                case "PUT" | "BINPUT" | "LONG_BINPUT":
                    memo[int(str(argument))] = strings[-1]
                case "GET" | "BINGET" | "LONG_BINGET":
                    strings.append(memo.get(int(str(argument)), ""))
                case _ if isinstance(argument, str):
                    strings.append(argument)
    except ValueError:
        # The pickle is truncated or invalid: the names read so far can be listed.
        return


def _blocked(names: Iterable[str]) -> list[str]:
    """Select the `names` that torch does not load as plain weights, as `module.name`, sorted."""
    # torch answers only for a checkpoint, so an empty one is made that names them all.
    lines = "".join(f"c{module}\n{name}\n" for module, _, name in (n.partition(" ") for n in names))
    checkpoint = io.BytesIO()
    with zipfile.ZipFile(checkpoint, "w") as archive:
        archive.writestr("names/version", "3")
        archive.writestr("names/data.pkl", b"\x80\x02" + lines.encode() + b".")
    checkpoint.seek(0)
    return sorted(get_unsafe_globals_in_checkpoint(checkpoint))
