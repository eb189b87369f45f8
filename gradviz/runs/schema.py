"""The documents that gradviz writes, as types."""

from __future__ import annotations

DOCUMENT = "compare.json"
