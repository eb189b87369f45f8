"""Which inputs an output can depend on: the structural rule."""
