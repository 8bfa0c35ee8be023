"""The rasteriser of nvdiffrast (Laine et al., 2020) on a CUDA device, in our form."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import MissingExtra
from modelgraft.core.lazy import need


def rasterize(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """See `raster.rasterize`; row 0 of nvdiffrast is the bottom of the picture.

    It knows places to 1/16 pixel, so near edges it may see another triangle than our backends.
    """
    positions, triangles = clip.float().contiguous(), faces.int().contiguous()
    rast, _ = _library().rasterize(_context(str(clip.device)), positions, triangles, size)
    return torch.flip(rast, dims=[1])


@functools.cache
def _context(device: str) -> Any:
    return _library().RasterizeCudaContext(device=device)


def _library() -> Any:
    try:
        return need("nvdiffrast.torch", extra="gpu")
    except MissingExtra:
        raise MissingExtra(
            'nvdiffrast is not installed, and the backend "nvdiffrast" needs it.\n'
            "  No package index has it; build it from github.com/NVlabs/nvdiffrast and mind its\n"
            "  licence, or leave the backend out."
        ) from None
