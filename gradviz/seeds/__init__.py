"""What is differentiated: seeds, and the outputs that they fit."""
