"""AdamW over a module's trainable parameters."""

from __future__ import annotations

import torch
from torch import nn

from modelgraft.core.errors import UnsupportedModel
from modelgraft.training.config import OptimConfig


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that require a gradient, by name; shared ones once."""
    found = {name: one for name, one in model.named_parameters() if one.requires_grad}
    if not found:
        raise UnsupportedModel(
            f"{type(model).__name__} has no trainable parameter.\n"
            "  Attach an adapter first, or call requires_grad_(True) on what shall be trained."
        )
    return found


def adamw(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW on the trainable parameters; biases, norms and other vectors do not decay."""
    parameters = trainable(model)
    matrices = [one for one in parameters.values() if one.dim() > 1]
    vectors = [one for one in parameters.values() if one.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=(config.betas[0], config.betas[1]),
        eps=config.eps,
        fused=True,
    )
