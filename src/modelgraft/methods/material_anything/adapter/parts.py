"""What a Stable Diffusion folder holds beside its U-Net: VAE, text, and the noise it learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.intake import check_configs
from modelgraft.core.lazy import need
from modelgraft.methods.material_anything.adapter.folders import one_clear_error, stock_part
from modelgraft.methods.material_anything.adapter.latents import (
    Origin,
    Role,
    StableDenoiser,
    TextedNetwork,
    VaeCodec,
)
from modelgraft.methods.material_anything.denoising import Frame
from modelgraft.methods.material_anything.method.sampling import (
    Schedule,
    ending_in_noise,
    scaled_linear,
)
from modelgraft.nn.devices import move


def denoiser_of(
    network: Any,
    origin: Origin,
    schedule: Schedule,
    place: torch.device,
    *,
    role: Role,
    frame: Frame,
) -> StableDenoiser:
    """A network with the other parts of the folder it came from, on a device.

    Raises `UnsupportedModel` when network and text encoder do not belong together.
    """
    text = empty_prompt(origin.folder)
    require_text_width(network.config.get("unet", network.config), text, origin.folder)
    vae = load_vae(origin.folder)
    for one in (network, vae):
        move(one.eval(), place, name=origin.name)
    return StableDenoiser(
        TextedNetwork(network, text), VaeCodec(vae), schedule, frame,
        unet=network, role=role, origin=origin,
    )  # fmt: skip


def load_vae(folder: Path) -> Any:
    """The VAE, in float32: eight bits of bfloat16 are fewer than a map's file holds."""
    kind = need("diffusers", extra="hf").AutoencoderKL
    return stock_part(kind, folder / "vae", torch.float32)


def empty_prompt(folder: Path) -> Tensor:
    """The states [1, n, width] of a prompt without words, in float32.

    They are all that a model which is never told anything needs of its text encoder.
    """
    transformers = need("transformers", extra="hf")
    encoder = stock_part(
        transformers.CLIPTextModel, folder / "text_encoder", torch.float32, "model"
    )
    tokenizer = load_tokenizer(folder, encoder)
    words = tokenizer("", padding="max_length", return_tensors="pt")
    with torch.no_grad():
        return encoder(words.input_ids)[0]


def load_tokenizer(folder: Path, encoder: Any) -> Any:
    """The tokenizer, for texts no longer than its encoder reads."""
    kind = need("transformers", extra="hf").CLIPTokenizer
    with one_clear_error(folder / "tokenizer"):
        found = kind.from_pretrained(folder / "tokenizer", local_files_only=True)
    found.model_max_length = min(found.model_max_length, encoder.config.max_position_embeddings)
    return found


def require_text_width(unet: Any, text: Tensor, folder: Path) -> None:
    """Raise `UnsupportedModel` when a U-Net reads states of another width."""
    width = unet["cross_attention_dim"]
    if width != text.shape[2]:
        raise UnsupportedModel(
            f"{folder}: the text encoder's states are {text.shape[2]} wide, and the U-Net reads "
            f"{width}.\n  These parts belong to different models."
        )


def read_schedule(folder: Path, *, any_prediction: bool = False) -> Schedule:
    """The noise of a folder's scheduler.

    Raises `UnsupportedModel` unless its betas are scaled_linear, and its network predicts v or
    `any_prediction` will do.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = check_configs(folder / "scheduler", path.name)
    kind, betas = config.get("prediction_type", "epsilon"), config.get("beta_schedule", "linear")
    if kind != "v_prediction" and not any_prediction:
        raise UnsupportedModel(
            f"{path}, key prediction_type: {kind!r}, and v_prediction is needed.\n"
            "  Estimators and refiners predict v. A model that predicts something else is no "
            "trained one; train one on it with --base."
        )
    if betas != "scaled_linear" or config.get("trained_betas") is not None:
        raise UnsupportedModel(
            f"{path}, key beta_schedule: {betas!r}"
            f"{' with trained_betas' if config.get('trained_betas') is not None else ''}, and "
            "scaled_linear is needed.\n  That is the schedule of Stable Diffusion 1 and 2."
        )
    num = config.get("num_train_timesteps", 1000)
    first, last = config.get("beta_start"), config.get("beta_end")
    is_sound = isinstance(first, float) and isinstance(last, float) and 0 < first <= last < 1
    if not (isinstance(num, int) and num > 1 and is_sound):
        raise InputError(
            f"{path}: num_train_timesteps {num}, beta_start {first} and beta_end {last} are no "
            "schedule.\n  Betas rise from above 0 to below 1; restore the file."
        )
    found = scaled_linear(num, first, last)
    return ending_in_noise(found) if config.get("rescale_betas_zero_snr") else found
