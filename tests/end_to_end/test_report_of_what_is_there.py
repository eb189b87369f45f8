"""`report` makes the page of what there is, and names what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from tests.helpers.commands import Gradviz, errors, failed
from tests.helpers.formats import script


def test_what_is_missing_is_named(gradviz: Gradviz) -> None:
    script("x * x", "model.ts")
    Image.new("RGB", (6, 5), (90, 80, 70)).save("photo.png")
    assert gradviz("saliency", "model.ts", "photo.png", "-o", "run").exit_code == 0
    Path("words.json").write_text("words")
    result = gradviz("report", "run", "gone", "words.json", "-o", "page.html", "--json")
    assert result.exit_code == 4
    assert [line.split(": ")[1] for line in errors(result)] == ["gone", "words.json"]
    notes = json.loads(result.stdout)["notes"]
    page = Path("page.html").read_text("utf-8")
    assert all(any(note.startswith(name) for note in notes) for name in ("gone", "words.json"))
    assert "gone: " in page and "photo.png" in page


def test_a_check_is_shown(gradviz: Gradviz) -> None:
    script("x * x", "model.ts")
    Image.new("RGB", (6, 5), (90, 80, 70)).save("photo.png")
    result = gradviz("check", "model.ts", "photo.png", "--json", "-o", "checked")
    assert result.exit_code == 0, result.stderr
    tests = json.loads(result.stdout)["tests"]
    result = gradviz("report", "checked/check.json", "-o", "page.html")
    assert (result.exit_code, result.stderr) == (0, "")
    page = Path("page.html").read_text("utf-8")
    assert "Proven right in float" in page and 'class="verdict good"' in page
    for test in tests:
        if test["name"] != "trend":
            assert f"<td>{test['name']}</td><td>{test['expected']:.4g}</td>" in page
    document = json.loads(Path("checked/check.json").read_text())
    document["ok"], document["tests"][0]["ok"] = False, False
    Path("wrong.json").write_text(json.dumps(document))
    assert gradviz("report", "wrong.json", "-o", "wrong.html").exit_code == 0
    page = Path("wrong.html").read_text("utf-8")
    assert "Not proven right" in page and "<td>failed</td>" in page


def test_nothing_at_all_is_an_error(gradviz: Gradviz) -> None:
    failed(gradviz("report", "gone", "lost", "-o", "page.html"), 2, "gone")
    assert not Path("page.html").exists()
