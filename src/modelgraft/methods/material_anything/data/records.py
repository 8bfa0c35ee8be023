"""Views and textures of a person's own objects in files: what they were drawn from, drawn once.

A folder holds for each object `NAME.safetensors`, its views and if it has sound texture
coordinates its textures, in float16, and `NAME.json`, which tells where they come from. The JSON
is written last: an object without one is not finished.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json, write_atomic, write_json
from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.methods.material_anything.estimators import flat_bumps
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.world import Views
from modelgraft.methods.material_anything.world_textures import Textures
from modelgraft.spatial import frames
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.shading.colour import to_srgb
from modelgraft.spatial.shading.render import Light

FORMAT = 1
_TURN = torch.tensor([1.0, -1.0, -1.0])
"""From the camera's axes to those of pictures of normals: x right, y up, z to the viewer."""


@dataclass(frozen=True)
class Recorded:
    """Views of one object as they are stored; the object's longest side is 1."""

    mask: Tensor
    """[n, 1, H, W]"""
    normal: Tensor
    """The camera's, as colours [n, 3, H, W], on white."""
    maps: Maps
    """[n, 3, H, W] each, on white."""
    position: Tensor
    """[n, H, W, 3]"""
    pose: Tensor
    """From camera to world [n, 4, 4]."""
    intrinsics: Tensor
    """[n, 3, 3], in pixels."""
    renders: Tensor | None = None
    """Pictures under lights of their own [n, L, 3, H, W] in sRGB, on white; None if there are
    none."""

    def views(self) -> Views:
        """Views to learn from; their axes are those that pictures show (`frames.view_axes`)."""
        turned = (2 * self.normal.float() - 1).movedim(1, -1) * _TURN
        world = torch.einsum("nij,nhwj->nhwi", self.pose[:, :3, :3], turned)
        inside = self.mask[:, 0, ..., None] > 0
        world = torch.nn.functional.normalize(torch.where(inside, world, _TURN), dim=-1)
        right = self.pose[:, None, None, :3, 0].expand_as(world)
        axes = torch.where(inside[..., None], frames.view_axes(world, right), 0.0)
        return Views(self.mask.float(), self.normal.float(), Maps(*(one.float() for one in
                     self.maps)), self.position.float(), axes, self.pose[:, :3, 3])  # fmt: skip


@dataclass(frozen=True)
class Origin:
    """Where an object's record comes from."""

    source: str
    """The file or folder, below the folder of data."""
    stamp: str
    """What tells the files from later ones of their names, and how they were drawn."""
    frame: Frame
    """In which the bumps of views lie; those of textures lie in that of the UVs."""
    num_views: int
    size: int
    """Side of the views in pixels."""
    has_textures: bool
    has_renders: bool = False
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    """Of the object's box in its file, y up."""
    scale: float = 1.0
    """Length of the box's longest side there."""


@dataclass(frozen=True)
class RenderedViews(Views):
    """Views whose bumps lie in the frame of texture coordinates that are not known.

    So no light can be let fall on their bumps. What they look like under light are their own
    renders; those without any are lit as if they were even. In the rendering loss the bumps that
    are found and the true ones are turned alike, so that it is least at the truth.
    """

    renders: tuple[Tensor, ...]
    """Of each view [L, 3, H, W], in sRGB on white; L = 0 where it has none."""

    def shown(self, place: int, light: int) -> Tensor | None:
        """A render [3, H, W] of a view, the same one for equal numbers; None where it has none."""
        own = self.renders[place]
        return own[light % len(own)] if len(own) else None

    def pictures(self, lights: Sequence[Sequence[Light]]) -> Tensor:
        """What a camera takes of the views without their bumps [n, 3, H, W]."""
        even = self.maps._replace(bump=flat_bumps(self.maps.bump))
        seen = to_srgb(self.radiance(even, lights)).clamp(0, 1)
        return seen * self.mask + 1 - self.mask


