"""Files of labels in each form, and hostile ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradviz.errors import UsageError
from gradviz.labels import LARGEST_FILE, read_labels

WANTED = ("tench, Tinca tinca", "goldfish", "no")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "tench, Tinca tinca\ngoldfish\nno\n"),
        ("windows.txt", "\ufefftench, Tinca tinca\r\n  goldfish \r\nno\r\n\r\n"),
        ("list.json", '["tench, Tinca tinca", "goldfish", "no"]'),
        ("id2label.json", '{"0": "tench, Tinca tinca", "1": "goldfish", "2": "no"}'),
        ("disordered.json", '{"2": "no", "0": "tench, Tinca tinca", "1": "goldfish"}'),
        ("keras.json", '{"0": ["n1", "tench, Tinca tinca"], "1": ["n2", "goldfish"], "2": "no"}'),
        ("python.txt", "{0: 'tench, Tinca tinca',\n 1: 'goldfish',\n 2: 'no',\n}\n"),
        ("block.yaml", "0: tench, Tinca tinca\n1: goldfish\n2: no\n"),
        ("list.yml", "- tench, Tinca tinca\n- goldfish\n- no\n"),
    ],
)
def test_every_form(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_labels(tmp_path / name) == WANTED


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["line 1", "is blank"]),
        ("cat\n\ndog\n", ["line 2", "is blank"]),
        ("[]", ["holds no labels"]),
        ("{}", ["holds no labels"]),
        ("[1, 2]", ["class 0", "must be text, got 1", "quote it"]),
        ('["cat", true]', ["class 1", "got True", "quote it"]),
        ('["cat", null]', ["class 1", "got None"]),
        ('["cat", NaN]', ["class 1", "got nan"]),
        ('["cat", " "]', ["class 1", "must be text"]),
        ('["cat", "\\ud800"]', ["class 1", "must be text"]),
        ('["cat", ["a", "b", "c"]]', ["class 1", "must be text"]),
        ('{"cat": 0}', ["'cat' is no index"]),
        ('{"-1": "cat"}', ["'-1' is no index"]),
        ('{"0": "cat", "2": "dog"}', ["2 keys", "none is the index 1"]),
        ('{"0": "cat", "99999999999999999999": "dog"}', ["is no index"]),
        ('{"0": "cat", "999999999": "dog"}', ["none is the index 1"]),
        ('{"0": "cat", "0": "dog"}', ["line 1", "duplicate key '0'"]),
        ('{"0": "cat", "00": "dog"}', ["none is the index 1"]),
        ('{"id2label": {"0": "cat"}}', ["'id2label' is no index"]),
        ("[cat", ["line"]),
        ("[&a cat, *a]", ["anchors and aliases"]),
        ("[" * 100_000, [""]),
        ('{"a":' * 100_000, [""]),
        ("{? [a] : b}", [""]),
        ("{!!python/object:os.system x: y}", ["tag"]),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(text.encode())
    with pytest.raises(UsageError) as error:
        read_labels(file)
    message = str(error.value)
    assert message.startswith(str(file)) and "\n" not in message and len(message) < 400
    assert all(part in message for part in parts), message


def test_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "large").write_bytes(b"a\n" * (LARGEST_FILE // 2 + 1))
    for name, part in {
        "binary": "is not UTF-8 text (byte 128)",
        "pipe": "is no regular file",
        "loop": "Too many levels",
        "huge": "too much for labels",
        "large": "too much for labels",
        "absent": "No such file",
        ".": "directory",
    }.items():
        with pytest.raises(UsageError, match=r"^[^\n]*$") as error:
            read_labels(tmp_path / name)
        assert part in str(error.value)


def test_half_a_million_labels_are_read(tmp_path: Path) -> None:
    count = 500_000
    (tmp_path / "many.txt").write_text("\n".join(f"{n:x}" for n in range(count)))
    labels = read_labels(tmp_path / "many.txt")
    assert len(labels) == count and labels[-1] == f"{count - 1:x}"
