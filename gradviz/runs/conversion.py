"""Documents of other versions: those of a newer schema are refused, older ones are converted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from gradviz.errors import UsageError
from gradviz.runs.schema import Document, RunRecord
from gradviz.text import one_line, shortened
from gradviz.version import VERSION

DocumentT = TypeVar("DocumentT", bound=Document)

Conversion = Callable[[dict[str, Any]], dict[str, Any]]
"""Makes the content that a document has in the next schema. `schema` itself is set afterwards."""

CONVERSIONS: dict[tuple[type[Document], int], Conversion] = {
    # All of environment.json was in run.json; `join_record` makes its paths relative.
    (RunRecord, 1): lambda content: content,
}
"""The conversion of each type from each older schema to the next one."""


def newest_schema(kind: type[Document]) -> int:
    """Return the schema that this version of gradviz writes."""
    (version,) = get_args(kind.model_fields["version"].annotation)
    return int(version)


def read_document(kind: type[DocumentT], content: Any, file: Path) -> DocumentT:
    """Read the content of a document as a type, also if an earlier version wrote it.

    Args:
        kind: the type of the document.
        content: the JSON value.
        file: the file that it comes from, for messages.

    Raises:
        UsageError: its schema is missing, none that there was, or newer than that of the type.
        ValueError: it is not such a content.
    """
    if isinstance(content, Mapping):
        content = _converted(kind, dict(content), file)
    return kind.model_validate(content)


def _converted(kind: type[Document], content: dict[str, Any], file: Path) -> dict[str, Any]:
    newest = newest_schema(kind)
    again = "write it again, or name another"
    if "schema" not in content:
        raise UsageError(
            f"{file}: has no schema, so the version of its format is not known; {again}"
        )
    schema = content["schema"]
    shown = shortened(one_line(repr(schema)), 40)
    if type(schema) is not int or schema < 1:
        raise UsageError(
            f"{file}: has schema {shown}, which is no version from 1 to {newest}; {again}"
        )
    if schema > newest:
        raise UsageError(
            f"{file}: has schema {shown}, and gradviz {VERSION} reads at most {newest}; upgrade "
            f"gradviz, {again}"
        )
    for version in range(schema, newest):
        content = {**CONVERSIONS[kind, version](content), "schema": version + 1}
    return content
