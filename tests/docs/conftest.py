"""Pages, run once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tools.run_docs import Page

RunPage = Callable[[str], tuple[Path, list[str]]]


@pytest.fixture(scope="session")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> RunPage:
    """Run a page, at most once; return its folder and what went wrong."""

    @cache
    def run(name: str) -> tuple[Path, list[str]]:
        folder = tmp_path_factory.mktemp("page")
        return folder, Page(name).run(folder)

    return run
