"""TinyFlux: a stock Flux pipeline of 2.9 million weights that draws the toy world.

Every part but the codec and the tokenizer's length is the class that FLUX.1 uses, so whatever works
on `FluxPipeline` works here.
"""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from modelgraft.core.files import read_json, write_json
from modelgraft.core.quiet import no_progress_bars
from modelgraft.diffusion.load import set_default_size
from modelgraft.nn.weights import plain_os_errors
from modelgraft.tiny.codec import PixelCodec
from modelgraft.tiny.phrases import build_tokenizer
from modelgraft.worlds.captions import phrases

WIDTH_TEXT = 64
TOKEN_PX = 4
"""A token of the transformer covers 4 x 4 pixels: two by the codec, two by the packing."""
SHIFT = 4.0
"""Of the sampler's noise levels; 64 tokens share one background, which is settled early."""
_TRACES = (
    "_diffusers_version",
    "transformers_version",
    "_name_or_path",
    "name_or_path",
    "backend",
    "is_local",
    "local_files_only",
)


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
        vae=PixelCodec(),  # ty: ignore[invalid-argument-type]
        text_encoder=CLIPTextModel(clip),
        tokenizer=tokenizer,  # ty: ignore[invalid-argument-type]
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=tokenizer,
        transformer=FluxTransformer2DModel(
            in_channels=3 * TOKEN_PX**2,
            num_layers=2,
            num_single_layers=6,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=WIDTH_TEXT,
            pooled_projection_dim=WIDTH_TEXT,
            axes_dims_rope=(8, 12, 12),
        ),
    )
    pipe.set_progress_bar_config(disable=True)
    set_default_size(pipe)
    return pipe


def fill_pipeline(pipe: FluxPipeline) -> FluxFillPipeline:
    """TinyFlux that is also shown a masked picture and its mask, as FLUX.1-Fill is.

    It draws what the base draws until it is trained: the columns of the wider embedding that read
    the 48 numbers of the picture and the 16 of the mask are zero. It shares nothing with `pipe`
    that is trained.
    """
    names = inspect.signature(FluxFillPipeline).parameters
    parts = {name: copy.deepcopy(pipe.components[name]) for name in names}
    narrow = parts["transformer"]
    pixels = TOKEN_PX**2
    wide: Any = FluxTransformer2DModel.from_config(
        narrow.config, in_channels=7 * pixels, out_channels=3 * pixels
    )
    weights = narrow.state_dict()
    embedding = weights["x_embedder.weight"]
    added = embedding.new_zeros(len(embedding), 4 * pixels)
    weights["x_embedder.weight"] = torch.cat([embedding, added], dim=1)
    wide.load_state_dict(weights)
    parts["transformer"] = wide
    found = FluxFillPipeline(**parts)
    found.set_progress_bar_config(disable=True)
    set_default_size(found)
    return found


def save_pipeline(pipe: FluxPipeline | FluxFillPipeline, folder: Path) -> None:
    """Write a folder that `load_flux` loads; equal weights give equal bytes.

    The pipeline's own `from_pretrained` loads it too, once `modelgraft.tiny.flux` is imported:
    diffusers takes classes of other packages only from modules that are there. What was trained
    is stored in float16 and loads as float32; the codec stays exact.
    """
    with no_progress_bars(), plain_os_errors():
        pipe.save_pretrained(folder)
        for part in ("transformer", "text_encoder", "text_encoder_2"):
            for file in (folder / part).glob("*.safetensors"):
                halves = {
                    key: one.to(torch.float16, copy=True) for key, one in load_file(file).items()
                }
                save_file(halves, file, metadata={"format": "pt"})
    for file in folder.rglob("*"):
        if file.suffix == ".json":
            write_json(file, _tidy(read_json(file)))
        if file.is_file():  # some writers make their files private
            file.chmod(folder.stat().st_mode & 0o666)


def _tidy(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the versions, places and last calls that the stock writers leave in it."""
    kept = {key: value for key, value in config.items() if key not in _TRACES}
    if "added_tokens" in kept:  # a tokenizer.json
        kept |= {"truncation": None, "padding": None}
    return {**kept, "dtype": "float32"} if "dtype" in kept else kept
