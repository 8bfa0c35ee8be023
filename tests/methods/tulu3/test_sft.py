"""Supervised fine-tuning: the loss does not depend on how a batch is cut, packed or shared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import peft
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from modelgraft.core.errors import InputError, Interrupted
from modelgraft.core.runs import open_run
from modelgraft.core.settings import Settings
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.language.packing import Batch
from modelgraft.methods.tulu3.adapter.models import Recipe, load_trainable, save_trained
from modelgraft.methods.tulu3.config import LoraConfig, SftConfig, SftOptim
from modelgraft.methods.tulu3.data import world_conversations
from modelgraft.methods.tulu3.method.sft import Aggregation
from modelgraft.methods.tulu3.tiny import build_tokenizer
from modelgraft.methods.tulu3.train import estimates
from modelgraft.methods.tulu3.train.sft import estimate_sft, sft, sft_loss, tokenise_all, train_sft
from modelgraft.methods.tulu3.train.tokens import Samples, sample_batches

TOKENIZER = build_tokenizer()
CONVERSATIONS = world_conversations(16, seed=3)
OPTIM = SftOptim(lr=3e-3, batch=8, micro_batch=8, save_every=2, schedule="constant", warmup=0.0)
CONFIG = SftConfig(optim=OPTIM)
NUM = "optim.lr=0.003 optim.batch=8 optim.micro_batch=4 optim.save_every=2 num=16 epochs=2"
SHORT = dict(word.split("=") for word in NUM.split())


def samples() -> Samples:
    return tokenise_all(TOKENIZER, CONVERSATIONS, CONFIG, None)[0]


def epoch(tmp_path: Path, model: Any, *, micro_batch: int, pack: bool = False) -> list[Batch]:
    """The micro-batches of one step that shows every sample once."""
    pack_to = CONFIG.max_length if pack else None
    with open_run(tmp_path) as run:
        made = sample_batches(
            samples(), OPTIM, run, Accelerator(cpu=True), model=model, pad_id=0, pack_to=pack_to
        )
    return replace(made, batch=len(made.items), micro_batch=micro_batch)(0)


def gradient(model: Any, parts: Iterable[Batch], how: Aggregation) -> torch.Tensor:
    """The gradient of a step's loss as the loop makes it: summed totals over summed counts."""
    losses = [sft_loss(model, part, how) for part in parts]
    loss = sum(one.total for one in losses) / sum(one.count for one in losses)
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([one.flatten() for one in found])


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


