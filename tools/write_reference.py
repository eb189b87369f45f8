"""Write the pages of docs/reference/ that follow from the code.

    python tools/write_reference.py

`cli.md` follows from the options that the commands declare to Typer, and `support.md` from the
support matrix.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import EnumMeta
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from typer.main import get_command  # noqa: E402

from gradviz.cli.app import COMMANDS, make_app  # noqa: E402
from gradviz.model.support import as_markdown  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
REMEDY = "run python tools/write_reference.py"


def support_page() -> str:
    """The content of support.md."""
    return (
        "# What works with which model format\n\n"
        "`tools/write_reference.py` writes this page from the table in\n"
        "`gradviz/model/support.py`, the one place where gradviz looks this up. A refusal prints\n"
        "the reason below the table.\n\n" + as_markdown() + VERSIONS + CANNOT_BE_TOLD
    )


VERSIONS = """
## Versions

gradviz needs Python 3.11 or later, and torch 2.10.0 or later: the first whose weights-only loader
has no known hole. Tests were run with these versions, on Linux without a GPU:

| torch | Python | tests |
|---|---|---|
| 2.13.0 | 3.11.7 | all |
| 2.10.0 | 3.11.7 | unit, oracles; libraries and end to end in part |

torch 2.10.0 lacks the Lanczos filter of `interpolate` and the gradient of `aminmax`, whose tests
are left out there. `make compat TORCH=2.10.0` runs the tests on a version, in an environment of its
own.
"""

CANNOT_BE_TOLD = """
## What cannot be told

A receptive field is `exact` as far as the model computes by operations of torch in the thread that
called it. Values of the image that leave torch are noticed where a tensor hands them out:
`numpy()`, DLPack, `pickle`, `torch.save`, `copy.deepcopy`, raw storages, addresses and text make
the field `partial`. Three ways are not noticed, in any format, and the field may then be too small:

- a model that writes into memory which NumPy or C held before the pass, and reads it there;
- a model that computes in threads of its own;
- an extension that reads the memory of tensors by itself.

`gradviz check` holds the gradient against the model's own outputs, whatever computes them. It fails
for such a model, with exit code 6.
"""


def cli_page() -> str:
    """The content of cli.md: every command with its arguments, options, defaults and help."""
    lines = [
        "# Command line",
        "",
        "`tools/write_reference.py` writes this page from the options of the commands, which",
        "`gradviz COMMAND --help` shows as well. `gradviz --version` shows the version.",
        "",
        "| command | |",
        "|---|---|",
        *(f"| [`gradviz {name}`](#gradviz-{name}) | {line} |" for name, line in COMMANDS.items()),
    ]
    commands: Any = get_command(make_app())
    explained: dict[str, str] = {}
    for name, line in COMMANDS.items():
        module = import_module(f"gradviz.cli.{name.replace('-', '_')}")
        parameters = commands.commands[name].params
        lines += ["", f"## gradviz {name}", "", line, "", f"    {_usage(name, parameters)}"]
        lines += _tables(parameters, inspect.signature(module.command).parameters)
        title, *rows = _plain(module.EPILOG or "").split("\n\n")
        if title in explained:
            lines += ["", f"{title} See [above](#gradviz-{explained[title]})."]
        elif title:
            explained[title] = name
            lines += ["", title, "", *(f"- {_in_code(row)}" for row in rows)]
    return "\n".join(lines) + "\n"


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _usage(name: str, parameters: Sequence[Any]) -> str:
    """How a command is called."""
    metavars = [parameter.metavar for parameter in parameters if _is_argument(parameter)]
    return " ".join(["gradviz", name, *metavars, "[OPTIONS]"])


def _tables(parameters: Sequence[Any], declared: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    """A table for each panel of a command's help, the arguments first."""
    panels: dict[str, list[str]] = {"Arguments": []}
    for parameter in parameters:
        kind, _ = get_args(declared[parameter.name].annotation)
        row = f"| {_name(parameter, kind)} | {_cell(_plain(parameter.help))} |"
        panels.setdefault(parameter.rich_help_panel or "Arguments", []).append(row)
    for panel, rows in panels.items():
        yield from ("", f"| {panel} | |", "|---|---|", *rows)


def _name(parameter: Any, kind: Any) -> str:
    """An argument or option as it is typed, with the values that it takes."""
    if _is_argument(parameter):
        return f"`{parameter.metavar}`"
    flags = ", ".join(f"`{flag}`" for flag in sorted(parameter.opts, key=len))
    value = parameter.metavar or _values(kind)
    return f"{flags} {_cell(f'`{value}`')}" if value else flags


def _values(kind: Any) -> str:
    """The values of an option that has no metavar; none for a flag."""
    if kind is bool:
        return ""
    if kind is int:
        return "N"
    if kind is Path:
        return "PATH"
    if isinstance(kind, EnumMeta):
        return "|".join(kind.__members__)
    inner = [each for each in get_args(kind) if each is not type(None)]
    return "|".join(each if isinstance(each, str) else _values(each) for each in inner)


def _plain(text: str) -> str:
    """A help text without the escapes of Rich."""
    return text.replace("\\[", "[")


def _cell(text: str) -> str:
    """A text that may stand in a cell of a table."""
    return text.replace("|", "\\|")


def _in_code(row: str) -> str:
    """`name: meaning` with the name in backticks."""
    name, _, meaning = row.partition(": ")
    return f"`{name}`: {meaning}"


def main() -> None:
    """Write both pages."""
    (REFERENCE / "cli.md").write_text(cli_page(), encoding="utf-8")
    (REFERENCE / "support.md").write_text(support_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
