"""Files, folders and globs on a real file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gradviz.errors import UsageError
from gradviz.image.find import FoundImages, find_images


def grow(root: Path, *names: str) -> Path:
    """Empty files: what is in them does not matter to the search."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(found: FoundImages) -> list[str]:
    return [source.name for source in found.sources]


def test_a_folder_is_searched_for_pictures(tmp_path: Path) -> None:
    grow(tmp_path, "b.png", "a.JPG", "deep/er/c.tiff", "deep/notes.txt", "x.npy", "x.pt", "data.h5")
    found = find_images([str(tmp_path)], None)
    assert names(found) == ["a.JPG", "b.png", "deep/er/c.tiff"]
    assert found.sources[2].path == tmp_path / "deep/er/c.tiff"
    assert found.ignored == 4


def test_hidden_entries_are_neither_taken_nor_counted(tmp_path: Path) -> None:
    grow(tmp_path, "a.png", ".b.png", ".thumbnails/c.png", ".DS_Store")
    assert find_images([str(tmp_path)], None) == find_images([str(tmp_path / "a.png")], None)
    assert names(find_images([str(tmp_path / "*.png")], None)) == ["a.png"]
    assert names(find_images([str(tmp_path / ".*.png")], None)) == [".b.png"]


def test_results_are_not_searched(tmp_path: Path) -> None:
    grow(tmp_path, "a.png", "out/a.png/ones/heatmap.png", "old/run.json", "old/x/heatmap.png")
    found = find_images([str(tmp_path)], tmp_path / "x/../out")
    assert names(found) == ["a.png"]
    assert found.ignored == 0
    assert names(find_images([str(tmp_path / "**/*.png")], tmp_path / "out")) == ["a.png"]
    with pytest.raises(UsageError, match=r"no image found .*run\.json"):
        find_images([str(tmp_path / "old")], None)


def test_a_named_file_is_always_tried(tmp_path: Path) -> None:
    grow(tmp_path, "a.npy", "b.weird", "sub/c.pt")
    assert names(find_images([str(tmp_path / "b.weird")], None)) == ["b.weird"]
    assert names(find_images([str(tmp_path / "*.npy")], None)) == ["a.npy"]
    both = find_images([str(tmp_path), str(tmp_path / "b.weird")], None)
    assert (names(both), both.ignored) == (["b.weird"], 2)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["0.png", "1.png"]),
        ("[1-9].png", ["1.png"]),
        ("?/*.png", ["a/2.png", "b/0.png"]),
        ("**/*.png", ["0.png", "1.png", "a/2.png", "a/deep/3.png", "b/0.png"]),
        ("a/**/*.png", ["2.png", "deep/3.png"]),
        ("**/deep/*.png", ["a/deep/3.png"]),
        ("**", ["0.png", "1.png", "a/2.png", "a/deep/3.png", "b/0.png"]),
        ("[ab]", ["a/2.png", "a/deep/3.png", "b/0.png"]),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    grow(tmp_path, "1.png", "0.png", "a/2.png", "a/deep/3.png", "b/0.png", "b/notes.txt", "c")
    assert names(find_images([str(tmp_path / pattern)], None)) == expected


def test_a_relative_glob_starts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow(tmp_path, "a/1.png")
    monkeypatch.chdir(tmp_path)
    assert names(find_images(["*/1.png"], None)) == ["a/1.png"]
    assert names(find_images(["."], None)) == ["a/1.png"]


def test_an_existing_path_wins_over_a_glob(tmp_path: Path) -> None:
    grow(tmp_path, "a[1].png", "a1.png", "set*/b.png", "setting/c.png")
    assert names(find_images([str(tmp_path / "a[1].png")], None)) == ["a[1].png"]
    assert names(find_images([str(tmp_path / "set*")], None)) == ["b.png"]


def test_the_same_file_counts_once(tmp_path: Path) -> None:
    grow(tmp_path, "a.png", "sub/b.png", "notes.txt")
    (tmp_path / "c.png").symlink_to("sub/b.png")
    (tmp_path / "again").symlink_to("sub")
    every = [str(tmp_path), f"{tmp_path}/sub/../a.png", str(tmp_path / "**/*"), str(tmp_path)]
    found = find_images(every, None)
    assert names(found) == ["a.png", "notes.txt", "sub/b.png"]
    assert find_images(every[:2], None).ignored == 1


def test_links_to_folders_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    photos, elsewhere = grow(tmp_path / "photos", "a.png"), grow(tmp_path / "else", "b.png")
    (photos / "more").symlink_to(elsewhere)
    for name in "123":
        (photos / name).symlink_to(photos)
        (elsewhere / name).symlink_to(elsewhere)
    (photos / "self.png").symlink_to("self.png")
    assert names(find_images([str(photos)], None)) == ["a.png", "more/b.png", "self.png"]
    assert names(find_images([str(photos / "**/a.png")], None)) == ["a.png"]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    grow(tmp_path, "x/a.png", "y/a.png")
    with pytest.raises(UsageError, match=r"x/a\.png and .*y/a\.png share the name a\.png"):
        find_images([str(tmp_path / "x"), str(tmp_path / "y/a.png")], None)


@pytest.mark.parametrize("argument", ["missing.png", "*.gif", "none/*.png", "a.png/*", ""])
def test_an_argument_that_matches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(grow(tmp_path, "a.png"))
    with pytest.raises(UsageError, match="no such file") as caught:
        find_images(["a.png", argument], None)
    assert repr(argument) in str(caught.value)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    grow(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match=r"no image found .*\(1 other files"):
        find_images([str(tmp_path)], None)


def test_what_cannot_be_searched_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be searched"):
        find_images(["x" * 5000], None)

    def denied(folder: Path) -> None:
        raise PermissionError(13, os.strerror(13), str(folder))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UsageError, match=f"{tmp_path}: cannot be searched .Permission denied"):
        find_images([str(tmp_path)], None)
