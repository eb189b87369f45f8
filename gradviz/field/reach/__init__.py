"""What each element of a tensor was computed from, followed forwards and without numbers."""
