"""The forward pass of section 3.2 on the sub-modules of a stock Flux transformer.

Every branch has its own tokens, places, time embedding and adapter, and all share the weights.
Letters: b batch, l tokens of a branch, d width, h heads, e head size.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from modelgraft.core.errors import InputError
from modelgraft.methods.ominicontrol.method.attention import (
    IMAGE,
    TEXT,
    Heads,
    Mode,
    Scope,
    Sight,
    mix,
    sights,
)

Rotary = tuple[Tensor, Tensor]
Mixer = Callable[[Mapping[int, Heads], Sequence[Sight]], dict[int, Tensor]]


@dataclass(frozen=True, kw_only=True)
class FluxInputs:
    """What the stock transformer's forward takes."""

    hidden_states: Tensor
    """Noisy image tokens [b, l, c]."""
    encoder_hidden_states: Tensor
    """Text tokens [b, m, c']."""
    pooled_projections: Tensor
    """[b, p]."""
    timestep: Tensor
    """[b], from 0 to 1."""
    img_ids: Tensor
    """[l, 3]."""
    txt_ids: Tensor
    """[m, 3]."""
    guidance: Tensor | None = None
    """[b]; None for a model without guidance embedding."""


@dataclass(frozen=True, kw_only=True)
class ConditionTokens:
    """A condition as the transformer sees it: a branch of its own, without noise, at time 0."""

    tokens: Tensor
    """[b or 1, l, c]."""
    ids: Tensor
    """[l, 3]; float32."""
    adapter: str
    """Name of the LoRA that acts on these tokens alone."""
    strength: float = 1.0
    mode: Mode | None = None
    """Whether it sees text and image; None is what the wiring says."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """How conditions take part."""

    mode: Mode = "joint"
    scope: Scope = "main"
    blocks: range | None = None
    """Blocks, counted through both kinds, in which conditions are seen; None is all."""


@dataclass
class _Branch:
    """The state of one branch between blocks."""

    states: Tensor
    embedding: Tensor
    rotary: Rotary
    adapter: str | None


@dataclass(frozen=True)
class _Step:
    """What one block has to do: who sees whom, and whose output is needed after it."""

    seen: Sequence[Sight]
    needed: frozenset[int]
    mixer: Mixer


def branch_velocity(
    transformer: Any,
    inputs: FluxInputs,
    conditions: Sequence[ConditionTokens],
    wiring: Wiring | None = None,
    *,
    mixer: Mixer = mix,
) -> Tensor:
    """The velocity [b, l, c] of the image tokens under text and conditions (section 3.2).

    Without conditions it equals the stock forward pass up to rounding. What nobody reads later is
    not computed: text and conditions after the keys of the last block in which they are seen.
    `mixer` is the attention over all branches.
    """
    wiring = wiring or Wiring()
    kept = [one for one in conditions if one.strength > 0 or wiring.scope == "image"]
    branches = _open(transformer, inputs, kept, wiring)
    plan = _plan(transformer, kept, wiring, mixer)
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    num_double = len(transformer.transformer_blocks)
    saves = transformer.gradient_checkpointing and torch.is_grad_enabled()
    for place, (block, step) in enumerate(zip(blocks, plan, strict=True)):
        run = double_block if place < num_double else single_block
        branches = _run(run, block, branches, step, saves=saves)
    image = branches[IMAGE]
    return transformer.proj_out(transformer.norm_out(image.states, image.embedding))


def _open(
    transformer: Any, inputs: FluxInputs, conditions: Sequence[ConditionTokens], wiring: Wiring
) -> dict[int, _Branch]:
    """Embed tokens, times and places of all branches."""
    main = _time_embedding(transformer, inputs, inputs.timestep, inputs.guidance)
    text = transformer.context_embedder(inputs.encoder_hidden_states)
    image = transformer.x_embedder(inputs.hidden_states)
    branches = {
        TEXT: _Branch(text, main, _rotary(transformer, inputs.txt_ids), None),
        IMAGE: _Branch(image, main, _rotary(transformer, inputs.img_ids), None),
    }
    if not conditions:
        return branches
    # A condition is a finished picture: time 0; guidance is what the adapters were trained with, 1.
    still = torch.zeros_like(inputs.timestep)
    guidance = None if inputs.guidance is None else torch.ones_like(inputs.guidance)
    with adapters_off(transformer.time_text_embed):
        embedding = _time_embedding(transformer, inputs, still, guidance)
    for place, one in enumerate(conditions):
        tokens, ids = placed(one, inputs)
        states = project(transformer.x_embedder, tokens, one.adapter)
        branches[place] = _Branch(states, embedding, _rotary(transformer, ids), one.adapter)
    return branches


def placed(condition: ConditionTokens, inputs: FluxInputs) -> tuple[Tensor, Tensor]:
    """A condition's tokens [b, l, c] and ids where the image is: one for all prompts, or one each.

    A model that is offloaded runs on another device than it rests on.
    """
    image, tokens = inputs.hidden_states, condition.tokens
    if len(tokens) not in (1, len(image)):
        raise InputError(
            f"A condition with {len(tokens)} pictures for {len(image)} prompts: give one for all, "
            "or one each."
        )
    return tokens.to(image).expand(len(image), -1, -1), condition.ids.to(image.device)


@contextlib.contextmanager
def adapters_off(module: nn.Module) -> Generator[None]:
    """No adapter of a module acts inside the block."""
    layers = [one for one in module.modules() if isinstance(one, BaseTunerLayer)]
    on = [one for one in layers if not one.disable_adapters]
    for one in on:
        one.enable_adapters(False)
    try:
        yield
    finally:
        for one in on:
            one.enable_adapters(True)


def _time_embedding(
    transformer: Any, inputs: FluxInputs, timestep: Tensor, guidance: Tensor | None
) -> Tensor:
    dtype = inputs.hidden_states.dtype
    times = [timestep.to(dtype) * 1000]
    if guidance is not None:
        times.append(guidance.to(dtype) * 1000)
    return transformer.time_text_embed(*times, inputs.pooled_projections)


def _rotary(transformer: Any, ids: Tensor) -> Rotary:
    return transformer.pos_embed(ids[0] if ids.dim() == 3 else ids)


def _plan(
    transformer: Any, conditions: Sequence[ConditionTokens], wiring: Wiring, mixer: Mixer
) -> list[_Step]:
    """For every block who is seen in it and who has to come out of it."""
    number = len(transformer.transformer_blocks) + len(transformer.single_transformer_blocks)
    reach = range(number) if wiring.blocks is None else wiring.blocks
    strengths = [one.strength for one in conditions]
    modes = [one.mode or wiring.mode for one in conditions]
    all_seen = sights(strengths, mode=modes, scope=wiring.scope)
    main_alone = sights([], mode=wiring.mode, scope=wiring.scope)
    alone = [Sight((place,), ((place, 0.0),)) for place in range(len(strengths))]
    steps = []
    for block in range(number):
        is_last = block == number - 1
        needed = {IMAGE} if is_last else {TEXT, IMAGE}
        if block + 1 < min(reach.stop, number):
            needed |= set(range(len(strengths)))
        seen = all_seen if block in reach else [*main_alone, *alone]
        steps.append(_Step(seen, frozenset(needed), mixer))
    return steps


def _run(
    run: Callable[..., dict[int, Tensor]],
    block: nn.Module,
    branches: dict[int, _Branch],
    step: _Step,
    *,
    saves: bool,
) -> dict[int, _Branch]:
    """One block, with its activations computed again in the backward pass if `saves`."""
    names = list(branches)

    def work(*states: Tensor) -> tuple[Tensor, ...]:
        now = {
            name: _Branch(one, branches[name].embedding, branches[name].rotary,
                          branches[name].adapter)
            for name, one in zip(names, states, strict=True)
        }  # fmt: skip
        found = run(block, now, step)
        return tuple(found[name] for name in names if name in found)

    states = [branches[name].states for name in names]
    found = checkpoint(work, *states, use_reentrant=False) if saves else work(*states)
    kept = [name for name in names if name in step.needed]
    return {
        name: _Branch(one, branches[name].embedding, branches[name].rotary, branches[name].adapter)
        for name, one in zip(kept, found, strict=True)
    }


# -- blocks ----------------------------------------------------------------------------------------


def double_block(block: Any, branches: Mapping[int, _Branch], step: _Step) -> dict[int, Tensor]:
    """One block with weights of its own for the text; states [b, l, d] of the needed branches."""
    heads, gates = {}, {}
    for name, one in branches.items():
        norm = block.norm1_context if name == TEXT else block.norm1
        adapter = None if name == TEXT else one.adapter
        normed, gates[name] = _modulated(norm, one, adapter, 6)
        heads[name] = _heads(block.attn, normed, one, name, is_needed=name in step.needed)
    mixed = step.mixer(heads, step.seen)
    found = {}
    for name, output in mixed.items():
        one = branches[name]
        gate, shift_mlp, scale_mlp, gate_mlp = gates[name]
        is_text = name == TEXT
        adapter = None if is_text else one.adapter
        out = block.attn.to_add_out if is_text else block.attn.to_out[0]
        states = one.states + gate * project(out, output, adapter)
        norm = block.norm2_context if is_text else block.norm2
        ff = block.ff_context if is_text else block.ff
        hidden = norm(states) * (1 + scale_mlp) + shift_mlp
        found[name] = _clipped(states + gate_mlp * feed_forward(ff, hidden, adapter))
    return found


def single_block(block: Any, branches: Mapping[int, _Branch], step: _Step) -> dict[int, Tensor]:
    """One block with the same weights for all branches; states [b, l, d] of the needed ones."""
    heads, gates, normed = {}, {}, {}
    for name, one in branches.items():
        normed[name], (gates[name],) = _modulated(block.norm, one, one.adapter, 3)
        heads[name] = _heads(block.attn, normed[name], one, None, is_needed=name in step.needed)
    found = {}
    for name, output in step.mixer(heads, step.seen).items():
        one = branches[name]
        hidden = block.act_mlp(project(block.proj_mlp, normed[name], one.adapter))
        joined = torch.cat([output, hidden], dim=2)
        found[name] = _clipped(
            one.states + gates[name] * project(block.proj_out, joined, one.adapter)
        )
    return found


def _modulated(
    norm: Any, branch: _Branch, adapter: str | None, parts: int
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Normalised states, shifted and scaled by the time embedding, and the rest of its parts."""
    embedding = project(norm.linear, norm.silu(branch.embedding), adapter)[:, None]
    shift, scale, *rest = embedding.chunk(parts, dim=-1)
    return norm.norm(branch.states) * (1 + scale) + shift, tuple(rest)


