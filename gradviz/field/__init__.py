"""Receptive fields: which pixels of the input can matter, which do, and how much."""
