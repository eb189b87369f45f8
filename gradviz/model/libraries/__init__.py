"""Models of other libraries: their folders and their architectures by name."""
