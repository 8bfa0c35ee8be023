"""The claims of the paper as commands: `modelgraft tulu3 reproduce E1 ...`.

Each experiment measures its baselines in the same run and decides its verdict from thresholds that
stand in its module. `arms` is what they share.
"""

from modelgraft.methods.tulu3.experiments.ablation import ABLATION
from modelgraft.methods.tulu3.experiments.aggregation import AGGREGATION
from modelgraft.methods.tulu3.experiments.contaminated import CONTAMINATED
from modelgraft.methods.tulu3.experiments.decontamination import DECONTAMINATION
from modelgraft.methods.tulu3.experiments.preference_losses import PREFERENCE_LOSSES
from modelgraft.methods.tulu3.experiments.rejection import REJECTION

EXPERIMENTS = (
    AGGREGATION,
    ABLATION,
    DECONTAMINATION,
    CONTAMINATED,
    PREFERENCE_LOSSES,
    REJECTION,
)
