"""Opening model files: one way for each format."""
