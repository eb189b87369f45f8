"""Where things are in the repository."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]


def no_browser() -> NoReturn:
    """End a test that needs Chromium: it fails, unless GRADVIZ_BROWSER=none allows its absence."""
    if os.environ.get("GRADVIZ_BROWSER") == "none":
        pytest.skip("no Chromium here, and GRADVIZ_BROWSER=none")
    pytest.fail("no Chromium here: apt-get install chromium, or set GRADVIZ_BROWSER=none")
