"""A model on this machine: the stock model's words, each with its own random numbers."""

from __future__ import annotations

import asyncio
import copy
import math
import threading
from collections import Counter
from typing import Any

import pytest

from modelgraft.core.errors import InputError, Unavailable
from modelgraft.language.chat import split_chat
from modelgraft.language.endpoints.exchange import CallFailed, Failure
from modelgraft.language.endpoints.gather import complete_all

tokenizers = pytest.importorskip("tokenizers")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
local = pytest.importorskip("modelgraft.language.endpoints.local")

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["</s>", "<|user|>", "<|assistant|>", "<|end|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["tell me the name of the old harbour"] * 4, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    fast.chat_template = TEMPLATE
    return fast


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    stock = transformers.LlamaForCausalLM(config).eval()
    # Settings of a model's folder that would change what it says.
    stock.generation_config.update(repetition_penalty=1.5, temperature=0.3, top_p=0.2)
    return stock


def replies(model: Any, tokenizer: Any, requests: list, **options: Any) -> list:
    served = local.LocalModel(model, tokenizer, name="small", **options)
    return asyncio.run(complete_all(served, requests))


def step_by_step(model: Any, tokenizer: Any, request: Any) -> list[tuple[int, Any]]:
    """The likeliest tokens one after the other, each with the log-probabilities at its place."""
    prompt = split_chat(tokenizer, request.messages)
    ids = list(prompt.context_ids + prompt.query_ids)
    words: list[tuple[int, Any]] = []
    for _ in range(request.max_tokens):
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        ids.append(int(logprobs.argmax()))
        words.append((ids[-1], logprobs))
    return words


def test_greedy_words_and_logprobs_are_the_stock_models_own(model, tokenizer, ask):
    request = ask("tell me", max_tokens=12, top_logprobs=3)
    (reply,) = replies(model, tokenizer, [request])
    words = step_by_step(model, tokenizer, request)
    assert tokenizer.eos_token_id not in [word for word, _ in words]
    for token, (word, logprobs) in zip(reply.logprobs, words, strict=True):
        assert token.logprob == pytest.approx(logprobs[word].item(), abs=1e-4)
        top = logprobs.topk(3)
        assert [p for _, p in token.top] == pytest.approx(top.values.tolist(), abs=1e-4)
        assert token.top[0][0] == token.token == tokenizer.decode([word])
    assert reply.text == tokenizer.decode([word for word, _ in words], skip_special_tokens=True)
    assert reply.completion_tokens == 12 and reply.finish_reason == "length"


def test_an_answer_does_not_depend_on_what_shares_its_batch(model, tokenizer, ask):
    texts = ["tell me", "name", "the name of the old harbour " * 4, "old", "harbour?", "the"]
    asked = [
        ask(text, max_tokens=4 + 3 * i, temperature=1.0 if i % 2 else 0.0, seed=i)
        for i, text in enumerate(texts)
    ]
    alone = replies(model, tokenizer, asked, batch_size=1)
    for size in (2, 6):
        assert replies(model, tokenizer, asked, batch_size=size) == alone
        assert replies(model, tokenizer, asked[::-1], batch_size=size) == alone[::-1]


def test_other_weights_number_types_and_templates_have_other_names(model, tokenizer, ask):
    def name() -> str:
        return local.LocalModel(model, tokenizer, name="small").name

    before = name()
    assert before.startswith("small@") and before == name()
    norm = model.model.norm.weight
    with torch.no_grad():
        norm[-1] += 1e-3
    trained = name()
    with torch.no_grad():
        norm[-1] -= 1e-3
    tokenizer.chat_template = TEMPLATE + " "
    framed = name()
    tokenizer.chat_template = TEMPLATE
    halved = local.LocalModel(copy.deepcopy(model).bfloat16(), tokenizer, name="small").name
    assert len({before, trained, framed, halved}) == 4 and name() == before


def test_samples_and_seeds_differ_and_repeat_themselves(model, tokenizer, ask):
    asked = [ask(max_tokens=8, temperature=1.0, sample=i) for i in range(6)]
    asked += [ask(max_tokens=8, temperature=1.0, seed=i) for i in range(6)]
    texts = [reply.text for reply in replies(model, tokenizer, asked)]
    assert len(set(texts)) == 12
    assert texts == [reply.text for reply in replies(model, tokenizer, asked)]


@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, None), (0.7, 1.0), (1.5, 0.6), (None, 0.9)]
)
def test_draws_follow_the_softmax_within_its_nucleus(temperature, top_p):
    scores = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])
    random = torch.Generator().manual_seed(0)
    num = 4000
    drawn = Counter(local.choose(scores, temperature, top_p, random) for _ in range(num))
    weights = [math.exp(score / (temperature or 1.0)) for score in scores.tolist()]
    kept, mass = [], 0.0
    for weight in weights:  # already in falling order
        kept.append(weight if mass < (top_p or 1.0) * sum(weights) else 0.0)
        mass += weight
    for token, weight in enumerate(kept):
        expected = num * weight / sum(kept)
        assert abs(drawn[token] - expected) <= 4 * math.sqrt(expected)


