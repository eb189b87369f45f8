"""Model files that are damaged, that lie about themselves, or that are too much to unpack."""

from __future__ import annotations

import json
import logging
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import torch
from typer.testing import Result

from gradviz import files as archive
from tests.helpers import victim

Fails = Callable[..., str]
Counted = Callable[[str, object], None]

PARTS = 64


@pytest.mark.parametrize("kind", victim.KINDS)
def test_cut_short_at_every_64th(
    kind: str, healthy: Path, fails: Fails, tmp_path: Path, record_property: Counted
) -> None:
    whole, path = (healthy / kind).read_bytes(), tmp_path / kind
    for part in range(PARTS):
        path.write_bytes(whole[: len(whole) * part // PARTS])
        assert kind in fails(3, path, healthy / "photo.png", *victim.KINDS[kind]), part
    record_property("cases", PARTS)


@pytest.mark.parametrize("kind", victim.KINDS)
def test_a_flipped_bit(
    kind: str,
    healthy: Path,
    saliency: Callable[..., Result],
    tmp_path: Path,
    record_property: Counted,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It may be in a weight, which changes a number; else it is refused in one line."""
    whole, path = (healthy / kind).read_bytes(), tmp_path / kind
    places, codes = random.Random(0), []
    for _ in range(PARTS):
        damaged = bytearray(whole)
        damaged[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(damaged)
        result = saliency(path, healthy / "photo.png", *victim.KINDS[kind], "--overwrite")
        codes.append(result.exit_code)
        lines = result.stderr.splitlines()
        if result.exit_code:
            assert len(lines) == 1 and lines[0].startswith("error: "), lines
        else:
            assert all(line.startswith("warning: ") for line in lines)
    # Of a global that is renamed, loading says that it would have to be trusted.
    assert {0, 3} <= set(codes) <= {0, 3, 5}
    assert capfd.readouterr().err == ""
    record_property("cases", PARTS)


# Zip archives -------------------------------------------------------------------------------------


def rezipped(
    whole: Path,
    path: Path,
    rename: Callable[[str], str] = str,
    extra: dict[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """The archive `whole` again, with other names, more members, or compressed."""
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            new.writestr(rename(name), old.read(name))
        for name, content in (extra or {}).items():
            new.writestr(name, content)
    return path


def declaring(path: Path, size: int) -> Path:
    """Make the list of members say that the one read first unpacks to `size` bytes."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as members:
        ends = ("/data.pkl", "/models/model.json")
        name = next(name for name in members.namelist() if name.endswith(ends)).encode()
    entry = content.rindex(name) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, so low that bombs for tests are small."""
    monkeypatch.setattr(archive, "ALLOWED", 1 << 20)


ZIPS = [kind for kind in victim.KINDS if kind not in ("legacy.pth", "weights.safetensors")]


@pytest.mark.parametrize("kind", ZIPS)
def test_a_zip_bomb(kind: str, healthy: Path, fails: Fails, tmp_path: Path, small: None) -> None:
    path = rezipped(
        healthy / kind,
        tmp_path / kind,
        extra={f"{Path(kind).stem}/extra": bytes(3 << 20)},
        compression=zipfile.ZIP_DEFLATED,
    )
    said = fails(3, path, healthy / "photo.png", *victim.KINDS[kind])
    assert "would unpack to 3." in said and "at most 1.05 MB, or 10 times its size" in said


@pytest.mark.parametrize("kind", ZIPS)
def test_a_declared_size_is_enough(
    kind: str, healthy: Path, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four gigabytes that are not there: nothing is read to find out."""
    path = declaring(rezipped(healthy / kind, tmp_path / kind), 2**32 - 2)
    monkeypatch.setattr(zipfile.ZipFile, "open", pytest.fail)
    assert "would unpack to 4 GB" in fails(3, path, healthy / "photo.png", *victim.KINDS[kind])


@pytest.mark.parametrize("kind", ZIPS)
def test_a_member_that_is_larger_than_it_says(
    kind: str, healthy: Path, fails: Fails, tmp_path: Path
) -> None:
    path = rezipped(healthy / kind, tmp_path / kind, compression=zipfile.ZIP_DEFLATED)
    fails(3, declaring(path, 10), healthy / "photo.png", *victim.KINDS[kind])


@pytest.mark.parametrize("trust", [["--trust"], []])
def test_a_bomb_inside_an_exported_program(
    trust: list[str], healthy: Path, fails: Fails, tmp_path: Path, small: None
) -> None:
    inner = BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("archive/data.pkl", bytes(3 << 20))
    extra = {"program/data/sample_inputs/other.pt": inner.getvalue()}
    path = rezipped(healthy / "program.pt2", tmp_path / "program.pt2", extra=extra)
    assert "would unpack to 3." in fails(3, path, healthy / "photo.png", *trust)


def test_what_torch_would_only_log_is_told(healthy: Path, fails: Fails, tmp_path: Path) -> None:
    """torch.export.load logs the traceback, and raises that one should look at it."""
    logged: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(logged)
    with zipfile.ZipFile(healthy / "program.pt2") as old:
        content = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile("program.pt2", "w") as new:
        for name, data in content.items():
            new.writestr(name, data.replace(b'"type": "cpu"', b'"type": "cru"'))
    logging.getLogger("torch.export").addHandler(handler)
    try:
        said = fails(3, "program.pt2", healthy / "photo.png", "--trust")
    finally:
        logging.getLogger("torch.export").removeHandler(handler)
    assert "device string: cru" in said and logged.empty()


def test_compressed_models_load(
    healthy: Path, saliency: Callable[..., Result], tmp_path: Path
) -> None:
    """The limit is for bombs: whoever packs a model again, and well, is not one."""
    path = rezipped(
        healthy / "checkpoint.pt", tmp_path / "checkpoint.pt", compression=zipfile.ZIP_DEFLATED
    )
    assert saliency(path, healthy / "photo.png", *victim.ARCH).exit_code == 0


TRAVERSALS = {
    "up": "../../escaped",
    "up, further in": "model/../../escaped",
    "absolute": "/tmp/escaped",
    "of Windows": "..\\escaped",
}


@pytest.mark.parametrize("name", TRAVERSALS.values(), ids=TRAVERSALS)
@pytest.mark.parametrize("kind", ZIPS)
def test_a_member_that_leads_out(
    kind: str, name: str, healthy: Path, fails: Fails, tmp_path: Path
) -> None:
    path = rezipped(healthy / kind, tmp_path / kind, extra={name: b"escaped"})
    said = fails(3, path, healthy / "photo.png", *victim.KINDS[kind])
    assert "leads out of it" in said and "escaped" in said


def nested(healthy: Path) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as outer:
        outer.write(healthy / "checkpoint.pt", "checkpoint.pt")
    return buffer.getvalue()


def foreign_names(healthy: Path) -> bytes:
    content = (healthy / "scripted.ts").read_bytes()
    place = content.rindex(b"data.pkl", 0, content.rindex(b"PK\x05\x06"))
    return content[:place] + b"\xff" + content[place + 1 :]


def future_version(healthy: Path) -> bytes:
    content = bytearray((healthy / "scripted.ts").read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 6] = 99
    return bytes(content)


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def without_forward(_: Path) -> bytes:
    class Other(torch.nn.Module):
        @torch.jit.export
        def other(self, x: torch.Tensor) -> torch.Tensor:
            return x

    buffer = BytesIO()
    scripted: Any = torch.jit.script(Other())
    torch.jit.save(scripted, buffer)
    return buffer.getvalue()


MADE: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "a model zipped once more": ("m.pt", nested, "unpack it first"),
    "an empty zip file": ("m.pt", lambda _: b"PK\x05\x06" + bytes(18), "empty zip file"),
    "member names that are no text": ("m.ts", foreign_names, "damaged"),
    "a zip version that does not exist": ("m.ts", future_version, "damaged"),
    "a module that cannot be called": ("m.ts", without_forward, "has no forward()"),
    "wrong magic": (
        "m.pt",
        lambda healthy: b"KP" + (healthy / "checkpoint.pt").read_bytes()[2:],
        "",
    ),
    "legacy magic, then nothing": (
        "m.pth",
        lambda healthy: (healthy / "legacy.pth").read_bytes()[:20],
        "damaged",
    ),
    "a header longer than the file": (
        "m.safetensors",
        lambda _: safetensors({}, length=1 << 40),
        "cut short: its header takes 1099511627776 bytes",
    ),
    "a header of negative length": (
        "m.safetensors",
        lambda _: safetensors({}, length=(1 << 64) - 256),
        "cut short",
    ),
    "a header that is no JSON": (
        "m.safetensors",
        lambda _: safetensors(b"{" + bytes(20)),
        "damaged",
    ),
    "a header nested a thousand deep": (
        "m.safetensors",
        lambda _: safetensors(b'{"a":' * 1000 + b"1" + b"}" * 1000),
        "damaged",
    ),
    "offsets beyond the end": (
        "m.safetensors",
        lambda _: safetensors({"w": tensor([4], 0, 16)}, bytes(8)),
        "damaged",
    ),
    "offsets that overlap": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
        "damaged",
    ),
    "offsets that leave a hole": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
        "damaged",
    ),
    "offsets in reverse": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], 4, 0)}, bytes(4)),
        "damaged",
    ),
    "negative offsets": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], -4, 0)}, bytes(4)),
        "damaged",
    ),
    "more elements than bytes": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1 << 40], 0, 4)}, bytes(4)),
        "damaged",
    ),
    "a number of elements that overflows": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1 << 62, 1 << 62], 0, 4)}, bytes(4)),
        "damaged",
    ),
    "the size of another dtype": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], 0, 4, "F64")}, bytes(4)),
        "damaged",
    ),
    "a dtype that does not exist": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], 0, 4, "F31")}, bytes(4)),
        "damaged",
    ),
    "bytes that belong to no tensor": (
        "m.safetensors",
        lambda _: safetensors({"a": tensor([1], 0, 4)}, bytes(12)),
        "damaged",
    ),
}
"""Under what name, how it is made, and a piece of what is said."""


@pytest.mark.parametrize("case", MADE)
def test_files_that_lie(case: str, healthy: Path, fails: Fails, tmp_path: Path) -> None:
    name, make, says = MADE[case]
    (tmp_path / name).write_bytes(make(healthy))
    options = () if name.endswith(".ts") else victim.ARCH
    assert says in fails(3, name, healthy / "photo.png", *options)
