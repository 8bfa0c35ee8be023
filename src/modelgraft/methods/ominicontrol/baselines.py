"""What the paper compares with: adding features instead of tokens, and a copied network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Generator
from typing import Any

from diffusers.models.controlnets.controlnet_flux import FluxControlNetModel
from torch import Tensor

from modelgraft.methods.ominicontrol.adapter.caching import only_adapter


@contextlib.contextmanager
def added_features(transformer: Any, condition: Tensor, adapter: str) -> Generator[None]:
    """The condition's features join the noisy image's before the first block (section 3.1).

    Inside the block the stock forward pass is so; the adapter acts on all tokens, as the condition
    has none of its own. Condition and image have the same tokens [b, n, c].
    """

    def add(layer: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + layer.forward(condition)

    handle = transformer.x_embedder.register_forward_hook(add)
    try:
        with only_adapter(transformer, adapter):
            yield
    finally:
        handle.remove()


def copied_network(transformer: Any, *, double: int = 1, single: int = 2) -> FluxControlNetModel:
    """A ControlNet from the first blocks of the transformer, with zero outputs at the start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`FluxPosEmbed` is deprecated")
        made: Any = FluxControlNetModel.from_transformer(
            transformer,
            num_layers=double,
            num_single_layers=single,
            attention_head_dim=transformer.config.attention_head_dim,
            num_attention_heads=transformer.config.num_attention_heads,
        )
    return made.float().requires_grad_(True)


@contextlib.contextmanager
def copied_features(transformer: Any, network: Any, condition: Tensor) -> Generator[None]:
    """The stock forward pass gets the residuals of a copied network on the condition's tokens."""
    names = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep",
             "img_ids", "txt_ids", "guidance")  # fmt: skip

    def add(module: Any, given: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        inputs = {name: kwargs[name] for name in names if name in kwargs}
        double, single = network(controlnet_cond=condition, **inputs, return_dict=False)
        residuals = {
            "controlnet_block_samples": double,
            "controlnet_single_block_samples": single,
        }
        return given, {**kwargs, **residuals}

    handle = transformer.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
