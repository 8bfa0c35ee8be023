"""A trained estimator or refiner as a folder of diffusers, which `published` loads again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

from modelgraft.core.errors import InputError
from modelgraft.core.files import atomic_folder, read_json, write_errors, write_json
from modelgraft.core.pipelines import MODEL_INDEX
from modelgraft.methods.material_anything.adapter.latents import StableDenoiser
from modelgraft.methods.material_anything.adapter.published import OURS

_COPIED: Final = ("vae", "text_encoder", "tokenizer")
_SUFFIXES: Final = (".json", ".txt", ".safetensors")
_CLASSES: Final = {
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDPMScheduler"],
}


def save_folder(path: Path, denoiser: StableDenoiser) -> None:
    """Write the folder `path`: U-Net, VAE, text encoder, tokenizer, scheduler and an index.

    The U-Net is written as it is; the other parts are copied from the folder that the denoiser
    came from, except that the scheduler says v_prediction. `path` appears whole or not at all.
    Raises `InputError` when it is there already, when a light adapter is still attached, or when
    the origin is gone, and `ConfigError` when the folder cannot be written.
    """
    unet: Any = denoiser.unet
    source = denoiser.origin.folder
    if path.exists():
        raise InputError(f"{path}: there is something of this name; choose another, or move it.")
    if any(".lora_" in name for name, _ in unet.named_parameters()):
        raise InputError(
            f"{path}: a light adapter is attached to the network.\n"
            "  Save the adapter itself, or detach it first."
        )
    if gone := [part for part in _COPIED if not (source / part).is_dir()]:
        raise InputError(
            f"{source / gone[0]}: this part of the base model is no longer there, and a whole "
            "folder needs it.\n  Put the base back where it was."
        )
    with write_errors(path, "the folder"), atomic_folder(path) as folder:
        unet.save_pretrained(folder / "unet")
        for part in _COPIED:
            (folder / part).mkdir()
            for file in sorted((source / part).iterdir()):
                if file.suffix in _SUFFIXES:
                    shutil.copyfile(file, folder / part / file.name)
        (folder / "scheduler").mkdir()
        write_json(folder / "scheduler" / "scheduler_config.json", _scheduler(source))
        write_json(folder / MODEL_INDEX, _index(denoiser))


def _scheduler(source: Path) -> dict[str, Any]:
    config = read_json(source / "scheduler" / "scheduler_config.json")
    return {**config, "_class_name": "DDPMScheduler", "prediction_type": "v_prediction"}


def _index(denoiser: StableDenoiser) -> dict[str, Any]:
    kind = type(denoiser.unet)
    package = "diffusers" if kind.__module__.startswith("diffusers.") else kind.__module__
    noted = {
        "role": denoiser.role,
        "frame": denoiser.frame,
        "base": denoiser.origin.name,
        "revision": denoiser.origin.revision,
    }
    return {**_CLASSES, "unet": [package, kind.__name__], OURS: noted}
