"""Importing pytorch-grad-cam without the libraries that it draws and smooths maps with."""

from __future__ import annotations

import importlib
import sys
from typing import Any
from unittest import mock

OTHERS = (
    *("cv2", "ttach", "scipy", "scipy.ndimage", "scipy.sparse", "scipy.sparse.linalg"),
    *("sklearn", "sklearn.decomposition"),
)
"""What it imports and Grad-CAM does not use."""


def import_grad_cam() -> Any:
    """Import pytorch-grad-cam, whose maps then have the size and the values of their layer."""
    missing = [name for name in OTHERS if name not in sys.modules]
    sys.modules.update({name: mock.MagicMock() for name in missing})
    try:
        library: Any = importlib.import_module("pytorch_grad_cam")
    finally:
        for name in missing:
            del sys.modules[name]
    library.base_cam.scale_cam_image = lambda cam, size=None: cam
    return library
