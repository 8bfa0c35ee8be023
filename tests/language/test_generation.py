"""Rollouts: the stock tokens, one random stream an item, and no work for rows that have ended."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.language.generation import Rollout, Sampling, choose, generate_batch
from modelgraft.language.logprobs import token_logprobs
from modelgraft.language.packing import IGNORED, Sample, collate

VOCAB = 40
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
KINDS = {
    "llama": ("Llama", {"num_key_value_heads": 2}),
    "llama eager": ("Llama", {"num_key_value_heads": 2, "attn_implementation": "eager"}),
    "sliding window": ("Mistral", {"num_key_value_heads": 2, "sliding_window": 6}),
    "mixed windows": ("Gemma2", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 5}),
    "soft cap": (
        "Gemma2",
        {"num_key_value_heads": 4, "head_dim": 8, "final_logit_softcapping": 0.5},
    ),
    "linear biases": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "masked biases": ("Falcon", {"alibi": True, "new_decoder_architecture": False}),
    "learned positions": ("OPT", {"ffn_dim": 32, "word_embed_proj_dim": 32, "pad_token_id": 1}),
    "normed heads": ("Qwen3", {"num_key_value_heads": 2, "head_dim": 8}),
}


@functools.cache
def make_model(name: str = "llama") -> Any:
    """A random model with weights large enough that greedy choices are no near ties."""
    kind, options = KINDS[name]
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**(SIZES | options), initializer_range=0.3)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    model.generation_config.eos_token_id = None
    return model


def make_prompts(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, VOCAB, (n,), generator=generator).tolist() for n in lengths]


PROMPTS = make_prompts(7, 1, 12, 7, 3, 9)
GREEDY = Sampling(max_new_tokens=15, temperature=0.0)


def stock(model: Any, prompts: list[list[int]], **options: Any) -> list[list[int]]:
    """Stock generation, one prompt at a time, so that nothing is padded."""
    given = {"max_new_tokens": 15, "do_sample": False, "pad_token_id": 0} | options
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        new = model.generate(ids, attention_mask=torch.ones_like(ids), **given)
        found.append(new[0, len(prompt) :].tolist())
    return found


@pytest.mark.parametrize("name", KINDS)
def test_greedy_rollouts_are_those_of_stock_generate(name):
    model = make_model(name)
    rollouts = generate_batch(model, PROMPTS, GREEDY, batch_size=4)
    assert [rollout.ids for rollout in rollouts] == stock(model, PROMPTS)
    assert {rollout.finished_by for rollout in rollouts} == {"length"}


def test_prompts_of_one_length_and_of_one_token_need_no_mask():
    model = make_model()
    for prompts in (make_prompts(6, 6, 6), make_prompts(1, 1)):
        seen = []
        hook = model.register_forward_pre_hook(
            lambda module, a, given, seen=seen: seen.append(given.get("attention_mask")),
            with_kwargs=True,
        )
        rollouts = generate_batch(model, prompts, GREEDY)
        hook.remove()
        assert [rollout.ids for rollout in rollouts] == stock(model, prompts)
        assert seen and all(mask is None for mask in seen)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.6])
def test_logprobs_are_those_of_the_trainer(temperature):
    model = make_model()
    sampling = Sampling(max_new_tokens=10, temperature=temperature, top_p=0.9)
    rollouts = generate_batch(model, PROMPTS, sampling, seeds=range(6))
    samples = [
        Sample(prompt + rollout.ids, [IGNORED] * len(prompt) + rollout.ids)
        for prompt, rollout in zip(PROMPTS, rollouts, strict=True)
    ]
    batch = collate([[sample] for sample in samples], pad_id=0)
    expected = token_logprobs(model, batch, temperature=temperature or 1.0)
    found = torch.tensor([value for rollout in rollouts for value in rollout.logprobs])
    assert (found - expected.values).abs().max() < 1e-4


# -- random streams --------------------------------------------------------------------------------

RANDOM = Sampling(max_new_tokens=12, temperature=1.0, top_p=0.95, stop_ids=(5, 6, 7))
SEEDS = [11, 22, 33, 44, 55, 66]


def test_a_rollout_depends_on_its_seed_and_not_on_its_batch():
    model = make_model()
    whole = generate_batch(model, PROMPTS, RANDOM, seeds=SEEDS)
    for order in ([5, 3, 1, 0, 2, 4], [2], [0, 4]):
        for batch_size in (1, 2, 64):
            part = generate_batch(
                model,
                [PROMPTS[i] for i in order],
                RANDOM,
                seeds=[SEEDS[i] for i in order],
                batch_size=batch_size,
            )
            assert [p.ids for p in part] == [whole[i].ids for i in order]
    other = generate_batch(model, PROMPTS, RANDOM, seeds=[seed + 1 for seed in SEEDS])
    assert [o.ids for o in other] != [w.ids for w in whole]


def test_a_longer_limit_does_not_change_the_beginning():
    short, long = (
        generate_batch(
            make_model(), PROMPTS, Sampling(max_new_tokens=limit, temperature=1.0), seeds=SEEDS
        )
        for limit in (3, 20)
    )
    assert [s.ids for s in short] == [x.ids[:3] for x in long]


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    generate_batch(make_model(), PROMPTS, RANDOM, seeds=SEEDS)
    assert torch.equal(torch.rand(3), expected)


def shares(logits: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """How often each token is chosen over an even grid of draws: its probability, to 1e-5."""
    num = 100_000
    draws = (torch.arange(num, dtype=torch.float64) + 0.5) / num
    tokens, _ = choose(logits.expand(num, -1), draws, temperature=temperature, top_p=top_p)
    return torch.bincount(tokens, minlength=logits.shape[-1]) / num


LOGITS = torch.log(torch.tensor([0.1, 0.4, 0.0, 0.3, 0.2]))


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (1.0, [0.1, 0.4, 0.0, 0.3, 0.2]),
        (0.8, [0.0, 4 / 9, 0.0, 3 / 9, 2 / 9]),
        (0.41, [0.0, 4 / 7, 0.0, 3 / 7, 0.0]),
        (1e-9, [0.0, 1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_tokens_are_drawn_with_their_probabilities(top_p, expected):
    assert torch.allclose(shares(LOGITS, 1.0, top_p), torch.tensor(expected), atol=2e-5)


def test_temperature_divides_the_logits_and_top_p_does_not_change_the_logprobs():
    expected = (LOGITS / 0.5).softmax(-1)
    assert torch.allclose(shares(LOGITS, 0.5, 1.0), expected, atol=2e-5)
    draws = torch.full((1,), 0.5, dtype=torch.float64)
    token, logprob = choose(LOGITS[None], draws, temperature=0.5, top_p=0.3)
    assert token.item() == 1 and logprob.exp().item() == pytest.approx(expected[1].item())


def test_the_largest_draw_never_selects_what_has_no_probability():
    draws = torch.tensor([1 - 2**-53, 0.0], dtype=torch.float64)
    for logits in (torch.tensor([-torch.inf, 0.0, -torch.inf]), torch.randn(5000) - 20):
        _tokens, logprobs = choose(logits.expand(2, -1), draws, temperature=1.0, top_p=1.0)
        assert torch.isfinite(logprobs).all()


# -- the end of a rollout --------------------------------------------------------------------------


def test_a_rollout_ends_with_its_stop_token_like_the_stock_one():
    model = make_model()
    free = stock(model, PROMPTS)
    stops = (free[0][4], free[2][9], free[5][0])
    rollouts = generate_batch(
        model, PROMPTS, Sampling(max_new_tokens=15, temperature=0.0, stop_ids=stops), batch_size=4
    )
    expected = stock(model, PROMPTS, eos_token_id=list(stops))
    assert [rollout.ids for rollout in rollouts] == expected
    for rollout in rollouts:
        assert len(rollout.logprobs) == len(rollout.ids)
        assert (rollout.ids[-1] in stops) == (rollout.finished_by == "stop_token")
    assert len({len(rollout.ids) for rollout in rollouts}) > 2


def test_rows_that_have_ended_are_not_computed_any_more():
    model = make_model()
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, a, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    rollouts = generate_batch(model, PROMPTS, RANDOM, seeds=SEEDS)
    hook.remove()
    steps = [rows for rows, tokens in seen if tokens == 1]
    lengths = [len(rollout.ids) for rollout in rollouts]
    assert steps == [sum(n > step for n in lengths) for step in range(max(lengths))]
    assert steps[-1] < steps[0]


def test_equal_prompts_are_read_once_and_answered_by_their_own_seeds():
    model = make_model()
    prompts = [PROMPTS[2]] * 5 + [PROMPTS[0]] * 2
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, a, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    rollouts = generate_batch(model, prompts, RANDOM, seeds=range(7))
    hook.remove()
    assert seen[0] == (2, 11) and seen[1] == (7, 1)
    for seed, (prompt, rollout) in enumerate(zip(prompts, rollouts, strict=True)):
        (alone,) = generate_batch(model, [prompt], RANDOM, seeds=[seed])
        assert alone.ids == rollout.ids
    assert len({tuple(rollout.ids) for rollout in rollouts[:5]}) > 1


def test_long_prompts_are_read_in_slices(monkeypatch):
    model = make_model()
    monkeypatch.setattr("modelgraft.language.generation._SLICE_TOKENS", 16)
    rollouts = generate_batch(model, PROMPTS, GREEDY)
    assert [rollout.ids for rollout in rollouts] == stock(model, PROMPTS)


@functools.cache
def letters() -> Any:
    """A tokenizer whose ids are the letters a, b, ..., then A, B, ..."""
    alphabet = [chr(97 + i) for i in range(26)] + [chr(65 + i) for i in range(VOCAB - 26)]
    words = {letter: id for id, letter in enumerate(alphabet)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="a"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    backend.decoder = tokenizers.decoders.Fuse()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend)


def test_a_rollout_ends_with_the_token_that_completes_a_stop_string():
    model, tokenizer = make_model(), letters()
    free = [tokenizer.decode(ids) for ids in stock(model, PROMPTS)]
    strings = (free[0][3:6], free[2][0:2])
    sampling = Sampling(max_new_tokens=15, temperature=0.0, stop_ids=(5,), stop_strings=strings)
    rollouts = generate_batch(model, PROMPTS, sampling, tokenizer=tokenizer)
    for text, rollout in zip(free, rollouts, strict=True):
        ends = [text.find(stop) + len(stop) for stop in strings if stop in text]
        by_token = text.find(tokenizer.decode([5])) + 1 or 99
        end = min([*ends, by_token, 15])
        assert tokenizer.decode(rollout.ids) == text[:end]
        reason = "stop_token" if end == by_token else "stop_string" if end in ends else "length"
        assert rollout.finished_by == reason
    assert sum(rollout.finished_by == "stop_string" for rollout in rollouts) >= 2


# -- the model and bad input -----------------------------------------------------------------------


def test_the_model_keeps_its_mode_and_gets_no_gradients():
    model = make_model()
    model.train()
    model.model.layers[0].eval()
    generate_batch(model, PROMPTS[:2], GREEDY)
    assert model.training and not model.model.layers[0].training
    model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_prompts_give_no_rollouts():
    assert generate_batch(make_model(), [], GREEDY) == []


def test_a_single_token_may_be_all_that_is_wanted():
    sampling = Sampling(max_new_tokens=1, temperature=0.0)
    (rollout,) = generate_batch(make_model(), [PROMPTS[0]], sampling)
    assert isinstance(rollout, Rollout) and len(rollout.ids) == 1


BAD = [
    ({"max_new_tokens": 0}, "max_new_tokens: 0"),
    ({"temperature": -1.0}, "temperature: -1.0"),
    ({"temperature": float("nan")}, "temperature: nan"),
    ({"top_p": 0.0}, "top_p: 0.0"),
    ({"top_p": 1.5}, "top_p: 1.5"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_sampling_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Sampling(**({"max_new_tokens": 4} | options))


def test_bad_calls_are_refused_by_name_before_anything_is_computed():
    model = make_model()
    random = Sampling(max_new_tokens=4)
    with pytest.raises(ConfigError, match="seeds: 1 for 2 prompts"):
        generate_batch(model, PROMPTS[:2], random, seeds=[1])
    with pytest.raises(ConfigError, match="stop strings are found in decoded text"):
        generate_batch(
            model, PROMPTS, Sampling(max_new_tokens=4, temperature=0.0, stop_strings=("x",))
        )
    with pytest.raises(InputError, match="prompt 1: it is empty"):
        generate_batch(model, [[3], []], GREEDY)
    with pytest.raises(InputError, match=r"prompt 0: 2,040 tokens and 15 new ones .* 2,048"):
        generate_batch(model, make_prompts(2040), GREEDY)


def test_models_that_cannot_do_it_are_refused():
    config = transformers.T5Config(vocab_size=VOCAB, d_model=16, d_ff=16, num_layers=1, num_heads=2)
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        generate_batch(transformers.T5ForConditionalGeneration(config), PROMPTS, GREEDY)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(max_new_tokens=4)])
def test_logits_that_are_no_numbers_are_reported_and_not_sampled_from(sampling):
    _kind, options = KINDS["llama"]
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(SIZES | options)))
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(UnsupportedModel, match="not all finite"):
        generate_batch(model, PROMPTS, sampling, seeds=SEEDS)
