"""Pictures of prompts under conditions, by the pipeline's own call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.ominicontrol.adapter.control import Condition, Executor, OminiControl
from modelgraft.methods.ominicontrol.method.attention import Scope


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How pictures are drawn.

    `guidance` is the embedded one of a distilled model such as FLUX.1-dev, or the true one, with
    two passes a step, of a model without that embedding.
    """

    height: int
    width: int
    steps: int = 28
    guidance: float = 3.5
    negative: str = ""
    image_guidance: float = 1.0
    executor: Executor = "auto"
    scope: Scope = "main"
    reuse: bool = False
    """Whether conditions are computed once for all prompts, which is approximate; see
    `OminiControl.use`."""
    text_length: int = 512


def is_distilled(pipe: Any) -> bool:
    """Whether the transformer takes a guidance instead of a second pass."""
    return bool(pipe.transformer.config.guidance_embeds)


@torch.no_grad()
def generate(
    control: OminiControl,
    prompts: Sequence[str],
    conditions: Sequence[Condition],
    sampling: Sampling,
    *,
    seeds: Sequence[int],
) -> Tensor:
    """Pictures [b, 3, H, W] from 0 to 1 of `prompts`, each from the noise of its own seed.

    A condition with one picture serves all prompts, one with b pictures each its own. Raises
    `ConfigError` when their numbers differ otherwise.
    """
    if len(seeds) != len(prompts):
        raise ConfigError("seeds", f"{len(prompts)} prompts, but {len(seeds)} seeds.")
    for one in conditions:
        number = 1 if one.picture.dim() == 3 else len(one.picture)
        if number not in (1, len(prompts)):
            raise ConfigError(
                "condition",
                f"adapter {one.adapter!r}: {number} pictures for {len(prompts)} prompts; give one "
                "for all, or one each.",
            )
    with control.use(
        *conditions,
        executor=sampling.executor,
        scope=sampling.scope,
        image_guidance=sampling.image_guidance if conditions else 1.0,
        reuse=sampling.reuse,
    ):
        return draw_pictures(control, prompts, sampling, seeds=seeds)


@torch.no_grad()
def draw_pictures(
    control: OminiControl, prompts: Sequence[str], sampling: Sampling, *, seeds: Sequence[int]
) -> Tensor:
    """Pictures [b, 3, H, W] from 0 to 1 by the pipeline's own call, as it is at the moment."""
    pipe = control.pipe
    stock: dict[str, Any] = {
        "height": sampling.height,
        "width": sampling.width,
        "num_inference_steps": sampling.steps,
        "generator": [
            torch.Generator("cpu").manual_seed(rng_seed("generate", seed)) for seed in seeds
        ],
        "max_sequence_length": sampling.text_length,
        "output_type": "pt",
    }
    is_true = not is_distilled(pipe) and sampling.guidance > 1
    if sampling.negative and not is_true:
        raise ConfigError(
            "negative",
            "negative: it needs a model without embedded guidance, and guidance above 1.",
        )
    if is_true:
        stock["true_cfg_scale"] = sampling.guidance
        stock["negative_prompt"] = [sampling.negative] * len(prompts)
    elif is_distilled(pipe):
        stock["guidance_scale"] = sampling.guidance
    elif sampling.guidance < 1:
        raise ConfigError(
            "guidance", f"guidance {sampling.guidance}: true guidance begins at 1, which is none."
        )
    return pipe(list(prompts), **stock).images.float().cpu()
