"""What must not move a verdict and whether it does: perturbations, attacks and their measures."""