def test_temperature_zero_takes_the_likeliest_and_uses_no_random_numbers():
    random = torch.Generator().manual_seed(0)
    before = random.get_state()
    assert local.choose(torch.tensor([0.0, 3.0, 1.0]), 0.0, None, random) == 1
    assert torch.equal(before, random.get_state())


def test_a_stop_string_ends_an_answer_before_it(model, tokenizer, ask):
    (whole,) = replies(model, tokenizer, [ask(max_tokens=40)])
    stop = whole.text[7:9]
    place = whole.text.find(stop)
    request = ask(max_tokens=40, stop=[stop, "never said"], top_logprobs=1)
    (cut,) = replies(model, tokenizer, [request])
    assert cut.text == whole.text[:place] and cut.finish_reason == "stop"
    assert "".join(token.token for token in cut.logprobs).startswith(cut.text)
    assert cut.completion_tokens < 40


def test_the_end_token_ends_an_answer(model, tokenizer, ask):
    request = ask(max_tokens=8, top_logprobs=0)
    words = [word for word, _ in step_by_step(model, tokenizer, request)]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, words[4]]
    try:
        (ended,) = replies(model, tokenizer, [request])
    finally:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    before = words[: words.index(words[4])]
    assert ended.text == tokenizer.decode(before) and ended.finish_reason == "stop"
    assert ended.completion_tokens == len(ended.logprobs) == len(before)


def test_what_does_not_fit_or_is_not_text_is_the_failure_of_its_item(model, tokenizer, ask):
    picture = ask()
    picture = type(picture)(messages=[{"role": "user", "content": [{"type": "image_url"}]}])
    asked = [
        ask("the " * 300, max_tokens=5),
        ask(max_tokens=250),
        picture,
        ask(model="another"),
        ask(extra={"tools": []}),
        ask(max_tokens=2),
    ]
    outcomes = replies(model, tokenizer, asked)
    assert [one.kind for one in outcomes[:5]] == ["too_long"] * 2 + ["rejected"] * 3
    assert not isinstance(outcomes[5], Failure)
    with pytest.raises(CallFailed, match="its context of 256"):
        asyncio.run(local.LocalModel(model, tokenizer, name="small").complete(asked[0]))
    with pytest.raises(InputError, match="messages of text only"):
        asyncio.run(local.LocalModel(model, tokenizer, name="small").complete(picture))


def test_too_little_memory_says_what_to_lower(model, tokenizer, ask, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(model, "generate", full)
    with pytest.raises(Unavailable, match="smaller batch_size"):
        replies(model, tokenizer, [ask(max_tokens=2)])


def test_nobody_waits_for_an_answer_that_nobody_wants(model, tokenizer, ask, monkeypatch):
    num, third, go_on = 0, threading.Event(), threading.Event()
    choose = local.choose

    def counting(*args: Any) -> int:
        nonlocal num
        num += 1
        if num == 3:
            third.set()
            go_on.wait()
        return choose(*args)

    async def scene() -> None:
        served = local.LocalModel(model, tokenizer, name="small")
        work = asyncio.create_task(served.complete(ask(max_tokens=200)))
        await asyncio.to_thread(third.wait)
        work.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await served.complete(ask("next", max_tokens=1))

    monkeypatch.setattr(local, "choose", counting)
    asyncio.run(scene())
    assert num == 4
