"""Triangle meshes with their materials, as glTF holds them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Mesh:
    """Triangles whose attributes share one index, so a vertex on a UV seam is there once a chart."""

    vertices: Floats
    """[V, 3] in the world: right-handed, y up."""
    faces: Ints
    """[F, 3]; seen from its front a triangle runs counter-clockwise."""
    uvs: Floats | None = None
    """[V, 2] with v up: (0, 0) is the lower left corner of a texture."""
    normals: Floats | None = None
    """[V, 3], unit."""
    name: str = "mesh"


@dataclass(frozen=True)
class Material:
    """glTF's metallic-roughness material; a map is multiplied with its factor."""

    name: str = "material"
    albedo: Bytes | None = None
    """[H, W, 3 or 4] in sRGB; the fourth channel is opacity, linear."""
    rough_metal: Bytes | None = None
    """[H, W, 3], linear: roughness in green, metallic in blue; red is 255."""
    normal: Bytes | None = None
    """[H, W, 3], linear: the normal in the tangent frame, green up."""
    albedo_factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    """Linear."""
    roughness_factor: float = 1.0
    metallic_factor: float = 1.0
    normal_scale: float = 1.0
    double_sided: bool = False


@dataclass(frozen=True)
class Part:
    """One mesh and what it is made of; a glTF primitive."""

    mesh: Mesh
    material: Material = field(default_factory=Material)
    is_textured: bool = False
    """Whether the file gave it a material."""


@dataclass(frozen=True)
class Asset:
    """What a file holds: its parts in world coordinates, in the order of the file."""

    parts: tuple[Part, ...]
    name: str = "asset"
