"""Questions in words: chat frames, follow-ups, and answers that do not depend on their order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from modelgraft.core.errors import InputError
from modelgraft.language.chat import encode, split_chat
from modelgraft.methods.star_attention import ask, encode_context, star_generate
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.evaluate.likelihood import (
    agreement,
    answer_likelihood,
    attention_profile,
)
from modelgraft.methods.star_attention.infer import dense_answer

TEXT = "The old harbour has forty boats. Each of them carries nets, and one carries a bell. " * 3
QUESTIONS = ("Who carries the bell?", "And how many boats are there?", "Who carries the bell?")
FOUR = StarConfig(block=0.25)


@pytest.fixture(scope="module")
def pair(tiny: Any, make_tokenizer: Any) -> tuple[Any, Any]:
    tokenizer = make_tokenizer()
    return tiny(vocab_size=len(tokenizer), max_position_embeddings=2048), tokenizer


def encoded(pair: Any, config: StarConfig = FOUR) -> Any:
    model, tokenizer = pair
    turns = [{"role": "user", "content": QUESTIONS[0]}]
    prompt = split_chat(tokenizer, turns, document=TEXT)
    return encode_context(model, torch.tensor([prompt.context_ids]), config)


def test_a_dense_pattern_answers_as_the_stock_model_and_star_does_not(pair):
    model, tokenizer = pair
    stock = [dense_answer(model, tokenizer, TEXT, q, max_new_tokens=12).ids for q in QUESTIONS]
    for config, same in ((StarConfig(pattern="dense"), True), (FOUR, False)):
        found = star_generate(model, tokenizer, TEXT, QUESTIONS, config, max_new_tokens=12)
        assert ([one.ids for one in found] == stock) == same
    assert [one.question for one in found] == list(QUESTIONS)


def test_questions_do_not_see_each_other(pair):
    model, tokenizer = pair
    cache = encoded(pair)
    first, second, again = ask(model, tokenizer, cache, QUESTIONS, max_new_tokens=12)
    assert first.ids == again.ids != second.ids
    assert ask(model, tokenizer, cache, QUESTIONS[1:2], max_new_tokens=12)[0].ids == second.ids
    assert cache.get_seq_length() == cache.num_tokens


def test_follow_ups_read_the_conversation_as_the_template_writes_it(pair):
    """Each answer of a conversation equals the stock model's on the whole chat, at m = 1."""
    model, tokenizer = pair
    cache = encoded(pair, StarConfig(pattern="dense"))
    said = ask(model, tokenizer, cache, QUESTIONS, follow_up=True, max_new_tokens=12)
    ids = cache.context_ids[0].tolist()
    for number, one in enumerate(said):
        opening = "<|end|><|user|>" if number else ""
        ids += encode(tokenizer, opening, markup=True) + encode(tokenizer, one.question)
        ids += encode(tokenizer, "<|end|><|assistant|>", markup=True)
        prompt = torch.tensor([ids])
        output = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=12,
            pad_token_id=0,
        )
        assert output[0, len(ids) :].tolist() == list(one.ids)
        ended = one.ids[-1] == tokenizer.eos_token_id
        ids += one.ids[: -1 if ended else None]
    assert said[0].ids != said[2].ids, "the same question later must see what was said between"
    assert cache.get_seq_length() == cache.num_tokens


def test_an_end_of_text_is_not_part_of_the_conversation(pair):
    model, tokenizer = pair
    cache = encoded(pair)
    plain = ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)[0]
    end = plain.ids[3]
    model.generation_config.eos_token_id = [end]
    try:
        said = ask(model, tokenizer, cache, QUESTIONS[:2], follow_up=True, max_new_tokens=12)
    finally:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    assert said[0].ids == plain.ids[: plain.ids.index(end) + 1]
    assert said[1].num_query_tokens > len(encode(tokenizer, QUESTIONS[1]))


def test_what_was_left_in_the_cache_is_forgotten_first(pair):
    model, tokenizer = pair
    cache = encoded(pair)
    expected = ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)
    ids = torch.cat([cache.context_ids, torch.full((1, 9), 40)], dim=1)
    mask = torch.ones_like(ids)
    model.generate(
        ids, attention_mask=mask, past_key_values=cache, max_new_tokens=3, pad_token_id=0
    )
    assert cache.get_seq_length() > cache.num_tokens
    assert ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)[0].ids == expected[0].ids


@pytest.mark.parametrize("follow_up", [False, True])
def test_an_interrupted_question_leaves_the_encoding_usable(pair, follow_up):
    model, tokenizer = pair
    cache = encoded(pair)
    expected = ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)
    calls = iter(range(4))

    def interrupt(*_: Any) -> None:
        if next(calls, None) is None:
            raise KeyboardInterrupt

    hook = model.lm_head.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask(model, tokenizer, cache, QUESTIONS, follow_up=follow_up, max_new_tokens=12)
    hook.remove()
    assert cache.get_seq_length() == cache.num_tokens
    assert ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)[0].ids == expected[0].ids


