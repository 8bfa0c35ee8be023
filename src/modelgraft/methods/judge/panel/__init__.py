"""Several judges: votes, and talks before them."""
