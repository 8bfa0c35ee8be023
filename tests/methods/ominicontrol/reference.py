"""OminiControl's forward pass a second time: one long sequence, a dense mask, loops over groups.

Written from the papers and the names of a Flux transformer's weights. Everything is float64 on
plain tensors; nothing is left out because nobody reads it. Letters: b batch, l tokens of the whole
sequence [text; image; condition 1; ...], d width, h heads, e head size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from modelgraft.methods.ominicontrol.method.branches import ConditionTokens, FluxInputs


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
        mod = [
            self.vectors(f"{block}.norm1_context.linear" if one.is_text else f"{block}.norm1.linear",
                         one, 6)
            for one in groups
        ]  # fmt: skip
        x = self.each(
            groups, states, lambda rows, one, i: normed(rows) * (1 + mod[i][1]) + mod[i][0]
        )
        text = {"q": "add_q_proj", "k": "add_k_proj", "v": "add_v_proj"}
        own = {"q": "to_q", "k": "to_k", "v": "to_v"}
        heads = {}
        for part in "qkv":
            heads[part] = self.each(
                groups, x, lambda rows, one, i, part=part: self.head(
                    f"{block}.attn", (text if one.is_text else own)[part], part, rows, one
                ),
            )  # fmt: skip
        output = attention(heads, rotary, bias)
        states = states + self.each(
            groups, output, lambda rows, one, i: mod[i][2] * self.linear(
                f"{block}.attn.to_add_out" if one.is_text else f"{block}.attn.to_out.0", rows, one
            ),
        )  # fmt: skip

        def feed(rows: Tensor, one: Group, i: int) -> Tensor:
            name = f"{block}.ff_context" if one.is_text else f"{block}.ff"
            hidden = self.linear(
                f"{name}.net.0.proj", normed(rows) * (1 + mod[i][4]) + mod[i][3], one
            )
            return mod[i][5] * self.linear(f"{name}.net.2", gelu(hidden), one)

        return states + self.each(groups, states, feed)

    def single(
        self, block: str, states: Tensor, groups: Sequence[Group], rotary: Tensor, bias: Tensor
    ) -> Tensor:
        """A block in which all tokens have the same weights."""
        mod = [self.vectors(f"{block}.norm.linear", one, 3) for one in groups]
        x = self.each(
            groups, states, lambda rows, one, i: normed(rows) * (1 + mod[i][1]) + mod[i][0]
        )
        heads = {
            part: self.each(
                groups, x, lambda rows, one, i, part=part: self.head(
                    f"{block}.attn", f"to_{part}", part, rows, one
                ),
            )
            for part in "qkv"
        }  # fmt: skip
        output = attention(heads, rotary, bias)

        def out(rows: Tensor, one: Group, i: int) -> Tensor:
            hidden = gelu(self.linear(f"{block}.proj_mlp", x[:, one.place], one))
            joined = torch.cat([rows, hidden], dim=-1)
            return mod[i][2] * self.linear(f"{block}.proj_out", joined, one)

        return states + self.each(groups, output, out)

    # -- pieces ------------------------------------------------------------------------------------

    def each(self, groups: Sequence[Group], x: Tensor, work: Any) -> Tensor:
        """`work(rows, group, number)` on every group's rows of x [b, l, ...], laid in a row."""
        return torch.cat([work(x[:, one.place], one, i) for i, one in enumerate(groups)], dim=1)

    def linear(self, name: str, x: Tensor, group: Group) -> Tensor:
        """W x + bias + (alpha / r) B A x of the group's adapters."""
        output = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        for adapter in group.adapters:
            output = output + self.loras[adapter].added(name, x)
        return output

    def vectors(self, name: str, group: Group, number: int) -> tuple[Tensor, ...]:
        """A layer of SiLU(time embedding) in `number` parts [b, 1, d]."""
        return self.linear(name, silu(group.embedding), group)[:, None].chunk(number, dim=-1)

    def head(self, attn: str, layer: str, part: str, x: Tensor, group: Group) -> Tensor:
        """Queries, keys or values [b, l, h, e]; the first two with a root mean square of 1."""
        rows = self.linear(f"{attn}.{layer}", x, group)
        rows = rows.unflatten(-1, (self.config.num_attention_heads, -1))
        if part == "v":
            return rows
        norm = f"{attn}.norm_{'added_' if layer.startswith('add_') else ''}{part}.weight"
        return rows / (rows.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.weights[norm]

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


def attention(heads: Mapping[str, Tensor], angles: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k / sqrt(e) + bias) v as [b, l, h e]."""
    q, k = turned(heads["q"], angles), turned(heads["k"], angles)
    scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / math.sqrt(q.shape[-1]) + bias
    return torch.einsum("bhqk,bkhe->bqhe", scores.softmax(-1), heads["v"]).flatten(2)


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