def test_options_of_generate_pass_through_and_may_replace_ours(pair):
    model, tokenizer = pair
    kwargs = {"pad_token_id": 7, "do_sample": True, "temperature": 3.0, "max_new_tokens": 9}
    torch.manual_seed(0)
    one = star_generate(model, tokenizer, TEXT, QUESTIONS[:1], FOUR, **kwargs)[0]
    torch.manual_seed(0)
    two = star_generate(model, tokenizer, TEXT, QUESTIONS[:1], FOUR, **kwargs)[0]
    torch.manual_seed(1)
    three = star_generate(model, tokenizer, TEXT, QUESTIONS[:1], FOUR, **kwargs)[0]
    assert one.ids == two.ids != three.ids
    dense_answer(model, tokenizer, TEXT, QUESTIONS[0], **kwargs)


def test_without_a_limit_an_answer_has_at_most_64_tokens(pair):
    model, tokenizer = pair
    cache = encoded(pair)
    assert len(ask(model, tokenizer, cache, QUESTIONS[:1], eos_token_id=None)[0].ids) == 64


@pytest.mark.parametrize(
    ("limits", "new"),
    [
        ({"max_new_tokens": 5}, 5),
        ({"generation_config": transformers.GenerationConfig(max_new_tokens=6)}, 6),
        ({"generation_config": transformers.GenerationConfig()}, 64),
        ({"max_length": 400}, None),
    ],
    ids=str,
)
def test_every_way_to_ask_keeps_the_limit_that_was_given(pair, limits, new):
    model, tokenizer = pair
    end, model.generation_config.eos_token_id = model.generation_config.eos_token_id, None
    try:
        cache = encoded(pair)
        question = QUESTIONS[0]
        found = [
            ask(model, tokenizer, cache, [question], **limits)[0],
            star_generate(model, tokenizer, TEXT, [question], FOUR, **limits)[0],
            dense_answer(model, tokenizer, TEXT, question, **limits),
        ]
    finally:
        model.generation_config.eos_token_id = end
    new = new or 400 - cache.num_tokens - found[0].num_query_tokens
    assert [len(one.ids) for one in found] == [new] * 3


def test_an_end_of_text_of_the_call_is_not_part_of_the_conversation(pair):
    """As one of the model is not."""
    model, tokenizer = pair
    cache = encoded(pair)
    end = ask(model, tokenizer, cache, QUESTIONS[:1], max_new_tokens=12)[0].ids[3]
    kwargs = {"eos_token_id": end, "max_new_tokens": 12, "follow_up": True}
    given = ask(model, tokenizer, cache, QUESTIONS[:2], **kwargs)
    before, model.generation_config.eos_token_id = model.generation_config.eos_token_id, end
    try:
        own = ask(model, tokenizer, cache, QUESTIONS[:2], max_new_tokens=12, follow_up=True)
    finally:
        model.generation_config.eos_token_id = before
    assert [one.ids for one in given] == [one.ids for one in own] and given[0].ids[-1] == end


@pytest.mark.parametrize("questions", [[], ["What?", " \n"]])
def test_a_missing_question_is_named(pair, questions):
    model, tokenizer = pair
    with pytest.raises(InputError, match=r"question 2 is empty|questions: there is none"):
        star_generate(model, tokenizer, TEXT, questions)


# -- likelihood ------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_likelihood_of_an_answer_is_that_of_the_masked_forward(
    tiny, draw, masked_forward, dense_forward
):
    model, ids = tiny(), draw(50)
    context, query, answer = ids[:, :40], ids[:, 40:45], ids[:, 45:]
    for config in (FOUR, StarConfig(pattern="streaming", sinks=2, window=6)):
        cache = encode_context(model, context, config)
        found = answer_likelihood(model, cache, query, answer)
        logits = masked_forward(model, ids, cache.plan, 10)[0, 4:-1]
        expected = torch.nn.functional.cross_entropy(logits, answer[0])
        assert found.nll == pytest.approx(float(expected), abs=1e-4)
        assert cache.get_seq_length() == 40
        dense = torch.nn.functional.cross_entropy(dense_forward(model, ids, 10)[0, 4:-1], answer[0])
        assert abs(found.nll - float(dense)) > 0.05
    same, apart = agreement(found, found)
    assert (same, apart) == (1.0, pytest.approx(0, abs=1e-6))


def test_the_attention_profile_is_the_mass_on_each_context_token(tiny, draw):
    model, ids = tiny(attention="eager"), draw(44)
    cache = encode_context(model, ids[:, :40], StarConfig(pattern="dense"))
    profile = attention_profile(model, cache, ids[:, 40:])
    with torch.no_grad():
        weights = model(ids, output_attentions=True).attentions
    expected = torch.stack(weights)[:, 0, :, 40:, :40].mean(dim=(0, 1, 2))
    assert (profile - expected).abs().max() < 1e-5 and profile.shape == (40,)
    assert cache.get_seq_length() == 40 and model.config._attn_implementation == "eager"
