"""The folder of a run, finished or not."""
