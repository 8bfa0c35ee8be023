"""Rasterising triangles: one signature, three backends that may be exchanged."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Final, Literal

from torch import Tensor

Backend = Literal["numba", "reference", "nvdiffrast"]

_MODULES: Final = {"numba": "fast", "reference": "reference", "nvdiffrast": "gpu"}


def rasterize(
    clip: Tensor, faces: Tensor, size: tuple[int, int], *, backend: Backend | None = None
) -> Tensor:
    """What every pixel sees [b, H, W, 4] in float32: (u, v, z / w, number of the triangle + 1).

    `clip` [b, V, 4] holds the vertices in OpenGL's clip space (x right, y up), `faces` [F, 3] their
    numbers and `size` height and width in pixels. u and v are the perspective-correct weights of a
    triangle's vertices 0 and 1; vertex 2 has the rest. Empty pixels hold zeros. Row 0 is the top.

    Both sides of a triangle are drawn. A pixel is covered if its centre is; of two triangles with
    a common edge exactly one covers a centre on it. What lies before the near plane or beyond the
    far one is cut off. The smallest z / w wins, and of equals the first triangle. Numbers are exact
    up to 2^24 triangles.

    `backend` is Numba where it is installed and else the reference, which gives the same; both
    work on the CPU in float64 and bring the result back. nvdiffrast needs a CUDA device and its
    own licence, so it is never taken unasked.
    """
    name = backend or ("numba" if find_spec("numba") else "reference")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return module.rasterize(clip, faces, size)
