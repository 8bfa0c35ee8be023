"""The survey's claims as commands: `modelgraft judge reproduce E1 ...`.

Each experiment measures its baselines in the same run and decides its verdict from thresholds that
stand in its module.
"""

from modelgraft.methods.judge.experiments.acceleration import ACCELERATION
from modelgraft.methods.judge.experiments.attacks import ATTACKED
from modelgraft.methods.judge.experiments.corrected import CORRECTED
from modelgraft.methods.judge.experiments.endpoint import ENDPOINT
from modelgraft.methods.judge.experiments.guarantee import GUARANTEE
from modelgraft.methods.judge.experiments.length_control import LENGTH_CONTROL
from modelgraft.methods.judge.experiments.panels import PANELS
from modelgraft.methods.judge.experiments.position import POSITION
from modelgraft.methods.judge.experiments.ratings import RATINGS
from modelgraft.methods.judge.experiments.reuse import REUSE
from modelgraft.methods.judge.experiments.self_preference import SELF_PREFERENCE
from modelgraft.methods.judge.experiments.tuned import TUNING

EXPERIMENTS = (
    POSITION,
    TUNING,
    LENGTH_CONTROL,
    RATINGS,
    ACCELERATION,
    GUARANTEE,
    CORRECTED,
    PANELS,
    ATTACKED,
    ENDPOINT,
    REUSE,
    SELF_PREFERENCE,
)
