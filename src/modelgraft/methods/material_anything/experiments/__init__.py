"""The paper's claims as commands: `modelgraft material_anything reproduce E1 ...`.

Arms are trained once in the run's folder and shared by all experiments; each experiment decides its
verdict from thresholds that stand in its module.
"""

from modelgraft.evaluation.reproduction import Experiment
from modelgraft.methods.material_anything.experiments.bumps import BUMPS
from modelgraft.methods.material_anything.experiments.confidence_input import CONFIDENCE_INPUT
from modelgraft.methods.material_anything.experiments.floor import FLOOR
from modelgraft.methods.material_anything.experiments.heads import HEADS, HEADS_IN_PIXELS
from modelgraft.methods.material_anything.experiments.holes import HOLES
from modelgraft.methods.material_anything.experiments.joining import JOINING
from modelgraft.methods.material_anything.experiments.speed import RASTER, SHADING, SPEED
from modelgraft.methods.material_anything.experiments.steps import FEWER_STEPS

# All can be run; one joins the first row once its record is made.
EXPERIMENTS: tuple[Experiment, ...] = ()
WITHOUT_RECORD: tuple[Experiment, ...] = (
    HEADS,
    HEADS_IN_PIXELS,
    CONFIDENCE_INPUT,
    HOLES,
    JOINING,
    BUMPS,
    FEWER_STEPS,
    FLOOR,
    SPEED,
    RASTER,
    SHADING,
)
