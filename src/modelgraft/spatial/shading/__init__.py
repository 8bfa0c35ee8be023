"""Shading of surfaces by glTF's metallic-roughness material: lamps, environments, radiance."""
