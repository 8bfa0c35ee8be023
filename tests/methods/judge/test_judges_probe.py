"""The latent probe as a judge: learns from both orders, stops early, is saved and comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from letters import Letters, make_model

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.judges.probe import (
    PairProbe,
    ProbeJudge,
    load_probe,
    pair_states,
    save_probe,
    tune_probe,
)
from modelgraft.methods.judge.judging.judgments import Asking, compare
from modelgraft.methods.judge.method.probe import swap_averaged
from modelgraft.methods.judge.prompts import read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.world.pairs import GOOD, world_pairs

PLAIN = Asking(read_template("plain_pair"), read_rubric("overall"), "none")
MODEL, TOKENIZER = make_model(layers=3), Letters()
ITEMS = world_pairs(12, split="train", categories=("short_right", "json"))
CALLS = [(PLAIN.call(one, 0, 1), PLAIN.call(one, 1, 0)) for one in ITEMS]
WINS = [one.candidates[0].id == GOOD for one in ITEMS]


@pytest.fixture(scope="module")
def tuned():
    return tune_probe(MODEL, TOKENIZER, CALLS, WINS, [1, 2, 3], ridge=0.1)


def test_it_learns_what_is_plain_even_in_random_states(tuned):
    """A long answer against a short one, JSON against prose: position alone would give a half."""
    assert tuned.accuracies.max() > 0.7
    assert tuned.probe.block == (1, 2, 3)[int(tuned.accuracies.argmax())]
    assert tuned.held_out.shape == (len(ITEMS), 2)


def test_swap_averaged_scores_are_antisymmetric_and_early_exit_changes_nothing(tuned):
    """Acceptance 28."""
    judge = ProbeJudge(MODEL, TOKENIZER, tuned.probe, name="tiny")
    items = world_pairs(3, categories=("short_right",))
    one, _ = compare(items, judge, PLAIN)
    turned = [item.with_candidates(item.candidates[::-1]) for item in items]
    other, _ = compare(turned, judge, PLAIN)
    for first, second in zip(one, other, strict=True):
        assert first.content == pytest.approx(-second.content, abs=1e-4)
    calls = [PLAIN.call(items[0], 0, 1), PLAIN.call(items[0], 1, 0)]
    early = pair_states(MODEL, TOKENIZER, calls, [tuned.probe.block])[:, 0]
    late = pair_states(MODEL, TOKENIZER, calls, [tuned.probe.block, 3])[:, 0]
    assert early == pytest.approx(late, abs=1e-5)
    d = swap_averaged(early[:1], early[1:], tuned.probe.probe)
    assert one[0].content == pytest.approx(float(d[0]), abs=1e-4)


def test_a_saved_probe_gives_equal_scores(tuned, tmp_path: Path):
    """Acceptance 28."""
    save_probe(tmp_path / "probe", tuned.probe)
    save_probe(tmp_path / "probe", tuned.probe)
    back = load_probe(tmp_path / "probe")
    items = world_pairs(2, categories=("json",))
    found = []
    for probe in (tuned.probe, back):
        judgments, _ = compare(items, ProbeJudge(MODEL, TOKENIZER, probe, name="x"), PLAIN)
        found.append([one.content for one in judgments])
    assert np.allclose(*found, atol=1e-9)


def test_another_model_and_a_broken_folder_are_refused(tuned, tmp_path: Path):
    with pytest.raises(ConfigError, match="its states mean something else"):
        ProbeJudge(make_model(1, layers=3), TOKENIZER, tuned.probe, name="x")
    save_probe(tmp_path / "probe", PairProbe(tuned.probe.probe, 1, "m"))
    (tmp_path / "probe" / "probe.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no whole probe"):
        load_probe(tmp_path / "probe")
    with pytest.raises(ConfigError, match="at least 5 are needed"):
        tune_probe(MODEL, TOKENIZER, CALLS[:3], WINS[:3], [1])
