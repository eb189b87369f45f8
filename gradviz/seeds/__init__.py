"""Seeds: the choice of what is differentiated, and the outputs that each fits."""
