"""Training: each stage as a function of a loaded model, its data, the options and the run."""
