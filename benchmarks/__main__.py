"""Run every benchmark: `make bench`."""

from __future__ import annotations

from benchmarks import field, startup

startup.main()
field.main()
