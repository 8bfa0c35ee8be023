"""The paper's claims as commands: `modelgraft ominicontrol reproduce O1 ...`.

Arms are trained once in the run's folder and shared by all experiments; each experiment decides its
verdict from thresholds that stand in its module.
"""

from modelgraft.evaluation.reproduction import Experiment
from modelgraft.methods.ominicontrol.experiments.ablation import ABLATION
from modelgraft.methods.ominicontrol.experiments.captions import CAPTIONS
from modelgraft.methods.ominicontrol.experiments.control import CONTROL
from modelgraft.methods.ominicontrol.experiments.data import DATA
from modelgraft.methods.ominicontrol.experiments.dial import DIAL
from modelgraft.methods.ominicontrol.experiments.places import PLACES
from modelgraft.methods.ominicontrol.experiments.several import SEVERAL
from modelgraft.methods.ominicontrol.experiments.speed import SPEED
from modelgraft.methods.ominicontrol.experiments.tokens import TOKENS

EXPERIMENTS: tuple[Experiment, ...] = (
    CAPTIONS, CONTROL, PLACES, DIAL, SEVERAL, SPEED, TOKENS, DATA, ABLATION,
)  # fmt: skip
