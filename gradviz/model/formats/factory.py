"""Building a network by a factory that the user names with `--arch`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

from torch import nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.foreign import foreign_code, importable
from gradviz.model.formats.imported import ImportedCode, imported_code
from gradviz.model.libraries.architectures import REGISTRIES, library_of
from gradviz.model.libraries.pretrained import without_download
from gradviz.text import nearest


def build_network(
    arch: str,
    arch_args: Mapping[str, object],
    on_imported: Callable[[ImportedCode], object] = lambda code: None,
) -> nn.Module:
    """Call the factory `arch` with `arch_args` and return the module that it makes.

    Args:
        arch: `torchvision:NAME`, `timm:NAME` or `smp:NAME` if that library has the name; else
            `package.module:factory`, found as with `python -m` (the working folder first), or
            `path/to/file.py:factory`; the file's folder is importable while it runs. The factory
            may be dotted, as in `Class.method`.
        arch_args: the arguments of the factory.
        on_imported: takes the code that this brought in, once the network is built.

    Raises:
        UsageError: the spec names nothing, or the factory does not take these arguments.
        ModelError: the import or the factory raised, the library is missing, or what the factory
            returned is not an nn.Module.
    """
    place, colon, name = arch.rpartition(":")
    if not (place and colon and name):
        raise UsageError(
            f"--arch {arch}: expected package.module:factory, path/to/file.py:factory, or a name "
            "as in torchvision:resnet50"
        )
    before = {*sys.modules}
    with importable(Path.cwd()):
        if place.endswith(".py"):
            with _siblings_of(Path(place).resolve()):
                module = _load_file(arch, Path(place))
                network = _call(arch, _find(arch, module, name), arch_args)
                on_imported(imported_code(before, module.__name__))
        else:
            factory, code = _named(arch, place, name)
            if factory is None:
                factory = _find(arch, _import_module(arch, _package(place)), name)
            network = _call(arch, factory, arch_args)
            on_imported(code or imported_code(before, place))
    return network


@contextmanager
def _siblings_of(file: Path) -> Iterator[None]:
    """Make the modules beside `file` importable, and remove them from `sys.modules` afterwards.

    Another folder may hold other modules of the same names.
    """
    before = set(sys.modules)
    with importable(file.parent):
        try:
            yield
        finally:
            for name in set(sys.modules) - before:
                if _is_in(file.parent, name):
                    del sys.modules[name]


def _is_in(folder: Path, name: str) -> bool:
    """Return True if the imported module `name` was found in `folder` itself.

    The packages of an environment somewhere below it stay imported.
    """
    module = sys.modules[name]
    top = folder / name.partition(".")[0]
    # A folder without __init__.py is a module without a file.
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
    return Path(file) == top.with_name(f"{top.name}.py") or Path(file).is_relative_to(top)


def _load_file(arch: str, file: Path) -> ModuleType:
    if not file.is_file():
        beside = (other.name for other in file.parent.glob("*.py"))
        raise UsageError(f"--arch {arch}: no such file{_near(file.name, beside)}")
    # Each path has its own module name, so that two files net.py stay apart.
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(f"{file.stem}_{digest}", file.resolve())
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, among others, look up their module while it runs.
    sys.modules[spec.name] = module
    with foreign_code(f"--arch {arch}: the file cannot be run"):
        spec.loader.exec_module(module)
    return module


def _import_module(arch: str, place: str) -> ModuleType:
    library = library_of(place)
    if library is not None:
        library.module(f"--arch {arch}")
    with foreign_code(f"--arch {arch}: the module cannot be imported"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            parent, _, last = error.name.rpartition(".")
            folders = getattr(sys.modules[parent], "__path__", ()) if parent else None
            near = _near(last, (module.name for module in pkgutil.iter_modules(folders)))
            raise UsageError(f"--arch {arch}: there is no module {error.name}{near}") from error


def _named(
    arch: str, place: str, name: str
) -> tuple[Callable[..., object] | None, ImportedCode | None]:
    """Look up a network by its name in the library `place`; None if no library has it."""
    registry = REGISTRIES.get(place)
    factory = registry.factory(name, f"--arch {arch}") if registry else None
    return factory, (registry.library.code() if registry and factory else None)


def _package(place: str) -> str:
    return REGISTRIES[place].library.package if place in REGISTRIES else place


def _find(arch: str, module: ModuleType, name: str) -> Callable[..., object]:
    """Look up a factory in a module, by its dotted name."""
    registry = next((r for r in REGISTRIES.values() if r.library.package == module.__name__), None)
    known = registry.names() if registry else ()
    value: object = module
    for part in name.split("."):
        names = [*known, *_callables_in(value)]
        with foreign_code(f"--arch {arch}: {part} cannot be imported"):
            value = getattr(value, part, None)
        if value is None:
            raise UsageError(f"--arch {arch}: there is no {part}{_near(part, names)}")
    if not callable(value):
        raise UsageError(f"--arch {arch}: {name} is not callable{_near(name, names)}")
    return cast(Callable[..., object], value)


def _callables_in(value: object) -> list[str]:
    """List the public functions, classes and methods in a module or class."""
    inside = getattr(value, "__dict__", {}).items()
    return [
        name
        for name, each in inside
        if name[0] != "_" and (callable(each) or isinstance(each, (classmethod, staticmethod)))
    ]


def _call(arch: str, factory: Callable[..., object], arch_args: Mapping[str, object]) -> nn.Module:
    with foreign_code(f"--arch {arch}: the factory's signature cannot be read"):
        arguments = without_download(factory) | dict(arch_args)
    _check_arguments(arch, factory, arguments)
    with foreign_code(f"--arch {arch}: the factory failed"):
        made = factory(**arguments)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"--arch {arch}: expected the factory to return a torch.nn.Module, got a "
            f"{type(made).__name__}"
        )
    return made


def _check_arguments(
    arch: str, factory: Callable[..., object], arch_args: Mapping[str, object]
) -> None:
    with foreign_code(f"--arch {arch}: the factory's signature cannot be read"):
        signature = inspect.signature(factory)
    try:
        signature.bind(**arch_args)
    except TypeError as error:
        unknown = next((name for name in arch_args if name not in signature.parameters), "")
        near = _near(unknown, signature.parameters)
        raise UsageError(
            f"--arch {arch}: {error}{near}; the factory takes {signature}: see --arch-arg"
        ) from error


def _near(name: str, known: Iterable[str]) -> str:
    hint = nearest(name, known, otherwise="", most=3)
    return f"; {hint}" if hint else ""