def poses(cameras: Sequence[Camera]) -> tuple[Tensor, Tensor]:
    """Poses [n, 4, 4] and intrinsics [n, 3, 3] of cameras."""
    matrices = []
    for one in cameras:
        (fx, fy), (cx, cy) = one.focal_px, one.centre_px
        matrices.append(torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
    return torch.stack([torch.from_numpy(one.c2w).float() for one in cameras]), torch.stack(
        matrices
    )


def camera_normals(world: Tensor, pose: Tensor) -> Tensor:
    """Normals [n, H, W, 3] in the world as the cameras with these poses see them, as colours."""
    seen = torch.einsum("nji,nhwj->nhwi", pose[:, :3, :3], world)
    return frames.encode(seen * _TURN)


def write_record(
    folder: Path, name: str, recorded: Recorded, textures: Textures | None, origin: Origin
) -> None:
    """Write an object's record; it is there whole or not at all."""
    tensors = {f"maps.{key}": one.half() for key, one in recorded.maps._asdict().items()}
    tensors |= {key: getattr(recorded, key).half() for key in ("normal", "position")}
    tensors |= {"mask": recorded.mask.to(torch.uint8)}
    tensors |= {key: getattr(recorded, key).float() for key in ("pose", "intrinsics")}
    if recorded.renders is not None:
        tensors["renders"] = (recorded.renders * 255).round().to(torch.uint8)
    if textures is not None:
        tensors |= {f"uv.{key}": one.half() for key, one in textures.maps._asdict().items()}
        tensors |= {f"uv.{key}": getattr(textures, key).half() for key in ("position", "weights")}
        tensors |= {"uv.mask": textures.mask.to(torch.uint8)}
    whole = {key: one.contiguous() for key, one in tensors.items()}
    write_atomic(folder / f"{name}.safetensors", save(whole))
    write_json(folder / f"{name}.json", {"format": FORMAT, **asdict(origin)})


def read_origin(path: Path) -> Origin:
    """Where the record with this JSON comes from; `InputError` when it is none."""
    told: Any = read_json(path, "the record of an object")
    try:
        if told.pop("format") != FORMAT:
            raise ValueError
        return Origin(**told)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: not a record of format {FORMAT}.\n"
            "  Delete the folder of records; it is made again from the data."
        ) from None


class _Records:
    """Records of several objects in a folder, addressed by their names."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self.names = tuple(names)
        self.origins = tuple(read_origin(folder / f"{name}.json") for name in self.names)
        if not self.names:
            raise InputError(f"{folder}: there is no object in it to learn from.")
        sizes = sorted({(one.size, one.frame) for one in self.origins})
        if len(sizes) > 1:
            told = ", ".join(f"{size} pixels with bumps in the {frame} frame"
                             for size, frame in sizes)  # fmt: skip
            raise InputError(
                f"{folder}: its objects do not go together: {told}.\n"
                "  Keep assets and renders in folders of their own, and train on one of them."
            )

    def read(self, name: str, rows: slice | None, keys: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of an object, all rows or some of them."""
        path = self.folder / f"{name}.safetensors"
        try:
            with safe_open(path, framework="pt") as tensors:
                return {key: tensors.get_slice(key)[rows or slice(None)] for key in keys}
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"{path}: the record cannot be read: {error}.\n"
                f"  Delete {path.with_suffix('.json')} and start again; the object is drawn anew."
            ) from None


class RecordedViews(_Records):
    """Views of recorded objects, as `train.Source` asks for them."""

    @property
    def frame(self) -> Frame:
        """In which the bumps lie."""
        return self.origins[0].frame

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(one.num_views for one in self.origins))

    @property
    def total(self) -> int:
        """How many views there are."""
        return self._ends[-1]

    def take(self, places: Sequence[int]) -> Views:
        """Views by number: all of the first object, then those of the second."""
        keys = ("mask", "normal", "position", "pose", "intrinsics",
                *(f"maps.{one}" for one in Maps._fields))  # fmt: skip
        rows, renders = [], []
        for place in places:
            number = bisect_right(self._ends, place)
            origin, name = self.origins[number], self.names[number]
            row = place - self._ends[number] + origin.num_views
            part = slice(row, row + 1)
            rows.append(self.read(name, part, keys))
            if origin.has_renders:
                renders.append(self.read(name, part, ["renders"])["renders"][0].float() / 255)
            else:
                renders.append(torch.empty(0))
        joined = {key: torch.cat([one[key] for one in rows]) for key in keys}
        maps = Maps(*(joined.pop(f"maps.{one}") for one in Maps._fields))
        found = Recorded(maps=maps, **joined).views()
        if self.frame == "view":
            return found
        parts = {one.name: getattr(found, one.name) for one in fields(found)}
        return RenderedViews(**parts, renders=tuple(renders))


class RecordedTextures(_Records):
    """Textures of those recorded objects that have any, as `refining.TextureSource` asks for."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        names = [one for one in names if read_origin(folder / f"{one}.json").has_textures]
        if not names:
            raise InputError(
                f"{folder}: no object in it has one part with sound texture coordinates.\n"
                "  A refiner learns from textures: join the parts of your assets and unwrap them."
            )
        super().__init__(folder, names)

    @property
    def total(self) -> int:
        """How many textures there are."""
        return len(self.names)

    def take(self, places: Sequence[int]) -> Textures:
        """Textures by number."""
        own = ("position", "mask", "weights")
        keys = [f"uv.{one}" for one in (*own, *Maps._fields)]
        rows = [self.read(self.names[place], None, keys) for place in places]
        joined = [torch.cat([one[key] for one in rows]).float() for key in keys]
        return Textures(Maps(*joined[3:]), *joined[:3])
