"""The claims of the paper as commands: `modelgraft star_attention reproduce E1 ...`.

Each experiment measures its baselines in the same run and decides its verdict from thresholds
that stand in its module.
"""

from modelgraft.methods.star_attention.experiments.decoding import DECODING
from modelgraft.methods.star_attention.experiments.halo import HALO
from modelgraft.methods.star_attention.experiments.hosts import HOSTS
from modelgraft.methods.star_attention.experiments.lengths import LENGTHS
from modelgraft.methods.star_attention.experiments.questions import QUESTIONS
from modelgraft.methods.star_attention.experiments.retrieval import RETRIEVAL
from modelgraft.methods.star_attention.experiments.sinks import SINKS

EXPERIMENTS = (RETRIEVAL, LENGTHS, SINKS, HOSTS, QUESTIONS, DECODING, HALO)
