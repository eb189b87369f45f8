"""Gradients of trained vision models, computed and drawn.

model = gradviz.load_model("depth.ts")
for result in gradviz.saliency(model, "room.png", "pixel:64,48"):
    result.picture("overlay").save("overlay.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradviz.version import VERSION as __version__

if TYPE_CHECKING:
    from gradviz.api import explore, receptive_field, saliency
    from gradviz.model.load import load_model, wrap
    from gradviz.stored_arrays import load_array

__all__ = [
    "__version__",
    "explore",
    "load_array",
    "load_model",
    "receptive_field",
    "saliency",
    "wrap",
]

_HOMES = {
    "explore": "gradviz.api",
    "load_array": "gradviz.stored_arrays",
    "load_model": "gradviz.model.load",
    "receptive_field": "gradviz.api",
    "saliency": "gradviz.api",
    "wrap": "gradviz.model.load",
}


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, and `gradviz --help` needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module 'gradviz' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
