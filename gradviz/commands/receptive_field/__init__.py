"""`gradviz receptive-field`: how far an output pixel looks."""
