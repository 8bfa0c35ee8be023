"""What the judge is called and can do; data only."""

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.judge.config import (
    AuditConfig,
    CompareConfig,
    RankConfig,
    ScoreConfig,
    SelectConfig,
)

_ACTIONS = "modelgraft.methods.judge.actions"


def _action(name: str, help: str, config: type) -> Action:
    return Action(name, help, config, f"{_ACTIONS}:{name}")


CARD = Card(
    id="judge",
    title="LLM-as-a-judge",
    summary="Score, compare and rank answers by a model whose biases are measured and corrected.",
    paper="arXiv 2411.16594",
    tags=("language", "evaluation"),
    extras=("hf", "llm"),
    actions=(
        _action("score", "Score every candidate by itself.", ScoreConfig),
        _action("compare", "Say which of two candidates is better.", CompareConfig),
        _action("rank", "Rank the candidates of each item.", RankConfig),
        _action("select", "Keep the best candidate of each item.", SelectConfig),
        _action("audit", "Measure a judge before its verdicts are used.", AuditConfig),
        _action(
            "reproduce",
            "Repeat the survey's claims at this scale and print what holds.",
            ReproduceConfig,
        ),
    ),
)
