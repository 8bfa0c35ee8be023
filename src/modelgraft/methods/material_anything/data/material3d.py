"""Renders in the published layout of Material3D, a folder for each object.

`{normal,position,albedo,roughness_metallic,bump}/VIEW_0001.png`, `pose/VIEW.npy` from camera to
world and `intrinsics.npy`; the object's box has the longest side 2. `rendering/VIEW_LIGHT.png`
shows the views under lights, seven each as published, which are not told.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.data.records import Recorded, poses
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.files.textures import read_texture

Floats = NDArray[np.float64]

MAPS: Final = ("normal", "position", "albedo", "roughness_metallic", "bump")
RENDERS: Final = "rendering"
"""The folder of pictures under light; it may be missing."""
_FOCAL: Final = 50 / 32
"""Of the published renders, in widths of the picture."""
_UPRIGHT: Final = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From Blender's world, z up, to ours."""
_CLOSE: Final = 0.02
"""How far places may lie from their pixels, in widths of the picture; 8 bits are not exact."""


def is_object(folder: Path) -> bool:
    """Whether a folder has an object of this layout."""
    return all((folder / one).is_dir() for one in ("albedo", "pose"))


def read_object(folder: Path, *, size: int) -> Recorded:
    """The views of an object, `size` pixels wide, of the nearest pixel each.

    Bumps lie in the tangent frame of the asset's texture coordinates. No file tells it: textures
    are baked by another layout where an object has several parts. So what views look like under
    light is read from `rendering/` (`records.RenderedViews`). Poses may be of Blender's axes or
    OpenCV's and of a world with z or y up: those are taken by which the positions lie where they
    are seen. `InputError` names the file that is missing, damaged, or does not agree with the
    others.
    """
    names = sorted(
        one.stem for one in (folder / "pose").glob("*.npy") if re.fullmatch(r"\d+", one.stem)
    )
    if not names:
        raise InputError(
            f"{folder / 'pose'}: no pose (000.npy, 001.npy ...).\n"
            "  Each view needs one, a matrix [3, 4] from camera to world."
        )
    views = [_pictures(folder, name) for name in names]
    height, width = next(iter(views[0].values())).shape[:2]
    lit = [_renders(folder, name, (height, width), size) for name in names]
    if len({len(one) for one in lit}) > 1:
        counts = ", ".join(map(str, sorted({len(one) for one in lit})))
        raise InputError(
            f"{folder / RENDERS}: its views have {counts} pictures under light; all need as many.\n"
            "  Render those that are missing, or delete the folder to have views lit here."
        )
    matrices = np.stack([_matrix(folder / "pose" / f"{name}.npy", (3, 4)) for name in names])
    focal = _focal(folder)
    cameras = _agreeing(folder, matrices, views, (width * focal, (height, width)))
    cameras = [one.resized((size, size)) for one in cameras]
    pose, intrinsics = poses(cameras)
    small = [{key: _nearest(one, size) for key, one in view.items()} for view in views]
    mask = torch.stack([one.pop("mask")[..., :1] for one in small]).movedim(-1, 1)

    def picture(name: str) -> Tensor:
        found = torch.stack([one[name] for one in small]).movedim(-1, 1)
        return torch.where(mask > 0, found, 1.0)

    rough = picture("roughness_metallic")
    rough[:, 0] = 1
    position = (picture("position").movedim(1, -1) - 0.5) * mask.movedim(1, -1)
    maps = Maps(picture("albedo"), rough, picture("bump"))
    renders = None
    if lit[0]:
        renders = torch.stack([torch.stack(one) for one in lit]).movedim(-1, 2)
        renders = torch.where(mask[:, None] > 0, renders, 1.0)
    return Recorded(mask, picture("normal"), maps, position, pose, intrinsics, renders)


