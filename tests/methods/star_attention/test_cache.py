"""The cache under stock `generate`: in place, rewindable, and exactly n entries long."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from modelgraft.core.errors import InputError
from modelgraft.methods.star_attention.adapter.encode import encode_context, use_cache
from modelgraft.methods.star_attention.adapter.hosts import SimulatedHosts
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.infer import generate
from modelgraft.methods.star_attention.method import plan_blocks

CONTEXT, QUERY = 40, 4
CONFIG = StarConfig(block=10)


@pytest.fixture
def ids(draw: Any) -> torch.Tensor:
    return draw(CONTEXT + QUERY)


def encoded(model: Any, ids: torch.Tensor, config: StarConfig = CONFIG, **options: Any) -> Any:
    options.setdefault("headroom", 100)
    return encode_context(model, ids[:, :CONTEXT], config, **options)


def stock(model: Any, cache: Any, ids: torch.Tensor, **kwargs: Any) -> list[list[int]]:
    """The model's own generate, called as a user would, with our cache."""
    kwargs = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": 12, **kwargs}
    mask = torch.ones_like(ids)
    output = model.generate(ids, attention_mask=mask, past_key_values=cache, **kwargs)
    return output[:, ids.shape[1] :].tolist()


@torch.no_grad()
def argmax_loop(model: Any, cache: Any, ids: torch.Tensor, num: int) -> list[int]:
    """Greedy decoding by hand, one forward per token."""
    made: list[int] = []
    step, position = ids[:, CONTEXT:], CONTEXT
    with use_cache(model, cache):
        while len(made) < num:
            places = torch.arange(position, position + step.shape[1]).unsqueeze(0)
            logits = model(input_ids=step, position_ids=places, past_key_values=cache).logits
            position += step.shape[1]
            made.append(int(logits[0, -1].argmax()))
            step = torch.tensor([[made[-1]]])
    cache.rewind()
    return made


# -- generation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["star", "dense"])
def test_stock_generate_equals_a_loop_by_hand(tiny, ids, pattern):
    """Acceptance 13: greedy tokens; star differs from dense; a dense cache gives stock's tokens."""
    model = tiny(eos_token_id=None)
    cache = encoded(
        model, ids, StarConfig(pattern=pattern, block=10 if pattern == "star" else None)
    )
    expected = argmax_loop(model, cache, ids, 12)
    assert stock(model, cache, ids) == [expected]
    cache.rewind()
    assert generate(model, cache, ids, max_new_tokens=12)[0, -12:].tolist() == expected
    assert (stock(model, None, ids) == [expected]) == (pattern == "dense")


def test_the_query_alone_with_a_full_mask_generates_the_same(tiny, ids):
    model = tiny()
    cache = encoded(model, ids)
    expected = stock(model, cache, ids)
    cache.rewind()
    output = model.generate(
        ids[:, CONTEXT:],
        attention_mask=torch.ones_like(ids),
        past_key_values=cache,
        do_sample=False,
        max_new_tokens=12,
        pad_token_id=0,
    )
    assert output[:, QUERY:].tolist() == expected


def test_generation_stops_at_the_end_of_text(tiny, ids):
    """Acceptance 13: EOS ends it."""
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    whole = stock(model, cache, ids)[0]
    end = whole[5]
    cache.rewind()
    short = stock(model, cache, ids, eos_token_id=end)[0]
    assert short == whole[: whole.index(end) + 1] and len(short) < len(whole)


def test_several_samples_come_from_one_encoding(tiny, ids):
    """Acceptance 13: sampling, num_return_sequences = 2; the rewound cache is as before."""
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    greedy = stock(model, cache, ids)
    cache.rewind()
    torch.manual_seed(5)
    together = stock(model, cache, ids, do_sample=True, num_return_sequences=2)
    assert len(together) == 2 and together[0] != together[1]
    assert cache.layers[0].keys.shape[0] == 2
    with pytest.raises(InputError, match="rewind"):
        stock(model, cache, ids)
    cache.rewind()
    assert cache.layers[0].keys.shape == (1, 2, CONTEXT, 16)
    assert stock(model, cache, ids) == greedy


def test_samples_of_a_batch_of_contexts_keep_to_their_own(tiny, draw):
    model = tiny(eos_token_id=None)
    ids = draw(CONTEXT + QUERY, batch=2)
    cache = encoded(model, ids)
    cold = {"do_sample": True, "temperature": 1e-6, "num_return_sequences": 2}
    found = stock(model, cache, ids, **cold)
    alone = [stock(model, encoded(model, row), row)[0] for row in (ids[:1], ids[1:])]
    assert found == [alone[0], alone[0], alone[1], alone[1]] and alone[0] != alone[1]
    cache.rewind()
    assert stock(model, cache, ids) == alone


