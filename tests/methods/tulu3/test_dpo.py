"""Preference tuning: cached or live, side by side or one after the other, the step is the same."""

from __future__ import annotations

import math
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaForCausalLM

from modelgraft.core.errors import InputError, Interrupted, UnsupportedModel
from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings
from modelgraft.language.load import Loaded
from modelgraft.language.logprobs import token_logprobs
from modelgraft.methods.tulu3.adapter.models import attach
from modelgraft.methods.tulu3.adapter.reference import cached_reference, reference_key
from modelgraft.methods.tulu3.config import DpoConfig, LoraConfig, PairOptim, PreferenceLoss
from modelgraft.methods.tulu3.data import world_pairs
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train.dpo import (
    PairLoss,
    Reference,
    both_sides,
    estimate_dpo,
    joined,
    live_reference,
    reference_of,
)
from modelgraft.methods.tulu3.train.pairs import (
    PairBatch,
    PairSamples,
    collate_pairs,
    tokenise_pairs,
)
from modelgraft.training.processes import accelerator_of

TOKENIZER = build_tokenizer()
ACCELERATOR = Accelerator(cpu=True)
OPTIM = PairOptim(lr=3e-3, batch=8, micro_batch=4, save_every=2, schedule="constant")
CONFIG = DpoConfig(optim=OPTIM)
WORDS = "optim.lr=0.003 optim.batch=8 optim.micro_batch=4 optim.save_every=2 num=16 epochs=2"
SHORT = dict(word.split("=") for word in WORDS.split())
LOSSES: tuple[PreferenceLoss, ...] = ("dpo_norm", "dpo", "simpo", "wpo")


def samples(num: int = 6) -> PairSamples:
    return tokenise_pairs(TOKENIZER, world_pairs(num, seed=5), CONFIG, None)


def batch(num: int = 6) -> PairBatch:
    return collate_pairs(samples(num), pad_id=TOKENIZER.pad_token_id, device="cpu")


def loaded(model: Any) -> Loaded:
    return Loaded(model, TOKENIZER, "nano", "", Path())


def reference(model: Any, config: DpoConfig, run: Run) -> Reference:
    found = reference_of(loaded(model), samples(), config, run, ACCELERATOR)
    assert found is not None
    return found


