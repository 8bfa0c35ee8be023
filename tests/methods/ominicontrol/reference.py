"""OminiControl's forward pass a second time: one long sequence, a dense mask, loops over groups.

Written from the papers and the names of a Flux transformer's weights. Everything is float64 on
plain tensors; nothing is left out because nobody reads it. Letters: b batch, l tokens of the whole
sequence [text; image; condition 1; ...], d width, h heads, e head size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from modelgraft.methods.ominicontrol.method.branches import ConditionTokens, FluxInputs

Layers = Sequence[tuple[str, str]]
"""Linear layers of queries, keys and values, each with its norm."""
TEXT: Layers = (("add_q_proj", "norm_added_q"), ("add_k_proj", "norm_added_k"), ("add_v_proj", ""))
OTHERS: Layers = (("to_q", "norm_q"), ("to_k", "norm_k"), ("to_v", ""))


class Heads(NamedTuple):
    """Queries, keys and values of the groups, in their order."""

    q: list[Tensor]
    k: list[Tensor]
    v: list[Tensor]


@dataclass(frozen=True)
class Lora:
    """One adapter: A [r, in] and B [out, r] by module, and alpha."""

    down: Mapping[str, Tensor]
    up: Mapping[str, Tensor]
    alpha: float

    def added(self, module: str, x: Tensor) -> Tensor | float:
        """(alpha / r) B A x, or nothing where the adapter is not."""
        if module not in self.down:
            return 0.0
        down, up = self.down[module].double(), self.up[module].double()
        return self.alpha / len(down) * (x @ down.T @ up.T)


@dataclass(frozen=True)
class Group:
    """A run of tokens with one time embedding and one set of adapters."""

    place: slice
    embedding: Tensor
    adapters: Sequence[str]
    is_text: bool = False


class Reference:
    """A Flux transformer by its weights, without peft's layers, and adapters beside it."""

    def __init__(
        self, weights: Mapping[str, Tensor], config: Any, loras: Mapping[str, Lora]
    ) -> None:
        self.weights = {name: one.detach().double() for name, one in weights.items()}
        self.config, self.loras = config, loras

    # -- the pass ----------------------------------------------------------------------------------

    def velocity(
        self,
        inputs: FluxInputs,
        conditions: Sequence[ConditionTokens] = (),
        *,
        joint: Sequence[bool] | bool = True,
        scope: str = "main",
        blocks: range | None = None,
        main: Sequence[str] = (),
    ) -> Tensor:
        """The velocity [b, n, c] of the image; `main` are adapters on text and image."""
        states, groups, ids = self.embed(inputs, conditions, main)
        rotary = self.rotary(ids)
        sees = [joint] * len(conditions) if isinstance(joint, bool) else joint
        strengths = [one.strength for one in conditions]
        places = [group.place for group in groups]
        number = self.config.num_layers + self.config.num_single_layers
        for block in range(number):
            is_in = blocks is None or block in blocks
            bias = dense_bias(places, strengths, sees, scope) if is_in else apart(places)
            if block < self.config.num_layers:
                states = self.double(f"transformer_blocks.{block}", states, groups, rotary, bias)
            else:
                name = f"single_transformer_blocks.{block - self.config.num_layers}"
                states = self.single(name, states, groups, rotary, bias)
        image = groups[1]
        scale, shift = self.vectors("norm_out.linear", image, 2)
        return self.linear("proj_out", normed(states[:, image.place]) * (1 + scale) + shift, image)

    def embed(
        self, inputs: FluxInputs, conditions: Sequence[ConditionTokens], main: Sequence[str]
    ) -> tuple[Tensor, list[Group], Tensor]:
        """States [b, l, d], the groups of tokens, places [l, 3]."""
        batch = len(inputs.hidden_states)
        lists = [inputs.encoder_hidden_states, inputs.hidden_states]
        lists += [one.tokens.expand(batch, -1, -1) for one in conditions]
        noisy = self.time(inputs.timestep, inputs.guidance, inputs.pooled_projections, main)
        still = self.time(
            torch.zeros(batch),
            None if inputs.guidance is None else torch.ones(batch),
            inputs.pooled_projections,
            (),
        )
        groups, start = [], 0
        for number, tokens in enumerate(lists):
            end = start + tokens.shape[1]
            is_condition = number > 1
            adapters = [conditions[number - 2].adapter] if is_condition else list(main)
            groups.append(
                Group(
                    place=slice(start, end),
                    embedding=still if is_condition else noisy,
                    adapters=adapters,
                    is_text=number == 0,
                )
            )
            start = end
        states = [
            self.linear("context_embedder" if group.is_text else "x_embedder", one.double(), group)
            for group, one in zip(groups, lists, strict=True)
        ]
        ids = [inputs.txt_ids, inputs.img_ids, *(one.ids for one in conditions)]
        return torch.cat(states, dim=1), groups, torch.cat([one.double() for one in ids])

    def double(
        self, block: str, states: Tensor, groups: Sequence[Group], rotary: Tensor, bias: Tensor
    ) -> Tensor:
        """A block in which the text has weights of its own."""
        parts, heads = [], Heads([], [], [])
        for one in groups:
            norm, layers = ("norm1_context", TEXT) if one.is_text else ("norm1", OTHERS)
            parts.append(self.vectors(f"{block}.{norm}.linear", one, 6))
            shift, scale = parts[-1][:2]
            x = normed(states[:, one.place]) * (1 + scale) + shift
            self.project(f"{block}.attn", layers, x, one, heads)
        output, found = attention(heads, rotary, bias), []
        for one, (_, _, gate, shift, scale, gate_mlp) in zip(groups, parts, strict=True):
            out, ff = ("to_add_out", "ff_context") if one.is_text else ("to_out.0", "ff")
            mixed = self.linear(f"{block}.attn.{out}", output[:, one.place], one)
            rows = states[:, one.place] + gate * mixed
            x = normed(rows) * (1 + scale) + shift
            hidden = gelu(self.linear(f"{block}.{ff}.net.0.proj", x, one))
            found.append(rows + gate_mlp * self.linear(f"{block}.{ff}.net.2", hidden, one))
        return torch.cat(found, dim=1)

    def single(
        self, block: str, states: Tensor, groups: Sequence[Group], rotary: Tensor, bias: Tensor
    ) -> Tensor:
        """A block in which all tokens have the same weights."""
        gates, wide, heads = [], [], Heads([], [], [])
        for one in groups:
            shift, scale, gate = self.vectors(f"{block}.norm.linear", one, 3)
            x = normed(states[:, one.place]) * (1 + scale) + shift
            gates.append(gate)
            wide.append(gelu(self.linear(f"{block}.proj_mlp", x, one)))
            self.project(f"{block}.attn", OTHERS, x, one, heads)
        output, found = attention(heads, rotary, bias), []
        for one, gate, hidden in zip(groups, gates, wide, strict=True):
            joined = torch.cat([output[:, one.place], hidden], dim=-1)
            added = gate * self.linear(f"{block}.proj_out", joined, one)
            found.append(states[:, one.place] + added)
        return torch.cat(found, dim=1)

    # -- pieces ------------------------------------------------------------------------------------

    def linear(self, name: str, x: Tensor, group: Group) -> Tensor:
        """W x + bias + (alpha / r) B A x of the group's adapters."""
        output = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        for adapter in group.adapters:
            output = output + self.loras[adapter].added(name, x)
        return output

    def vectors(self, name: str, group: Group, number: int) -> tuple[Tensor, ...]:
        """A layer of SiLU(time embedding) in `number` parts [b, 1, d]."""
        return self.linear(name, silu(group.embedding), group)[:, None].chunk(number, dim=-1)

    def project(self, attn: str, layers: Layers, x: Tensor, group: Group, heads: Heads) -> None:
        """Add a group's queries, keys and values [b, l, h, e] to the others'."""
        for place, (layer, norm) in enumerate(layers):
            rows = self.linear(f"{attn}.{layer}", x, group)
            rows = rows.unflatten(-1, (self.config.num_attention_heads, -1))
            if norm:  # Queries and keys get a root mean square of 1, then a weight by channel.
                size = (rows.square().mean(-1, keepdim=True) + 1e-6).sqrt()
                rows = rows / size * self.weights[f"{attn}.{norm}.weight"]
            heads[place].append(rows)

    def time(
        self, timestep: Tensor, guidance: Tensor | None, pooled: Tensor, adapters: Sequence[str]
    ) -> Tensor:
        """MLP(waves(1000 t)) + MLP(waves(1000 g)) + MLP(pooled) as [b, d]."""
        group = Group(slice(0), torch.empty(0), adapters)
        pairs = [("timestep_embedder", waves(timestep)), ("text_embedder", pooled.double())]
        if guidance is not None:
            pairs.append(("guidance_embedder", waves(guidance)))
        total = torch.zeros((), dtype=torch.float64)
        for name, x in pairs:
            hidden = silu(self.linear(f"time_text_embed.{name}.linear_1", x, group))
            total = total + self.linear(f"time_text_embed.{name}.linear_2", hidden, group)
        return total

    def rotary(self, ids: Tensor) -> Tensor:
        """Angles [l, e / 2] of places [l, axes]; theta is 10000."""
        angles = []
        for axis, size in enumerate(self.config.axes_dims_rope):
            powers = torch.arange(0, size, 2, dtype=torch.float64) / size
            angles.append(ids[:, axis, None] / 10000**powers)
        return torch.cat(angles, dim=1)


