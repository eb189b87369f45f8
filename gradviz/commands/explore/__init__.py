"""The page of `gradviz explore`: a server that answers what one points at."""
