"""Judgments as files that others read, and as rewards."""
