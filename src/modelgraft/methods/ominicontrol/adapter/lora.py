"""Adapters of peft on a stock Flux transformer, and how many weights they add (section 3.1)."""

from __future__ import annotations

import re
from typing import Any, Final

import torch
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.lazy import need
from modelgraft.diffusion.lora_files import LoraFile

_DOUBLE, _SINGLE = r"transformer_blocks\.\d+", r"single_transformer_blocks\.\d+"
# Modules that get an adapter, as whole names. The text's own modules never do.
PRESETS: Final = {
    "full": rf"x_embedder|{_DOUBLE}\.(norm1\.linear|attn\.to_[qkv]|attn\.to_out\.0|ff\.net\.2)"
    rf"|{_SINGLE}\.(norm\.linear|proj_mlp|proj_out|attn\.to_[qkv])",
    "norm_qk": rf"{_DOUBLE}\.(norm1\.linear|attn\.to_[qk])"
    rf"|{_SINGLE}\.(norm\.linear|attn\.to_[qk])",
    "qkv": rf"({_DOUBLE}|{_SINGLE})\.attn\.to_[qkv]",
    "qk": rf"({_DOUBLE}|{_SINGLE})\.attn\.to_[qk]",
}
# Layers that no condition passes through alone: the text's own, the times', and the head.
_NEVER = re.compile(
    r"context_embedder|.*\.(norm1_context|add_[qkv]_proj|to_add_out|ff_context)(\..*)?"
    r"|time_text_embed\..*|norm_out\.linear|proj_out"
)


def target_modules(transformer: nn.Module, modules: str) -> list[str]:
    """The linear layers that `modules`, a preset or a regular expression of whole names, means.

    Raises `ConfigError` when there are none, or when no condition passes through one alone.
    """
    try:
        pattern = re.compile(PRESETS.get(modules, modules))
    except re.error as error:
        raise ConfigError("modules", f"modules {modules!r}: {error}.") from None
    names = [name for name in linear_layers(transformer) if pattern.fullmatch(name)]
    if not names:
        raise ConfigError(
            "modules",
            f"modules {modules!r}: no linear layer of the transformer has such a name.\n"
            f"  Use {', '.join(PRESETS)}, or a regular expression such as '{PRESETS['qkv']}'.",
        )
    wrong = [name for name in names if _NEVER.fullmatch(name)]
    if wrong:
        raise ConfigError(
            "modules", f"modules {modules!r}: {wrong[0]} never acts on a condition's tokens alone."
        )
    return names


def num_added(transformer: nn.Module, modules: str, rank: int) -> int:
    """Weights of an adapter: rank times the width in and out of every layer it is on."""
    layers = linear_layers(transformer)
    names = target_modules(transformer, modules)
    return sum(rank * (layers[one].in_features + layers[one].out_features) for one in names)


def add_lora(
    transformer: Any, name: str, *, modules: str, rank: int, alpha: float, seed: int
) -> None:
    """Put a fresh adapter `name` on the transformer: A is drawn from N(0, 1/rank), B is zero.

    It is in float32, trainable, and the rest of the transformer frozen.
    """
    peft = need("peft", extra="hf")
    names = target_modules(transformer, modules)
    if rank < 1:
        raise ConfigError("rank", f"rank {rank}: an adapter has a rank from 1 up.")
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=names
    )
    transformer.requires_grad_(False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer.add_adapter(config, adapter_name=name)
    for _, one in lora_parameters(transformer, name):
        one.data = one.data.float()
        one.requires_grad_(True)


def linear_layers(transformer: nn.Module) -> dict[str, nn.Linear]:
    """The transformer's own linear layers by name; those below an adapter keep their name."""
    found = {}
    for name, one in transformer.named_modules():
        own = getattr(one, "base_layer", one)
        is_inside = ".lora_" in name or name.endswith(".base_layer")
        if isinstance(own, nn.Linear) and not is_inside:
            found[name] = own
    return found


def load_lora(transformer: Any, name: str, file: LoraFile, *, source: str) -> None:
    """Put the adapter of a file on the transformer under `name`, frozen and in float32.

    Raises `InputError` naming the first layer that the transformer has not, or in another size.
    """
    peft = need("peft", extra="hf")
    layers = linear_layers(transformer)
    for module, down in file.down.items():
        layer = layers.get(module)
        if layer is None:
            raise InputError(
                f"{source}: it adapts {module}, which this transformer has not; it was made for "
                "another base model."
            )
        ours = (layer.out_features, layer.in_features)
        theirs = (len(file.up[module]), down.shape[1])
        if ours != theirs:
            raise InputError(
                f"{source}: it adapts {module} of size {theirs[0]} x {theirs[1]}, and this "
                f"transformer's has {ours[0]} x {ours[1]}; it was made for another base model."
            )
    config = peft.LoraConfig(target_modules=list(file.down), **_scales(file))
    transformer.add_adapter(config, adapter_name=name)
    matrices = {one: (file.down[one], file.up[one]) for one in file.down}
    for module, one in transformer.named_modules():
        if module in matrices:
            down, up = matrices[module]
            with torch.no_grad():
                for layer, matrix in ((one.lora_A[name], down), (one.lora_B[name], up)):
                    layer.weight.data = matrix.float().to(layer.weight.device)
                    layer.weight.requires_grad_(False)


def _scales(file: LoraFile) -> dict[str, Any]:
    """Ranks and alphas for peft: as the file's header says, or every layer's scale being 1."""
    alpha = file.rank if file.alpha is None else file.alpha
    if file.scaling:
        return {"r": file.rank, "lora_alpha": alpha, **file.scaling}
    ranks = {one: len(down) for one, down in file.down.items() if len(down) != file.rank}
    alphas = {one: alpha * rank / file.rank for one, rank in ranks.items()}
    return {
        "r": file.rank,
        "lora_alpha": alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
    }


def lora_parameters(transformer: nn.Module, name: str) -> list[tuple[str, nn.Parameter]]:
    """The matrices of one adapter by their full names."""
    ends = (f".lora_A.{name}.weight", f".lora_B.{name}.weight")
    return [(full, one) for full, one in transformer.named_parameters() if full.endswith(ends)]


def adapted_layers(transformer: nn.Module, name: str) -> set[str]:
    """The layers that one adapter is on."""
    end = f".lora_A.{name}.weight"
    names = (full for full, _ in lora_parameters(transformer, name))
    return {one.removesuffix(end) for one in names if one.endswith(end)}


def lora_matrices(transformer: nn.Module, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A and B of one adapter by module, on the CPU."""
    found: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for place, part in enumerate(("lora_A", "lora_B")):
        end = f".{part}.{name}.weight"
        for full, one in lora_parameters(transformer, name):
            if full.endswith(end):
                found[place][full.removesuffix(end)] = one.detach().cpu()
    return found
