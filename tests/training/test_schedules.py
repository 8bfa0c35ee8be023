"""Learning rates are closed functions of the step."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError
from modelgraft.training.config import OptimConfig
from modelgraft.training.schedules import learning_rate_factor

SCHEDULES = ("linear", "cosine", "constant")


@given(
    steps=st.integers(1, 200),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(SCHEDULES),
)
def test_no_step_stands_still_and_none_passes_the_peak(steps, warmup, schedule):
    factors = [
        learning_rate_factor(step, steps, schedule=schedule, warmup=warmup) for step in range(steps)
    ]
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == pytest.approx(1.0)


def test_the_linear_schedule_rises_to_the_peak_and_falls_evenly():
    found = [learning_rate_factor(i, 10, schedule="linear", warmup=0.2) for i in range(10)]
    assert found == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_half_of_a_cosine_is_half_of_the_peak():
    assert learning_rate_factor(50, 100, schedule="cosine", warmup=0) == pytest.approx(0.5)


def test_impossible_options_are_refused():
    with pytest.raises(ConfigError, match="two numbers"):
        OptimConfig(betas=(0.9,))
    with pytest.raises(ConfigError, match="prodigy divides by it"):
        OptimConfig(optimiser="prodigy", eps=0)
    with pytest.raises(ConfigError, match="larger than batch"):
        OptimConfig(batch=4, micro_batch=8)
