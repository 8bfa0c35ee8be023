"""Pinhole cameras in OpenCV axes: x right, y down, z forward; pixel centres lie at +0.5.

Worlds are right-handed with y up, as in glTF. Pictures have their first row at the top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """Where a camera stands and what it sees."""

    c2w: Array
    """[4, 4], from camera to world."""
    focal_px: tuple[float, float]
    """In x and y."""
    centre_px: tuple[float, float]
    """Where the optical axis meets the picture, from its top left corner."""
    size: tuple[int, int]
    """Height and width in pixels."""

    @cached_property
    def w2c(self) -> Array:
        """[4, 4], from world to camera; exact for a rotation and a shift."""
        inverse = np.eye(4)
        inverse[:3, :3] = self.c2w[:3, :3].T
        inverse[:3, 3] = -self.c2w[:3, :3].T @ self.c2w[:3, 3]
        return inverse

    @property
    def position(self) -> Array:
        """The optical centre in the world [3]."""
        return self.c2w[:3, 3]

    def clip(self, near: float = 0.01, far: float = 100.0) -> Array:
        """[4, 4] from world to OpenGL's clip space: x right, y up, w the depth, |z| at most w."""
        (height, width), (fx, fy), (cx, cy) = self.size, self.focal_px, self.centre_px
        project = np.zeros((4, 4))
        project[0, 0], project[0, 2] = 2 * fx / width, 2 * cx / width - 1
        project[1, 1], project[1, 2] = -2 * fy / height, 1 - 2 * cy / height
        project[2, 2], project[2, 3] = (far + near) / (far - near), -2 * far * near / (far - near)
        project[3, 2] = 1.0
        return project @ self.w2c

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixels [..., 2] and depths [...] of points in the world [..., 3]."""
        seen = points @ self.w2c[:3, :3].T + self.w2c[:3, 3]
        depth = seen[..., 2]
        pixels = seen[..., :2] / depth[..., None] * self.focal_px + self.centre_px
        return pixels, depth

    def rays(self) -> tuple[Array, Array]:
        """Origin [3] and unit directions [H, W, 3] of the rays through the pixels' centres."""
        height, width = self.size
        y, x = np.mgrid[:height, :width] + 0.5
        (fx, fy), (cx, cy) = self.focal_px, self.centre_px
        seen = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1)
        directions = seen @ self.c2w[:3, :3].T
        return self.position, directions / np.linalg.norm(directions, axis=-1, keepdims=True)

    def resized(self, size: tuple[int, int]) -> Camera:
        """The same view in pictures of another size."""
        y, x = size[0] / self.size[0], size[1] / self.size[1]
        focal = (self.focal_px[0] * x, self.focal_px[1] * y)
        return Camera(self.c2w, focal, (self.centre_px[0] * x, self.centre_px[1] * y), size)


def perspective(c2w: Array, fov_y_deg: float, size: tuple[int, int]) -> Camera:
    """A camera with square pixels and its axis in the middle; `fov_y_deg` is from top to bottom."""
    height, width = size
    focal = height / 2 / math.tan(math.radians(fov_y_deg) / 2)
    return Camera(c2w, (focal, focal), (width / 2, height / 2), size)


def look_at(eye: Array, target: Array, up: Array | None = None) -> Array:
    """The pose [4, 4] of a camera at `eye` [3] that looks to `target` [3]; `up` is y unless given.

    Straight up or down, where `up` says nothing about the roll, minus z of the world points up in
    the picture.
    """
    forward = target - eye
    forward = forward / np.linalg.norm(forward)
    up = np.array([0.0, 1.0, 0.0]) if up is None else up / np.linalg.norm(up)
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6:
        right = np.cross(forward, np.array([0.0, 0.0, -1.0]))
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(forward, right), forward, eye], 1)
    return pose


def orbit(azimuth_deg: float, elevation_deg: float, distance: float) -> Array:
    """The pose [4, 4] of a camera around the origin that looks at it.

    Azimuth 0 stands at plus z, 90 at plus x; elevation 90 looks down from plus y. At the poles
    too the picture stands as it does just before them.
    """
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    outward = np.array([math.sin(azimuth), 0.0, math.cos(azimuth)])
    upward = np.array([0.0, 1.0, 0.0])
    eye = math.cos(elevation) * outward + math.sin(elevation) * upward
    up = math.cos(elevation) * upward - math.sin(elevation) * outward
    return look_at(distance * eye, np.zeros(3), up)
