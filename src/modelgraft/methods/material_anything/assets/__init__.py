"""From any file of a mesh to what is painted, and back to a file.

    asset = read_asset(path)
    ready = prepare(asset, texture_px=1024, file=path)
    board = canvas(ready.mesh, plan)
    views = paint(board, estimator, given_pictures(ready), seed=0)
    export(ready, assemble(board, views, refiner, seed=0), Path("chair.glb"))

`Prepared.remarks` says what was changed on the way, for a person.
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.methods.material_anything.assets"
_NAMES = {
    "Prepared": f"{_HERE}.preparing",
    "believed": f"{_HERE}.believing",
    "export": f"{_HERE}.exporting",
    "finished": f"{_HERE}.exporting",
    "given_pictures": f"{_HERE}.given",
    "has_texture": f"{_HERE}.given",
    "is_blank": f"{_HERE}.noticing",
    "notices": f"{_HERE}.noticing",
    "prepare": f"{_HERE}.preparing",
    "write_blender_script": f"{_HERE}.blender",
    "write_maps": f"{_HERE}.exporting",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
