"""Meshes and their maps as people look at them: strips, turntables, sheets of maps, a page.

    lights = named_lights(["neutral", "sunset", "rim", "studio.hdr"])
    pixels = strip(read_asset(Path("chair.glb")), lights, size=256)
    view_page(Path("chair.glb"), Path("chair.html"), title="Chair")

Pictures are uint8 [H, W, 3] in sRGB and the same bytes for the same asset.
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.methods.material_anything.showing"
_NAMES = {
    "gif_bytes": f"{_HERE}.turning",
    "maps_sheet": f"{_HERE}.sheets",
    "named_lights": f"{_HERE}.lights",
    "strip": f"{_HERE}.strips",
    "turntable": f"{_HERE}.turning",
    "view_page": f"{_HERE}.page",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
