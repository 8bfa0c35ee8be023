"""Views of procedural objects with their true maps, rendered under lights on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.spatial import frames
from modelgraft.spatial.gbuffer import GBuffer, camera_normals, gbuffer
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.shading.brdf import TRAINING_FLOOR
from modelgraft.spatial.shading.colour import to_srgb
from modelgraft.spatial.shading.render import Light, shade
from modelgraft.worlds.solids import solid
from modelgraft.worlds.splits import Split
from modelgraft.worlds.substances import Substance, bumped, substance


@dataclass(frozen=True)
class Views:
    """Views without light, [n, ...]; what is beside the object is white in maps and normals."""

    mask: Tensor
    """[n, 1, H, W]"""
    normal: Tensor
    """The camera's, as colours [n, 3, H, W]."""
    maps: Maps
    """Bumps along the picture's axes."""
    position: Tensor
    """[n, H, W, 3]"""
    axes: Tensor
    """Of the bumps [n, H, W, 3, 3]."""
    eye: Tensor
    """[n, 3]"""

    def __len__(self) -> int:
        return len(self.eye)

    def taken(self, places: Sequence[int] | Tensor) -> Views:
        """Some of these views."""
        index = torch.as_tensor(places)
        parts = {name: getattr(self, name)[index] for name in
                 ("mask", "normal", "position", "axes", "eye")}  # fmt: skip
        return Views(maps=Maps(*(one[index] for one in self.maps)), **parts)

    def radiance(self, maps: Maps, lights: Sequence[Sequence[Light]]) -> Tensor:
        """Linear radiance [n, 3, H, W] of `maps`, each view under its own lights; 0 on white."""
        found = []
        for place, own in enumerate(lights):
            surface = Maps(*(one[place : place + 1] for one in maps)).surface(
                self.axes[place : place + 1]
            )
            found.append(
                shade(
                    surface,
                    own,
                    position=self.position[place : place + 1],
                    eye=self.eye[place].view(1, 1, 1, 3),
                    mask=self.mask[place],
                    floor=TRAINING_FLOOR,
                )
            )
        return torch.cat(found).movedim(-1, 1)

    def pictures(self, lights: Sequence[Sequence[Light]]) -> Tensor:
        """What a camera takes of the views [n, 3, H, W]: sRGB, clipped, on white."""
        seen = to_srgb(self.radiance(self.maps, lights)).clamp(0, 1)
        return seen * self.mask + 1 - self.mask


def object_mesh(split: Split, number: int) -> Mesh:
    """A solid of the world as a mesh."""
    found = solid(split, number)
    return Mesh(
        found.vertices.astype(np.float32),
        found.faces.astype(np.int32),
        normals=found.normals.astype(np.float32),
        name=found.name,
    )


def object_substance(split: Split, number: int) -> Substance:
    """What it is made of; its class does not depend on its shape."""
    return substance(split, rng_seed("made of", split, number) % 100_000)


def views_of(
    mesh: Mesh, matter: Substance, *, size: int, chosen: Sequence[int] = range(len(VIEWS))
) -> Views:
    """`chosen` of the ten views of a mesh in its unit box."""
    cameras = [camera_of(VIEWS[one], size) for one in chosen]
    surface = gbuffer(mesh, cameras)
    seen = surface.mask
    found = matter.at(surface.position[seen].numpy())
    rough = np.stack([np.ones_like(found.roughness), found.roughness, found.metallic], 1)
    right = torch.stack([torch.from_numpy(one.c2w[:3, 0]).float() for one in cameras])
    normal = surface.normal
    axes = frames.view_axes(normal, right[:, None, None].expand_as(normal))
    world = bumped(normal[seen].numpy(), raised_from(surface, found.gradient))
    bump = frames.encode(frames.from_world(torch.from_numpy(world).float(), axes[seen]))

    def picture(values: Tensor) -> Tensor:
        image = torch.ones(*seen.shape, 3)
        image[seen] = values.float()
        return image.movedim(-1, 1)

    return Views(
        mask=seen[:, None].float(),
        normal=picture(frames.encode(camera_normals(surface, cameras))[seen]),
        maps=Maps(
            picture(torch.from_numpy(found.albedo)), picture(torch.from_numpy(rough)), picture(bump)
        ),
        position=surface.position,
        axes=axes,
        eye=torch.stack([torch.from_numpy(one.position).float() for one in cameras]),
    )


def raised_from(surface: GBuffer, gradient: NDArray[np.floating]) -> NDArray[np.floating]:
    """The gradient [n, 3] of a relief as seen pixels show it: what is raised from a front is sunk
    into its back, whose normals are turned over."""
    side = np.where(surface.is_front[surface.mask].numpy(), 1, -1).astype(gradient.dtype)
    return gradient * side[:, None]


@dataclass
class Bank:
    """Views of many objects in float16, drawn once: some 80 kB each at 64 pixels."""

    views: list[Views]

    @classmethod
    def of(cls, split: Split, numbers: Sequence[int], *, size: int) -> Bank:
        """All ten views of the objects with these numbers."""
        return cls([
            _half(views_of(object_mesh(split, one), object_substance(split, one), size=size))
            for one in numbers
        ])  # fmt: skip

    @property
    def total(self) -> int:
        """How many views there are."""
        return len(VIEWS) * len(self.views)

    def take(self, places: Sequence[int]) -> Views:
        """Views by number: ten times the object plus the view."""
        parts = [self.views[one // len(VIEWS)].taken([one % len(VIEWS)]) for one in places]
        joined = {
            name: torch.cat([getattr(one, name) for one in parts]).float()
            for name in ("mask", "normal", "position", "axes", "eye")
        }
        maps = Maps(*(
            torch.cat(one).float() for one in zip(*(part.maps for part in parts), strict=True)
        ))  # fmt: skip
        axes = functional.normalize(joined.pop("axes"), dim=-1)
        return Views(maps=maps, axes=axes, **joined)


def _half(views: Views) -> Views:
    parts = {name: getattr(views, name).half() for name in ("mask", "normal", "position", "axes",
                                                             "eye")}  # fmt: skip
    return Views(maps=Maps(*(one.half() for one in views.maps)), **parts)
