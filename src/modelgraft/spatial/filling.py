"""Values for the texels that no picture shows, and for the space between charts."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.spatial.texels import Texels

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def voronoi2d(values: Tensor, seen: Tensor) -> Tensor:
    """A texture [C, H, W] in which every texel not `seen` [H, W] has the nearest seen one's value.

    Nearest is meant in the texture, whatever charts lie there.
    """
    _require(seen)
    rows, columns = _nearest(seen)
    return values[:, rows, columns]


def gutter(values: Tensor, charts: Tensor, pixels: int) -> Tensor:
    """A texture [C, H, W] whose charts [H, W] reach `pixels` texels farther, diagonally too.

    New texels have the nearest value of a chart. A viewer that makes a texture smaller mixes what
    lies beside a chart into it, so charts need such a border.
    """
    _require(charts)
    side = 2 * pixels + 1
    reached = ndimage.maximum_filter(charts.cpu().numpy(), side)
    rows, columns = _nearest(charts)
    return torch.where(
        torch.from_numpy(reached).to(values.device), values[:, rows, columns], values
    )


def nearest3d(values: Tensor, seen: Tensor, texels: Texels) -> Tensor:
    """A texture [C, H, W] in which texels not `seen` have the value of the seen one nearest in 3-D.

    Values of seen texels, and what is between charts, stay.
    """
    is_seen = _seen_texels(seen, texels)
    known, holes = (one.nonzero()[:, 0] for one in (is_seen, ~is_seen))
    points = texels.position.cpu().numpy()
    _, nearest = KDTree(points[known.cpu()]).query(points[holes.cpu()], workers=-1)
    source = known[torch.from_numpy(nearest).to(known.device)]
    filled = values.flatten(1).clone()
    filled[:, texels.index[holes]] = filled[:, texels.index[source]]
    return filled.view_as(values)


def laplace3d(values: Tensor, seen: Tensor, texels: Texels, *, neighbours: int = 8) -> Tensor:
    """A texture [C, H, W] in which texels not `seen` are the mean of those around them in 3-D.

    Around are the nearest `neighbours`, and those that count this one among theirs, each with the
    inverse square of its distance (a harmonic function on that graph). So a hole's values lie
    between those of its rim. Parts without any seen texel get what `nearest3d` gives. Values of
    seen texels, and what is between charts, stay.
    """
    is_seen = _seen_texels(seen, texels).cpu().numpy()
    links = _links(texels.position.cpu().numpy().astype(np.float64), neighbours)
    count, part = csgraph.connected_components(links, directed=False)
    has_rim = np.zeros(count, dtype=bool)
    has_rim[part[is_seen]] = True
    holes = np.flatnonzero(~is_seen & has_rim[part])
    nearest = nearest3d(values, seen, texels)
    if not len(holes):
        return nearest
    known = np.flatnonzero(is_seen)
    index = texels.index.cpu().numpy()
    flat = nearest.flatten(1).cpu().numpy().astype(np.float64)
    degree = sparse.diags(np.asarray(links.sum(1)).ravel()[holes])
    inner = (degree - links[holes][:, holes]).tocsc()
    rim = links[holes][:, known] @ flat[:, index[known]].T
    flat[:, index[holes]] = splu(inner, permc_spec="MMD_AT_PLUS_A").solve(rim).T
    filled = nearest.flatten(1)
    where = torch.from_numpy(index[holes]).to(filled.device)
    filled[:, where] = torch.from_numpy(flat[:, index[holes]]).to(filled)
    return filled.view_as(values)


def _links(points: Floats, neighbours: int) -> sparse.csr_array:
    """Symmetric weights [N, N] between points and their nearest others."""
    count = min(neighbours + 1, len(points))
    distance, other = KDTree(points).query(points, count, workers=-1)
    rows = np.repeat(np.arange(len(points)), count)
    other, distance = other.reshape(-1), distance.reshape(-1)
    apart = rows != other
    # Texels of one point would have infinite weight; a thousandth of the usual step is near enough.
    least = 1e-3 * np.median(distance[apart]) if apart.any() else 1.0
    weight = 1 / np.square(np.maximum(distance, max(least, 1e-12)))
    links = sparse.csr_array(
        (weight[apart], (rows[apart], other[apart])), shape=(len(points), len(points))
    )
    return links.maximum(links.T).tocsr()


def _nearest(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column [H, W] of the seen texel nearest to each."""
    where = ndimage.distance_transform_edt(
        ~seen.cpu().numpy(), return_distances=False, return_indices=True
    )
    rows, columns = (torch.from_numpy(one).long().to(seen.device) for one in where)
    return rows, columns


def _seen_texels(seen: Tensor, texels: Texels) -> Tensor:
    """Which of the texels are seen [N]."""
    found = seen.flatten()[texels.index]
    _require(found)
    return found


def _require(seen: Tensor) -> None:
    if not seen.any():
        raise InputError(
            "the texture: no texel has a value that others could take.\n"
            "  No camera saw the mesh; check its size, its place and its faces' winding."
        )
