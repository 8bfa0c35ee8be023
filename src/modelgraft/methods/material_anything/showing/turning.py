"""An asset that turns once around, and the moving picture of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np

from modelgraft.core.errors import InputError
from modelgraft.diffusion.pictures import to_bytes
from modelgraft.methods.material_anything.method.views import View
from modelgraft.methods.material_anything.showing.strips import (
    FINER,
    Pixels,
    around,
    require_side,
    shown,
)
from modelgraft.spatial.drawing import look
from modelgraft.spatial.meshes import Asset, normalised
from modelgraft.spatial.shading.render import Light

_ELEVATION_DEG: Final = 20.0
_COLOURS: Final = 256


def turntable(asset: Asset, lights: Sequence[Light], *, frames: int, size: int) -> list[Pixels]:
    """Pictures [size, size, 3] of a camera that goes once around the asset, from its front on."""
    if frames < 1:
        raise InputError(f"frames: {frames}; a turn needs at least one.")
    unit, _ = normalised(asset)
    turns = [View(360 * place / frames, _ELEVATION_DEG, "") for place in range(frames)]
    found = []
    for camera in around(unit, turns, FINER * require_side(size)):
        found.append(to_bytes(shown(look(unit, [camera]), [camera], lights)[0]))
    return found


def gif_bytes(frames: Sequence[Pixels], seconds: float) -> bytes:
    """A GIF that shows the pictures [H, W, 3] in so many seconds, again and again.

    All frames share one palette, so that what stands still does not flicker.
    """
    from PIL import Image

    times = np.round(np.linspace(0, 100 * seconds, len(frames) + 1)).astype(int)
    steps = np.diff(times)
    if not len(frames) or steps.min() < 2:
        raise InputError(
            f"gif: {len(frames)} frames in {seconds:g} s; a frame is shown for 0.02 s at least, "
            "as browsers slow down what is faster.\n  Take fewer frames or more seconds."
        )
    images = [Image.fromarray(one) for one in frames]
    sample = Image.fromarray(np.concatenate([one[::2, ::2] for one in frames]))
    palette = sample.quantize(_COLOURS, method=Image.Quantize.MEDIANCUT)
    indexed = [one.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for one in images]
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], loop=0, optimize=False,
        duration=[10 * int(one) for one in steps],
    )  # fmt: skip
    return buffer.getvalue()