def moved(model: Any, *, seed: int = 1) -> Any:
    """The model after some training: every weight a little elsewhere."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in model.parameters():
            if one.requires_grad:
                one += 0.05 * torch.randn(one.shape, generator=draw)
    return model


def step(model: Any, reference: Reference | None, config: DpoConfig) -> tuple[float, Tensor]:
    """The loss of one micro-batch and its gradient, as the loop adds them up."""
    pairs, loss = batch(), PairLoss(model, reference, config)
    given = [loss.both(pairs)] if config.concatenated else map(loss.one, both_sides([pairs]))
    total = count = 0.0
    model.zero_grad()
    for one in given:
        one.total.backward()
        total, count = total + float(one.total.detach()), count + one.count
    weights = [one for one in model.parameters() if one.requires_grad]
    return total / count, torch.cat([one.grad.flatten() / count for one in weights])


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSES)
def test_one_side_at_a_time_gives_the_loss_and_gradient_of_both_together(kind):
    model = nano.make_model(dtype=torch.float64)
    known = None if kind == "simpo" else live_reference(model)
    moved(model)
    config = replace(CONFIG, loss=kind, beta=0.5, smoothing=0.1)
    loss, gradient = step(model, known, config)
    expected, other = step(model, known, replace(config, concatenated=True))
    assert loss == pytest.approx(expected, rel=1e-6)
    assert relative(gradient, other) < 1e-6


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("concatenated", [False, True])
def test_a_policy_that_has_not_moved_has_reward_0_and_loss_log_2(kind, concatenated):
    model = nano.make_model()
    config = replace(CONFIG, loss=kind, beta=0.5, concatenated=concatenated)
    loss = PairLoss(model, None if kind == "simpo" else live_reference(model), config)
    pairs = batch()
    found = loss.both(pairs) if concatenated else loss.one(both_sides([pairs])[0])
    rewards = [found.values[f"{side}_reward"] for side in ("chosen", "rejected")]
    if kind == "simpo":
        assert abs(rewards[0]) > 1e-2
        return
    assert rewards == pytest.approx([0.0, 0.0], abs=1e-5)
    weight = 1.0
    if kind == "wpo":  # every pair weighed by the probability of its answers
        sides = [token_logprobs(model, side) for side in pairs[:2]]
        means = sum(side.sums / side.lengths for side in sides).detach()
        weight = float(torch.exp(means).clamp(max=1).mean())
    assert float(found.total.detach()) / found.count == pytest.approx(
        weight * math.log(2), rel=1e-5
    )


def test_both_sides_joined_are_rows_of_one_batch():
    pairs = batch()
    whole = joined(pairs)
    expected = [[one[1], one[2]] for one in samples()]
    flat = [row[side] for side in (0, 1) for row in expected]
    for row, sample in enumerate(flat):
        size = len(sample.ids)
        assert whole.ids[row, :size].tolist() == sample.ids
        assert whole.labels[row, 1:size].tolist() == sample.labels[1:]
        assert (whole.labels[row, size:] == -100).all() and (whole.samples[row, size:] == -1).all()
        assert (whole.samples[row, :size] == row).all()
        assert whole.positions[row].tolist() == list(range(whole.ids.shape[1]))


class Held:
    """Bytes that the graph keeps for the backward pass, each storage once; `peak` the most."""

    def __init__(self) -> None:
        self.now = self.peak = 0
        self._counts: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        kept = tensor.detach()
        place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        self._counts[place] = self._counts.get(place, 0) + 1
        if self._counts[place] == 1:
            self.now += size
            self.peak = max(self.peak, self.now)
        weakref.finalize(kept, self._release, place, size)
        return kept

    def _release(self, place: int, size: int) -> None:
        self._counts[place] -= 1
        if not self._counts[place]:
            self.now -= size


def test_one_side_at_a_time_keeps_at_most_065_of_the_activations():
    model = nano.make_model(layers=3)
    weights = sum(one.numel() * 4 for one in model.parameters())
    peaks = {}
    for concatenated in (False, True):
        held = Held()
        with torch.autograd.graph.saved_tensors_hooks(held.pack, lambda kept: kept):
            step(model, live_reference(model), replace(CONFIG, concatenated=concatenated))
        assert held.now == 0
        peaks[concatenated] = held.peak - weights
    assert peaks[False] <= 0.65 * peaks[True]


# -- the reference ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_cached_and_a_live_reference_give_the_same_losses_and_gradients(tmp_path, precision):
    config = replace(CONFIG, optim=replace(OPTIM, precision=precision))
    accelerator = accelerator_of(config.optim, Settings())
    values, steps = [], []
    for kind in ("cached", "live"):
        model = nano.make_model()
        asked = replace(config, reference=kind)
        with open_run(tmp_path / kind) as run:
            known = reference_of(loaded(model), samples(), asked, run, accelerator)
        assert known is not None
        with accelerator.autocast():
            values.append(known(batch()))
            steps.append(step(moved(model), known, asked))
    assert (tmp_path / "cached" / "reference" / "values.safetensors").exists()
    # Both in the number type of training: in another they would differ by some thousandths.
    assert (values[0] - values[1]).abs().max() < 1e-3
    exact = 1e-5 if precision == "no" else 1e-3
    assert steps[0][0] == pytest.approx(steps[1][0], rel=exact)
    assert relative(steps[0][1], steps[1][1]) < exact


def test_below_an_adapter_the_reference_is_the_pass_without_it():
    plain = nano.make_model()
    pairs = batch()
    expected = live_reference(plain)(pairs)
    model = moved(attach(nano.make_model(), LoraConfig(rank=2, dropout=0.5), seed=0)).train()
    known = live_reference(model)
    assert torch.equal(known(pairs), expected) and model.training
    assert (token_logprobs(model.eval(), pairs.chosen).sums - expected[:, 0]).abs().max() > 1e-3
    loss, gradient = step(model, known, CONFIG)
    assert loss != pytest.approx(math.log(2)) and gradient.abs().max() > 0


def test_simpo_needs_no_reference(tmp_path):
    with open_run(tmp_path / "run") as run:
        config = replace(CONFIG, loss="simpo")
        assert reference_of(loaded(None), samples(), config, run, ACCELERATOR) is None
    assert not (tmp_path / "run" / "reference").exists()


def test_the_stored_values_are_those_of_each_pair_alone(tmp_path):
    model = nano.make_model()
    with open_run(tmp_path / "run") as run:
        # So few tokens at a time that the pairs fall into several batches, sorted by length.
        config = replace(CONFIG, optim=replace(OPTIM, micro_batch=1))
        known = reference(model, config, run)
    for one in samples():
        alone = collate_pairs([one], pad_id=0, device="cpu")
        assert torch.allclose(known(alone), live_reference(model)(alone), rtol=1e-5)
    with pytest.raises(IndexError):
        known(alone._replace(numbers=torch.tensor([6])))


KEY = {
    "model": "nano",
    "revision": "a",
    "weights": "b",
    "tokenizer": TOKENIZER,
    "max_length": 192,
    "data": "c",
    "adapter": False,
    "dtype": "torch.float32",
}


def other_tokenizer() -> Any:
    tokenizer = build_tokenizer()
    tokenizer.chat_template += " "
    return tokenizer


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *((name, "other") for name in ("model", "revision", "weights", "data", "dtype")),
        ("tokenizer", other_tokenizer()),
        ("max_length", 191),
        ("adapter", True),
    ],
)
def test_what_the_values_depend_on_has_them_computed_again(tmp_path, name, other):
    asked: list[str] = []

    def ask(run: Run, key: dict[str, Any], value: float) -> Tensor:
        def compute() -> Tensor:
            asked.append(key["model"])
            return torch.full((3, 2), value)

        return cached_reference(run, key, 3, compute, ACCELERATOR)

    with open_run(tmp_path / "run") as run:
        first = reference_key(**KEY)
        assert ask(run, first, 1.0).tolist() == ask(run, first, 2.0).tolist() == [[1.0, 1.0]] * 3
        assert len(asked) == 1
        changed = reference_key(**KEY | {name: other})
        assert ask(run, changed, 3.0).tolist() == [[3.0, 3.0]] * 3
    log = (tmp_path / "run" / "log.jsonl").read_text()
    assert f'"reference computed again", "changed": ["{name}"]' in log


def test_values_of_another_number_of_pairs_and_ones_that_are_no_numbers_are_refused(tmp_path):
    key = reference_key(**KEY)
    with open_run(tmp_path / "run") as run:
        with pytest.raises(UnsupportedModel, match=r"nano in torch.float32.*of 1 of 3 pairs"):
            spoilt = torch.tensor([[0.0, 0], [0, math.nan], [0, 0]])
            cached_reference(run, key, 3, lambda: spoilt, ACCELERATOR)
        assert not (tmp_path / "run" / "reference").exists()
        cached_reference(run, key, 3, lambda: torch.zeros(3, 2), ACCELERATOR)
        save_file({"values": torch.zeros(4, 2)}, run.folder / "reference" / "values.safetensors")
        with pytest.raises(InputError, match=r"of 3 pairs are needed, \[3, 2\]; found \[4, 2\]"):
            cached_reference(run, key, 3, lambda: torch.zeros(3, 2), ACCELERATOR)


# -- whole runs ------------------------------------------------------------------------------------


def test_pairs_that_teach_nothing_are_named_by_file_and_line_and_counted(tmp_path):
    base = nano.save_model(tmp_path / "base")
    rows = [
        nano.pair("good", "say owl", "owl", "fox"),
        nano.pair("same", "say owl", "owl", "owl"),
        nano.pair("cut", "x" * 200, "owl", "fox"),
        nano.pair("alike", "x" * 160, "owls are loud", "owls are silent"),
        nano.pair("blank", "say nothing", "fine", ""),
    ]
    data = nano.write_rows(tmp_path / "pairs.jsonl", rows)
    options = SHORT | {"data": data, "model": base}
    result = nano.start("dpo", tmp_path / "run", options)
    lines = dict(nano.rejects(tmp_path / "run"))
    assert list(lines) == [2, 3, 4]
    assert lines[3] == "the chosen answer does not begin within --max-length 192 tokens"
    assert lines[4] == "the answers are the same within --max-length 192 tokens"
    assert nano.number(result, "pairs") == 2 and nano.number(result, "pairs left out") == 2
    strict = options | {"on_error": "raise"}
    nano.write_rows(data, [rows[0], *rows[2:4]])
    with pytest.raises(InputError, match=r"pairs.jsonl:2: the chosen(.|\n)*pairs.jsonl:3: the ans"):
        nano.start("dpo", tmp_path / "raise", strict)
    nano.write_rows(data, rows[2:4])
    with pytest.raises(InputError, match=r"pairs.jsonl:1: the chosen(.|\n)*pairs.jsonl:2: the ans"):
        nano.start("dpo", tmp_path / "none", options)


def test_it_prefers_what_it_is_shown_and_keeps_a_stock_model(tmp_path):
    options = SHORT | {"model": nano.save_model(tmp_path / "base"), "epochs": 6}
    result = nano.start("dpo", tmp_path / "run", options)
    [loss, accuracy] = [one for one in result.numbers if "last tenth" in one.name]
    assert loss.baseline is not None and loss.value < loss.baseline and loss.better == "lower"
    assert accuracy.value > 0.8 and accuracy.better == "higher"
    LlamaForCausalLM.from_pretrained(tmp_path / "run" / "artefacts" / "model")


def test_a_stopped_run_and_a_killed_one_end_with_the_bits_of_an_unbroken_one(tmp_path):
    options = SHORT | {"model": nano.save_model(tmp_path / "base")}
    words = [f"{name}={value}" for name, value in options.items()]
    killed = subprocess.run(
        [sys.executable, nano.__file__, "dpo", tmp_path, *words, "die=2"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert killed.returncode == -9, killed.stderr[-2000:]
    with pytest.raises(Interrupted):
        nano.start("dpo", tmp_path / "stopped", options, stop_at=1)
    unbroken = nano.start("dpo", tmp_path / "unbroken", options)
    for name in ("0/dpo", "stopped"):
        before = (tmp_path / name / "reference" / "values.safetensors").stat().st_mtime_ns
        assert nano.start("dpo", tmp_path / name, options) == unbroken
        after = (tmp_path / name / "reference" / "values.safetensors").stat().st_mtime_ns
        assert before == after
        ends = nano.saved(tmp_path / name), nano.saved(tmp_path / "unbroken")
        assert nano.distance(*ends) == 0


# -- the estimate ----------------------------------------------------------------------------------


def test_the_estimate_is_what_a_run_then_counts(tmp_path):
    base = nano.save_model(tmp_path / "base")
    options = SHORT | {"model": base, "max_length": 90}
    result = nano.start("dpo", tmp_path / "run", options)
    found = estimate_dpo(nano.config_of("dpo", options), Settings(seed=1))
    for name in ("pairs", "steps"):
        assert nano.number(found, name) == nano.number(result, name)
    assert nano.number(result, "pairs left out") > 0
    assert nano.number(found, "pairs in the data") == 16


def test_the_estimate_adds_what_the_reference_and_the_second_pass_cost(tmp_path):
    base = nano.save_model(tmp_path / "base")
    model = nano.make_model()
    num_all = sum(one.numel() for one in model.parameters())
    in_layers = num_all - model.model.embed_tokens.weight.numel()
    pairs = tokenise_pairs(TOKENIZER, world_pairs(16, seed=1), CONFIG, None)
    tokens, rejected = pairs.num_tokens, pairs.rejected.num_tokens
    expected = {
        ("cached", False): 6 * 2 * tokens + 2 * 2 * rejected + 2 * tokens,
        ("cached", True): 6 * 2 * tokens + 2 * tokens,
        ("live", True): 6 * 2 * tokens + 2 * 2 * tokens,
    }
    for (kind, concatenated), each in expected.items():
        options = SHORT | {"model": base, "reference": kind, "concatenated": concatenated}
        found = estimate_dpo(nano.config_of("dpo", options), Settings(seed=1))
        assert nano.number(found, "operations, about") == pytest.approx(in_layers * each / 1e12)
        memory = nano.number(found, "weights, gradients and optimiser, about")
        assert memory == pytest.approx((20 if kind == "live" else 16) * num_all / 2**20)
