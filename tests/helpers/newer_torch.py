"""What later versions of torch have and 2.10 does not."""

from __future__ import annotations

import torch

LANCZOS = hasattr(torch.ops.aten, "_upsample_lanczos2d_aa")
"""True if `interpolate` has the filter of Lanczos."""

AMINMAX = "NotImplemented" not in str(torch.ones(1, requires_grad=True).aminmax()[0].grad_fn)
"""True if `aminmax` has a gradient."""