def test_queries_of_one_context_run_as_a_batch(tiny, draw, ids):
    """Section 2.6: rows padded between context and query equal the queries asked one by one."""
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    short, long = draw(2, seed=8), draw(5, seed=9)
    alone = []
    for query in (short, long):
        row = torch.cat([ids[:, :CONTEXT], query], dim=1)
        alone.append(stock(model, cache, row)[0])
        cache.rewind()
    padding = torch.zeros(1, 3, dtype=torch.long)
    rows = torch.cat([torch.cat([padding, short], dim=1), long])
    batch = torch.cat([ids[:, :CONTEXT].expand(2, -1), rows], dim=1)
    mask = torch.ones_like(batch)
    mask[0, CONTEXT : CONTEXT + 3] = 0
    output = generate(model, cache, batch, attention_mask=mask, max_new_tokens=12)
    assert output[:, -12:].tolist() == alone


@pytest.mark.parametrize("name", ["beams", "assistant", "lookup"])
def test_beams_and_assisted_decoding_work_on_one_process(tiny, ids, name):
    """Section 9: the cache is reordered and cropped by stock code."""
    model = tiny(eos_token_id=None)
    kwargs: dict[str, Any] = {
        "beams": {"num_beams": 3},
        "assistant": {"assistant_model": tiny(eos_token_id=None, seed=1)},
        "lookup": {"prompt_lookup_num_tokens": 2},
    }[name]
    for config in (StarConfig(pattern="dense"), CONFIG):
        cache = encoded(model, ids, config)
        plain = stock(model, cache, ids)
        cache.rewind()
        found = generate(model, cache, ids, max_new_tokens=12, **kwargs)
        assert torch.equal(found[:, : ids.shape[1]], ids)
        if config.pattern == "dense":
            assert found[:, ids.shape[1] :].tolist() == stock(model, None, ids, **kwargs)
        if name != "beams":
            assert found[:, ids.shape[1] :].tolist() == plain
        cache.rewind()
        assert stock(model, cache, ids) == plain


@pytest.mark.parametrize("reason", ["streaming", "dynamic RoPE", "hosts"])
def test_stock_generate_is_refused_where_it_would_answer_wrongly(tiny, ids, reason):
    """Of three kinds of cache the stock attention reads other keys, or at other positions."""
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    model = tiny(eos_token_id=None, **({"rope_parameters": rope} if "RoPE" in reason else {}))
    config = StarConfig(pattern="streaming", sinks=2, window=6) if reason == "streaming" else CONFIG
    cache = encoded(model, ids, config)
    if reason == "hosts":
        cache.hosts = SimulatedHosts(plan_blocks(CONTEXT, CONFIG, hosts=2), 2)
    with pytest.raises(InputError, match=r"(?s)only inside use_cache.*infer\.generate"):
        stock(model, cache, ids)
    assert cache.get_seq_length() == CONTEXT
    expected = generate(model, cache, ids, max_new_tokens=12)[:, ids.shape[1] :].tolist()
    cache.rewind()
    with use_cache(model, cache):
        assert stock(model, cache, ids) == expected
    cache.rewind()
    with pytest.raises(InputError, match="only inside use_cache"):
        stock(model, cache, ids)


@pytest.mark.parametrize(
    ("limits", "new"),
    [
        ({}, 64),
        ({"max_new_tokens": 6}, 6),
        ({"max_length": CONTEXT + QUERY + 7}, 7),
        ({"generation_config": transformers.GenerationConfig(max_new_tokens=5)}, 5),
        ({"generation_config": transformers.GenerationConfig(max_length=50)}, 6),
        ({"generation_config": transformers.GenerationConfig(do_sample=True)}, 64),
        ({"max_length": CONTEXT + QUERY + 7, "prompt_lookup_num_tokens": 2}, 7),
    ],
    ids=str,
)
def test_an_answer_is_as_long_as_the_limit_that_was_given(tiny, ids, limits, new):
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    before = str(limits)
    assert generate(model, cache, ids, **limits).shape == (1, ids.shape[1] + new)
    assert str(limits) == before


def test_a_limit_of_the_model_itself_counts_as_it_does_for_transformers(tiny, ids):
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    model.generation_config.max_new_tokens = 9
    assert generate(model, cache, ids, max_length=60).shape[1] == ids.shape[1] + 9


# -- the cache itself ------------------------------------------------------------------------------


def test_one_encoding_answers_many_questions_and_forgets_each(tiny, draw, ids, read_query):
    """Acceptance 14: Q1, Q2, Q1 on one cache; both Q1 answers are identical."""
    model = tiny()
    cache = encoded(model, ids)
    other = torch.cat([ids[:, :CONTEXT], draw(7, seed=3)], dim=1)
    answers, logits = [], []
    for each in (ids, other, ids):
        logits.append(read_query(model, cache, each))
        cache.rewind()
        answers.append(stock(model, cache, each))
        cache.rewind()
    assert answers[0] == answers[2] != answers[1]
    assert torch.equal(logits[0], logits[2])
    alone = encoded(model, ids)
    assert torch.equal(read_query(model, alone, other), logits[1])


