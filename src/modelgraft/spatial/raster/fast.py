"""The rasteriser compiled by Numba: a z-buffer over bands of rows, each for one thread.

A band is drawn by one thread from all triangles in their order, so the result depends neither on
the number of threads nor on their pace. The compiled code leaves the interpreter to others.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modelgraft.core.lazy import need
from modelgraft.spatial.raster.screen import Floats, Ints, project

# Fewer rows are not worth a thread.
_BAND: Final = 64


def rasterize(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """See `raster.rasterize`."""
    draw = _compiled()
    drawn = np.zeros((len(clip), *size, 4), dtype=np.float32)
    corners = faces.cpu().numpy().astype(np.int64)
    tasks: list[Callable[[], None]] = []
    for view, vertices in zip(drawn, clip.detach().cpu().double().numpy(), strict=True):
        seen = project(vertices, corners, size)
        parts = (seen.ids, seen.boxes, seen.edges, seen.floors, seen.depths, seen.shares)
        tasks += [
            functools.partial(draw, *parts, view[row : row + _BAND], row)
            for row in range(0, size[0], _BAND)
        ]
    _run(tasks)
    return torch.from_numpy(drawn).to(clip.device)


def _run(tasks: list[Callable[[], None]]) -> None:
    threads = min(torch.get_num_threads(), len(tasks))
    if threads == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


@functools.cache
def _compiled() -> Any:
    """`_draw` as machine code, which later processes read from Numba's cache."""
    numba = need("numba", extra="spatial")
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(_draw)
    except RuntimeError:  # No folder for the cache can be written.
        return numba.njit(**options)(_draw)


def _draw(
    ids: Ints,
    boxes: Ints,
    edges: Ints,
    floors: Ints,
    depths: Floats,
    shares: Floats,
    band: NDArray[np.float32],
    start: int,
) -> None:
    """Fill `band` [h, W, 4], zeros, of which the first row is the row `start` of the frame."""
    height, width = band.shape[0], band.shape[1]
    nearest = np.full((height, width), np.inf)
    seen = np.full((height, width), -1, np.int64)
    for t in range(len(ids)):
        if boxes[t, 0] >= start + height or boxes[t, 1] <= start:
            continue
        step_0, step_1, step_2 = edges[t, 0, 0], edges[t, 1, 0], edges[t, 2, 0]
        depth_0, depth_1, depth_2 = depths[t, 0], depths[t, 1], depths[t, 2]
        for y in range(max(boxes[t, 0], start), min(boxes[t, 1], start + height)):
            left, right = boxes[t, 2], boxes[t, 3]
            for i in range(3):
                # The columns x with step * x + value >= floor.
                step = edges[t, i, 0]
                spare = edges[t, i, 1] * y + edges[t, i, 2] - floors[t, i]
                if step > 0:
                    left = max(left, -(spare // step))
                elif step < 0:
                    right = min(right, spare // -step + 1)
                elif spare < 0:
                    right = left
            edge_0 = step_0 * left + edges[t, 0, 1] * y + edges[t, 0, 2]
            edge_1 = step_1 * left + edges[t, 1, 1] * y + edges[t, 1, 2]
            edge_2 = step_2 * left + edges[t, 2, 1] * y + edges[t, 2, 2]
            for x in range(left, right):
                depth = edge_0 * depth_0 + edge_1 * depth_1 + edge_2 * depth_2
                if depth < nearest[y - start, x]:
                    nearest[y - start, x] = depth
                    seen[y - start, x] = t
                edge_0 += step_0
                edge_1 += step_1
                edge_2 += step_2
    for row in range(height):
        for x in range(width):
            t = seen[row, x]
            if t < 0:
                continue
            scale = first = second = 0.0
            for i in range(3):
                edge = edges[t, i, 0] * x + edges[t, i, 1] * (start + row) + edges[t, i, 2]
                scale += edge * shares[t, i, 0]
                first += edge * shares[t, i, 1]
                second += edge * shares[t, i, 2]
            band[row, x, 0] = first / scale
            band[row, x, 1] = second / scale
            band[row, x, 2] = nearest[row, x]
            band[row, x, 3] = ids[t] + 1
