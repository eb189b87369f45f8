"""Figures for print: panels in columns and on pages, in millimetres and points."""
