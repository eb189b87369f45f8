"""The backward pass: the vector–Jacobian product, and the methods that are built on it."""
