"""Judges that are tuned: a probe, an adapter that chooses, a reward head; and their folders."""
