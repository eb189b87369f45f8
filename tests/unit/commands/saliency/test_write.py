"""Folder names of seeds."""

from __future__ import annotations

import hashlib

from gradviz.runs.names import seed_folders


def test_seed_folders_are_the_spec_made_harmless() -> None:
    specs = ["ones", "pixel:64,48", "tensor:../v.npy", "class:red fox"]
    assert list(seed_folders(specs).values()) == [
        "ones",
        "pixel-64-48",
        "tensor-..-v.npy",
        "class-red-fox",
    ]


def test_seeds_that_would_share_a_folder_are_told_apart_by_their_hash() -> None:
    folders = seed_folders(["class:a b", "class:a-b", "ones"])
    assert folders["ones"] == "ones"
    for spec in ("class:a b", "class:a-b"):
        digest = hashlib.sha256(spec.encode()).hexdigest()[:8]
        assert folders[spec] == f"class-a-b-{digest}"