# -- the loss --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["token_mean", "token_sum", "example_mean", "microbatch_mean"])
def test_only_the_known_fault_depends_on_the_cut_into_micro_batches(tmp_path, how):
    model = nano.make_model()
    found = {}
    for size in (1, 3, 16):
        parts = epoch(tmp_path / str(size), model, micro_batch=size)
        assert len(parts) == -(-16 // size)
        found[size] = gradient(model, parts, how)
    distances = [relative(found[size], found[16]) for size in (1, 3)]
    if how == "microbatch_mean":
        assert min(distances) > 1e-2
    else:
        assert max(distances) < 1e-5


@pytest.mark.parametrize("how", ["token_mean", "token_sum"])
def test_a_training_run_ends_alike_whatever_the_cut(tmp_path, how):
    ends = []
    for size in (8, 3):
        model = nano.make_model(dtype=torch.float64)
        config = replace(CONFIG, aggregation=how, optim=replace(OPTIM, micro_batch=size))
        with open_run(tmp_path / str(size), seed=2) as run:
            train_sft(model, TOKENIZER, samples(), config, run)
        ends.append(model.state_dict())
    assert nano.distance(*ends) < 1e-9


@pytest.mark.parametrize("how", ["token_mean", "example_mean"])
def test_packed_samples_have_the_loss_of_samples_that_stand_alone(tmp_path, how):
    model = nano.make_model(dtype=torch.float64)
    alone = epoch(tmp_path / "alone", model, micro_batch=16)
    packed = epoch(tmp_path / "packed", model, micro_batch=4, pack=True)
    assert sum(len(one.ids) for one in packed) <= 12 < len(alone[0].ids) == 16
    assert relative(gradient(model, packed, how), gradient(model, alone, how)) < 1e-9


# -- data ------------------------------------------------------------------------------------------


def test_samples_give_back_what_was_tokenised_from_five_bytes_a_token():
    expected = [tokenise_conversation(TOKENIZER, one.messages, 192) for one in CONVERSATIONS]
    found = Samples(expected)
    assert list(found) == expected and found[-1] == expected[-1] and found[2:4] == expected[2:4]
    assert found.lengths.tolist() == [len(one.ids) for one in expected]
    assert found.num_tokens == sum(len(one.ids) for one in expected)
    assert found.num_labels == sum(label != -100 for one in expected for label in one.labels[1:])
    assert found.digest() == Samples(expected).digest() != Samples(expected[:-1]).digest()
    stored = found._ids.itemsize * len(found._ids) + len(found._learned)
    assert stored == 5 * found.num_tokens
    assert len(Samples()) == Samples().num_labels == 0


def test_rows_that_cannot_be_learned_are_named_by_file_and_line_and_counted(tmp_path):
    base = nano.save_model(tmp_path / "base")
    rows = [
        nano.chat("good", "say owl", "owl"),
        "{broken",
        nano.chat("two-answers", "say", "a")
        | {"messages": [{"role": "assistant", "content": "a"}] * 2},
        "",
        nano.chat("long", "say " + "x" * 200, "owl"),
        nano.chat("also-good", "say fox", "fox"),
    ]
    data = nano.write_rows(tmp_path / "chats.jsonl", rows)
    options = SHORT | {"data": data, "model": base, "epochs": 1, "num": 9}
    result = nano.start("sft", tmp_path / "run", options)
    assert [line for line, _ in nano.rejects(tmp_path / "run")] == [2, 3, 5]
    assert "no answer begins within --max-length 192" in nano.rejects(tmp_path / "run")[2][1]
    assert nano.number(result, "samples") == 2
    assert nano.number(result, "conversations left out") == 1
    card = (tmp_path / "run" / "artefacts" / "model" / "README.md").read_text()
    assert "| words | 2 |" in card
    nano.start("sft", tmp_path / "run", options)  # a second attempt records nothing twice
    assert len(nano.rejects(tmp_path / "run")) == 3


def test_a_file_without_a_usable_row_and_a_strict_run_name_the_lines(tmp_path):
    base = nano.save_model(tmp_path / "base")
    rows = [nano.chat(f"c{n}", "say " + "x" * 200, "owl") for n in range(3)]
    data = nano.write_rows(tmp_path / "long.jsonl", rows)
    options = SHORT | {"data": data, "model": base}
    with pytest.raises(InputError, match=r"long.jsonl:1: no answer begins(.|\n)*long.jsonl:3: "):
        nano.start("sft", tmp_path / "none", options)
    mixed = nano.write_rows(tmp_path / "mixed.jsonl", [nano.chat("good", "say", "owl"), *rows])
    with pytest.raises(InputError, match=r"mixed.jsonl:2: no answer(.|\n)*mixed.jsonl:4: "):
        nano.start("sft", tmp_path / "raise", options | {"data": mixed, "on_error": "raise"})
    with pytest.raises(InputError, match="none of 16 conversations has an answer within 8 tokens"):
        nano.start("sft", tmp_path / "world", SHORT | {"model": base, "max_length": 8})


# -- whole runs ------------------------------------------------------------------------------------


def test_it_learns_and_saves_what_the_stock_loader_reads(tmp_path):
    base = nano.save_model(tmp_path / "base")
    result = nano.start("sft", tmp_path / "run", SHORT | {"model": base, "epochs": 8})
    [nll] = [one for one in result.numbers if one.name.startswith("nll per token")]
    assert nll.baseline is not None and nll.value < nll.baseline - 0.5
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "artefacts" / "model")
    assert model.dtype == torch.float32
    assert nano.distance(model.state_dict(), model.state_dict() | nano.saved(tmp_path / "run")) == 0


def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path):
    options = SHORT | {"model": nano.save_model(tmp_path / "base"), "optim.micro_batch": 8}
    unbroken = nano.start("sft", tmp_path / "unbroken", options)
    with pytest.raises(Interrupted):
        nano.start("sft", tmp_path / "broken", options, stop_at=2)
    assert nano.start("sft", tmp_path / "broken", options) == unbroken
    assert nano.distance(nano.saved(tmp_path / "unbroken"), nano.saved(tmp_path / "broken")) == 0


