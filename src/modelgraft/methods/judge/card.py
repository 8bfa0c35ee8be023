"""What the judge is called and can do; data only."""

from modelgraft.core.card import Action, Card
from modelgraft.evaluation.plan import ReproduceConfig
from modelgraft.methods.judge.config import (
    AgreeConfig,
    AuditConfig,
    BenchConfig,
    CalibrateConfig,
    CascadeConfig,
    CompareConfig,
    LeaderboardConfig,
    PanelConfig,
    RankConfig,
    ScoreConfig,
    SelectConfig,
    ServeConfig,
    SynthesiseConfig,
    TuneConfig,
)

_ACTIONS = "modelgraft.methods.judge.actions"


_ESTIMATES = "modelgraft.methods.judge.estimates"


def _action(name: str, help: str, config: type, *, estimate: bool = False) -> Action:
    told = f"{_ESTIMATES}:estimate_{name}" if estimate else None
    return Action(name, help, config, f"{_ACTIONS}:{name}", estimate=told)


# A short prompt, which a small model reads quickly.
_PLAINLY = {"template": "plain_pair", "hardening": "none"}

CARD = Card(
    id="judge",
    title="LLM-as-a-judge",
    summary="Score, compare and rank answers by a model whose biases are measured and corrected.",
    paper="arXiv 2411.16594",
    tags=("language", "evaluation"),
    extras=("hf", "llm"),
    actions=(
        _action("score", "Score every candidate by itself.", ScoreConfig, estimate=True),
        _action("compare", "Say which of two candidates is better.", CompareConfig, estimate=True),
        _action("rank", "Rank the candidates of each item.", RankConfig, estimate=True),
        _action("select", "Keep the best candidate of each item.", SelectConfig, estimate=True),
        _action(
            "audit", "Measure a judge before its verdicts are used.", AuditConfig, estimate=True
        ),
        _action("tune", "Tune a judge on labelled pairs.", TuneConfig),
        _action("calibrate", "Learn which verdicts may stand, from labels.", CalibrateConfig),
        _action("cascade", "Answer by the cheapest judge that is sure enough.", CascadeConfig),
        _action("panel", "Let several judges vote, talk or check each other.", PanelConfig),
        _action("bench", "Judge a public benchmark by its own rule.", BenchConfig, estimate=True),
        _action(
            "synthesise", "Make labelled pairs by construction.", SynthesiseConfig, estimate=True
        ),
        _action(
            "leaderboard",
            "Rate models by comparisons of their answers.",
            LeaderboardConfig,
            estimate=True,
        ),
        Action(
            "serve",
            "A judge of known behaviour behind a URL, to prove things on.",
            ServeConfig,
            "modelgraft.methods.judge.serving:serve",
        ),
        _action("agree", "Hold judges to people, to each other and to their past.", AgreeConfig),
        _action(
            "reproduce",
            "Repeat the survey's claims at this scale and print what holds.",
            ReproduceConfig,
        ),
    ),
    # The embedded model asked plainly, three writers it rates, a panel beside each of its judges.
    demo=(
        (
            "audit",
            {
                "num": 30,
                **_PLAINLY,
                "probes": ("filler",),
                "attacks": ("naive plea",),
            },
        ),
        ("leaderboard", {"num": 20}),
        ("panel", {"num": 40, **_PLAINLY, "pool": "weighted"}),
        ("reproduce", {"experiments": ("E6",), "quick": True}),
    ),
)
