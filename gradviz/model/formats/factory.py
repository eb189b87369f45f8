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

from torch import nn

from gradviz.errors import ModelError, UsageError
from gradviz.model.foreign import foreign_code, importable
from gradviz.model.formats.imported import ImportedCode, imported_code
from gradviz.text import nearest


def build_network(
    arch: str,
    arch_args: Mapping[str, object],
    on_imported: Callable[[ImportedCode], object] = lambda code: None,
) -> nn.Module:
    """Call the factory `arch` with `arch_args` and return the module that it makes.

    Args:
        arch: `package.module:factory`, found as with `python -m` (the working folder first), or
            `path/to/file.py:factory`; the file's folder is importable while it runs.
        arch_args: the arguments of the factory.
        on_imported: takes the code that this brought in, once the network is built.

    Raises:
        UsageError: the spec names nothing, or the factory does not take these arguments.
        ModelError: the import or the factory raised, or what it returned is not an nn.Module.
    """
    place, colon, name = arch.rpartition(":")
    if not (place and colon and name):
        raise UsageError(
            f"--arch {arch}: expected package.module:factory or path/to/file.py:factory"
        )
    before = {*sys.modules}
    with importable(Path.cwd()):
        if place.endswith(".py"):
            with _siblings_of(Path(place).resolve()):
                module = _load_file(arch, Path(place))
                network = _call(arch, module, name, arch_args)
                on_imported(imported_code(before, module.__name__))
        else:
            network = _call(arch, _import_module(arch, place), name, arch_args)
            on_imported(imported_code(before, place))
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


def _call(arch: str, module: ModuleType, name: str, arch_args: Mapping[str, object]) -> nn.Module:
    factory = getattr(module, name, None)
    if not callable(factory):
        callables = (n for n, value in vars(module).items() if callable(value) and n[0] != "_")
        problem = f"there is no {name}" if factory is None else f"{name} is not callable"
        raise UsageError(f"--arch {arch}: {problem}{_near(name, callables)}")
    _check_arguments(arch, factory, arch_args)
    with foreign_code(f"--arch {arch}: the factory failed"):
        made = factory(**arch_args)
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
