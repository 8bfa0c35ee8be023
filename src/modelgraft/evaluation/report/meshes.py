"""Meshes in a page: GLB files in a viewer that the page carries with it.

The viewer is `<model-viewer>` (`vendor/`), which draws glTF's materials with the tone curve
"neutral". Mesh and surroundings are in the page as data URIs, and the policy of the page lets the
script read such addresses and nothing else, so that it runs without any network.
"""

from __future__ import annotations

import base64
import functools
import json
import re
import struct
from pathlib import Path
from typing import Any, Final, NamedTuple

from modelgraft.core.errors import InputError

VENDOR: Final = Path(__file__).parent / "vendor"
MAX_MESH_BYTES: Final = 64_000_000
"""Browsers hold addresses of up to 512 MB; a mesh grows by a third as one."""

# The viewer would ask another machine for what unpacks these.
_PACKED: Final = {"KHR_draco_mesh_compression": "Draco", "KHR_texture_basisu": "KTX2"}
_STYLE: Final = re.compile("<style>(.*?)</style>", re.DOTALL)


class Viewer(NamedTuple):
    """What a page with meshes carries beside them."""

    script: str
    """A module of JavaScript."""
    styles: tuple[str, ...]
    """The style sheets that it puts into its elements, to be admitted by their hashes."""


@functools.cache
def viewer() -> Viewer:
    """The viewer's script, read once."""
    script = (VENDOR / "model-viewer.min.js").read_text(encoding="utf-8")
    return Viewer(script, tuple(_STYLE.findall(script)))


def glb_uri(path: Path) -> str:
    """A GLB file as a data URI.

    `InputError` for files that are none, that ask for others, or that are packed in a way whose
    unpacking is not in the page.
    """
    try:
        size = path.stat().st_size
        if size > MAX_MESH_BYTES:
            raise InputError(
                f"{path}: {size:,} bytes are too many to show in a page (at most "
                f"{MAX_MESH_BYTES:,}).\n  Export it with smaller textures or fewer triangles."
            )
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
    _require_whole(_description(content, path), path)
    return f"data:model/gltf-binary;base64,{base64.b64encode(content).decode()}"


def _description(content: bytes, path: Path) -> dict[str, Any]:
    """The JSON of a GLB file (section 4 of glTF 2.0)."""
    try:
        magic, version, total, length, kind = struct.unpack_from("<4sIII4s", content)
        if (magic, version, kind) != (b"glTF", 2, b"JSON") or total > len(content):
            raise ValueError("no sound header")
        found = json.loads(content[20 : 20 + length])
        if not isinstance(found, dict):
            raise ValueError("its description is no object")
    except (ValueError, RecursionError, struct.error) as error:
        raise InputError(
            f"{path}: not a whole GLB file of glTF 2.0 ({error}).\n"
            "  Open it in a modeller (Blender reads most kinds) and export it as GLB."
        ) from None
    return found


def _require_whole(description: dict[str, Any], path: Path) -> None:
    """Refuse what would send the viewer out for more."""
    used = description.get("extensionsUsed")
    for name in _PACKED.keys() & set(map(str, used if isinstance(used, list) else ())):
        raise InputError(
            f"{path}: packed with {_PACKED[name]} ({name}), which the viewer cannot unpack "
            "offline.\n  Export it without this compression."
        )
    for kind in ("buffers", "images"):
        listed = description.get(kind)
        for one in listed if isinstance(listed, list) else ():
            uri = str(one.get("uri", "data:")) if isinstance(one, dict) else "data:"
            if not uri.startswith("data:"):
                raise InputError(
                    f"{path}: refers to {uri[:200]!r}, and a page is one file.\n"
                    "  Export a GLB that holds everything."
                )
