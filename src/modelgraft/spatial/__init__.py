"""Meshes, cameras, rasterising, shading and their files: everything with three dimensions."""
