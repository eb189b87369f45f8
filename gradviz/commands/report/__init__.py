"""Finished runs and documents become one HTML page that needs nothing else."""
