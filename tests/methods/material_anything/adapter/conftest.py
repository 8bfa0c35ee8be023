"""A Stable Diffusion folder with random weights, as small as its classes allow."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from modelgraft.core.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[3]))

SIZES: dict[str, Any] = {
    "sample_size": 8,
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 16,
    "attention_head_dim": 8,
    "norm_num_groups": 4,
    "use_linear_projection": True,
}
_VAE = {
    "block_out_channels": (8, 8, 8, 8),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "norm_num_groups": 4,
    "layers_per_block": 1,
}


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings(device="cpu", dtype="float32", offline=True)


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory) -> Path:
    """unet, vae, text_encoder, tokenizer and scheduler of a model that predicts v."""
    import diffusers
    import transformers

    from small_clip import save_small_clip

    folder = tmp_path_factory.mktemp("sd")
    clip = save_small_clip(tmp_path_factory.mktemp("clip"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        diffusers.UNet2DConditionModel(**SIZES).save_pretrained(folder / "unet")
        diffusers.AutoencoderKL(**_VAE).save_pretrained(folder / "vae")
    transformers.CLIPTextModel.from_pretrained(clip).save_pretrained(folder / "text_encoder")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(clip)
    tokenizer.save_pretrained(folder / "tokenizer")
    diffusers.DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
    ).save_pretrained(folder / "scheduler")
    parts = {one.name: ["diffusers", ""] for one in folder.iterdir()}
    (folder / "model_index.json").write_text(json.dumps(parts))
    return folder
