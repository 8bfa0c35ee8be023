"""A person's own folder of assets or renders as records to learn from, and what was refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from modelgraft.core.errors import InputError
from modelgraft.core.files import Lock, make_folder, read_json, sweep_leftovers, write_json
from modelgraft.core.runs import Run
from modelgraft.methods.material_anything.data.assets import Drawn, asset_fault, drawn_asset
from modelgraft.methods.material_anything.data.material3d import (
    MAPS,
    RENDERS,
    is_object,
    read_object,
)
from modelgraft.methods.material_anything.data.records import (
    FORMAT,
    Origin,
    Recorded,
    RecordedTextures,
    RecordedViews,
    write_record,
)
from modelgraft.spatial.files.reading import read_asset

SUFFIXES: Final = (".glb", ".gltf")
_WHITE: Final = 0.97
_SAME: Final = 2.5 / 255
_SHOWN: Final = 20


@dataclass(frozen=True)
class Judged:
    """One object of a folder."""

    name: str
    """Of its record."""
    source: str
    """Its file or folder, below the folder of data."""
    reason: str
    """Why it was refused; nothing where it is kept."""


@dataclass(frozen=True)
class Built:
    """Records of a folder's objects."""

    folder: Path
    judged: tuple[Judged, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the records."""
        return tuple(one.name for one in self.judged if not one.reason)

    def views(self) -> RecordedViews:
        """What an estimator learns from."""
        return RecordedViews(self.folder, self.kept)

    def textures(self) -> RecordedTextures:
        """What a refiner learns from; `InputError` where no object has textures."""
        return RecordedTextures(self.folder, self.kept)

    def table(self) -> str:
        """How many objects are kept, and a line for each one that is refused."""
        refused = [one for one in self.judged if one.reason]
        lines = [f"{len(self.kept)} of {len(self.judged)} objects kept"]
        lines += [f"refused  {one.source}: {one.reason}" for one in refused[:_SHOWN]]
        if len(refused) > _SHOWN:
            lines.append(f"and {len(refused) - _SHOWN} more refused")
        return "\n".join(lines)


@dataclass(frozen=True)
class Drawing:
    """How objects become records."""

    size: int
    """Side of the views in pixels."""
    texture_px: int
    allow_constant: bool = False
    """Whether roughness and metallic may be the same everywhere."""


def build(data: Path, folder: Path, drawing: Drawing, run: Run) -> Built:
    """Records in `folder` of all objects below `data`: glTF assets, or renders of Material3D.

    Records that are there already, of the same files drawn alike, are not made again, so a run
    that was stopped goes on. Refused are objects that cannot be read, of white albedo, of constant
    roughness and metallic, with hardly any texture coordinates, or with too many faces. One
    process builds at a time, and others wait for it. `InputError` when nothing is left.
    """
    found = _objects(data)
    make_folder(folder)
    lock = Lock(folder / "lock")
    lock.acquire(wait=True)
    try:
        sweep_leftovers(folder)
        judged = []
        for number, path in enumerate(found):
            run.check()
            run.progress(number, len(found), path.name)
            judged.append(_judged(data, path, folder, drawing))
    finally:
        lock.release()
    built = Built(folder, tuple(judged))
    run.progress(len(found), len(found), f"{len(built.kept)} objects kept")
    if not built.kept:
        told = "\n  ".join(built.table().splitlines())
        raise InputError(f"{data}: there is nothing to learn from in it.\n  {told}")
    return built


def _objects(data: Path) -> list[Path]:
    if not data.is_dir():
        raise InputError(
            f"{data}: there is no such folder.\n"
            "  Name a folder of .glb or .gltf files, or of renders in the layout of Material3D."
        )
    if is_object(data):
        return [data]
    renders = [one for one in sorted(data.iterdir()) if one.is_dir() and is_object(one)]
    assets = sorted(one for one in data.rglob("*") if one.suffix.lower() in SUFFIXES)
    if not renders and not assets:
        raise InputError(
            f"{data}: it has no .glb or .gltf file, and no folder with {', '.join(MAPS)} and pose."
            "\n  Export your assets as GLB, with metallic-roughness materials."
        )
    return [*renders, *assets]


def _judged(data: Path, path: Path, folder: Path, drawing: Drawing) -> Judged:
    source = path.relative_to(data).as_posix()
    name = _name(source, path.stem)
    known = folder / f"{name}.json"
    if not path.resolve().is_relative_to(data.resolve()):
        return Judged(name, source, "it is a link to a place outside of the folder")
    stamp = _stamp(path, drawing)
    if known.is_file():
        told = read_json(known, "the record of an object")
        if isinstance(told, dict) and told.get("stamp") == stamp:
            return Judged(name, source, str(told.get("refused", "")))
    try:
        reason = _made(path, source, folder / name, drawing, stamp)
    except InputError as error:
        reason = str(error).splitlines()[0].rstrip(".")
    if reason:
        refusal = {"format": FORMAT, "source": source, "stamp": stamp, "refused": reason}
        write_json(known, refusal)
    return Judged(name, source, reason)


def _made(path: Path, source: str, record: Path, drawing: Drawing, stamp: str) -> str:
    """Write a record, or tell why there is none."""
    size = drawing.size
    if path.is_dir():
        drawn = Drawn(read_object(path, size=size), None, None)
    else:
        asset = read_asset(path)
        fault = asset_fault(asset)
        if fault:
            return fault
        drawn = drawn_asset(asset, where=str(path), size=size, texture_px=drawing.texture_px)
    fault = _fault(drawn.recorded, drawing.allow_constant)
    if fault:
        return fault
    placed = drawn.placement
    origin = Origin(
        source=source,
        stamp=stamp,
        frame="uv" if placed is None else "view",
        num_views=len(drawn.recorded.mask),
        size=size,
        has_textures=drawn.textures is not None,
        has_renders=drawn.recorded.renders is not None,
        centre=(0.0, 0.0, 0.0) if placed is None else tuple(map(float, placed.centre)),
        scale=1.0 if placed is None else placed.scale,
    )
    write_record(record.parent, record.name, drawn.recorded, drawn.textures, origin)
    return ""


def _fault(recorded: Recorded, allow_constant: bool) -> str:
    """Why nothing can be learnt from views; nothing when something can."""
    seen = recorded.mask[:, 0] > 0
    if not seen.any():
        return "no view shows anything of it"
    albedo, rough = (one.movedim(1, -1)[seen] for one in recorded.maps[:2])
    if bool((albedo >= _WHITE).all()):
        return "its albedo is white everywhere"
    spread = rough[:, 1:].amax(0) - rough[:, 1:].amin(0)
    if not allow_constant and bool((spread <= _SAME).all()):
        return "its roughness and metallic are constant; --allow-constant takes it"
    return ""


def _name(source: str, stem: str) -> str:
    """A name that is a file's anywhere, and no other object's."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", stem)[:60]
    return f"{plain}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def _stamp(path: Path, drawing: Drawing) -> str:
    files = _files(path)
    parts = [repr((FORMAT, drawing))]
    for one in files:
        if one.is_file():
            state = one.stat()
            parts.append(f"{one.name} {state.st_size} {state.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _files(path: Path) -> Sequence[Path]:
    """All files that an object is made of."""
    if path.is_dir():
        maps = [one for kind in MAPS for one in (path / kind).glob("*_0001.png")]
        lit = (path / RENDERS).glob("*.png")
        return sorted([*maps, *lit, *(path / "pose").glob("*.npy"), *path.glob("*.npy")])
    if path.suffix.lower() != ".gltf":
        return [path]
    try:
        root = json.loads(path.read_bytes())
        listed = [*root.get("buffers", []), *root.get("images", [])]
        names = [unquote(one["uri"]) for one in listed if not one.get("uri", "data:")
                 .startswith("data:")]  # fmt: skip
    except (ValueError, AttributeError, TypeError, RecursionError):
        return [path]  # the reader will tell what is wrong
    inside = path.parent.resolve()
    found = [(inside / one).resolve() for one in names if "\0" not in one]
    return [path, *(one for one in found if one.is_relative_to(inside))]
