"""Load a trained model of any format, as one callable value."""
