"""TinyFlux: a stock Flux pipeline of 2.9 million weights that draws the toy world.

Every part but the codec and the tokenizer's length is the class that FLUX.1 uses, so whatever works
on `FluxPipeline` works here.
"""

from __future__ import annotations

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from modelgraft.tiny.codec import PixelCodec
from modelgraft.tiny.phrases import build_tokenizer
from modelgraft.worlds.captions import phrases

WIDTH_TEXT = 64
TOKEN_PX = 4
"""A token of the transformer covers 4 x 4 pixels: two by the codec, two by the packing."""
SHIFT = 4.0
"""Of the sampler's noise levels; 64 tokens share one background, which is settled early."""
# Timesteps of training: a logistic normal with this mean and standard deviation.
TIMESTEPS = (1.2, 1.3)


def transformer_config(*, heads: int = 4, double: int = 2, single: int = 6) -> dict[str, object]:
    """Arguments of `FluxTransformer2DModel` for tokens of 4 x 4 pixels."""
    return {
        "patch_size": 1,
        "in_channels": 48,
        "num_layers": double,
        "num_single_layers": single,
        "attention_head_dim": 32,
        "num_attention_heads": heads,
        "joint_attention_dim": WIDTH_TEXT,
        "pooled_projection_dim": WIDTH_TEXT,
        "guidance_embeds": False,
        "axes_dims_rope": (8, 12, 12),
    }


def build_pipeline() -> FluxPipeline:
    """A pipeline with random weights from torch's generator."""
    tokenizer = build_tokenizer(phrases())
    length, words = tokenizer.model_max_length, len(tokenizer)
    clip = CLIPTextConfig(
        vocab_size=words,
        hidden_size=WIDTH_TEXT,
        intermediate_size=2 * WIDTH_TEXT,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=length,
        bos_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    t5 = T5Config(
        vocab_size=words,
        d_model=WIDTH_TEXT,
        d_kv=16,
        num_heads=4,
        d_ff=2 * WIDTH_TEXT,
        num_layers=2,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT, use_dynamic_shifting=False),
        vae=PixelCodec(),
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,  # ty: ignore[invalid-argument-type]
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer,  # ty: ignore[invalid-argument-type]
        transformer=FluxTransformer2DModel(**transformer_config()),  # ty: ignore[invalid-argument-type]
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
