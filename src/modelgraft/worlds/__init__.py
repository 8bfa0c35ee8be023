"""Procedural worlds with exact ground truth, in NumPy: scenes are drawn from integers."""
