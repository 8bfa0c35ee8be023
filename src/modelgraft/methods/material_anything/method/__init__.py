"""Material Anything as tensor functions, in the paper's order."""
