"""MTL: the materials beside an OBJ file, with the maps for metallic and rough surfaces.

`Kd` and `map_Kd` are sRGB, as every program shows them; `map_Pr`, `map_Pm` and `norm` are linear.
Highlights (`Ks`, `Ns`) say nothing sure about roughness and are left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.spatial.files.colours import linear_of
from modelgraft.spatial.files.limits import Allowance, beside, read_bounded
from modelgraft.spatial.files.text import numbers, require_small
from modelgraft.spatial.files.textures import Channels, read_texture
from modelgraft.spatial.meshes import Bytes, Material

# How many words follow an option of a map; -s, -o and -t take one to three numbers.
_OPTIONS: Final = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-texres": 1, "-clamp": 1, "-bm": 1,
    "-imfchan": 1, "-type": 1, "-colorspace": 1, "-cc": 1,
}  # fmt: skip
_SPREAD: Final = ("-s", "-o", "-t")
_TOLD: Final = {
    "map_ke": "emission",
    "map_d": "opacity",
    "disp": "displacement",
    "map_ao": "occlusion",
}
_BUMPS: Final = ("map_bump", "bump")

Remark = Callable[[str], None]


def read_mtl(path: Path, allowance: Allowance) -> dict[str, dict[str, str]]:
    """The lines of each material by its name, the first word of a line in lower case as the key."""
    content = read_bounded(path, allowance)
    require_small(content, str(path))
    found: dict[str, dict[str, str]] = {}
    lines: dict[str, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        key, _, rest = line.strip().partition(" ")
        if key == "newmtl":
            lines = found.setdefault(rest.strip(), {})
        elif key and not key.startswith("#"):
            lines[key.lower()] = rest.strip()
    return found


def material_of(
    name: str, lines: dict[str, str], path: Path, allowance: Allowance, remark: Remark
) -> Material:
    """The material of its lines in the MTL file at `path`, with its pictures."""
    where = f'{path}: material "{name[:80]}"'
    reader = _Maps(path, where, allowance, remark)
    for key, what in _TOLD.items():
        if key in lines:
            remark(f"{where}: its {what} map ({key}) is left out.")
    colour = linear_of(np.clip(_values(lines, "kd", (1.0, 1.0, 1.0), where), 0, 1))
    opacity = _values(lines, "d", (1.0,), where)[0]
    if "d" not in lines and "tr" in lines:
        opacity = 1 - _values(lines, "tr", (0.0,), where)[0]
    opacity = min(max(float(opacity), 0.0), 1.0)
    albedo = reader.read(lines, "map_kd", "3 or 4")
    is_clear = opacity < 1 or (albedo is not None and albedo.shape[2] == 4)
    material = Material(
        name=name[:80],
        albedo=albedo,
        normal=reader.normals(lines),
        albedo_factor=(float(colour[0]), float(colour[1]), float(colour[2]), opacity),
        roughness_factor=_share(lines, "pr", 1.0, where),
        metallic_factor=_share(lines, "pm", 0.0, where),
        alpha_mode="blend" if is_clear else "opaque",
        wrap="clamp" if "-clamp on" in lines.get("map_kd", "") else "repeat",
    )
    return _with_rough_metal(material, reader, lines)


def _with_rough_metal(material: Material, reader: _Maps, lines: dict[str, str]) -> Material:
    """The material with its maps of roughness and of metallic in one; a map replaces its factor."""
    rough, metal = reader.read(lines, "map_pr", 1), reader.read(lines, "map_pm", 1)
    first = metal if rough is None else rough
    if first is None:
        return material
    both = np.full((*first.shape[:2], 3), 255, np.uint8)
    if rough is not None:
        both[..., 1] = rough[..., 0]
        material = replace(material, roughness_factor=1.0)
    if metal is not None:
        both[..., 2] = _resized(metal, first.shape)[..., 0]
        material = replace(material, metallic_factor=1.0)
    return replace(material, rough_metal=both)


def _resized(texture: Bytes, shape: tuple[int, ...]) -> Bytes:
    """The nearest texels at another size."""
    down, across = (
        (2 * np.arange(now) + 1) * had // (2 * now)
        for now, had in zip(shape[:2], texture.shape[:2], strict=True)
    )
    return texture[down][:, across]


class _Maps:
    """Pictures that the lines of a material name."""

    def __init__(self, path: Path, where: str, allowance: Allowance, remark: Remark) -> None:
        self._path, self._where = path, where
        self._allowance, self._remark = allowance, remark

    def read(self, lines: dict[str, str], key: str, channels: Channels) -> Bytes | None:
        """The picture under a key; None without one, or, told, when its file is not there."""
        name = _file_name(lines.get(key, ""))
        if not name:
            return None
        source = beside(self._path.parent, name, f"{self._where}: {key}")
        if not os.path.exists(source):
            self._remark(f"{self._where}: the picture of {key}, {source}, is not there; left out.")
            return None
        content = read_bounded(source, self._allowance)
        return read_texture(content, channels, name=str(source), allowance=self._allowance)

    def normals(self, lines: dict[str, str]) -> Bytes | None:
        """The normal map; some programs write it as a bump map, which holds heights otherwise."""
        if "norm" in lines:
            return self.read(lines, "norm", 3)
        key = next((one for one in _BUMPS if one in lines), "")
        found = self.read(lines, key, 3) if key else None
        if found is None:
            return None
        red, blue = found[..., 0].mean(), found[..., 2].mean()
        if blue > 150 and blue > red + 50:
            self._remark(f"{self._where}: its {key} map looks like normals and is taken as such.")
            return found
        self._remark(f"{self._where}: its {key} map holds heights, which are not read; left out.")
        return None


def _file_name(rest: str) -> str:
    """The name behind the options of a map; it may hold spaces."""
    words = rest.split(" ")
    at = 0
    while at < len(words) and (words[at].lower() in (*_OPTIONS, *_SPREAD) or not words[at]):
        option = words[at].lower()
        at += 1 + _OPTIONS.get(option, 0)
        if option in _SPREAD:
            end = at + 3
            while at < min(end, len(words)) and _is_number(words[at]):
                at += 1
    return " ".join(words[at:]).strip()


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _values(
    lines: dict[str, str], key: str, default: tuple[float, ...], where: str
) -> tuple[float, ...]:
    """The finite numbers under a key, one standing for all, or the default."""
    if key not in lines:
        return default
    found = numbers(lines[key].encode(), f"{where}: {key}")[: len(default)]
    if len(found) == 1:
        found = np.repeat(found, len(default))
    if len(found) != len(default) or not np.isfinite(found).all():
        raise InputError(
            f"{where}: {key} is {lines[key][:40]!r}; needed are {len(default)} numbers.\n"
            "  Mend the line or delete it."
        )
    return tuple(float(one) for one in found)


def _share(lines: dict[str, str], key: str, default: float, where: str) -> float:
    return min(max(_values(lines, key, (default,), where)[0], 0.0), 1.0)
