"""Pictures of a gradient."""
