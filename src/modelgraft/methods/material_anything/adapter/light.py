"""The light form of a trained triple head: LoRA on the shared blocks, and the outer blocks whole.

Most of a file are the outer blocks, a tenth of the network of Stable Diffusion 2.1. The names of
the matrices are those that peft and diffusers write, behind `unet.`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.core.files import write_atomic
from modelgraft.core.intake import check_safetensors
from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter.folders import listed
from modelgraft.methods.material_anything.adapter.grafting import graft
from modelgraft.methods.material_anything.adapter.latents import Role, StableDenoiser
from modelgraft.nn.weights import is_finite, refuse_non_finite

TARGETS: Final = ("to_q", "to_k", "to_v", "to_out.0")
_SHARED: Final = ("down_blocks.", "mid_block.", "up_blocks.")
_UNTOUCHED: Final = (*_SHARED, "time_embedding.")
_HEADER: Final = "material_anything"
_NAME: Final = "light"
_PREFIX: Final = "unet."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True)
class Light:
    """A light adapter on a grafted denoiser."""

    denoiser: StableDenoiser
    before: dict[str, Tensor]
    """The outer blocks as they were."""
    trainable: dict[str, bool]
    """Which weights were trainable."""

    @classmethod
    def attach(cls, denoiser: StableDenoiser, *, rank: int, seed: int) -> Light:
        """A fresh one, to be trained: B is zero, and the outer blocks are trained as they are.

        What is neither LoRA nor outer block is frozen. Raises `ConfigError` for a rank below 1
        and `UnsupportedModel` for a network that is no triple head or already carries one.
        """
        if rank < 1:
            raise ConfigError("rank", f"rank {rank}: an adapter has a rank from 1 up.")
        return _attached(denoiser, dict.fromkeys(_targets(denoiser.unet), rank), seed)

    def save(self, path: Path) -> None:
        """Write one safetensors file, with what `load_light` must know in its header."""
        tensors = {
            _PREFIX + name.replace(f".{_NAME}.", "."): one.detach().cpu().contiguous()
            for name, one in self.denoiser.unet.state_dict().items()
            if ".lora_" in name or _is_outer(name)
        }
        header = json.dumps(_described(self.denoiser), sort_keys=True)
        write_atomic(path, save(tensors, metadata={_HEADER: header}))

    def detach(self) -> None:
        """Give the network back as it was, bit for bit."""
        unet: Any = self.denoiser.unet
        for parent in list(unet.modules()):
            for name, child in list(parent.named_children()):
                if hasattr(child, "lora_A"):
                    setattr(parent, name, child.base_layer)
        if hasattr(unet, "peft_config"):
            del unet.peft_config
        with torch.no_grad():
            for name, one in unet.named_parameters():
                if name in self.before:
                    one.copy_(self.before[name])
                one.requires_grad_(self.trainable[name])


def load_light(
    path: str | Path,
    settings: Settings,
    *,
    role: Role | None = None,
    base: str | Path | None = None,
    report: Report = to_stderr,
) -> Light:
    """The denoiser of a light file, on `base` or else the base that the file names.

    Raises `InputError` for a file that is damaged, that says another role than the one asked for,
    or that was made for a network of other sizes.
    """
    path = Path(path).expanduser()
    header = header_of(path, role)
    tensors = _tensors(path)
    denoiser = graft(
        base or header["base"], settings, role=header["role"], frame=header["frame"], report=report
    )
    ours = _described(denoiser)
    for key in ("heads", "shared", "own", "block_out_channels", "cross_attention_dim"):
        if header.get(key) != ours[key]:
            raise InputError(
                f"{path}: made for a network with {key} {header.get(key)}, and that of "
                f"{denoiser.origin.name} has {ours[key]}.\n  It was trained on {header['base']}; "
                "name a base of these sizes."
            )
    return _with_tensors(path, denoiser, tensors)


def is_light(path: Path) -> bool:
    """Whether a safetensors file is a light adapter; raises `InputError` for a damaged one."""
    _check(path)
    with safe_open(path, framework="pt") as opened:
        return _HEADER in (opened.metadata() or {})


def header_of(path: Path, role: Role | None = None) -> dict[str, Any]:
    """What a light file says of the network it is for: its base, role, frame and sizes.

    Raises `InputError` for a file that says no such thing, or another role than the one asked for.
    """
    _check(path)
    with safe_open(path, framework="pt") as opened:
        text = (opened.metadata() or {}).get(_HEADER)
    try:
        header = json.loads(text or "")
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or not _is_sound(header):
        raise InputError(
            f"{path}: no light adapter of an estimator or refiner; its header does not say of what "
            f"base, role and frame it is.\n  Such files are written by train with --lora."
        )
    if role not in (None, header["role"]):
        raise InputError(
            f"{path}: its role is {header['role']}, and a light adapter for the role {role} is "
            "needed here.\n  An estimator goes to --model, a refiner to --refiner."
        )
    return header


def num_lora(path: Path) -> int:
    """How many numbers of a light file are LoRA, which a network takes beside its own weights."""
    with safe_open(path, framework="pt") as opened:
        return sum(
            math.prod(opened.get_slice(name).get_shape())
            for name in opened.keys()
            if name.endswith((_DOWN, _UP))
        )


def num_trained(unet: nn.Module, rank: int) -> tuple[int, int]:
    """How many numbers of LoRA a rank adds to a network, and how many its outer blocks have.

    Raises `UnsupportedModel` for a network that is no triple head.
    """
    lora = sum(
        rank * sum(module.weight.shape)
        for name in _targets(unet)
        if isinstance(module := unet.get_submodule(name), nn.Linear)
    )
    return lora, sum(one.numel() for name, one in unet.named_parameters() if _is_outer(name))


def _with_tensors(path: Path, denoiser: StableDenoiser, tensors: dict[str, Tensor]) -> Light:
    ranks = {
        name.removesuffix(_DOWN): len(one) for name, one in tensors.items() if name.endswith(_DOWN)
    }
    unknown = sorted(ranks.keys() - set(_targets(denoiser.unet)))
    if unknown:
        raise InputError(f"{path}: it adapts {listed(unknown)}, which this network has not.")
    light = _attached(denoiser, ranks, seed=0)
    state = denoiser.unet.state_dict(keep_vars=True)
    wanted = {
        name.replace(f".{_NAME}.", "."): one
        for name, one in state.items()
        if ".lora_" in name or _is_outer(name)
    }
    wrong = sorted(wanted.keys() ^ tensors.keys())
    wrong += [name for name in wanted if name in tensors
              and wanted[name].shape != tensors[name].shape]  # fmt: skip
    if wrong:
        light.detach()
        raise InputError(
            f"{path}: {len(wrong)} tensors are missing, unknown or of another shape: "
            f"{listed(wrong)}.\n  The file was made for another base model, or is incomplete."
        )
    with torch.no_grad():
        for name, one in wanted.items():
            one.copy_(tensors[name])
            one.requires_grad_(False)
    return light


def _check(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    check_safetensors(path)


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    refuse_non_finite(path, [name for name, one in tensors.items() if not is_finite(one)])
    if others := sorted(name for name in tensors if not name.startswith(_PREFIX)):
        raise InputError(f"{path}: {listed(others)} do not begin with {_PREFIX!r}.")
    return {name.removeprefix(_PREFIX): one for name, one in tensors.items()}


def _is_sound(header: dict[str, Any]) -> bool:
    return (
        isinstance(header.get("base"), str)
        and header.get("role") in ("estimator", "refiner")
        and header.get("frame") in ("view", "uv")
    )


def _attached(denoiser: StableDenoiser, ranks: dict[str, int], seed: int) -> Light:
    """An adapter of these ranks by module; each is its own alpha, so that its scale is 1."""
    peft = need("peft", extra="hf")
    unet: Any = denoiser.unet
    if hasattr(unet, "peft_config"):
        raise UnsupportedModel(
            f"{denoiser.origin.name}: the network carries an adapter already; detach it first."
        )
    before = {
        name: one.detach().clone() for name, one in unet.named_parameters() if _is_outer(name)
    }
    light = Light(denoiser, before, {name: one.requires_grad for name, one in
                                     unet.named_parameters()})  # fmt: skip
    largest = max(ranks.values())
    others = {name: rank for name, rank in ranks.items() if rank != largest}
    config = peft.LoraConfig(
        r=largest, lora_alpha=largest, rank_pattern=others, alpha_pattern=others,
        init_lora_weights="gaussian", target_modules=list(ranks),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, unet, _NAME)
    for name, one in unet.named_parameters():
        is_lora = ".lora_" in name
        if is_lora:
            one.data = one.data.float()
        one.requires_grad_(is_lora or _is_outer(name))
    return light


def _targets(unet: nn.Module) -> list[str]:
    """The linear layers of the shared blocks' attentions."""
    if type(unet).__name__ != "TripleHeadUNet":
        raise UnsupportedModel(
            f"{type(unet).__name__}: a light adapter needs three heads, of which the outer blocks "
            "are stored whole.\n  Save the whole folder instead."
        )
    return [
        name
        for name, one in unet.named_modules()
        if isinstance(one, nn.Linear) and name.startswith(_SHARED) and name.endswith(TARGETS)
    ]


def _is_outer(name: str) -> bool:
    return not name.startswith(_UNTOUCHED)


def _described(denoiser: StableDenoiser) -> dict[str, Any]:
    """What a file says of the network it is for."""
    config: Any = denoiser.unet.config
    return {
        "base": denoiser.origin.name,
        "revision": denoiser.origin.revision,
        "role": denoiser.role,
        "frame": denoiser.frame,
        "heads": config["heads"],
        "shared": config["shared"],
        "own": config["own"],
        "block_out_channels": list(config["unet"]["block_out_channels"]),
        "cross_attention_dim": config["unet"]["cross_attention_dim"],
    }
