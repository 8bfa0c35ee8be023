"""Torch blocks that more than one method stands on."""
