"""New texture coordinates: charts by xatlas, and by box projection when xatlas does not get there.

xatlas can hang on meshes whose edges have more than two faces, and takes minutes on large ones. So
it runs in a process of its own with a limit of time and of memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import numpy as np

from modelgraft.spatial.meshes import Mesh, weld
from modelgraft.spatial.uv.boxes import box_unwrapped
from modelgraft.spatial.uv.coverage import overlaps
from modelgraft.spatial.uv.worker import Charts

XATLAS_FACES: Final = 200_000
"""Above these xatlas takes tens of minutes and is not tried."""

_MODULE: Final = "modelgraft.spatial.uv.worker"
_MEMORY_BYTES: Final = 4 << 30  # of address space
_START_S: Final = 20.0  # imports on a busy machine; the worker's own limit starts behind them
_MOST_OVERLAP: Final = 1e-3


class Unwrapped(NamedTuple):
    """A mesh with new UVs, and how they came about."""

    mesh: Mesh
    by: Literal["xatlas", "boxes"]
    remark: str
    """What a person must know of them; nothing when all is as asked for."""


def unwrap(mesh: Mesh, resolution: int, *, padding: int = 4, seconds: float = 20.0) -> Unwrapped:
    """The mesh with UVs in the unit square that do not overlap, for maps of `resolution` texels.

    `padding` texels lie between charts. xatlas gets `seconds`; behind them, above `XATLAS_FACES`
    faces, without the package, or when its process ends otherwise, the charts are those of a box
    projection. Vertices on the borders of charts are there once for each of them, with their
    normals and colours; tangents are dropped. No face is left out or moved. `InputError` when the
    charts outnumber the texels.
    """
    charts, reason = None, ""
    if len(mesh.faces) > XATLAS_FACES:
        reason = f"above {XATLAS_FACES:,} faces xatlas would take too long; reduce it for better"
    elif importlib.util.find_spec("xatlas") is None:
        reason = 'xatlas is not installed (pip install "modelgraft[spatial]")'
    else:
        charts, reason = _by_xatlas(mesh, resolution, padding, seconds)
    crowding = "only {} texels fit between charts; raise the resolution for more."
    if charts is not None:
        found = _with_uvs(mesh, charts)
        share = overlaps(found, resolution)
        if share <= _MOST_OVERLAP:
            is_tight = charts.padding < padding
            remark = f'mesh "{mesh.name}": {crowding.format(charts.padding)}' if is_tight else ""
            return Unwrapped(found, "xatlas", remark)
        reason = f"the charts of xatlas overlap on {share:.1%} of the texels"
    found, room = box_unwrapped(mesh, resolution, padding)
    remark = f'mesh "{mesh.name}": charts by box projection: {reason}'
    remark += f"; {crowding.format(room)}" if room < padding else "."
    return Unwrapped(found, "boxes", remark)


def _by_xatlas(
    mesh: Mesh, resolution: int, padding: int, seconds: float
) -> tuple[Charts | None, str]:
    """The charts, or None and why there are none."""
    ids = weld(mesh.vertices)
    points = np.zeros((int(ids.max()) + 1, 3), np.float32)
    points[ids] = mesh.vertices
    faces = ids[mesh.faces].astype(np.uint32)
    request = {
        "vertices": len(points),
        "faces": len(faces),
        "resolution": resolution,
        "padding": padding,
        "seconds": seconds,
        "memory_bytes": _MEMORY_BYTES,
    }
    content = json.dumps(request).encode() + b"\n" + points.tobytes() + faces.tobytes()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE],
            input=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds + _START_S,
            env=dict(os.environ),
            start_new_session=True,  # Ctrl-C is for the caller, which then ends us
        )
    except subprocess.TimeoutExpired:
        return None, f"xatlas came to no end within {seconds:g} s"
    except OSError as error:
        return None, f"the process of xatlas did not start: {error}"
    if done.returncode == -signal.SIGALRM:  # its own limit
        return None, f"xatlas came to no end within {seconds:g} s"
    if done.returncode < 0:
        return None, f"xatlas crashed ({_signal_name(-done.returncode)})"
    if done.returncode != 0:
        return None, f"the process of xatlas ended without charts (exit code {done.returncode})"
    head, _, rest = done.stdout.partition(b"\n")
    if not head:
        return None, "xatlas found no charts that fit"
    told = json.loads(head)
    end = 8 * told["vertices"]
    uvs = np.frombuffer(rest[:end], np.float32).reshape(-1, 2)
    charted = np.frombuffer(rest[end:], np.uint32).reshape(-1, 3)
    return Charts(uvs, charted, told["padding"]), ""


def _signal_name(number: int) -> str:
    names = {one.value: f"signal {one.value}, {one.name}" for one in signal.Signals}
    return names.get(number, f"signal {number}")


def _with_uvs(mesh: Mesh, charts: Charts) -> Mesh:
    """The mesh with a vertex for each UV that its own vertices have on the charts."""
    corners, charted = mesh.faces.ravel().astype(np.int64), charts.faces.ravel().astype(np.int64)
    _, first, inverse = np.unique(
        corners * len(charts.uvs) + charted, return_index=True, return_inverse=True
    )
    found = mesh.taken(corners[first], inverse.reshape(-1, 3))
    return replace(found, uvs=np.clip(charts.uvs[charted[first]], 0, 1), tangents=None)
