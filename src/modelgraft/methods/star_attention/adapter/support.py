"""Which models and contexts can carry Star Attention, and RoPE frequencies that must not move."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.methods.star_attention.method import ModelShape

_MOVING_ROPE = ("dynamic", "longrope")
_ROPE_STATE = ("rope_type", "inv_freq", "attention_scaling", "max_seq_len_cached")
_AUTOCAST = ("cpu", "cuda", "xpu", "mps")
_POSITION_BIASES = ("alibi", "use_alibi", "relative_attention_num_buckets", "position_bias")


def decoder_of(model: Any) -> torch.nn.Module:
    """The bare decoder of a causal language model (no vocabulary head), adapters included."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    return inner.get_decoder()


def text_config(model: Any) -> Any:
    """The configuration of the language part."""
    return model.config.get_text_config()


def check_model(model: Any) -> None:
    """Raise `UnsupportedModel` naming the offending part unless every layer is full attention."""
    config = text_config(model)
    faults: list[str] = []
    if getattr(model.config, "is_encoder_decoder", False):
        faults.append("it is an encoder-decoder model")
    kinds = getattr(config, "layer_types", None) or []
    others = sorted({kind for kind in kinds if kind != "full_attention"})
    if others:
        count = sum(kind != "full_attention" for kind in kinds)
        faults.append(f"{count} of its {len(kinds)} layers are {', '.join(others)}")
    sliding = getattr(config, "sliding_window", None)
    if sliding and not kinds and getattr(config, "use_sliding_window", True):
        faults.append(f"its layers see a sliding window of {sliding} tokens")
    if getattr(config, "attention_chunk_size", None) and not kinds:
        faults.append("its layers attend in chunks")
    faults += [
        f"it adds a position bias to the scores ({name})"
        for name in _POSITION_BIASES
        if getattr(config, name, None)
    ]
    if any(name.endswith(".sinks") for name, _ in model.named_parameters()):
        faults.append("it has learned attention sinks, which each host would count once")
    rope = rope_parameters(config)
    if "mrope_section" in rope or rope.get("rope_type") == "mrope":
        faults.append("it uses multimodal RoPE")
    if getattr(config, "kv_lora_rank", None):
        faults.append("it caches latent keys (MLA)")
    if not rope:
        faults.append("its positions are not rotary")
    if not hasattr(config, "num_attention_heads"):
        faults.append("it has no attention heads")
    if not isinstance(getattr(decoder_of(model), "layers", None), torch.nn.ModuleList):
        faults.append("its decoder is not a list of layers")
    if faults:
        raise UnsupportedModel(
            f"{type(model).__name__} cannot carry Star Attention: {'; '.join(faults)}.\n"
            "  The method needs a decoder in which every layer is full causal attention with "
            "rotary positions, such as Llama, Qwen3 or SmolLM2."
        )


def check_mode(model: Any) -> None:
    """Raise `ConfigError` when the model is in a state that keeps no keys, or not those it uses."""
    parts = (part for part in model.modules() if part.training)
    if any(getattr(part, "gradient_checkpointing", False) for part in parts):
        raise ConfigError(
            "",
            "gradient checkpointing in training mode leaves the cache out, so nothing of the "
            "context would be kept.\n  Call model.eval() or "
            "model.gradient_checkpointing_disable() first.",
        )
    if any(torch.is_autocast_enabled(kind) for kind in _AUTOCAST):
        raise ConfigError(
            "",
            "torch.autocast is on, which computes keys and values in other number types than the "
            "model's.\n  Leave autocast, and load the model in the number type you want.",
        )


def check_ids(model: Any, context_ids: Any) -> None:
    """Raise `InputError` unless `context_ids` are token ids [b, n] of the model, unpadded."""
    if not isinstance(context_ids, Tensor):
        raise InputError(
            f"the context must be a tensor of token ids, got {type(context_ids).__name__}.\n"
            "  Encode contexts of different length one by one."
        )
    if (
        context_ids.dim() != 2
        or context_ids.numel() == 0
        or context_ids.dtype not in (torch.int64, torch.int32)
    ):
        raise InputError(
            f"the context must be token ids of shape [batch, tokens], got "
            f"{tuple(context_ids.shape)} {context_ids.dtype}.\n"
            "  For an empty context call the model's generate with the query alone."
        )
    low, high = (int(bound) for bound in context_ids.aminmax())
    vocabulary = model.get_input_embeddings().weight.shape[0]
    if low < 0 or high >= vocabulary:
        raise InputError(
            f"the context holds token {low if low < 0 else high}, but the model knows 0 to "
            f"{vocabulary - 1}.\n  Tokenise it with the model's own tokenizer."
        )
    _check_padding(text_config(model), context_ids)


