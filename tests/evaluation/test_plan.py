"""The options that every method's `reproduce` shares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from modelgraft.core.options import build, flatten, options
from modelgraft.evaluation.plan import ReproduceConfig


def test_the_options_build_from_text_and_round_trip():
    values = {"experiments": ["E1", "E3"], "quick": "true", "folder": "elsewhere"}
    config = build(ReproduceConfig, values)
    assert config == ReproduceConfig(experiments=("E1", "E3"), quick=True, folder=Path("elsewhere"))
    assert build(ReproduceConfig, flatten(config)) == config


def test_without_options_every_experiment_runs_into_the_committed_folder():
    assert build(ReproduceConfig, {}) == ReproduceConfig(
        experiments=(), quick=False, folder=Path("reproduction")
    )


def test_every_option_has_help_and_the_experiments_are_positional():
    listed = options(ReproduceConfig)
    assert all(option.help for option in listed)
    assert [option.name for option in listed if option.positional] == ["experiments"]


def test_a_card_can_import_the_options_without_numpy():
    code = (
        "import sys, modelgraft.evaluation.plan\n"
        "print([name for name in ('numpy', 'scipy', 'torch', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
