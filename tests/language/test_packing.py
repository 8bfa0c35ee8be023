"""Packed samples: the fullest rows, and none sees another."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import UnsupportedModel
from modelgraft.language.packing import IGNORED, Batch, Sample, check_packing, collate, pack


def slow_pack(lengths: list[int], max_length: int) -> list[list[int]]:
    rows: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for row in rows:
            if sum(lengths[i] for i in row) + lengths[index] <= max_length:
                row.append(index)
                break
        else:
            rows.append([index])
    return rows


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 50))
def test_packing_is_first_fit_decreasing(lengths, max_length):
    assert pack(lengths, max_length) == slow_pack(lengths, max_length)


def test_rows_are_few_hold_everything_once_and_come_out_the_same_again():
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 700, (5000,), generator=generator).tolist()
    rows = pack(lengths, 1024)
    assert sorted(i for row in rows for i in row) == list(range(5000))
    filled = [sum(lengths[i] for i in row) for row in rows]
    assert max(filled) <= 1024
    assert len(rows) <= 1.02 * -(-sum(lengths) // 1024)
    assert pack(lengths, 1024) == rows


@pytest.mark.parametrize("lengths", [[3, 11], [0, 4]])
def test_a_sample_that_fits_no_row_is_the_callers_mistake(lengths):
    with pytest.raises(ValueError, match="samples need 1 to 10 tokens"):
        pack(lengths, 10)


def samples(*lengths: int, seed: int = 0) -> list[Sample]:
    """Random ids; the first third of each sample has no labels."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for length in lengths:
        ids = torch.randint(0, 50, (length,), generator=generator).tolist()
        quiet = length // 3
        found.append(Sample(ids, [IGNORED] * quiet + ids[quiet:]))
    return found


def test_a_batch_says_where_every_sample_is():
    a, b, c = Sample([1, 2, 3], [IGNORED, 2, 3]), Sample([4], [4]), Sample([5, 6], [5, 6])
    batch = collate([[a, b], [c]], pad_id=9)
    assert batch.ids.tolist() == [[1, 2, 3, 4], [5, 6, 9, 9]]
    assert batch.labels.tolist() == [[-100, 2, 3, -100], [-100, 6, -100, -100]]
    assert batch.positions.tolist() == [[0, 1, 2, 0], [0, 1, 2, 3]]
    assert batch.samples.tolist() == [[0, 0, 0, 1], [2, 2, -1, -1]]
    assert batch.to("cpu").ids.tolist() == batch.ids.tolist()


def tiny_llama(attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation=attention,
    )
    return transformers.LlamaForCausalLM(config)


def total_loss(model: Any, batch: Batch, **inputs: Any) -> torch.Tensor:
    logits = model(**(batch.inputs | inputs)).logits[:, :-1]
    return torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum"
    )


def gradients(model: Any, loss: torch.Tensor) -> torch.Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_loss_and_gradients_equal_the_unpacked_ones(attention):
    """Acceptance 4."""
    model = tiny_llama(attention)
    chosen = samples(9, 3, 14, 1, 6, 2, 11)
    rows = pack([len(sample.ids) for sample in chosen], 16)
    packed = collate([[chosen[i] for i in row] for row in rows], pad_id=0)
    assert len(rows) < len(chosen) and packed.ids.shape[1] == 16
    alone = [total_loss(model, collate([[sample]], pad_id=0)) for sample in chosen]
    loss = total_loss(model, packed)
    assert loss.item() == pytest.approx(sum(alone).item(), rel=1e-5)
    expected = gradients(model, sum(alone))
    assert (gradients(model, loss) - expected).abs().max() < 1e-5 * expected.abs().max()
    # Rows of one sample each, filled up on the right, are the same again.
    padded = total_loss(model, collate([[sample] for sample in chosen], pad_id=7))
    assert padded.item() == pytest.approx(sum(alone).item(), rel=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_sample_sees_another_unless_a_cache_or_a_mask_hides_their_ends(attention):
    model = tiny_llama(attention).eval()
    a, _b, c = samples(5, 6, 7)
    batches = [collate([[first, c]], pad_id=0) for first in (a, samples(5, seed=1)[0])]
    tails = [model(**batch.inputs).logits[:, -7:] for batch in batches]
    assert (tails[0] - tails[1]).abs().max() == 0
    for trap in ({"use_cache": True}, {"attention_mask": torch.ones(1, 12)}):
        tails = [model(**(batch.inputs | trap)).logits[:, -7:] for batch in batches]
        assert (tails[0] - tails[1]).abs().max() > 1e-4


def test_a_batch_of_one_sample_a_row_needs_no_mask():
    """Else the fast causal kernels would be lost for ordinary batches."""
    seen = []
    model = tiny_llama().eval()
    hook = model.model.layers[0].self_attn.register_forward_pre_hook(
        lambda module, arguments, given: seen.append(given["attention_mask"]), with_kwargs=True
    )
    model(**collate([[sample] for sample in samples(5, 9, 2)], pad_id=0).inputs)
    model(**collate([samples(5, 9, 2)], pad_id=0).inputs)
    hook.remove()
    assert seen[0] is None and seen[1] is not None


def small(kind: str, **options: Any) -> Any:
    config = getattr(transformers, f"{kind}Config")(**options)
    return getattr(transformers, f"{kind}ForCausalLM")(config)


@pytest.mark.parametrize("num_rows", [1, 3])
def test_attention_models_pass_the_check_and_keep_their_mode(num_rows):
    models = [
        tiny_llama(),
        tiny_llama("eager"),
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2)
        ),
        small(
            "Mistral",
            vocab_size=50,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            sliding_window=4,
        ),
    ]
    for model in models:
        model.train()
        check_packing(model, num_rows=num_rows)
        assert model.training


def test_models_whose_samples_would_meet_are_refused():
    recurrent = small("Mamba", vocab_size=50, hidden_size=16, num_hidden_layers=2, state_size=4)
    by_distance = small("Bloom", vocab_size=50, hidden_size=16, n_layer=2, n_head=2)
    for model in (recurrent, by_distance):
        with pytest.raises(UnsupportedModel, match="packed samples"):
            check_packing(model)
