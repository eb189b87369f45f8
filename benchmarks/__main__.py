"""Run every benchmark: `make bench`."""

from __future__ import annotations

from benchmarks import field, startup, tiles

startup.main()
field.main()
tiles.main()
