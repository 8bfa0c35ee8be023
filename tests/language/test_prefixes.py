"""Shared beginnings: the log-probabilities and states of every prompt alone, from fewer tokens."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import transformers

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.language.prefixes import Counts, Question, read_logprobs, read_states

VOCABULARY = 64
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make(family: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {**SIZES, **changes}
    if family == "GPT2":
        sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 3, "n_head": 4}
    config = getattr(transformers, f"{family}Config")(**sizes)
    kind = "eager" if family == "Gemma2" else changes.get("attn_implementation", "sdpa")
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=kind)
    return model.eval()


LLAMA = make("Llama")


def tokens(num: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, VOCABULARY, (num,), generator=generator).tolist())


def alone(model: Any, question: Question) -> dict[int, tuple[float, ...]]:
    with torch.no_grad():
        logprobs = model(torch.tensor([question.ids])).logits[0].float().log_softmax(-1)
    return {
        place: tuple(logprobs[place, list(wanted)].tolist())
        for place, wanted in question.wanted.items()
    }


def assert_alike(model: Any, questions: list[Question], **options: Any) -> Counts:
    counts = Counts()
    found = read_logprobs(model, questions, counts=counts, **options)
    for one, question in zip(found, questions, strict=True):
        expected = alone(model, question)
        assert one.keys() == expected.keys()
        for place, values in expected.items():
            assert one[place] == pytest.approx(values, abs=1e-5)
    return counts


def pairs_of(num: int) -> list[Question]:
    """All ordered pairs of candidates behind one rubric, each with a question behind."""
    rubric, stem = tokens(60, 0), tokens(4, 99)
    candidates = [tokens(20, 1 + n) for n in range(num)]
    return [
        Question.after((*rubric, *one, *other, *stem), (5, 6))
        for one, other in itertools.permutations(candidates, 2)
    ]


@pytest.mark.parametrize("at_once", [8, 70, 4096])
def test_every_prompt_reads_as_alone_however_it_is_cut(at_once):
    questions = [
        *pairs_of(4),
        Question.of_answer(tokens(30, 0), tokens(9, 3)),
        Question.of_answer(tokens(30, 0), tokens(12, 4)),
        Question.after(tokens(5, 7), (1, 2, 3)),
        Question.after(tokens(5, 7), (4,)),
        Question(tokens(40, 0), {10: (3,), 39: (4, 5)}),
    ]
    assert_alike(LLAMA, questions, at_once=at_once)


def test_all_pairs_cost_the_rubric_once_and_the_first_candidate_once():
    """R + K c + K (K - 1) (c + s) tokens instead of K (K - 1) (R + 2 c + s)."""
    counts = assert_alike(LLAMA, pairs_of(5))
    assert counts.computed == 60 + 5 * 20 + 20 * 24
    assert counts.alone == 20 * (60 + 40 + 4)


def test_a_prompt_that_begins_another_is_part_of_it():
    prompt = tokens(30, 5)
    questions = [Question.after(prompt, (3, 4)), Question.after((*prompt, 3), (4,))]
    assert assert_alike(LLAMA, questions).computed == 31


def test_equal_prompts_are_computed_once():
    questions = [Question.after(tokens(6, 1), (3,)), Question.after(tokens(6, 1), (3, 4))]
    assert assert_alike(LLAMA, questions).computed == 6


def test_short_beginnings_are_not_worth_a_pass_of_their_own():
    questions = [Question.after((3, 4, *tokens(5, n)), (3,)) for n in range(4)]
    counts = assert_alike(LLAMA, questions)
    assert counts.computed == counts.alone


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Llama", {"attn_implementation": "eager"}),
        ("Qwen3", {}),
        ("GPT2", {}),
        ("GPTNeoX", {}),
        ("Gemma2", {"sliding_window": 16}),
        ("Mistral", {"sliding_window": 16}),
        ("Phi3", {"sliding_window": 16}),
        ("Cohere", {"logit_scale": 0.25}),
    ],
)
def test_other_families_too_with_windows_and_scaled_logits(family, changes):
    assert_alike(make(family, **changes), pairs_of(3))


def test_states_are_those_of_the_stock_pass_and_later_blocks_are_not_computed():
    questions = pairs_of(3)
    ran = []
    handles = [
        layer.register_forward_hook(lambda *_, n=number: ran.append(n))
        for number, layer in enumerate(LLAMA.model.layers)
    ]
    found = read_states(LLAMA, questions, [0, 2])
    for handle in handles:
        handle.remove()
    assert set(ran) == {0, 1}
    for question, states in zip(questions, found, strict=True):
        with torch.no_grad():
            stock = LLAMA(torch.tensor([question.ids]), output_hidden_states=True).hidden_states
        for block, state in zip((0, 2), states, strict=True):
            assert torch.allclose(state, stock[block][0, -1], atol=1e-5)


def test_the_state_after_the_last_block_comes_before_the_final_norm():
    question = pairs_of(2)[0]
    found = read_states(LLAMA, [question], [3])[0, 0]
    with torch.no_grad():
        last = LLAMA(torch.tensor([question.ids]), output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(LLAMA.model.norm(found), last[0, -1], atol=1e-5)


def test_the_model_is_left_as_it_was():
    model = make("Llama").train()
    read_states(model, pairs_of(2), [1])
    assert model.training and not any(layer._forward_hooks for layer in model.model.layers)


def test_progress_counts_questions():
    told: list[tuple[int, int]] = []
    read_logprobs(LLAMA, pairs_of(3), report=lambda *numbers: told.append(numbers), at_once=30)
    assert told[-1] == (6, 6) and told == sorted(told)
    assert read_logprobs(LLAMA, []) == []


def test_what_cannot_be_read_is_refused():
    with pytest.raises(InputError, match="question 1: it has no token"):
        read_logprobs(LLAMA, [pairs_of(2)[0], Question((), {})])
    with pytest.raises(InputError, match="600 tokens do not fit the context of 512"):
        read_logprobs(LLAMA, [Question.after(tokens(600, 0), (3,))])
    with pytest.raises(ConfigError, match="from 0 to 3"):
        read_states(LLAMA, pairs_of(2), [4])
    other = make("Llama")
    other.config._attn_implementation = "flash_attention_2"
    with pytest.raises(UnsupportedModel, match="mask of any shape"):
        read_logprobs(other, pairs_of(2))
