"""The reach of each element of a tensor: its sources, followed forwards and without numbers."""
