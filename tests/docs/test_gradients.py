"""docs/gradients.md: every example runs, and every number and picture is what it gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.docs.pages import GRADIENTS, REMEDY, run_page
else:
    from pages import GRADIENTS, REMEDY, run_page


def test_every_example_holds_and_every_file_is_there(tmp_path: Path) -> None:
    wrong = GRADIENTS.run(tmp_path)
    assert not wrong, "\n".join(wrong)
    assert len(set(re.findall(r"\bout/[\w./-]*\w", GRADIENTS.text))) > 5
    assert GRADIENTS.missing(tmp_path) == []
    assert GRADIENTS.stale(tmp_path) == [], REMEDY


def test_every_link_leads_somewhere() -> None:
    assert GRADIENTS.unlinked() == []


@pytest.mark.parametrize(
    "page",
    [
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\n>>> unknown\n```\n",
        "```python\nx = 1\n```\n",
        "```console\n$ exit 3\n```\n",
        "```console\n$ exit 3\n$ echo $?\n2\n```\n",
        "```console\n$ true\n$ echo $?\n2\n```\n",
        "```console\n$ echo one \\\n    two\none three\n```\n",
        "```console\n$ gradviz --version\ngradviz none\n```\n",
        "```console\n$ gradviz saliency nothing.ts\n```\n",
        "```text\nnot run\n```\n",
    ],
)
def test_a_wrong_page_is_noticed(page: str, tmp_path: Path) -> None:
    assert len(run_page(page, tmp_path)) == 1


def test_blocks_share_their_names_and_their_folder(tmp_path: Path) -> None:
    page = (
        "```console\n$ echo one \\\n    two > file\n$ cat file\none ...\n```\n"
        "```python\n>>> from pathlib import Path\n>>> words = Path('file').read_text()\n```\n"
        "```python\n>>> words.split()\n['one', 'two']\n```\n"
    )
    assert run_page(page, tmp_path) == []


def test_what_a_failing_command_says_is_compared(tmp_path: Path) -> None:
    page = (
        "```console\n$ gradviz saliency nothing.ts nothing.png\nerror: ...\n$ echo $?\n2\n"
        "$ echo said >&2; exit 7\nsaid\n$ echo $?\n7\n```\n"
    )
    assert run_page(page, tmp_path) == []
