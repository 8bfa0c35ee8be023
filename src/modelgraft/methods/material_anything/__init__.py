"""Material Anything: a mesh goes in, an asset whose materials relight comes out.

    ready = prepare(read_asset(path), texture_px=1024, file=path)
    board = canvas(ready.mesh, Plan(light="trusted"))
    views = paint(board, estimator, given_pictures(ready), seed=0)
    export(ready, assemble(board, views, refiner, seed=0), Path("chair.glb"))

Estimators are the embedded one, the published one, SuperMat, and any function from a picture to
maps (`PerView`).
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.methods.material_anything"
_NAMES = {
    "Maps": f"{_HERE}.method.maps",
    "PerView": f"{_HERE}.adapter.per_view",
    "Plan": f"{_HERE}.infer",
    "assemble": f"{_HERE}.infer",
    "canvas": f"{_HERE}.infer",
    "compare": f"{_HERE}.comparing",
    "export": f"{_HERE}.assets",
    "given_pictures": f"{_HERE}.assets",
    "load_estimator": f"{_HERE}.adapter.published",
    "load_refiner": f"{_HERE}.adapter.published",
    "paint": f"{_HERE}.infer",
    "prepare": f"{_HERE}.assets",
    "shipped_estimator": f"{_HERE}.shipped",
    "shipped_refiner": f"{_HERE}.shipped",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
