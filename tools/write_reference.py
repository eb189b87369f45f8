"""Write the pages of docs/reference/ that follow from the code.

    python tools/write_reference.py

`docs/reference/cli.md` follows from the Typer app, and `docs/reference/support.md` from the support
matrix.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from typer.main import get_command  # noqa: E402

from gradviz.cli.app import make_app  # noqa: E402
from gradviz.model.support import as_markdown  # noqa: E402

REFERENCE = ROOT / "docs" / "reference"
REMEDY = "run python tools/write_reference.py"


def support_page() -> str:
    """The content of support.md."""
    return (
        "# What works with which model format\n\n"
        "This page is written by `tools/write_reference.py` from the table in\n"
        "`gradviz/model/support.py`, the one place where gradviz looks this up. A refusal prints the\n"
        "reason below the table.\n\n" + as_markdown()
    )


def cli_page() -> str:
    """The content of cli.md: every command with its arguments, options, defaults and help."""
    app: Any = get_command(make_app())
    lines = [
        "# Command line",
        "",
        "This page is written by `tools/write_reference.py` from the options of the commands, which",
        "`gradviz COMMAND --help` shows as well.",
        "",
        "    gradviz COMMAND --help    show the options of a command",
        "    gradviz --version         show the version",
        "",
        "| command | |",
        "|---|---|",
        *(f"| [`gradviz {name}`](#gradviz-{name}) | {it.help} |" for name, it in _commands(app)),
    ]
    epilogs: dict[str, str] = {}
    for name, command in _commands(app):
        lines += ["", f"## gradviz {name}", "", command.help, "", f"    {_usage(name, command)}"]
        lines += _tables(command)
        epilog = _plain(command.epilog or "")
        if epilog in epilogs:
            lines += ["", f"What SPEC can be stands under [gradviz {epilogs[epilog]}]", ""]
            lines[-2] += f"(#gradviz-{epilogs[epilog]})."
            lines.pop()
        elif epilog:
            epilogs[epilog] = name
            title, *items = epilog.split("\n\n")
            lines += ["", title, "", *(f"- {_code(item)}" for item in items)]
    return "\n".join(lines) + "\n"


def _commands(app: Any) -> Iterator[tuple[str, Any]]:
    return iter(app.commands.items())


def _usage(name: str, command: Any) -> str:
    """The first line of a command's help."""
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    return " ".join(["gradviz", name, *(each.metavar for each in arguments), "[OPTIONS]"])


def _tables(command: Any) -> Iterator[str]:
    """The arguments of a command, and a table of options for each panel of its help."""
    panels: dict[str, list[Any]] = {}
    for each in command.params:
        panels.setdefault(each.rich_help_panel or "Arguments", []).append(each)
    for panel, parameters in panels.items():
        head = "argument" if panel == "Arguments" else "option"
        yield from ("", f"**{panel}**", "", f"| {head} | |", "|---|---|")
        for each in parameters:
            yield f"| {_name(each)} | {_cell(_plain(each.help or ''))} |"


def _name(parameter: Any) -> str:
    """An argument or option as it is typed, with the values that it takes."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    flags = ", ".join(f"`{flag}`" for flag in sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return flags
    choices = getattr(parameter.type, "choices", None)
    value = parameter.metavar or ("|".join(map(_value, choices)) if choices else "")
    value = value or {"integer range": "N", "float": "NUMBER", "path": "PATH"}[parameter.type.name]
    return f"{flags} {_cell(f'`{value}`')}"


def _value(choice: Any) -> str:
    return str(getattr(choice, "value", choice))


def _plain(text: str) -> str:
    """A help text without the escapes of Rich."""
    return text.replace("\\[", "[")


def _cell(text: str) -> str:
    """A text that may stand in a cell of a table."""
    return text.replace("|", "\\|")


def _code(item: str) -> str:
    """`form: meaning`, the form in backticks."""
    form, _, meaning = item.partition(": ")
    return f"`{form}`: {meaning}"


def main() -> None:
    """Write both pages."""
    (REFERENCE / "cli.md").write_text(cli_page(), encoding="utf-8")
    (REFERENCE / "support.md").write_text(support_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
