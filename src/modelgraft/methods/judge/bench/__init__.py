"""Public judge benchmarks: readers of their files, their scores, and a person's own tables."""
