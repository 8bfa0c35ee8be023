"""Texture coordinates: what is wrong with those of a mesh, and new ones."""

from modelgraft.core.lazy import public_names

__getattr__ = public_names(
    __name__,
    {
        "Unwrapped": "modelgraft.spatial.uv.unwrapping",
        "overlaps": "modelgraft.spatial.uv.coverage",
        "unwrap": "modelgraft.spatial.uv.unwrapping",
        "uv_faults": "modelgraft.spatial.uv.coverage",
    },
)
