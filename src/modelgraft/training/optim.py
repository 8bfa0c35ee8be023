"""The optimiser of a module's trainable parameters."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.core.lazy import need
from modelgraft.training.config import OptimConfig

OF_ALL: Final = ("d", "d_max", "d_numerator", "k")
"""Numbers that Prodigy finds for all parameters together and goes on from, in each group alike."""


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name; shared ones once."""
    found = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not found:
        raise UnsupportedModel(
            f"{type(model).__name__} has no trainable parameter.\n"
            "  Attach an adapter first, or call requires_grad_(True) on what shall be trained."
        )
    return found


def optimizer_of(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """What steps the trainable parameters; biases, norms and other vectors do not decay.

    AdamW, or Prodigy (arXiv 2306.06101) with bias correction and safeguarded warm-up, as
    OminiControl trains with it. Raises `MissingExtra` when Prodigy's package is not installed, and
    `ConfigError` when it would have to step weights that FSDP has cut.
    """
    parameters = trainable(model)
    matrices = [one for one in parameters.values() if one.dim() > 1]
    vectors = [one for one in parameters.values() if one.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay, "lr": config.lr},
        {"params": vectors, "weight_decay": 0.0, "lr": config.lr},
    ]
    filled = [group for group in groups if group["params"]]
    stock: dict[str, Any] = {"betas": (config.betas[0], config.betas[1]), "eps": config.eps}
    if config.optimiser == "adamw":
        return torch.optim.AdamW(filled, fused=True, **stock)
    if any(isinstance(one, DTensor) for one in parameters.values()):
        raise ConfigError(
            "optimiser",
            "optimiser prodigy: it adds up over whole weights, and FSDP has cut them.\n"
            "  Start without FSDP, or use adamw.",
        )
    kind = need("prodigyopt", extra="optim").Prodigy
    return kind(filled, use_bias_correction=True, safeguard_warmup=True, **stock)
