"""Tables of runs: `--csv`."""
