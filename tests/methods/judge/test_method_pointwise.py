"""Scores of one candidate: what could not be read is counted and never becomes a number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.method.pointwise import (
    DecisionGraph,
    Node,
    chain_score,
    claim_precision,
    normalised,
    sampled_score,
    weighted,
)

NAN = float("nan")


def test_samples_that_could_not_be_read_leave_the_mean_alone():
    found = sampled_score([1, 5, NAN, 3])
    assert (found.value, found.num, found.num_failed) == (3.0, 3, 1)
    assert found.variance == pytest.approx(8 / 3)
    nothing = sampled_score([NAN, NAN])
    assert math.isnan(nothing.value) and (nothing.num, nothing.num_failed) == (0, 2)


def test_median_and_mode_with_an_explicit_rule_for_ties():
    assert sampled_score([1, 2, 10], pooling="median").value == 2
    assert sampled_score([4, 2, 4, 2, 5], pooling="mode").value == 2


def test_normalising_turns_scales_the_right_way_and_refuses_what_is_outside():
    assert normalised([1, 3, 5], 1, 5).tolist() == [0, 0.5, 1]
    assert normalised([1, 5], 1, 5, is_higher_better=False).tolist() == [1, 0]
    with pytest.raises(ConfigError, match="score 6: it is outside of 1 to 5"):
        normalised([2, 6], 1, 5)
    with pytest.raises(ConfigError, match="the end must be the larger"):
        normalised([2], 5, 5)


def test_criteria_are_weighed_and_a_missing_score_is_not_passed_over():
    assert weighted({"a": 1.0, "b": 4.0}, {"a": 1, "b": 2}) == 3.0
    assert weighted({"a": 1.0, "b": 3.0}, {}) == 2.0
    assert math.isnan(weighted({"a": 1.0, "b": NAN}, {}))
    with pytest.raises(ConfigError, match="some above zero"):
        weighted({"a": 1.0}, {"a": 0})


GRAPH = DecisionGraph(
    "ends",
    {
        "ends": Node("Does it end?", {"yes": "polite", "no": 0.0}),
        "polite": Node("Is it polite?", {"yes": 1.0, "no": 0.5}),
    },
)


def walked(graph, answers):
    """The nodes that are asked, and the score, when each gets an answer by its name."""
    walk, asked = graph.walk(), []
    try:
        name = next(walk)
        while True:
            asked.append(name)
            name = walk.send(answers(name))
    except StopIteration as stop:
        return asked, stop.value


def test_a_decision_graph_is_walked_to_its_score():
    answers = {"ends": "yes", "polite": "no"}
    assert walked(GRAPH, answers.get) == (["ends", "polite"], 0.5)
    asked, score = walked(GRAPH, lambda name: None)
    assert asked == ["ends"] and math.isnan(score)


def test_graphs_that_lead_nowhere_or_in_a_circle_are_refused():
    with pytest.raises(ConfigError, match="no node 'there'"):
        DecisionGraph("a", {"a": Node("?", {"yes": "there"})})
    with pytest.raises(ConfigError, match="in a circle, b -> c -> b"):
        DecisionGraph(
            "a",
            {
                "a": Node("?", {"yes": "b"}),
                "b": Node("?", {"yes": "c", "no": 1.0}),
                "c": Node("?", {"yes": "b"}),
            },
        )
    with pytest.raises(ConfigError, match="has no answers"):
        DecisionGraph("a", {"a": Node("?")})
    diamond = {
        "a": Node("?", {"x": "b", "y": "c"}),
        "b": Node("?", {"x": "d"}),
        "c": Node("?", {"x": "d"}),
        "d": Node("?", {"x": 1.0}),
    }
    assert walked(DecisionGraph("a", diamond), lambda name: "x")[1] == 1.0


def test_few_claims_are_worth_less_and_none_are_no_score():
    assert claim_precision([True, False, True, True]) == 0.75
    assert claim_precision([True] * 5, at_least=10) == pytest.approx(math.exp(-1))
    assert claim_precision([True] * 10, at_least=10) == 1.0
    assert math.isnan(claim_precision([]))


def test_steps_of_a_chain():
    steps = [0.9, 0.5, 0.8]
    found = [chain_score(steps, how) for how in ("product", "min", "last", "mean")]
    assert found == pytest.approx([0.36, 0.5, 0.8, 2.2 / 3])
    assert np.isnan(chain_score([], "min"))
