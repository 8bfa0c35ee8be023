"""The claims of the paper as commands: `modelgraft tulu3 reproduce E1 ...`.

Each experiment measures its baselines in the same run and decides its verdict from thresholds that
stand in its module. `arms` is what they share, `sums` what those on verifiable rewards do.
"""

from modelgraft.methods.tulu3.experiments.ablation import ABLATION
from modelgraft.methods.tulu3.experiments.aggregation import AGGREGATION
from modelgraft.methods.tulu3.experiments.contaminated import CONTAMINATED
from modelgraft.methods.tulu3.experiments.critics import CRITICS
from modelgraft.methods.tulu3.experiments.decontamination import DECONTAMINATION
from modelgraft.methods.tulu3.experiments.distances import DISTANCES
from modelgraft.methods.tulu3.experiments.lagging import LAGGING
from modelgraft.methods.tulu3.experiments.over_optimisation import OVER_OPTIMISATION
from modelgraft.methods.tulu3.experiments.preference_losses import PREFERENCE_LOSSES
from modelgraft.methods.tulu3.experiments.rejection import REJECTION
from modelgraft.methods.tulu3.experiments.reward_mix import REWARD_MIX
from modelgraft.methods.tulu3.experiments.rollouts import ROLLOUTS
from modelgraft.methods.tulu3.experiments.stages import STAGES
from modelgraft.methods.tulu3.experiments.trl_steps import TRL_STEPS
from modelgraft.methods.tulu3.experiments.verifiable import VERIFIABLE

EXPERIMENTS = (
    AGGREGATION,
    ABLATION,
    DECONTAMINATION,
    CONTAMINATED,
    PREFERENCE_LOSSES,
    VERIFIABLE,
    DISTANCES,
    CRITICS,
    REWARD_MIX,
    OVER_OPTIMISATION,
    LAGGING,
    REJECTION,
    STAGES,
    ROLLOUTS,
    TRL_STEPS,
)
