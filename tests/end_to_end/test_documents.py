"""The types of the JSON documents, held against what the commands really write and print."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from gradviz.cli.app import COMMANDS, make_app
from gradviz.runs.folder import RunFolder
from gradviz.runs.schema import (
    CheckDocument,
    CompareDocument,
    CompareRecord,
    Document,
    Done,
    Environment,
    ErrorDocument,
    Failed,
    FieldDocument,
    FieldDone,
    InspectDocument,
    JsonObject,
    ReportDocument,
    RunRecord,
    SaliencyDocument,
    damage,
    parse_line,
    record_type,
)
from tests.helpers import documents
from tests.helpers.commands import Gradviz
from tests.helpers.formats import script
from tools import make_schemas


def unknown(value: object, where: str = "") -> Iterator[str]:
    """The keys of a document that its type does not have."""
    match value:
        case JsonObject():
            yield from (f"{where}.{key}" for key in value.__pydantic_extra__ or ())
            for name in type(value).model_fields:
                yield from unknown(getattr(value, name), f"{where}.{name}")
        case list():
            for each in value:
                yield from unknown(each, f"{where}[]")


def known(found: JsonObject, text: str) -> None:
    """See that the type has every key of a text, and writes the same text again."""
    assert list(unknown(found)) == []
    assert found.json_text() + "\n" == text


def results(out: str) -> Iterator[Done | FieldDone | Failed]:
    for row in Path(out, "results.jsonl").read_text().splitlines():
        line = parse_line(json.loads(row))
        assert list(unknown(line)) == []
        assert line.json_text(indent=None) == row
        yield line


def record(out: str) -> RunRecord | CompareRecord:
    text = Path(out, "run.json").read_text()
    content = json.loads(text)
    found = record_type(content).model_validate(content)
    known(found, text)
    return found


# What is really written


@pytest.mark.parametrize(
    "options",
    [
        ["--method", "integrated-gradients", "--samples", "3", "--baseline", "blur"],
        ["--method", "gradcam", "--frame", "image"],
        ["--method", "guided", "--layer", "features"],
        ["--scale", "shared", "--inside", "mask.png", "--array", "npy"],
        ["--resize", "160x96", "--tile", "96", "--seed", "region:0,0,9,9"],
    ],
)
def test_a_saliency_run(gradviz: Gradviz, models: Path, images: Path, options: list[str]) -> None:
    tiled = "--tile" in options
    model, photo = ("depth.ts", "room_01.png") if tiled else ("shapes.yaml", "shapes_01.png")
    with Image.open(images / photo) as picture:
        Image.new("L", picture.size, 255).save("mask.png")
    Path("broken.png").write_text("broken")
    result = gradviz(
        "saliency", models / model, images / photo, "broken.png", *options, "-o", "out", "--json"
    )
    assert result.exit_code == 4, result.stderr
    found = SaliencyDocument.model_validate(json.loads(result.stdout))
    known(found, result.stdout)
    record("out")
    assert RunFolder(Path("out")).record() == found.run
    environment = Path("out/environment.json").read_text()
    known(Environment.model_validate(json.loads(environment)), environment)
    lines = list(results("out"))
    assert lines == found.results
    assert {type(line) for line in lines} == {Done, Failed}


def test_a_receptive_field_run(gradviz: Gradviz, models: Path, images: Path) -> None:
    options = ["--layers", "--map", "--pixel", "3,5", "-o", "out", "--json"]
    result = gradviz("receptive-field", models / "depth.ts", images / "room_01.png", *options)
    assert result.exit_code == 0, result.stderr
    found = FieldDocument.model_validate(json.loads(result.stdout))
    known(found, result.stdout)
    assert Path("out/field.json").read_text() == result.stdout
    assert record("out").kind == "receptive-field"
    assert [type(line) for line in results("out")] == [FieldDone]


def test_a_field_that_is_global(gradviz: Gradviz) -> None:
    script("x - x.mean((2, 3), keepdim=True)", "mean.ts")
    options = ["--samples", "1", "--input-size", "8x8", "--layers", "-o", "out", "--json"]
    result = gradviz("receptive-field", "mean.ts", *options)
    found = FieldDocument.model_validate(json.loads(result.stdout))
    known(found, result.stdout)
    assert found.geometry.size is None and found.fields[0].is_global


def test_a_comparison_and_a_report(gradviz: Gradviz, models: Path, images: Path) -> None:
    for out in "ab":
        gradviz("saliency", models / "depth.ts", images / "room_01.png", "-o", out)
    result = gradviz("compare", "a", "b", "-o", "out", "--json")
    found = CompareDocument.model_validate(json.loads(result.stdout))
    known(found, result.stdout)
    assert Path("out/compare.json").read_text() == result.stdout
    assert isinstance(record("out"), CompareRecord)
    result = gradviz("compare", "a", "b", "--json")
    bare = CompareDocument.model_validate(json.loads(result.stdout))
    known(bare, result.stdout)
    assert found.items[0].files and not bare.items[0].files

    result = gradviz("report", "out", "-o", "page.html", "--json")
    known(ReportDocument.model_validate(json.loads(result.stdout)), result.stdout)


@pytest.mark.parametrize(
    ("command", "kind"), [("inspect", InspectDocument), ("check", CheckDocument)]
)
@pytest.mark.parametrize("name", ["depth.ts", "shapes.yaml"])
def test_what_inspect_and_check_print(
    gradviz: Gradviz, models: Path, images: Path, command: str, kind: type[Document], name: str
) -> None:
    photo = images / ("room_01.png" if name == "depth.ts" else "shapes_01.png")
    result = gradviz(command, models / name, photo, "--json")
    assert result.exit_code == 0, result.stderr
    known(kind.model_validate(json.loads(result.stdout)), result.stdout)


# Keys that are not known, and damage


def test_unknown_keys_are_kept() -> None:
    line = documents.done("a.png", "ones", {}, later={"a": [1, None]})
    line["stats"] = {**line["stats"], "median": 0.5}
    assert json.loads(parse_line(line).json_text()) == line
    run = documents.run_record("saliency", [documents.image("a.png", camera="x")], host="y")
    assert json.loads(record_type(run).model_validate(run).json_text()) == run


def test_a_resumed_run_keeps_unknown_keys(gradviz: Gradviz, models: Path, images: Path) -> None:
    command = ["saliency", models / "depth.ts", images / "room_01.png", "-o", "out"]
    gradviz(*command)
    (row,) = Path("out/results.jsonl").read_text().splitlines()
    Path("out/results.jsonl").write_text(json.dumps({**json.loads(row), "later": [1]}) + "\n")
    assert gradviz(*command, "--resume").exit_code == 0
    (line,) = RunFolder(Path("out")).lines()
    assert line.content()["later"] == [1]


def test_whole_numbers_stay_whole() -> None:
    line = documents.done("a.png", "ones", {}, score=1)
    assert '"score": 1,' in parse_line(line).json_text(indent=None)


def test_null_is_told_from_a_key_that_is_not_there() -> None:
    line = documents.done("a.png", "ones", {}, completeness=None)
    assert json.loads(parse_line(line).json_text()) == line


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"score": "much"}, "score: expected a number"),
        ({"score": True}, "score: expected a number"),
        ({"image": 3}, "image: expected a text"),
        ({"files": {"gradient": "/etc/passwd"}}, "files.gradient: /etc/passwd is outside the"),
        ({"files": {"gradient": "a/../../b"}}, "files.gradient: a/../../b is outside the folder"),
        ({"stats": {}}, "no stats.min"),
        ({"output_shape": [1.5]}, "output_shape.0: Input should be a valid integer"),
        ({"status": "fine"}, "status: Input should be 'ok'"),
    ],
)
def test_damage_is_named_in_one_line(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as raised:
        parse_line({**documents.done("a.png", "ones", {}), **changed})
    assert damage(raised.value).startswith(says)
    assert "\n" not in damage(raised.value)


@pytest.mark.parametrize("file", ["run.json", "results.jsonl", "field.json"])
@pytest.mark.parametrize("content", ["[]", "{", '{"kind": "saliency"}', "[" * 100_000])
def test_a_damaged_file_is_one_line(
    gradviz: Gradviz, models: Path, file: str, content: str
) -> None:
    gradviz("receptive-field", models / "depth.ts", "--samples", "1", "-o", "out")
    row = Path("out/results.jsonl").read_text()
    Path("out", file).write_text(content + "\n" + (row if file == "results.jsonl" else ""))
    for command in (["report", "out"], ["compare", "out", "out"]):
        result = gradviz(*command)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith(f"error: out/{file}")


@pytest.mark.parametrize("name", ["inspect", "compare"])
def test_a_damaged_document_is_one_line(gradviz: Gradviz, name: str) -> None:
    Path("document.json").write_text(json.dumps({"schema": 1, "kind": name, "seed": []}))
    result = gradviz("report", "document.json")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    assert f"document.json: a damaged document of {name} (no " in result.stderr


# Other schemas


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ('"schema": 99', "has schema 99, and gradviz 0.1.0 reads at most "),
        ('"schema": 0', "has schema 0, which is no version from 1 to "),
        ('"schema": true', "has schema True, which is no version from 1 to "),
        ('"scheme": 1', "has no schema, so the version of its format is not known; write it again"),
    ],
)
def test_documents_of_other_schemas_are_refused_in_one_line(
    gradviz: Gradviz, models: Path, images: Path, schema: str, says: str
) -> None:
    model, photo = models / "depth.ts", images / "room_01.png"
    saliency: list[str | Path] = ["saliency", model, photo, "-o", "run"]
    gradviz(*saliency)
    gradviz("receptive-field", model, "--samples", "1", "-o", "field")
    gradviz("compare", "run", "run", "-o", "compared")
    Path("flow.json").write_text(gradviz("inspect", model, "--json").stdout)
    shutil.copytree("run", "good")
    readers: dict[str, list[list[str | Path]]] = {
        "run/run.json": [
            ["compare", "good", "run"],
            ["report", "run"],
            [*saliency, "--resume"],
            [*saliency, "--resume", "--shard", "1/2"],
        ],
        "field/field.json": [["compare", "field", "field"], ["report", "field"]],
        "compared/compare.json": [["report", "compared"]],
        "flow.json": [["report", "flow.json"]],
    }
    for file, commands in readers.items():
        path = Path(file)
        text, count = re.subn(r'"schema": \d+', schema, path.read_text(), count=1)
        assert count
        path.write_text(text)
        for command in commands:
            result = gradviz(*command)
            assert result.exit_code == 2, command
            assert result.stderr.startswith(f"error: {file}: {says}"), command
            assert len(result.stderr.splitlines()) == 1
            assert path.read_text() == text
    assert gradviz(*saliency, "--overwrite").exit_code == 0


# Errors


WRONG = {
    "saliency": ["saliency", "nowhere.ts", "nowhere.png"],
    "receptive-field": ["receptive-field", "nowhere.ts"],
    "inspect": ["inspect", "nowhere.ts"],
    "check": ["check", "nowhere.ts", "nowhere.png"],
    "compare": ["compare", "nowhere", "nowhere"],
    "report": ["report", "nowhere", "-o", "page.html"],
    "explore": ["explore", "nowhere.ts", "nowhere.png"],
}


def test_every_command_can_be_wrong() -> None:
    assert WRONG.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", WRONG)
def test_an_error_is_a_document_too(gradviz: Gradviz, command: str) -> None:
    plain = gradviz(*WRONG[command])
    result = gradviz(*WRONG[command], "--json")
    assert plain.exit_code == result.exit_code != 0
    assert (plain.stdout, plain.stderr) == ("", result.stderr)
    found = ErrorDocument.model_validate(json.loads(result.stdout))
    known(found, result.stdout)
    assert found.exit_code == result.exit_code
    assert result.stderr == f"error: {found.message}\n"


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (ZeroDivisionError("by zero"), 1)]
)
def test_an_interrupt_and_a_bug_are_documents(
    gradviz: Gradviz,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gradviz.commands.compare.comparison.compare", fail)
    result = CliRunner().invoke(make_app("compare"), ["compare", "a", "b", "--json"])
    assert result.exit_code == code
    found = ErrorDocument.model_validate(json.loads(result.stdout))
    assert (found.exit_code, found.type) == (code, type(error).__name__)


def test_what_does_not_hold_is_no_error_document(
    gradviz: Gradviz, models: Path, images: Path
) -> None:
    result = gradviz(
        "saliency", models / "depth.ts", images / "room_01.png", "--expect", "l2<0", "--json"
    )
    assert result.exit_code == 6
    assert SaliencyDocument.model_validate(json.loads(result.stdout)).results


# The reference


@pytest.mark.parametrize("name", make_schemas.DOCUMENTS)
def test_the_schemas_are_up_to_date(name: str) -> None:
    """If it fails: python tools/make_schemas.py"""
    path = make_schemas.REFERENCE / f"{name}.schema.json"
    assert path.read_text(encoding="utf-8") == make_schemas.schema_text(name)


def test_the_page_is_up_to_date() -> None:
    """If it fails: python tools/make_schemas.py"""
    assert (make_schemas.REFERENCE / "output.md").read_text(encoding="utf-8") == make_schemas.page()


def subclasses(kind: type[JsonObject]) -> Iterator[type[JsonObject]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_key_is_described_and_every_document_has_a_schema() -> None:
    described = "".join(make_schemas.schema_text(name) for name in make_schemas.DOCUMENTS)
    for kind in subclasses(JsonObject):
        if kind.__module__ != JsonObject.__module__:
            continue  # of a test
        for name, field in kind.model_fields.items():
            assert field.description, f"{kind.__name__}.{name}"
        if issubclass(kind, Document) and kind is not Document:
            assert json.dumps(kind.__doc__, ensure_ascii=False) in described, kind.__name__


@pytest.mark.process
def test_types_are_read_without_torch() -> None:
    code = (
        "import sys; import gradviz.runs.schema, gradviz.runs.reader, gradviz.cli.console;"
        "sys.exit(bool({'torch', 'matplotlib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
