"""Every line of the specification on bad input: the message names the place and the remedy.

Files of another model are in `test_files.py`, processes in `test_hosts.py`, records in
`test_data.py`, beam search in `test_cache.py`.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
import transformers

from modelgraft.core.errors import ConfigError, InputError, MissingExtra, UnsupportedModel
from modelgraft.language.chat import encode
from modelgraft.methods.star_attention import adapter, ask, encode_context, star_generate
from modelgraft.methods.star_attention.adapter.support import check_model, model_shape
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.infer import dense_answer, generate
from modelgraft.methods.star_attention.method import memory_bytes, plan_blocks
from modelgraft.nn import memory

NUM = 40
LONG = transformers.GenerationConfig(max_length=65)


def message(error: type[Exception], call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# -- context and query -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (torch.zeros(1, 0, dtype=torch.long), ["(1, 0)", "generate with the query alone"]),
        (torch.zeros(0, 5, dtype=torch.long), ["(0, 5)"]),
        (torch.zeros(5, dtype=torch.long), ["shape [batch, tokens]", "(5,)"]),
        (torch.zeros(1, 5), ["torch.float32"]),
        (torch.zeros(1, 5, dtype=torch.bool), ["torch.bool"]),
        ([[3, 4], [5]], ["got list", "one by one"]),
        (torch.tensor([[3, 128, 4]]), ["token 128", "0 to 127", "own tokenizer"]),
        (torch.tensor([[3, -2, 4]]), ["token -2", "own tokenizer"]),
    ],
    ids=["empty", "no rows", "flat", "floats", "truth", "list", "unknown token", "negative"],
)
def test_what_is_no_context_is_refused_with_what_came(tiny, context, says):
    text = message(InputError, encode_context, tiny(), context)
    assert all(part in text for part in says), text


def test_an_empty_document_is_answered_from_the_question_alone(tiny, make_tokenizer):
    """Section 9: plain generate. With a chat template the context is its markup."""
    for template in (None, "{% for m in messages %}{{ m['content'] }}?{% endfor %}"):
        tokenizer = make_tokenizer(template)
        tokenizer.bos_token = None
        model = tiny(vocab_size=len(tokenizer))
        found = star_generate(model, tokenizer, "", ["Why so?"], max_new_tokens=6)
        assert found[0].ids == dense_answer(model, tokenizer, "", "Why so?", max_new_tokens=6).ids
    tokenizer = make_tokenizer()
    found = star_generate(model, tokenizer, "", ["Why so?"], max_new_tokens=6)
    assert found[0].ids == dense_answer(model, tokenizer, "", "Why so?", max_new_tokens=6).ids


def test_a_query_that_is_missing_or_belongs_to_another_text_is_refused(tiny, draw):
    model, ids = tiny(), draw(NUM + 4)
    cache = encode_context(model, ids[:, :NUM], StarConfig(block=10))
    text = message(InputError, generate, model, cache, ids[:, :NUM])
    assert "the query is empty" in text and "Append the query's tokens" in text
    for other in (draw(NUM + 4, seed=5), ids[:, :30], ids[:, 1:]):
        text = message(InputError, generate, model, cache, other)
        assert "do not begin with the encoded context" in text and "encode this context" in text
    generate(model, cache, ids, max_new_tokens=2)


@pytest.mark.parametrize("num", [1, 5, 9, 10])
def test_a_context_shorter_than_a_block_is_dense(tiny, draw, star_forward, dense_forward, num):
    model, ids = tiny(), draw(num + 2)
    found, cache = star_forward(model, ids, 2, StarConfig(block=10, anchor=4))
    assert cache.plan.is_dense and (found - dense_forward(model, ids, 2)).abs().max() < 1e-4


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block": 0}, "block 0: give whole tokens (at least 1), or a fraction"),
        ({"block": -4}, "block -4"),
        ({"block": 2.5}, "block 2.5"),
        ({"block": float("nan")}, "block nan"),
        ({"block": float("inf")}, "block inf"),
        ({"block": "4K"}, "block '4K'"),
        ({"block": True}, "block True"),
        ({"anchor": 0}, "--anchor: 0 is too small; at least 1"),
        ({"anchor": -8}, "--anchor: -8 is too small"),
        ({"halo": -1}, "--halo: -1 is too small"),
        ({"blocks_per_step": 0}, "--blocks-per-step: 0 is too small"),
        ({"window": 0}, "--window: 0 is too small"),
        ({"sinks": -1}, "--sinks: -1 is too small"),
        ({"pattern": "sparse"}, "--pattern: 'sparse' is not one of star, dense"),
        ({"anchor_mode": "last"}, "--anchor-mode: 'last' is not one of first, none"),
        ({"boundaries": (10, 10, 40)}, "boundaries (10, 10, 40) must rise strictly"),
        ({"boundaries": (0, 40)}, "must rise strictly from above 0"),
        ({"boundaries": (10, 40), "block": 10}, "exclude each other; give one"),
        ({"anchor_mode": "random", "anchor_compute": "broadcast"}, "--anchor-compute recompute"),
        ({"halo": 4, "anchor_mode": "random"}, "--anchor-compute shared"),
        ({"halo": 4, "anchor_compute": "recompute"}, "--anchor-compute shared"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named_with_its_value(options, says):
    assert says in message(ConfigError, StarConfig, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block": 8, "anchor": 9}, ["anchor 9", "first block (8 tokens)", "lower it"]),
        ({"boundaries": (8, 30)}, ["boundaries end at 30", "context has 40", "must be"]),
        ({"boundaries": (8, 50)}, ["boundaries end at 50", "context has 40"]),
    ],
)
def test_sizes_that_do_not_fit_the_context_are_named_before_anything_runs(
    tiny, draw, options, says
):
    text = message(ConfigError, encode_context, tiny(), draw(NUM), StarConfig(**options))
    assert all(part in text for part in says), text


def test_a_very_small_block_is_run_with_a_warning():
    """People type 4 for 4K."""
    (text, accuracy) = plan_blocks(5000, StarConfig(block=4)).warnings
    assert "4 tokens is very small; for 4K write 4096" in text
    assert "below a sixteenth of the context" in accuracy
    assert plan_blocks(60, StarConfig(block=4)).warnings == ()
    assert plan_blocks(5000, StarConfig(block=1024)).warnings == ()


# -- length ----------------------------------------------------------------------------------------


def test_more_positions_than_the_model_was_made_for_need_permission(tiny, draw):
    """Acceptance 28: too long, at encoding and at the answer."""
    model, ids = tiny(max_position_embeddings=64, eos_token_id=None), draw(60)
    for limit in ({"max_new_tokens": 11}, {"max_length": 65}, {"generation_config": LONG}):
        cache = encode_context(model, ids[:, :50], headroom=14)
        text = message(ConfigError, generate, model, cache, ids[:, :54], **limit)
        assert "need 65 positions" in text and "made for 64" in text
        assert "lower max_new_tokens (--max-new-tokens)" in text
        assert "allow_extrapolation=True (--allow-extrapolation true" in text
    assert "need 118 positions" in message(ConfigError, generate, model, cache, ids[:, :54])
    assert generate(model, cache, ids[:, :54], max_new_tokens=10).shape[1] == 64
    text = message(ConfigError, encode_context, model, draw(65))
    assert "need 65 positions" in text
    free = encode_context(model, ids, headroom=0, allow_extrapolation=True)
    longer = torch.cat([ids, ids[:, :3]], dim=1)
    assert generate(model, free, longer, max_new_tokens=10).shape[1] == 73


def test_a_context_that_fits_is_encoded_whatever_room_is_asked_for_answers(tiny, draw):
    """Headroom sizes the buffer; the length of an answer is checked when it is known."""
    model, ids = tiny(max_position_embeddings=64, eos_token_id=None), draw(64)
    for num, headroom, room in ((60, 256, 4), (64, 256, 0), (50, 14, 14), (50, 3, 3)):
        cache = encode_context(model, ids[:, :num], headroom=headroom)
        assert (cache.headroom, cache.layers[0].capacity) == (room, num + room)
    text = message(ConfigError, encode_context, model, ids, headroom=-1)
    assert "headroom -1: give the tokens of query and answer" in text


def test_a_context_that_would_not_fit_into_the_memory_is_refused(tiny, draw, monkeypatch):
    model = tiny()
    ids = draw(256)
    shape = model_shape(model)
    plan = plan_blocks(256, StarConfig(block=64))
    needed = memory_bytes(shape, plan) - shape.weight_bytes + 256 * shape.kv_bytes
    monkeypatch.setattr(memory, "free_memory", lambda device: int(needed / 0.9) + 2)
    encode_context(model, ids, StarConfig(block=64))
    monkeypatch.setattr(memory, "free_memory", lambda device: int(needed / 0.9) - 2)
    model.model.register_forward_pre_hook(lambda *_: pytest.fail("it ran"))
    with pytest.raises(ConfigError, match="encoding 256 tokens would need about") as refused:
        encode_context(model, ids, StarConfig(block=64))
    assert "--block" in str(refused.value)


def test_a_question_too_long_is_refused_before_the_document_is_encoded(tiny, make_tokenizer):
    tokenizer = make_tokenizer()
    model = tiny(vocab_size=len(tokenizer), max_position_embeddings=64)
    model.model.register_forward_pre_hook(lambda *_: 1 / 0)
    long = ["a"] * 2 + ["How so? " * 9]
    text = message(ConfigError, star_generate, model, tokenizer, "Doc", long, max_new_tokens=3)
    assert "made for 64" in text


# -- what generate is asked for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens=0, max_length=None leaves no room for an answer"),
        ({"max_length": 44}, "max_length=44 leaves no room for an answer behind 44 tokens"),
        ({"use_cache": False}, "use_cache=False would leave the encoded context out"),
        ({"cache_implementation": "static"}, "cache_implementation='static': the encoded context"),
        (
            {"prompt_lookup_num_tokens": 2, "return_dict_in_generate": True},
            "return_dict_in_generate is not possible with assisted decoding",
        ),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_is_named(tiny, draw, kwargs, says):
    model, ids = tiny(), draw(NUM + 4)
    cache = encode_context(model, ids[:, :NUM], StarConfig(block=10))
    assert says in message(InputError, generate, model, cache, ids, **kwargs)
    assert cache.get_seq_length() == NUM


@pytest.mark.parametrize(
    "kwargs",
    [
        {"num_return_sequences": 3, "do_sample": True},
        {"return_dict_in_generate": True},
        {"generation_config": transformers.GenerationConfig(return_dict_in_generate=True)},
    ],
    ids=str,
)
def test_an_answer_is_one_text(tiny, make_tokenizer, kwargs):
    tokenizer = make_tokenizer()
    model = tiny(vocab_size=len(tokenizer))
    cache = encode_context(model, torch.tensor([encode(tokenizer, "The harbour.")]))
    for call, given in ((ask, cache), (star_generate, "Doc"), (dense_answer, "Doc")):
        question = "Why?" if call is dense_answer else ["Why?"]
        text = message(InputError, call, model, tokenizer, given, question, **kwargs)
        assert "an answer here is one text" in text and "infer.generate" in text
        assert text.startswith(("num_return_sequences=3", "return_dict_in_generate=True"))


def test_a_question_is_about_one_context(tiny, draw, make_tokenizer):
    tokenizer = make_tokenizer()
    cache = encode_context(tiny(vocab_size=len(tokenizer)), draw(20, batch=2))
    text = message(InputError, ask, tiny(), tokenizer, cache, ["Why?"])
    assert "the cache holds 2 contexts" in text and "one by one" in text


def test_follow_up_questions_without_anything_to_share_are_refused(tiny, make_tokenizer):
    tokenizer = make_tokenizer(None)
    tokenizer.bos_token = None
    model = tiny(vocab_size=len(tokenizer))
    text = message(
        InputError, star_generate, model, tokenizer, "", ["Why?", "How?"], follow_up=True
    )
    assert text.startswith("follow_up: there is no document")
    answers = star_generate(model, tokenizer, "", ["Why?"], follow_up=True, max_new_tokens=2)
    assert len(answers[0].ids) == 2


# -- padding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "word"), [(0, "starts"), (-1, "ends")])
def test_a_padded_batch_of_contexts_is_refused(tiny, draw, column, word):
    model, ids = tiny(pad_token_id=0), draw(20, batch=3)
    ids[1, column] = 0
    text = message(InputError, encode_context, model, ids)
    assert f"context 1 {word} with the padding token 0" in text and "one by one" in text
    text = message(InputError, encode_context, model, ids[1:2])
    assert f"context 0 {word} with the padding token 0" in text
    encode_context(model, ids[:1])


def test_a_padding_token_that_also_means_something_is_allowed_there(tiny, draw):
    ids = draw(20, batch=2)
    ids[:, 0], ids[:, -1] = 1, 2
    encode_context(tiny(pad_token_id=1), ids)
    encode_context(tiny(pad_token_id=2), ids)


def test_a_mask_that_hides_part_of_the_context_is_refused(tiny, draw):
    model, ids = tiny(), draw(NUM + 4)
    cache = encode_context(model, ids[:, :NUM], StarConfig(block=10))
    mask = torch.ones_like(ids)
    mask[0, 3] = 0
    text = message(InputError, generate, model, cache, ids, attention_mask=mask)
    assert "attention_mask hides tokens of the encoded context" in text
    assert "encode a context without padding" in text


def test_a_padded_query_is_refused_where_attention_takes_no_mask(tiny, draw):
    """The streaming pattern; several hosts are in test_hosts.py."""
    model, ids = tiny(), draw(NUM + 4)
    config = StarConfig(pattern="streaming", sinks=2, window=6)
    cache = encode_context(model, ids[:, :NUM], config)
    mask = torch.ones_like(ids)
    mask[0, NUM] = 0
    text = message(InputError, generate, model, cache, ids, attention_mask=mask)
    assert "or of a query with the streaming pattern" in text and "one query at a time" in text


def test_two_beginnings_of_text_are_said(tiny, draw):
    """A rendered chat that was tokenised as if it had no markup yet."""
    ids = draw(20, batch=2)
    ids[1, 0] = 1
    assert encode_context(tiny(), ids).plan.warnings == ()
    ids[1, 1] = 1
    (text,) = encode_context(tiny(), ids).plan.warnings
    assert "two BOS tokens" in text and "add_special_tokens=False" in text


# -- the state of the model ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"kernel": "stock"}, {"pattern": "streaming"}, {}], ids=str)
def test_gradient_checkpointing_that_drops_the_cache_is_refused(tiny, draw, options):
    model, ids = tiny(), draw(NUM + 4)
    kernel = options.pop("kernel", "auto")
    config = StarConfig(**options)
    cache = encode_context(model, ids[:, :NUM], config)
    model.gradient_checkpointing_enable()
    encode_context(model, ids[:, :NUM], config, kernel=kernel)
    model.train()
    calls = (
        lambda: encode_context(model, ids[:, :NUM], config, kernel=kernel),
        lambda: generate(model, cache, ids, max_new_tokens=2),
    )
    for call in calls:
        text = message(ConfigError, call)
        assert "gradient checkpointing in training mode" in text
        assert "model.eval() or model.gradient_checkpointing_disable()" in text
    model.gradient_checkpointing_disable()
    calls[1]()


def test_autocast_is_refused(tiny, draw):
    model, ids = tiny(), draw(NUM + 4)
    cache = encode_context(model, ids[:, :NUM])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "torch.autocast is on" in message(ConfigError, encode_context, model, ids)
        assert "torch.autocast is on" in message(ConfigError, generate, model, cache, ids)


@pytest.mark.parametrize("kernel", ["split", "stock"])
def test_a_layer_that_stores_nothing_is_noticed(tiny, draw, kernel):
    model, ids = tiny(), draw(NUM)
    layer = model.model.layers[1]
    stock = layer.forward

    def forgetful(*args: Any, **kwargs: Any) -> Any:
        return stock(*args, **{**kwargs, "past_key_values": None})

    layer.forward = forgetful
    config = StarConfig(pattern="streaming")
    text = message(UnsupportedModel, encode_context, model, ids, config, kernel=kernel)
    assert f"layer 1 of LlamaForCausalLM stored 0 of the {NUM} entries" in text


# -- models ----------------------------------------------------------------------------------------

KINDS = ["full_attention", "sliding_attention"]
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "MistralConfig": ({"sliding_window": 32}, "sliding window of 32 tokens"),
    "Gemma2Config": (
        {"head_dim": 16, "attention": "eager"},
        "1 of its 2 layers are sliding_attention",
    ),
    "Qwen3Config": (
        {"use_sliding_window": True, "sliding_window": 8, "layer_types": KINDS, "head_dim": 16},
        "1 of its 2 layers are sliding_attention",
    ),
    "JambaConfig": ({"num_hidden_layers": 8}, "layers are linear_attention"),
    "GptOssConfig": (
        {"layer_types": KINDS[:1] * 2, "head_dim": 16, "attention": "eager"},
        "learned attention sinks",
    ),
    "GPT2Config": ({"n_embd": 64, "n_layer": 2, "n_head": 4}, "positions are not rotary"),
    "BloomConfig": (
        {"n_layer": 2, "n_head": 4, "attention": "eager"},
        "positions are not rotary",
    ),
    "DeepseekV3Config": (
        {"num_key_value_heads": 4, "first_k_dense_replace": 2, "n_routed_experts": 8},
        "latent keys (MLA)",
    ),
}


@pytest.mark.parametrize("family", REFUSED)
def test_a_model_that_cannot_carry_the_method_is_refused_with_the_reason(tiny, draw, family):
    """Acceptance 28: sliding windows, hybrid layers, sinks, positions, latent keys."""
    changes, says = REFUSED[family]
    model = tiny(kind=getattr(transformers, family), pad_token_id=0, **changes)
    text = message(UnsupportedModel, encode_context, model, draw(20))
    assert says in text and type(model).__name__ in text
    assert "such as Llama, Qwen3 or SmolLM2" in text


def test_an_encoder_decoder_model_is_refused():
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_heads=4
    )
    text = message(UnsupportedModel, check_model, transformers.T5ForConditionalGeneration(config))
    assert "encoder-decoder" in text and "position bias" in text


@pytest.mark.parametrize("family", ["JetMoeConfig", "DiffLlamaConfig"])
def test_attention_that_changes_the_cached_keys_is_noticed_and_stock_attention_serves(
    tiny, draw, star_forward, masked_forward, family
):
    """The split kernel would silently merge wrong parts."""
    changes = {"kv_channels": 16, "num_key_value_heads": 2} if family[0] == "J" else {}
    model, ids = tiny(kind=getattr(transformers, family), pad_token_id=0, **changes), draw(44)
    text = message(UnsupportedModel, encode_context, model, ids)
    assert "changes keys and values" in text and 'kernel="stock"' in text
    found, cache = star_forward(model, ids, 4, StarConfig(block=10), kernel="stock")
    assert (found - masked_forward(model, ids, cache.plan, 4)).abs().max() < 1e-3


def test_another_version_of_transformers_is_named_with_the_range(monkeypatch):
    monkeypatch.setattr("transformers.__version__", "4.44.2")
    text = message(MissingExtra, importlib.reload, adapter)
    assert "transformers 4.44.2 is installed, and this needs 5.17 or newer" in text
    assert 'pip install --upgrade "modelgraft[hf]"' in text
    monkeypatch.undo()
    importlib.reload(adapter)


def test_half_precision_stays_finite_and_close(tiny, draw, star_forward):
    """Section 9: parts are merged in float32."""
    ids = draw(NUM + 4)
    exact, _ = star_forward(tiny(), ids, 4, StarConfig(block=10))
    for dtype, within in ((torch.float16, 0.1), (torch.bfloat16, 0.6)):
        found, _ = star_forward(tiny(dtype=dtype), ids, 4, StarConfig(block=10))
        assert torch.isfinite(found).all() and (found - exact).abs().max() < within
