"""Log-probabilities in chunks: the naive formula's values and gradients, without its memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from modelgraft.core.errors import UnsupportedModel
from modelgraft.language.logprobs import chunked_logprobs, token_logprobs
from modelgraft.language.packing import IGNORED, Batch, Sample, collate
from modelgraft.nn.memory import peak_memory

SIZES = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def make_model(kind: str = "Llama", dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(SIZES | options))
    return getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype)


def make_batch(*rows: tuple[int, ...], vocab: int = 50) -> Batch:
    """Rows of samples of these lengths; about half of the tokens have labels."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for row in rows:
        made.append([])
        for length in row:
            ids = torch.randint(0, vocab, (length,), generator=generator)
            quiet = torch.rand(length, generator=generator) < 0.5
            labels = ids.masked_fill(quiet, IGNORED)
            made[-1].append(Sample(ids.tolist(), labels.tolist()))
    return collate(made, pad_id=0)


BATCH = make_batch((9, 4), (13,), (2, 1, 8))


def naive(model: Any, batch: Batch, temperature: float = 1.0) -> Tensor:
    """[b, t]: log softmax of all logits, picked at the labels."""
    logits = model(**batch.inputs).logits / temperature
    logprobs = logits[:, :-1].log_softmax(-1)
    labels = batch.labels[:, 1:]
    picked = logprobs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    grid = torch.zeros_like(batch.labels, dtype=picked.dtype)
    grid[:, 1:] = torch.where(labels == IGNORED, 0.0, picked)
    return grid


def gradients(model: Any, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("chunk", [1, 250, 2**24])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_equal_the_naive_formula(chunk, temperature):
    model = make_model()
    found = token_logprobs(model, BATCH, temperature=temperature, chunk_logits=chunk)
    expected = naive(model, BATCH, temperature)
    assert (found.grid - expected).abs().max() < 1e-9
    assert torch.equal(found.values, found.grid[found.mask])
    # Uneven weights, so that a permutation of the values would show.
    weights = torch.linspace(-1, 2, BATCH.ids.numel(), dtype=torch.float64).view_as(expected)
    pairs = zip(
        gradients(model, (found.grid * weights).sum()),
        gradients(model, (expected * weights).sum()),
        strict=True,
    )
    assert all((mine - other).abs().max() < 1e-9 for mine, other in pairs)


def test_sums_and_lengths_are_those_of_the_samples_alone():
    model = make_model()
    found = token_logprobs(model, BATCH)
    expected = naive(model, BATCH)
    assert len(found.sums) == len(found.lengths) == 6
    for sample in range(6):
        of_it = BATCH.samples == sample
        assert found.sums[sample].item() == pytest.approx(expected[of_it].sum().item(), abs=1e-9)
        assert found.lengths[sample] == (expected[of_it] != 0).sum()


def test_a_batch_without_labels_gives_empty_values_and_zero_sums():
    batch = collate([[Sample([1, 2, 3], [IGNORED] * 3)]], pad_id=0)
    found = token_logprobs(make_model(), batch)
    assert found.values.numel() == 0
    assert found.sums.tolist() == [0.0] and found.lengths.tolist() == [0]


def test_half_precision_is_computed_in_float32():
    found = token_logprobs(make_model(dtype=torch.bfloat16), BATCH)
    assert found.values.dtype == torch.float32
    expected = token_logprobs(make_model(), BATCH)
    assert (found.values - expected.values).abs().max() < 0.05


FINISHES = {
    "soft cap": ("Gemma2", {"final_logit_softcapping": 0.5, "head_dim": 8}),
    "multiplied": ("Cohere", {"logit_scale": 0.25}),
    "divided": ("Granite", {"logits_scaling": 8.0}),
    "neither": ("Qwen3", {"head_dim": 8}),
}


@pytest.mark.parametrize("name", FINISHES)
def test_what_a_stock_model_does_to_its_logits_is_done_too(name):
    kind, options = FINISHES[name]
    model = make_model(kind, **options)
    found = token_logprobs(model, BATCH, temperature=0.9)
    assert (found.grid - naive(model, BATCH, 0.9)).abs().max() < 1e-9


class Shifted(transformers.LlamaForCausalLM):
    """Adds to its logits what no configuration mentions."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits + torch.arange(output.logits.shape[-1])
        return output


def test_a_model_with_another_finish_is_refused():
    with pytest.raises(UnsupportedModel, match="Shifted: its logits are not its vocabulary head"):
        token_logprobs(Shifted(transformers.LlamaConfig(**SIZES)), BATCH)


def test_no_hook_is_left_behind():
    model = make_model()
    token_logprobs(model, BATCH)
    assert not model.model._forward_hooks


def test_a_model_wrapped_for_several_processes_syncs_its_gradients():
    """Its own forward must run, else the wrapper would not know that a backward follows."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = make_model()
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        reduced = []
        wrapped.register_comm_hook(None, lambda _, bucket: reduced.append(1) or _done(bucket))
        token_logprobs(wrapped, BATCH).values.sum().backward()
        expected = gradients(model, naive(model, BATCH).sum())
    finally:
        dist.destroy_process_group()
    assert reduced
    for parameter, other in zip(model.parameters(), expected, strict=True):
        assert (parameter.grad - other).abs().max() < 1e-9


def _done(bucket: Any) -> torch.futures.Future:
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


# -- memory ----------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The entries of the largest tensor that any operation inside the block gives."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for found in torch.utils._pytree.tree_leaves(output):
            if isinstance(found, Tensor):
                self.entries = max(self.entries, found.untyped_storage().nbytes() // 4)
        return output


def test_neither_pass_makes_logits_of_more_than_a_chunk():
    vocab = 4096
    model = make_model(dtype=torch.float32, vocab_size=vocab)
    batch = make_batch((200,), (150, 50), vocab=vocab)
    with Largest() as chunked:
        token_logprobs(model, batch, chunk_logits=16 * vocab).sums.sum().backward()
    with Largest() as whole:
        naive(model, batch).sum().backward()
    assert whole.entries >= 2 * 199 * vocab
    head = vocab * SIZES["hidden_size"]
    assert chunked.entries <= max(16 * vocab, head)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_of_both_passes_is_under_a_quarter_of_the_naive_one():
    """Spec, section 8: 131,072 words; the naive formula takes 1.6 GB for 1,024 labels."""
    tokens, vocab, width = 1024, 131_072, 16
    generator = torch.Generator().manual_seed(0)
    states, head = (torch.randn(n, width, generator=generator) for n in (tokens, vocab))
    states.requires_grad_(), head.requires_grad_()
    targets = torch.randint(0, vocab, (tokens,), generator=generator)

    def peak(logprobs: Any) -> int:
        with peak_memory(torch.device("cpu")) as before:
            pass
        with peak_memory(torch.device("cpu")) as during:
            torch.autograd.grad(logprobs().sum(), [states, head])
        return during[0] - before[0]

    chunked = peak(
        lambda: chunked_logprobs(states, targets, lambda chunk: chunk @ head.T, chunk_tokens=128)
    )
    whole = peak(lambda: (states @ head.T).log_softmax(-1).gather(-1, targets[:, None]))
    assert whole > 2 * 4 * tokens * vocab
    assert chunked < whole / 4
