"""A page in which a GLB file can be turned by hand, without any network."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.files import write_atomic
from modelgraft.evaluation.report.pages import render_mesh
from modelgraft.methods.material_anything.showing.lights import surroundings


def view_page(glb: Path, out: Path, *, title: str, environment: str = "neutral") -> None:
    """Write one HTML file that shows a GLB and asks nothing of any network.

    `environment` is what lights it: "neutral" (the viewer's even studio light), a sky of
    `worlds.skies`, or the path of an equirectangular .hdr picture. `InputError` for meshes that
    cannot be shown like this.
    """
    picture = surroundings(environment)
    address = "neutral" if picture is None else _hdr_uri(picture)
    write_atomic(out, render_mesh(glb, title=title, surroundings=address))


def _hdr_uri(picture: NDArray[np.float32]) -> str:
    """Radiance [H, W, 3] as a Radiance file in a data URI; its end tells the viewer the kind."""
    height, width = picture.shape[:2]
    peak = picture.max(axis=2, keepdims=True).clip(1e-30)
    _, exponent = np.frexp(peak)
    values = np.ldexp(picture, 8 - exponent).clip(0, 255).astype(np.uint8)
    pixels = np.concatenate([values, (exponent + 128).clip(0, 255).astype(np.uint8)], axis=2)
    # Pixels are not packed in runs; none looks like the mark of a packed row, as the largest of
    # three bytes is 128 or more.
    header = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    content = base64.b64encode(header + pixels.tobytes()).decode()
    return f"data:image/vnd.radiance;base64,{content}#.hdr"
