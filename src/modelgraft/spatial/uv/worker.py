"""The process that runs xatlas: it may take hours or all memory, so it is one that can be ended.

In: a line of JSON (counts, resolution, padding, limits), then float32 positions [V, 3] and uint32
faces [F, 3]. Out: a line of JSON (count, padding), then float32 UVs [V', 2] in the unit square and
uint32 faces [F, 3] over them, one for each face that came in. Nothing comes out when there is no
result.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.lazy import need
from modelgraft.spatial.uv.coverage import uv_areas

_SKETCH: Final = 64  # texels; the first packing only serves to have charts
_LEAST, _MOST = 0.4, 0.9  # of the side of the square: that of all charts' area together
_BARE: Final = 0.02  # the least without any padding
_HALVINGS: Final = 6
_GRID: Final = 512  # texels; charts of finer textures are packed on a coarser grid, which is faster


class Charts(NamedTuple):
    """UVs of vertices in the unit square [V', 2], and faces [F, 3] over them."""

    uvs: NDArray[np.float32]
    faces: NDArray[np.uint32]
    padding: int
    """Texels between charts: those asked for, or fewer where they left little room."""


def main() -> None:
    """Answer the one request on standard input."""
    channel = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the library prints must not get between
    request = json.loads(sys.stdin.buffer.readline())
    shape = request["vertices"], request["faces"]
    vertices = np.frombuffer(sys.stdin.buffer.read(12 * shape[0]), np.float32).reshape(-1, 3)
    faces = np.frombuffer(sys.stdin.buffer.read(12 * shape[1]), np.uint32).reshape(-1, 3)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = request["memory_bytes"]
    wanted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    xatlas = need("xatlas", extra="spatial")
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # ends this process, whoever waits
    charts = charted(xatlas, vertices, faces, request["resolution"], request["padding"])
    if charts is None:
        return
    with os.fdopen(channel, "wb") as out:
        head = {"vertices": len(charts.uvs), "padding": charts.padding}
        out.write(json.dumps(head).encode() + b"\n")
        out.write(charts.uvs.tobytes() + charts.faces.tobytes())


def charted(
    xatlas: Any,
    vertices: NDArray[np.float32],
    faces: NDArray[np.uint32],
    resolution: int,
    padding: int,
) -> Charts | None:
    """Charts packed in one square of `resolution` texels; None when they do not fit at all.

    xatlas packs into a square of a given size only at a given scale, so the charts are found once
    and the largest scale at which one page holds them is found by packing them again and again,
    with less padding where the charts would have little room.
    """
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    options = xatlas.PackOptions()
    options.resolution = _SKETCH
    atlas.generate(pack_options=options)
    _, corners, uvs = atlas.get_mesh(0)
    if corners.shape != faces.shape:
        return None
    flat = (uvs * np.array([atlas.width, atlas.height])).astype(np.float32)
    for room in dict.fromkeys((padding, padding // 2, padding // 4, 0)):
        found = _packed(xatlas, flat, corners, resolution, room)
        if found is not None:
            return found
    return None


def _packed(
    xatlas: Any,
    flat: NDArray[np.float32],
    corners: NDArray[np.uint32],
    resolution: int,
    padding: int,
) -> Charts | None:
    area = np.abs(uv_areas(flat, corners)).sum()
    if not area > 0:
        return None
    options = xatlas.PackOptions()
    options.bilinear = True
    options.padding = min(padding, max(1, padding * _GRID // resolution))
    options.resolution = grid = resolution * options.padding // padding if padding else resolution
    full = grid / math.sqrt(area)
    found, low, high = None, _LEAST if padding else _BARE, _MOST
    for turn in range(1 + _HALVINGS):
        share = (low + high) / 2 if turn else low
        page = xatlas.Atlas()
        page.add_uv_mesh(flat, corners)
        options.texels_per_unit = share * full
        page.generate(pack_options=options)
        if page.atlas_count == 1 and max(page.width, page.height) <= grid:
            _, faces, uvs = page.get_mesh(0)
            uvs = uvs * (np.array([page.width, page.height]) / grid)
            found = Charts(uvs.astype(np.float32), faces.astype(np.uint32), padding)
            low = share
        elif found is None:
            return None
        else:
            high = share
    return found


if __name__ == "__main__":
    main()
