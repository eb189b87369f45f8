"""Read image files, prepare tensors, and map their pixels back to the file's."""
