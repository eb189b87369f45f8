"""`gradviz inspect`: what a model is, and how its gradient flows."""
