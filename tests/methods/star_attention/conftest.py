"""A random Llama whose attention matters, the oracle it is compared with, and a tiny tokenizer.

The weights are drawn ten times wider than usual, so that attention is sharp and a wrong mask moves
the logits by whole units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers

from modelgraft.methods.star_attention.adapter.encode import encode_context, use_cache
from modelgraft.methods.star_attention.method import star_mask

SIZES: dict[str, Any] = dict(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    initializer_range=0.3,
    bos_token_id=1,
    eos_token_id=2,
)
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices gain nothing from threads, and waiting for them costs most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Any]:
    """Makes a random causal model in eval mode: Llama, or of another config class."""

    def make(
        *, dtype: torch.dtype = torch.float32, kind: Any = None, seed: int = 0, **changes: Any
    ) -> Any:
        torch.manual_seed(seed)
        attention = changes.pop("attention", "sdpa")
        config = (kind or transformers.LlamaConfig)(**{**SIZES, **changes})
        config._attn_implementation = attention
        return transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def draw() -> Callable[..., torch.Tensor]:
    """Draws token ids [batch, n] that are neither BOS nor EOS."""

    def ids(num: int, *, seed: int = 0, batch: int = 1) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(3, SIZES["vocab_size"], (batch, num), generator=generator)

    return ids


@pytest.fixture(scope="session")
def masked_forward() -> Callable[..., torch.Tensor]:
    """The oracle: logits of the query from ONE forward of the stock model under the star mask."""

    @torch.no_grad()
    def run(model: Any, ids: torch.Tensor, plan: Any, num_query: int) -> torch.Tensor:
        visible = star_mask(plan, num_query)
        hidden = torch.finfo(model.dtype).min
        mask = torch.zeros(visible.shape, dtype=model.dtype).masked_fill(~visible, hidden)
        positions = torch.arange(ids.shape[1]).unsqueeze(0)
        mask = mask.expand(len(ids), 1, -1, -1)
        return model(ids, attention_mask=mask, position_ids=positions).logits[:, -num_query:]

    return run


@pytest.fixture(scope="session")
def star_forward() -> Callable[..., Any]:
    """Ours: encode the context, then the logits of the query; the cache holds both after."""

    @torch.no_grad()
    def run(model: Any, ids: torch.Tensor, num_query: int, config: Any, **encoding: Any) -> Any:
        encoding.setdefault("headroom", num_query)
        context = ids[:, : ids.shape[1] - num_query]
        cache = encode_context(model, context, config, **encoding)
        return query_logits(model, cache, ids), cache

    return run


@torch.no_grad()
def query_logits(model: Any, cache: Any, ids: torch.Tensor) -> torch.Tensor:
    """Logits of what follows the cached context in `ids` [b, t]."""
    positions = torch.arange(cache.num_tokens, ids.shape[1]).unsqueeze(0)
    with use_cache(model, cache):
        query = ids[:, cache.num_tokens :]
        return model(input_ids=query, position_ids=positions, past_key_values=cache).logits


@pytest.fixture(scope="session")
def read_query() -> Callable[..., torch.Tensor]:
    """Logits of a query behind a cached context."""
    return query_logits


@pytest.fixture(scope="session")
def dense_forward() -> Callable[..., torch.Tensor]:
    """The stock model on the whole sequence, without anything of ours."""

    @torch.no_grad()
    def run(model: Any, ids: torch.Tensor, num_query: int) -> torch.Tensor:
        return model(ids).logits[:, -num_query:]

    return run


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Makes a byte-level tokenizer of 300 tokens; no text is foreign to it."""

    def make(template: str | None = TEMPLATE) -> Any:
        backend = tokenizers.Tokenizer(tokenizers.models.BPE())
        backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = tokenizers.decoders.ByteLevel()
        markup = ["<|user|>", "<|assistant|>", "<|end|>"]
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<unk>", "<s>", "</s>", *markup],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        text = ["One of the special magic numbers for the old harbour is: 7391825."] * 4
        backend.train_from_iterator(text, trainer)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            additional_special_tokens=markup,
        )
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.fixture(scope="session")
def model_folder(
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., Any],
    make_tokenizer: Callable[..., Any],
) -> Path:
    """A saved model with its tokenizer, as a user would bring one."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = make_tokenizer()
    model = tiny(vocab_size=len(tokenizer), max_position_embeddings=4096)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text of some 500 tokens."""
    path = tmp_path_factory.mktemp("document") / "harbour.txt"
    path.write_text(" ".join(f"Boat {i} carries {37 * i} nets." for i in range(40)))
    return path
