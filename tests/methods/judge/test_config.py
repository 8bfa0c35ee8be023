"""How a verdict is read when nothing is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelgraft.methods.judge.config import (
    AuditConfig,
    CompareConfig,
    ExampleOptions,
    RankConfig,
    ScoreConfig,
)

EXAMPLES = ExampleOptions(file=Path("examples.jsonl"))


@pytest.mark.parametrize(
    ("config", "how"),
    [
        (CompareConfig(), "likelihood"),
        (ScoreConfig(), "likelihood"),
        (RankConfig(), "likelihood"),
        (AuditConfig(), "choice"),
        (RankConfig(by="windows"), "choice"),
        (ScoreConfig(by="checklist"), "choice"),
        # What a likelihood is not shown is never passed over in silence.
        (CompareConfig(rubric="fluency"), "choice"),
        (CompareConfig(template="plain_pair"), "choice"),
        (CompareConfig(reference="own"), "choice"),
        (CompareConfig(examples=EXAMPLES), "choice"),
        (ScoreConfig(rubric="safety"), "choice"),
        (CompareConfig(judge="some/model"), "choice"),
        (CompareConfig(judge="http://127.0.0.1:1/v1#m"), "written"),
        (CompareConfig(read="written"), "written"),
    ],
)
def test_auto_reads_by_the_judge_and_by_what_is_asked(config, how):
    assert config.how == how
