"""The vector–Jacobian product: seeds, the pass itself, methods."""