def test_an_adapter_and_the_merged_model_have_the_logits_of_the_trained_model(tmp_path):
    base = nano.save_model(tmp_path / "base", layers=2)
    config = SftConfig(model=base, num=32, optim=OPTIM, lora=LoraConfig(rank=4))
    with open_run(tmp_path / "run") as run:
        loaded = load_trainable(base, run, config.lora)
        trained, _ = train_sft(loaded.model, loaded.tokenizer, samples(), config, run)
        save_trained(trained, loaded.tokenizer, run, Recipe("SFT", base, {}, {}))
    folder = tmp_path / "run" / "artefacts"
    ids = torch.arange(3, 40)[None]
    start = AutoModelForCausalLM.from_pretrained(base)
    before = start(ids).logits
    adapted = peft.PeftModel.from_pretrained(start, folder / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    with torch.no_grad():
        expected = trained(ids).logits
        assert (expected - before).abs().max() > 1e-2
        assert (adapted(ids).logits - expected).abs().max() < 1e-5
        assert (merged(ids).logits - expected).abs().max() < 1e-5
    assert (
        merged.state_dict().keys() == AutoModelForCausalLM.from_pretrained(base).state_dict().keys()
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_an_adapter_on_smollm_learns_and_comes_back(tmp_path):
    """Real weights, by what a user types: the loss falls, and the adapter gives its logits."""
    lora = LoraConfig(rank=8)
    optim = SftOptim(lr=1e-3, batch=8, micro_batch=4)
    config = SftConfig(model="tiny:smollm", num=32, epochs=2.0, lora=lora, optim=optim)
    with open_run(tmp_path / "run", settings=Settings(device="cpu", dtype="float32")) as run:
        result = run.finish(sft(config, run))
        base = load_trainable("tiny:smollm", run, LoraConfig())
    loss = next(one for one in result.numbers if one.name.startswith("nll per token"))
    assert loss.baseline is not None and loss.value < 0.7 * loss.baseline
    folder = tmp_path / "run" / "artefacts"
    adapted = peft.PeftModel.from_pretrained(base.model, folder / "adapter").eval()
    merged = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    ids = base.tokenizer("What is 3 plus 4?", return_tensors="pt").input_ids
    with torch.no_grad():
        assert (adapted(ids).logits - merged(ids).logits).abs().max() < 1e-3


@pytest.mark.timeout(300)
def test_two_processes_end_as_one(tmp_path):
    """Each takes half of every batch; in DPO each computes half of the reference as well."""
    options = SHORT | {"model": nano.save_model(tmp_path / "base"), "num": 16, "epochs": 1}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [f"{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        [sys.executable, *launcher, nano.__file__, "sft,dpo", tmp_path, *words],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for stage in ("sft", "dpo"):
        nano.start(stage, tmp_path / "alone" / stage, options)
        alone, both = (nano.saved(tmp_path / one / stage) for one in ("alone", "0"))
        assert nano.distance(alone, both) < 1e-5
        # The second one has a part in each step: it keeps no books of its own.
        second = tmp_path / "1" / stage
        assert not (second / "metrics.jsonl").exists()
        assert not (second / "artefacts" / "model").exists()


def test_one_process_may_train_in_one_number_type_after_the_other(tmp_path):
    options = SHORT | {"model": nano.save_model(tmp_path / "base"), "num": 8, "epochs": 1}
    for precision in ("bf16", "no"):
        nano.start("sft", tmp_path / precision, options | {"optim.precision": precision})
    assert 0 < nano.distance(nano.saved(tmp_path / "bf16"), nano.saved(tmp_path / "no")) < 0.1


# -- the estimate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
def test_the_estimate_is_what_a_run_then_counts(tmp_path, pack):
    base = nano.save_model(tmp_path / "base")
    options = SHORT | {"model": base, "max_length": 100, "pack": pack}
    result = nano.start("sft", tmp_path / "run", options)
    found = estimate_sft(nano.config_of("sft", options), Settings(seed=1))
    for name in ("samples", "tokens", "tokens learned", "steps"):
        assert nano.number(found, name) == nano.number(result, name)
    left_out = nano.number(found, "conversations") - nano.number(found, "samples")
    assert left_out == nano.number(result, "conversations left out")


def test_the_estimate_counts_operations_and_memory_by_what_trains(tmp_path):
    base = nano.save_model(tmp_path / "base")
    options = SHORT | {"model": base}
    full = estimate_sft(nano.config_of("sft", options), Settings(seed=1))
    model = nano.make_model()
    num_all = sum(one.numel() for one in model.parameters())
    in_layers = num_all - model.model.embed_tokens.weight.numel()
    tokens = nano.number(full, "tokens")
    assert nano.number(full, "operations, about") == pytest.approx(
        6 * in_layers * tokens * 2 / 1e12
    )
    memory = "weights, gradients and optimiser, about"
    assert nano.number(full, memory) == pytest.approx(16 * num_all / 2**20)
    lora = estimate_sft(nano.config_of("sft", options | {"lora.rank": 2}), Settings(seed=1))
    added = 2 * (4 * (64 + 64) + 3 * (64 + 176))  # four square layers, three of the MLP
    assert nano.number(lora, "operations, about") == pytest.approx(
        4 * (in_layers + added) * tokens * 2 / 1e12
    )
    assert nano.number(lora, memory) == pytest.approx((4 * num_all + 16 * added) / 2**20)


def test_the_estimate_looks_at_some_rows_of_many(tmp_path, monkeypatch):
    base = nano.save_model(tmp_path / "base")
    config = nano.config_of("sft", SHORT | {"model": base, "num": 200})
    exact = estimate_sft(config, Settings())
    monkeypatch.setattr(estimates, "MAX_ROWS", 50)
    looked = estimate_sft(config, Settings())
    assert nano.number(looked, "conversations") == 200
    for name in ("samples", "tokens", "steps"):
        assert nano.number(looked, name) == pytest.approx(nano.number(exact, name), rel=0.1)
