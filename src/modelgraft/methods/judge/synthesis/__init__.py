"""Labelled pairs by construction: how good answers are made worse, and how pairs are balanced."""
