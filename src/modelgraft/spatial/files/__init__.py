"""Mesh, texture and point files: read within hard limits, written whole or not at all."""
