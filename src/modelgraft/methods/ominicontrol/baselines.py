"""What the paper compares with: adding features instead of tokens, and a copied network."""

from __future__ import annotations

from typing import Any

from diffusers import FluxControlNetModel
from torch import Tensor

from modelgraft.methods.ominicontrol.adapter.caching import only_adapter
from modelgraft.methods.ominicontrol.method.branches import FluxInputs


def addition_velocity(
    transformer: Any, inputs: FluxInputs, condition: Tensor, adapter: str
) -> Tensor:
    """The condition's features are added to the noisy image's before the first block (section 3.1).

    The adapter acts on all tokens, as there are no tokens of the condition's own. Condition and
    image have the same tokens [b, n, c].
    """

    def added(layer: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + layer.forward(condition)

    handle = transformer.x_embedder.register_forward_hook(added)
    try:
        with only_adapter(transformer, adapter):
            return transformer(**vars(inputs), return_dict=False)[0]
    finally:
        handle.remove()


def copied_network(transformer: Any, *, double: int = 1, single: int = 2) -> FluxControlNetModel:
    """A ControlNet from the first blocks of the transformer, with zero outputs at the start."""
    made = FluxControlNetModel.from_transformer(
        transformer,
        num_layers=double,
        num_single_layers=single,
        attention_head_dim=transformer.config.attention_head_dim,
        num_attention_heads=transformer.config.num_attention_heads,
    )
    return made.float().requires_grad_(True)


def controlnet_velocity(
    transformer: Any, network: Any, inputs: FluxInputs, condition: Tensor
) -> Tensor:
    """The stock transformer with the residuals of a copied network on the condition's tokens."""
    double, single = network(controlnet_cond=condition, **vars(inputs), return_dict=False)
    return transformer(
        **vars(inputs),
        controlnet_block_samples=double,
        controlnet_single_block_samples=single,
        return_dict=False,
    )[0]