def test_a_cache_that_is_not_rewound_still_sees_the_last_question(tiny, draw, ids, read_query):
    model = tiny()
    cache = encoded(model, ids)
    first = read_query(model, cache, ids)
    longer = torch.cat([ids, draw(3, seed=3)], dim=1)
    positions = torch.arange(CONTEXT + QUERY, CONTEXT + QUERY + 3).unsqueeze(0)
    with torch.no_grad():
        tail = model(input_ids=longer[:, -3:], position_ids=positions, past_key_values=cache).logits
    cache.rewind()
    together = read_query(model, cache, longer)
    assert (torch.cat([first, tail], dim=1) - together).abs().max() < 1e-4


@pytest.mark.parametrize("blocks_per_step", [1, 3])
def test_the_cache_holds_exactly_the_context(tiny, draw, blocks_per_step):
    """Acceptance 10, one process: n entries after encoding; growth = Lq + generated."""
    model = tiny(eos_token_id=None)
    ids = draw(41)
    config = StarConfig(block=10, blocks_per_step=blocks_per_step)
    cache = encode_context(model, ids[:, :37], config, headroom=50)
    assert [layer.get_seq_length() for layer in cache.layers] == [37, 37]
    assert [layer.keys.shape for layer in cache.layers] == [(1, 2, 37, 16)] * 2
    assert cache.num_bytes == 2 * 2 * 2 * 37 * 16 * 4
    generate(model, cache, ids, max_new_tokens=9)
    # The last token is chosen, but never fed back.
    assert [layer.get_seq_length() for layer in cache.layers] == [37 + 4 + 9 - 1] * 2


def test_decoding_writes_in_place_and_never_moves_the_buffers(tiny, ids):
    """Acceptance 17: the addresses stay during 64 steps."""
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids, headroom=QUERY + 64)
    before = [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in cache.layers]
    generate(model, cache, ids, max_new_tokens=64)
    assert [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in cache.layers] == before
    assert cache.layers[0].capacity == CONTEXT + QUERY + 64


def test_a_cache_too_small_for_an_answer_is_enlarged_without_loss(tiny, ids):
    model = tiny(eos_token_id=None)
    roomy, tight = encoded(model, ids), encoded(model, ids, headroom=0)
    assert tight.layers[0].capacity == CONTEXT
    expected = stock(model, roomy, ids, max_new_tokens=40)
    assert stock(model, tight, ids, max_new_tokens=40) == expected
    assert tight.layers[0].capacity > CONTEXT + QUERY + 40


def test_a_rewound_cache_gives_back_the_memory_of_the_other_beams(tiny, ids):
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    layer = cache.layers[0]
    before = layer.keys.untyped_storage().nbytes()
    generate(model, cache, ids, num_beams=8, max_new_tokens=4)
    assert layer.keys.untyped_storage().nbytes() == 8 * before
    cache.rewind()
    assert layer.keys.untyped_storage().nbytes() == before


def test_weights_that_are_offloaded_answer_as_those_in_memory(tiny, ids, read_query):
    """Their parameters are on the meta device; keys are stored where they are computed."""
    accelerate = pytest.importorskip("accelerate")
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    logits = read_query(model, cache, ids)
    cache.rewind()
    tokens = generate(model, cache, ids, max_new_tokens=5)
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert model.device.type == "meta"
    offloaded = encoded(model, ids)
    assert torch.equal(read_query(model, offloaded, ids), logits)
    offloaded.rewind()
    assert torch.equal(generate(model, offloaded, ids, max_new_tokens=5), tokens)


def test_crop_and_reset_keep_the_rules_of_stock_layers(tiny, ids):
    cache = encoded(tiny(), ids)
    with pytest.raises(ValueError, match="crop takes minus"):
        cache.crop(30)
    cache.crop(-4)
    assert cache.get_seq_length() == CONTEXT - 4
    with pytest.raises(InputError, match="no longer holds its whole context"):
        cache.rewind()
    cache.reset()
    assert cache.get_seq_length() == 0


def test_generation_config_objects_are_taken_as_they_are(tiny, ids):
    model = tiny(eos_token_id=None)
    cache = encoded(model, ids)
    config = transformers.GenerationConfig(max_new_tokens=6, do_sample=True, temperature=2.0)
    torch.manual_seed(1)
    sampled = generate(model, cache, ids, generation_config=config)[0, -6:].tolist()
    cache.rewind()
    assert sampled != generate(model, cache, ids, max_new_tokens=6)[0, -6:].tolist()
