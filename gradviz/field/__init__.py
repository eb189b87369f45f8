"""Receptive fields: the pixels of the input that can matter, those that do, and how much."""
