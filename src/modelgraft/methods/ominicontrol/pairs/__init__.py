"""Pairs of views of one subject: reading the published ones, and making one's own (section 3.3)."""