def _check_padding(config: Any, context_ids: Tensor) -> None:
    pad, end = config.pad_token_id, config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    # A token that also begins or ends a text is no sign of padding there.
    for word, column, meant in (("starts", 0, [config.bos_token_id]), ("ends", -1, ends)):
        padded = (context_ids[:, column] == pad).nonzero() if pad is not None else []
        if len(padded) and pad not in meant:
            raise InputError(
                f"context {int(padded[0])} {word} with the padding token {pad}.\n"
                "  Padding inside a context would be encoded as text: give contexts of equal "
                "length as one batch, and others one by one, without padding."
            )


def rope_parameters(config: Any) -> dict[str, Any]:
    """The RoPE settings of a configuration, empty when it has none."""
    return dict(getattr(config, "rope_parameters", None) or {})


def supports_split_kernel(model: Any) -> bool:
    """True when attention goes through transformers' table and the scores are not capped."""
    decoder = decoder_of(model)
    capped = getattr(text_config(model), "attn_logit_softcapping", None)
    # Some models (Doge) look attention up in a table of their own, where ours is not.
    source = vars(sys.modules[type(decoder).__module__])
    table = source.get("ALL_ATTENTION_FUNCTIONS", ALL_ATTENTION_FUNCTIONS)
    return (
        bool(getattr(decoder, "_supports_attention_backend", False))
        and table is ALL_ATTENTION_FUNCTIONS
        and not capped
    )


def check_length(model: Any, num_tokens: int, *, allow_extrapolation: bool) -> None:
    """Raise `ConfigError` when `num_tokens` in all exceed what the model was made for."""
    limit = max_positions(model)
    if limit is not None and num_tokens > limit and not allow_extrapolation:
        raise ConfigError(
            "allow_extrapolation",
            f"context, question and answer need {num_tokens:,} positions, but the model was made "
            f"for {limit:,}.\n  Shorten the document, lower max_new_tokens (--max-new-tokens), or "
            "try with allow_extrapolation=True (--allow-extrapolation true; answers will degrade).",
        )


def max_positions(model: Any) -> int | None:
    """How many positions the model was made for, None when it does not say."""
    return getattr(text_config(model), "max_position_embeddings", None)


def fitting_headroom(
    model: Any, num_tokens: int, headroom: int, *, allow_extrapolation: bool
) -> int:
    """`headroom`, or as much of it as the model has positions for behind `num_tokens`.

    Raises `ConfigError` when it is negative.
    """
    if headroom < 0:
        raise ConfigError("headroom", f"headroom {headroom}: give the tokens of query and answer.")
    limit = max_positions(model)
    if limit is None:
        return headroom
    return min(headroom, limit if allow_extrapolation else max(0, limit - num_tokens))


def model_shape(model: Any) -> ModelShape:
    """The sizes that decide cost, read from a loaded model."""
    config = text_config(model)
    decoder = decoder_of(model)
    embedding = model.get_input_embeddings()
    parameters = sum(p.numel() for p in decoder.parameters()) - embedding.weight.numel()
    heads = config.num_attention_heads
    return ModelShape(
        parameters=parameters,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        number_bytes=embedding.weight.element_size(),
        weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
    )


@contextlib.contextmanager
def pinned_rope(model: Any, num_tokens: int) -> Generator[None]:
    """Hold the RoPE frequencies at those of a sequence of `num_tokens` inside the block.

    "dynamic" and "longrope" choose frequencies from the largest position of each forward, so
    early blocks would be rotated otherwise than late ones. Other types are left alone.
    """
    rotary: list[Any] = [module for module in model.modules() if _moves(module)]
    before = [{name: getattr(module, name) for name in _ROPE_STATE} for module in rotary]
    for module in rotary:
        module.max_seq_len_cached = 0  # else a longer text seen before would decide
        position = torch.tensor([[num_tokens - 1]], device=module.inv_freq.device)
        module(torch.zeros(1, device=module.inv_freq.device), position)
        module.rope_type = "pinned"
    try:
        yield
    finally:
        for module, state in zip(rotary, before, strict=True):
            for name, value in state.items():
                setattr(module, name, value)


def has_moving_rope(model: Any) -> bool:
    """True when the RoPE frequencies depend on the length of the whole sequence."""
    return any(_moves(module) for module in model.modules())


def _moves(module: torch.nn.Module) -> bool:
    kind = getattr(module, "rope_type", None)
    return isinstance(kind, str) and any(word in kind for word in _MOVING_ROPE)