def dense_bias(
    places: Sequence[slice], strengths: Sequence[float], joint: Sequence[bool], scope: str
) -> Tensor:
    """What is added to the scores [l, l]: the table of who sees whom, and log(gamma)."""
    length = places[-1].stop
    bias = torch.full((length, length), -math.inf, dtype=torch.float64)
    text, image, *conditions = places
    for one in (text, image):
        bias[text, one] = bias[image, one] = 0.0
    for place, strength, sees_main in zip(conditions, strengths, joint, strict=True):
        bias[place, place] = 0.0
        dial = math.log(strength) if strength > 0 else -math.inf
        for main in (text, image):
            told = dial if main is image or scope == "main" else 0.0
            bias[main, place] = told
            if sees_main:
                bias[place, main] = told
    return bias


def apart(places: Sequence[slice]) -> Tensor:
    """Text and image see each other, every condition itself alone."""
    return dense_bias(places, [0.0] * (len(places) - 2), [False] * (len(places) - 2), "main")


def attention(heads: Heads, angles: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k / sqrt(e) + bias) v of the whole sequence as [b, l, h e]."""
    q, k, v = (torch.cat(one, dim=1) for one in heads)
    q, k = turned(q, angles), turned(k, angles)
    scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1]) + bias
    return torch.einsum("bhqk,bkhe->bqhe", scores.softmax(-1), v).flatten(2)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs (2k, 2k + 1) of x [b, l, h, e] turned by their angles [l, e / 2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def normed(x: Tensor) -> Tensor:
    """Mean 0 and variance 1 along the last axis."""
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()


def waves(fraction: Tensor) -> Tensor:
    """[cos, sin] of 1000 times a fraction [b] at 128 frequencies.

    The phases are float32 as in the model: the last digits of 3500 times a frequency are lost.
    """
    frequencies = torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float32) / 128)
    phase = (1000 * fraction.float())[:, None] * frequencies
    return torch.cat([phase.cos(), phase.sin()], dim=1).double()


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    """The approximation by a hyperbolic tangent."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
