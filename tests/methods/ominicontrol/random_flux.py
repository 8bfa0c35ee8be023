"""Small random Flux transformers, inputs, conditions and adapters that matter.

Weights are drawn wide and adapters too, so that a token under the wrong adapter, at the wrong place
or time moves the output by far more than a tolerance of 1e-5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from reference import Lora, Reference
from torch import Tensor, nn

from modelgraft.methods.ominicontrol.adapter.control import Condition, OminiControl
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.method.branches import ConditionTokens, FluxInputs
from modelgraft.methods.ominicontrol.method.positions import condition_ids

CHANNELS = 48
WIDTH_TEXT = 64
FLUX_DEV: dict[str, Any] = {"guidance_embeds": True}
"""What FLUX.1-dev's configuration changes in the defaults of its class."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_transformer(*, guidance: bool = False, double: int = 2, single: int = 2) -> Any:
    """2 heads of 8, as wide at its ends as TinyFlux."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        found = FluxTransformer2DModel(
            in_channels=CHANNELS,
            num_layers=double,
            num_single_layers=single,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=WIDTH_TEXT,
            pooled_projection_dim=WIDTH_TEXT,
            guidance_embeds=guidance,
            axes_dims_rope=(2, 2, 4),
        )
        for name, one in found.named_parameters():
            nn.init.normal_(one, mean="norm" in name and one.dim() == 1 and ".linear" not in name,
                            std=0.3 if one.dim() == 1 else one.shape[1] ** -0.5)  # fmt: skip
    return found.eval()


def make_pipe(parts: dict[str, Any], **kind: Any) -> FluxPipeline:
    """A stock pipeline around a fresh small transformer; a token is 4 px."""
    pipe = FluxPipeline(**{**parts, "transformer": make_transformer(**kind)})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def with_adapters(pipe: FluxPipeline, mode: str) -> OminiControl:
    """The pipeline with two adapters of one mode, `edges` and `subject`."""
    control = OminiControl(pipe)
    attach(control, "edges", mode=mode, seed=1)
    attach(control, "subject", mode=mode, seed=2, rank=2, alpha=5, delta=(0, -4))
    return control


def make_inputs(
    *, batch: int = 1, grid: tuple[int, int] = (3, 4), text: int = 5, guidance: bool = False,
    seed: int = 0,
) -> FluxInputs:  # fmt: skip
    rows, columns = grid
    return FluxInputs(
        hidden_states=draw(batch, rows * columns, CHANNELS, seed=seed),
        encoder_hidden_states=draw(batch, text, WIDTH_TEXT, seed=seed + 1),
        pooled_projections=draw(batch, WIDTH_TEXT, seed=seed + 2),
        timestep=torch.tensor([0.75, 0.25, 0.5])[:batch],
        img_ids=condition_ids(rows, columns),
        txt_ids=torch.zeros(text, 3),
        guidance=torch.tensor([3.5, 1.0, 2.0])[:batch] if guidance else None,
    )


def make_tokens(
    adapter: str, *, grid: tuple[int, int] = (3, 4), strength: float = 1.0, batch: int = 1,
    seed: int = 10, delta: Sequence[float] = (0, 0), scale: float = 1.0,
) -> ConditionTokens:  # fmt: skip
    return ConditionTokens(
        tokens=draw(batch, grid[0] * grid[1], CHANNELS, seed=seed),
        ids=condition_ids(*grid, delta=delta, scale=scale),
        adapter=adapter,
        strength=strength,
    )


def three_tokens(strengths: Sequence[float]) -> list[ConditionTokens]:
    """Up to three conditions of different sizes, places and adapters."""
    kinds: list[dict[str, Any]] = [
        {"adapter": "edges", "grid": (3, 4)},
        {"adapter": "subject", "grid": (2, 3), "delta": (0, -4)},
        {"adapter": "edges", "grid": (1, 5), "scale": 2.0, "delta": (1, 0, -2)},
    ]
    return [
        make_tokens(**kind, strength=by, seed=20 + place)
        for place, (kind, by) in enumerate(zip(kinds, strengths, strict=False))
    ]


def picture(
    height: int = 12, width: int = 16, *, seed: int = 0, batch: int | None = None
) -> Tensor:
    shape = (3, height, width) if batch is None else (batch, 3, height, width)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def condition(
    adapter: str, *, seed: int = 30, size: tuple[int, int] = (12, 16), **more: Any
) -> Condition:
    return Condition(picture=picture(*size, seed=seed), adapter=adapter, **more)


def attach(
    control: OminiControl, name: str, *, seed: int = 0, mode: Any = "joint", rank: int = 3,
    task: str = "edges", delta: tuple[float, ...] = (0, 0), blocks: Any = None, **more: Any,
) -> None:  # fmt: skip
    """An adapter of ours with random matrices, as after training."""
    info = AdapterInfo(task=task, mode=mode, delta=delta, blocks=blocks)
    control.attach(name, info, rank=rank, seed=seed, **more)
    fill(control.transformer, name, seed=seed)


def fill(transformer: nn.Module, name: str, *, seed: int) -> None:
    """Random matrices in an adapter that is on the transformer."""
    for place, (module, part, matrix) in enumerate(lora_layers(transformer, name)):
        del module
        std = 2.0 * matrix.shape[1] ** -0.5 if part == "A" else 0.3
        with torch.no_grad():
            matrix.copy_(std * draw(*matrix.shape, seed=1000 * seed + place))


def lora_layers(transformer: nn.Module, name: str) -> list[tuple[str, str, nn.Parameter]]:
    """Module, part (A or B) and matrix of an adapter, found by the names of the parameters."""
    pattern = re.compile(rf"(.+)\.lora_([AB])\.{re.escape(name)}\.weight")
    found = []
    for full, matrix in transformer.named_parameters():
        if match := pattern.fullmatch(full):
            found.append((match[1], match[2], matrix))
    return found


def loras_of(transformer: Any) -> dict[str, Lora]:
    """Every adapter on a transformer, as the oracle takes it."""
    found = {}
    for name, config in getattr(transformer, "peft_config", {}).items():
        layers = lora_layers(transformer, name)
        found[name] = Lora(
            down={module: one.detach() for module, part, one in layers if part == "A"},
            up={module: one.detach() for module, part, one in layers if part == "B"},
            alpha=config.lora_alpha,
        )
    return found


def base_weights(transformer: nn.Module) -> dict[str, Tensor]:
    """The transformer's own weights under their own names."""
    return {
        name.replace(".base_layer", ""): one.detach().clone()
        for name, one in transformer.state_dict().items()
        if ".lora_" not in name
    }


def reference_of(transformer: Any) -> Reference:
    return Reference(base_weights(transformer), transformer.config, loras_of(transformer))


def stock(transformer: Any, inputs: FluxInputs) -> Tensor:
    return transformer(**vars(inputs), return_dict=False)[0]


@torch.no_grad()
def answer(control: OminiControl, *conditions: Condition, inputs: Any = None, **how: Any) -> Tensor:
    """The transformer's stock call with conditions in use."""
    with control.use(*conditions, **how):
        return stock(control.transformer, inputs or make_inputs(batch=2))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.detach().double() - other.detach().double()).abs().max())
