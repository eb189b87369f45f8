"""How the pixels of a file become the tensor that enters the model."""
