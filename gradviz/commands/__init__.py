"""The computations and files of each command, in a folder each; none imports another."""