def _pictures(folder: Path, name: str) -> dict[str, NDArray[np.float32]]:
    """The maps [H, W, 3] of a view from 0 to 1, and the mask of where there is an object."""
    found = {}
    for kind in MAPS:
        path = folder / kind / f"{name}_0001.png"
        if not path.is_file():
            raise InputError(
                f"{path}: there is no such file.\n  Each view needs {', '.join(MAPS)}."
            )
        found[kind] = read_texture(path, 4)
        if found[kind].shape != found[MAPS[0]].shape:
            raise InputError(f"{path}: its size is not that of the view's other maps.")
    # What is beside the object is transparent, or white, which is no normal.
    is_seen = (found["normal"][..., 3] > 127) & (found["normal"][..., :3] < 250).any(-1)
    if not is_seen.any():
        raise InputError(f"{folder / MAPS[0] / f'{name}_0001.png'}: it shows no object.")
    maps = {key: one[..., :3].astype(np.float32) / np.float32(255) for key, one in found.items()}
    return {**maps, "mask": is_seen[..., None].astype(np.float32)}


def _renders(folder: Path, name: str, of_maps: tuple[int, int], size: int) -> list[Tensor]:
    """A view under lights, [size, size, 3] each, in the order of their numbers."""
    found = []
    for path in sorted((folder / RENDERS).glob(f"{name}_*.png")):
        picture = read_texture(path, 4)
        if picture.shape[:2] != of_maps:
            raise InputError(f"{path}: its size is not that of the view's maps.")
        found.append(_nearest(picture[..., :3].astype(np.float32) / np.float32(255), size))
    return found


def _matrix(path: Path, shape: tuple[int, int]) -> Floats:
    try:
        found: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not an array of NumPy: {str(error).splitlines()[0]}.") from None
    is_numbers = isinstance(found, np.ndarray) and np.issubdtype(found.dtype, np.floating)
    if not is_numbers or found.ndim != 2 or any(map(int.__lt__, found.shape, shape)):
        what = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else "no array"
        raise InputError(f"{path}: {what}; needed is a matrix {list(shape)} of floats.")
    if not np.isfinite(found).all():
        raise InputError(f"{path}: its numbers are not all finite.")
    return found[: shape[0], : shape[1]].astype(np.float64)


def _focal(folder: Path) -> float:
    """In widths of the picture, the optical axis being in its middle."""
    for path in (folder / "intrinsics.npy", folder / "pose" / "intrinsics.npy"):
        if path.is_file():
            found = _matrix(path, (3, 3))
            if found[0, 0] <= 0 or found[0, 2] <= 0:
                raise InputError(f"{path}: focal length and centre must be above 0.")
            return float(found[0, 0] / (2 * found[0, 2]))
    return _FOCAL


def _agreeing(
    folder: Path,
    matrices: Floats,
    views: list[dict[str, NDArray[np.float32]]],
    lens: tuple[float, tuple[int, int]],
) -> list[Camera]:
    """The cameras, of those axes by which the positions lie where they are seen."""
    focal, (height, width) = lens
    best, least = [], np.inf
    for turn in (_UPRIGHT, np.eye(3)):
        for flip in (np.array([1, -1, -1]), np.ones(3)):
            cameras = []
            for matrix in matrices:
                c2w = np.eye(4)
                c2w[:3, :3] = turn @ matrix[:, :3] * flip
                c2w[:3, 3] = turn @ matrix[:, 3] / 2  # the box's longest side is 2 there
                centre = (width / 2, height / 2)
                cameras.append(Camera(c2w, (focal, focal), centre, (height, width)))
            miss = float(np.median([_miss(*pair) for pair in zip(cameras, views, strict=True)]))
            if miss < least:
                best, least = cameras, miss
    if not least < _CLOSE * width:
        raise InputError(
            f"{folder}: its poses and positions do not agree: points lie {least:.0f} pixels from "
            "where they are seen.\n"
            "  Needed are poses from camera to world, of a box with the longest side 2, and "
            "positions from -1 to 1 as colours (p + 1) / 2."
        )
    return best


def _miss(camera: Camera, view: dict[str, NDArray[np.float32]]) -> float:
    """Median distance in pixels of a view's places from where its camera sees them."""
    y, x = np.nonzero(view["mask"][..., 0])
    pixels, depth = camera.project(view["position"][y, x].astype(np.float64) - 0.5)
    away = np.linalg.norm(pixels - np.stack([x, y], 1) - 0.5, axis=1)
    return float(np.median(np.where(depth > 0, away, np.inf)))


def _nearest(picture: NDArray[np.float32], size: int) -> Tensor:
    rows, columns = (((np.arange(size) + 0.5) * side / size).astype(int) for side in
                     picture.shape[:2])  # fmt: skip
    return torch.from_numpy(picture[rows][:, columns])
