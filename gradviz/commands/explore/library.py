"""The libraries of the page's server, which are an extra."""

from __future__ import annotations

from importlib import import_module

from gradviz.errors import ModelError


def check_library() -> None:
    """Check that the libraries of the server are there.

    Raises:
        ModelError: one is missing.
    """
    for name in ("starlette", "uvicorn"):
        try:
            import_module(name)
        except ImportError as error:
            raise ModelError(f"explore needs {name}: pip install 'gradviz[explore]'") from error
