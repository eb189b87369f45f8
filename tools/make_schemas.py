"""Write docs/reference/*.schema.json and docs/reference/output.md from gradviz/runs/schema.py.

python tools/make_schemas.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from gradviz.runs import schema

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"

DOCUMENTS: dict[str, tuple[str, Any]] = {
    "run": ("`run.json`", schema.AnyRecord),
    "environment": ("`environment.json`, which may be missing", schema.Environment),
    "results": ("A line of `results.jsonl`", schema.ResultLine),
    "field": ("`field.json`, `receptive-field --json`", schema.FieldDocument),
    "compare": ("`compare.json`, `compare --json`", schema.CompareDocument),
    "saliency": ("`saliency --json`", schema.SaliencyDocument),
    "inspect": ("`inspect --json`", schema.InspectDocument),
    "check": ("`check --json`", schema.CheckDocument),
    "explore": ("`explore --json`", schema.ExploreDocument),
    "report": ("`report --json`", schema.ReportDocument),
    "each": ("`--each --json`", schema.EachDocument),
    "error": ("`--json` of a command that fails", schema.ErrorDocument),
}
"""The title and the type of each document, by the name of its schema."""

INTRODUCTION = """\
# What gradviz writes for programs

<!-- Written by tools/make_schemas.py from gradviz/runs/schema.py. -->

Each document is strict JSON: a number that is NaN or Inf is null. Each has a JSON Schema beside
this page. A later version may add keys, so a reader must ignore those that it does not know; what
is here keeps its name and its meaning as long as `schema` stays. A key in *italics* may be missing.
[Versions](versions.md) says how documents of other schemas are read.

With `--json`, stdout has one document: that of the command, or [that of an error](#error). It is
empty only if the options themselves cannot be read. The exit code is the same with and without.
"""

JsonSchema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without a title for every key, which only repeats the key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(name: str) -> JsonSchema:
    """The JSON Schema of a document."""
    title, kind = DOCUMENTS[name]
    found = TypeAdapter(kind).json_schema(schema_generator=_Untitled)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title.replace("`", ""),
    }
    flat: JsonSchema = _on_one_line(
        head | {key: value for key, value in found.items() if key != "title"}
    )
    return flat


def _on_one_line(value: Any) -> Any:
    """A schema whose descriptions, which are docstrings, have no line breaks."""
    if isinstance(value, dict):
        return {
            key: " ".join(each.split())
            if key == "description" and isinstance(each, str)
            else _on_one_line(each)
            for key, each in value.items()
        }
    return [_on_one_line(each) for each in value] if isinstance(value, list) else value


def schema_text(name: str) -> str:
    """The content of a document's schema file."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


def page() -> str:
    """The content of output.md."""
    written: set[str] = set()
    sections = ["\n".join(_section(name, written)) for name in DOCUMENTS]
    return "\n".join([INTRODUCTION, *sections])


def _section(name: str, written: set[str]) -> Iterator[str]:
    """A document's heading and the tables of its objects, each at its first use on the page."""
    yield f'<a id="{name}"></a>'
    yield ""
    yield f"## {DOCUMENTS[name][0]}"
    yield ""
    yield f"JSON Schema: [{name}.schema.json]({name}.schema.json)"
    yield ""
    whole = schema_of(name)
    objects = whole.get("$defs", {})
    if "properties" in whole:
        objects = {DOCUMENTS[name][1].__name__: whole} | objects
        names = [DOCUMENTS[name][1].__name__]
    else:
        names = list(_mentioned(whole))
    while names:
        title = names.pop(0)
        if title not in written:
            written.add(title)
            yield from _table(title, objects[title])
            names = [*_mentioned(objects[title]["properties"]), *names]


def _mentioned(value: object) -> Iterator[str]:
    """The names of the objects that a schema refers to, in order."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].rpartition("/")[2]
        for key, each in value.items():
            if key != "$defs":
                yield from _mentioned(each)
    elif isinstance(value, list):
        for each in value:
            yield from _mentioned(each)


def _table(title: str, each: JsonSchema) -> Iterator[str]:
    yield f'### <a id="{title}"></a>{title}'
    yield ""
    yield each["description"]
    yield ""
    yield "| key | type | |"
    yield "|---|---|---|"
    for key, value in each["properties"].items():
        name = f"`{key}`" if key in each["required"] else f"*`{key}`*"
        meaning = value["description"].replace("|", r"\|")
        yield f"| {name} | {_type(value)} | {meaning} |"
    yield ""


def _type(value: JsonSchema) -> str:
    """The type of a value in words."""
    match value:
        case {"$ref": str(where)}:
            title = where.rpartition("/")[2]
            return f"[{title}](#{title})"
        case {"anyOf": list(choices)}:
            return " or ".join(dict.fromkeys(map(_type, choices)))
        case {"const": only}:
            return f"`{json.dumps(only)}`"
        case {"enum": list(choices)}:
            return " or ".join(f"`{json.dumps(each)}`" for each in choices)
        case {"type": "array", "items": items}:
            inner = f"({_type(items)})" if "anyOf" in items else _type(items)
            fixed = "minItems" in value and value["minItems"] == value.get("maxItems")
            return f"{value['minItems']} × {inner}" if fixed else f"list of {inner}"
        case {"type": "object"}:
            each = value.get("additionalProperties")
            return f"name → {_type(each) if isinstance(each, dict) else 'any value'}"
        case {"type": str(name)}:
            return {"string": "text", "integer": "whole number"}.get(name, name)
        case _:
            return "any value"


def main() -> None:
    """Write all files."""
    REFERENCE.mkdir(exist_ok=True)
    for name in DOCUMENTS:
        (REFERENCE / f"{name}.schema.json").write_text(schema_text(name), encoding="utf-8")
    (REFERENCE / "output.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
