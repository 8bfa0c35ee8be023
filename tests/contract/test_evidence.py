"""Every experiment that a method registers has a record, or the tables would hide it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from modelgraft.core.card import find_cards
from modelgraft.evaluation.record import read_experiment, record_path

ROOT = Path(__file__).parents[2]
METHODS = sorted(find_cards().cards)


@pytest.mark.parametrize("method", METHODS)
def test_no_experiment_is_left_out_of_the_records(method):
    module = importlib.import_module(f"modelgraft.methods.{method}.experiments")
    for experiment in module.EXPERIMENTS:
        record = read_experiment(record_path(ROOT / "reproduction", method, experiment.id))
        assert record.statement == experiment.statement, experiment.id


@pytest.mark.parametrize("method", METHODS)
def test_a_record_says_what_was_measured(method):
    for path in sorted((ROOT / "reproduction" / method).glob("*.json")):
        versions = read_experiment(path).versions
        assert {"torch", "model", "dtype", "device"} <= set(versions), path.name