def _heads(
    attn: Any, states: Tensor, branch: _Branch, name: int | None, *, is_needed: bool
) -> Heads:
    """Queries, keys and values [b, l, h, e], normalised by head and turned to their places."""
    is_text = name == TEXT
    adapter = None if is_text else branch.adapter
    layers = (
        (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj, attn.norm_added_q, attn.norm_added_k)
        if is_text
        else (attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k)
    )
    to_q, to_k, to_v, norm_q, norm_k = layers

    def split(layer: nn.Module) -> Tensor:
        return project(layer, states, adapter).unflatten(-1, (-1, attn.head_dim))

    query = turned(norm_q(split(to_q)), branch.rotary) if is_needed else None
    return Heads(query, turned(norm_k(split(to_k)), branch.rotary), split(to_v))


def turned(rows: Tensor, rotary: Rotary) -> Tensor:
    """Queries or keys [b, l, h, e] rotated to their places."""
    found: Any = apply_rotary_emb(rows, rotary, sequence_dim=1)  # ty: ignore[invalid-argument-type]
    return found


def feed_forward(ff: Any, states: Tensor, adapter: str | None) -> Tensor:
    """The block's feed-forward net, whose second matrix may have an adapter."""
    hidden = ff.net[1](ff.net[0](states)) if adapter is None else _first_layers(ff, states, adapter)
    return project(ff.net[2], hidden, adapter)


def _first_layers(ff: Any, states: Tensor, adapter: str) -> Tensor:
    """As `ff.net[0]`, with an adapter on its matrix where someone trained one."""
    gelu = ff.net[0]
    return ff.net[1](gelu.gelu(project(gelu.proj, states, adapter)))


def project(layer: Any, x: Tensor, adapter: str | None) -> Tensor:
    """A linear layer and, where it has one, the LoRA called `adapter` alone: W x + (a / r) B A x.

    Other adapters of the layer stay silent. Without a name it is the stock layer, with what peft
    has switched on, such as a style.
    """
    base = getattr(layer, "base_layer", None)
    if base is None or adapter is None:
        return layer(x)
    output = base(x)
    if adapter not in layer.lora_A:
        return output
    down, up = layer.lora_A[adapter], layer.lora_B[adapter]
    added = up(down(layer.lora_dropout[adapter](x).to(down.weight.dtype)))
    return output + (added * layer.scaling[adapter]).to(output.dtype)


def _clipped(states: Tensor) -> Tensor:
    """float16 would overflow in the large activations of Flux."""
    return states.clip(-65504, 65504) if states.dtype == torch.float16 else states
