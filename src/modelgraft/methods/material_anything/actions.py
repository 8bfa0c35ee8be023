"""The actions of the card: names and paths become objects, library functions do the work."""

from __future__ import annotations

from modelgraft.core.lazy import need
from modelgraft.core.results import Result
from modelgraft.core.runs import Run
from modelgraft.diffusion.pictures import from_bytes, write_picture
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.evaluation.reproduction import reproduce as reproduce_experiments
from modelgraft.methods.material_anything.config import (
    EstimateConfig,
    EvaluateConfig,
    RelightConfig,
    TextureConfig,
    TrainConfig,
    ViewConfig,
)
from modelgraft.methods.material_anything.showing import (
    gif_bytes,
    named_lights,
    strip,
    turntable,
    view_page,
)
from modelgraft.spatial.files.gltf.writing import write_glb
from modelgraft.spatial.files.reading import read_asset

_TURN_S = 4.0


def texture(config: TextureConfig, run: Run) -> Result:
    """Give a mesh material maps."""
    from modelgraft.methods.material_anything.texturing import texture_asset

    return texture_asset(config, run)


def estimate(config: EstimateConfig, run: Run) -> Result:
    """Material maps of pictures."""
    from modelgraft.methods.material_anything.estimating import estimate_maps

    return estimate_maps(config, run)


def train(config: TrainConfig, run: Run) -> Result:
    """Train an estimator or a refiner."""
    need("accelerate", extra="hf")
    from modelgraft.methods.material_anything.learning import learn

    return learn(config, run)


def relight(config: RelightConfig, run: Run) -> Result:
    """Pictures of an asset under lights, and a turn around it."""
    lights = named_lights(config.env)
    asset = read_asset(config.asset)
    name = config.asset.stem
    path = run.add("grid", f"{name}_relit.png", f"Under {', '.join(one for one, _ in lights)}")
    write_picture(path, from_bytes(strip(asset, lights, size=config.size)))
    for title, own in lights if config.turntable else []:
        frames = turntable(asset, own, frames=config.turntable, size=config.size)
        turn = run.add("image", f"{name}_{title.replace(' ', '-')}.gif", f"A turn under {title}")
        turn.write_bytes(gif_bytes(frames, _TURN_S))
    return Result(remarks=asset.remarks)


def view(config: ViewConfig, run: Run) -> Result:
    """One page that shows an asset in any browser."""
    asset = read_asset(config.asset)
    name = config.asset.stem
    page = run.artefacts / f"{name}.html"
    if config.asset.suffix.lower() == ".glb":
        shown = config.asset
    else:
        shown = run.add("mesh", f"{name}.glb", "The asset as GLB")
        write_glb(shown, asset)
    view_page(shown, page, title=config.title or name)
    run.add("text", page.name, "Open it in a browser; it needs no network")
    return Result(remarks=asset.remarks)


def evaluate(config: EvaluateConfig, run: Run) -> Result:
    """How near maps come to the true ones."""
    from modelgraft.methods.material_anything.comparing import compare
    from modelgraft.methods.material_anything.measuring import measure

    if config.found is None or config.truth is None:
        return measure(config, run)
    found, truth = (read_asset(one) for one in (config.found, config.truth))
    return Result(tuple(compare(found, truth, size=config.size or 256)))


def reproduce(config: ReproduceConfig, run: Run) -> Result:
    """The paper's claims at this scale."""
    from modelgraft.methods.material_anything.experiments import EXPERIMENTS, WITHOUT_RECORD

    return reproduce_experiments(
        "material_anything",
        (*EXPERIMENTS, *WITHOUT_RECORD),
        names=config.experiments,
        quick=config.quick,
        run=run,
        folder=config.folder,
    )
