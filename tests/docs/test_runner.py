"""tools/run_docs.py runs every block of a page and notices what is not as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.run_docs import Command, commands_of, headings, run_blocks


@pytest.mark.parametrize(
    "page",
    [
        "```python\n>>> 1 + 1\n3\n```\n",
        "```python\n>>> unknown\n```\n",
        "```console\n$ exit 3\n```\n",
        "```console\n$ exit 3\n$ echo $?\n2\n```\n",
        "```console\n$ true\n$ echo $?\n2\n```\n",
        "```console\n$ echo one \\\n    two\none three\n```\n",
        "```console\n$ echo one; echo two\none\n```\n",
        "```console\n$ gradviz --version\ngradviz none\n```\n",
        "```console\n$ gradviz saliency nothing.ts\n```\n",
        "```console\nno command\n```\n",
        "```yaml\nno: name\n```\n",
        "```ruby\nnot run\n```\n",
    ],
)
def test_a_wrong_page_is_noticed(page: str, tmp_path: Path) -> None:
    assert len(run_blocks(page, tmp_path)) == 1


def test_a_script_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        run_blocks("```python\n1 / 0\n```\n", tmp_path)


def test_blocks_share_their_names_and_their_folder(tmp_path: Path) -> None:
    page = (
        "```console\n$ echo one \\\n    two > file\n$ cat file\none …\n```\n"
        "```python\nfrom pathlib import Path\nwords = Path('file').read_text()\n```\n"
        "```python\n>>> words.split()\n['one', 'two']\n```\n"
    )
    assert run_blocks(page, tmp_path) == []


def test_a_block_that_names_a_file_is_saved(tmp_path: Path) -> None:
    page = (
        "```python\n# part/one.py\nNUMBER = 1\n```\n"
        "```yaml\n# card.yaml\na: b\n```\n"
        "```python\n>>> from part.one import NUMBER\n>>> NUMBER\n1\n```\n"
    )
    assert run_blocks(page, tmp_path) == []
    assert (tmp_path / "card.yaml").read_text() == "# card.yaml\na: b\n"


def test_a_failing_command_is_compared_as_well(tmp_path: Path) -> None:
    page = (
        "```console\n$ gradviz saliency nothing.ts nothing.png\nerror: …\n$ echo $?\n2\n"
        "$ echo said >&2; exit 7\nsaid\n$ echo $?\n7\n```\n"
    )
    assert run_blocks(page, tmp_path) == []


def test_stdout_may_go_to_a_file(tmp_path: Path) -> None:
    assert run_blocks("```console\n$ gradviz --version > file\n```\n", tmp_path) == []
    assert (tmp_path / "file").read_text().startswith("gradviz ")


@pytest.mark.parametrize(
    "shown, printed, same",
    [
        ("", "anything\n", True),
        ("a … c\n…\nd\n", "a b c\nx\ny\nd\n", True),
        ("a\n…\nd\n", "a\nd\n", True),
        ("a   b c\n", "a\tb c\n", True),
        ("a   b c\n", "a\tb\tc\n", False),
        ("a … c\n", "a b d\n", False),
        ("a … c\n", "a b\nc\n", False),
        ("error: no.\n", "error: now\n", False),
        ("a\n", "a\nb\n", False),
    ],
)
def test_what_a_page_shows_is_a_pattern(shown: str, printed: str, same: bool) -> None:
    assert Command("command", shown).shows(printed) == same


def test_commands_have_their_output_and_exit_code() -> None:
    block = "$ one \\\n    two\nshown\n$ echo $?\n3\n$ make test\n"
    first, second = commands_of(block)
    assert first == Command("one two", "shown\n", 3)
    assert first.is_run and not second.is_run


def test_headings_become_anchors() -> None:
    assert headings("# One `two`: three?\n```text\n# no\n```\n## 1. Four-five\n") == {
        "one-two-three",
        "1-four-five",
    }
