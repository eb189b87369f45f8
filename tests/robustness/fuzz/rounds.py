"""How long the fuzzing takes: a short round that is always the same, or `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Examples share one folder on purpose: a process of its own for each would take hours.
_common = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.register_profile("short", _common, max_examples=40, derandomize=True)
settings.register_profile("long", _common, max_examples=800, print_blob=True)
FUZZ = settings.get_profile(os.environ.get("GRADVIZ_FUZZ", "short"))
QUICK = settings(FUZZ, max_examples=5 * FUZZ.max_examples)
"""For examples that take about a millisecond."""
