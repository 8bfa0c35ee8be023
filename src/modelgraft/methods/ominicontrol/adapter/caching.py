"""Independent conditions on the stock forward pass: their keys and values are computed once.

A condition that sees only itself is the same at every step (OminiControl2, section 3.2). One pass
of the stock transformer over its tokens alone, with its adapter on, writes the keys and values of
every block; the passes over text and image, with the adapter off, read them.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.methods.ominicontrol.adapter.lora import lora_parameters
from modelgraft.methods.ominicontrol.method.attention import (
    IMAGE,
    TEXT,
    Heads,
    Scope,
    attend_keys,
    mix,
    sights,
)
from modelgraft.methods.ominicontrol.method.branches import (
    ConditionTokens,
    FluxInputs,
    placed,
    turned,
)

_KEPT_PROMPTS: Final = 4
"""Prompts whose keys are held; guidance asks for two at every step."""
Written = list[Heads]
"""Keys and values of one condition, block by block."""


@dataclass
class Phase:
    """What all processors of a transformer do at the moment."""

    writes: Written | None = None
    reads: Sequence[Written] = ()
    strengths: Sequence[float] = ()
    scope: Scope = "main"
    blocks: range | None = None
    text_length: int = 0


class _Processor:
    """Attention of one block: the stock one, which also writes or reads conditions."""

    def __init__(self, block: int, phase: Phase) -> None:
        self._block, self._phase = block, phase

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_rotary_emb: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The outputs of a double block for image and text, or of a single block for both."""
        image = _split(attn, hidden_states, (attn.to_q, attn.to_k, attn.to_v),
                       (attn.norm_q, attn.norm_k))  # fmt: skip
        if encoder_hidden_states is not None:
            text = _split(attn, encoder_hidden_states,
                          (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj),
                          (attn.norm_added_q, attn.norm_added_k))  # fmt: skip
            image = tuple(torch.cat(pair, dim=1) for pair in zip(text, image, strict=True))
        query, key, value = image
        if image_rotary_emb is not None:
            query, key = turned(query, image_rotary_emb), turned(key, image_rotary_emb)
        output = self._attend(query, key, value)
        if encoder_hidden_states is None:
            return output
        length = encoder_hidden_states.shape[1]
        image_output = attn.to_out[1](attn.to_out[0](output[:, length:].contiguous()))
        return image_output, attn.to_add_out(output[:, :length].contiguous())

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        phase, block = self._phase, self._block
        if phase.writes is not None:
            phase.writes.append(Heads(None, key, value))
        is_in = phase.blocks is None or block in phase.blocks
        reads = phase.reads if is_in else ()
        strengths = phase.strengths if is_in else ()
        seen = sights(strengths, mode="independent", scope=phase.scope)
        cached = {place: written[block] for place, written in enumerate(reads)}
        if seen[0].queries == (TEXT, IMAGE):  # as one they need not be taken apart
            keys = [(cached[place], bias) for place, bias in seen[0].keys if place in cached]
            return attend_keys(query, [(Heads(None, key, value), 0.0), *keys])
        length = phase.text_length
        heads = {
            TEXT: Heads(query[:, :length], key[:, :length], value[:, :length]),
            IMAGE: Heads(query[:, length:], key[:, length:], value[:, length:]),
        }
        mixed = mix(heads | cached, seen[: len(seen) - len(strengths)])
        return torch.cat([mixed[TEXT], mixed[IMAGE]], dim=1)


def _split(
    attn: Any, states: Tensor, layers: Sequence[nn.Module], norms: Sequence[nn.Module]
) -> tuple[Tensor, ...]:
    """Queries, keys and values [b, l, h, e], the first two normalised by head."""
    query, key, value = (one(states).unflatten(-1, (-1, attn.head_dim)) for one in layers)
    return norms[0](query), norms[1](key), value


def check_processors(transformer: Any) -> None:
    """Raise `UnsupportedModel` when another attention processor or fused layers are in place."""
    for name, one in transformer.attn_processors.items():
        if type(one) not in (FluxAttnProcessor, _Processor):
            raise UnsupportedModel(
                f"{name} is a {type(one).__name__}; conditions need the stock processor.\n"
                "  Unload the IP-adapter or restore it with transformer.set_attn_processor."
            )
    if any(getattr(one, "fused_projections", False) for one in transformer.modules()):
        raise UnsupportedModel(
            "The query, key and value layers of this transformer are fused, and adapters are made "
            "for each alone.\n  Undo it with pipe.transformer.unfuse_qkv_projections()."
        )


@contextlib.contextmanager
def only_adapter(transformer: nn.Module, name: str) -> Generator[None]:
    """Only the adapter `name` acts inside the block; what was on before is on again after it."""
    layers = [one for one in transformer.modules() if isinstance(one, BaseTunerLayer)]
    before = [(one, list(one.active_adapters), one.disable_adapters) for one in layers]
    # A layer into which a style was merged would pass its other adapters over.
    merged = [one.merged_adapters for one in layers]
    trained = [one for one in transformer.parameters() if one.requires_grad]
    try:
        for one in layers:
            one.enable_adapters(True)
            one.merged_adapters = []
            one.set_adapter([name] if name in getattr(one, "lora_A", ()) else [])
        yield
    finally:
        restore_adapters(before)
        for one, names in zip(layers, merged, strict=True):
            one.merged_adapters = names
        transformer.requires_grad_(False)
        for one in trained:
            one.requires_grad_(True)


def restore_adapters(before: Sequence[tuple[Any, list[str], bool]]) -> None:
    """Switch adapters to what they were, layer by layer."""
    for layer, active, is_off in before:
        layer.set_adapter(active)
        layer.enable_adapters(not is_off)


@contextlib.contextmanager
def conditioned_processors(transformer: Any) -> Generator[Phase]:
    """Our processors are in place inside the block, and the stock ones again after it."""
    check_processors(transformer)
    before = dict(transformer.attn_processors)
    phase = Phase()
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    for place, block in enumerate(blocks):
        block.attn.set_processor(_Processor(place, phase))
    try:
        yield phase
    finally:
        transformer.set_attn_processor(before)


@dataclass
class CachedForward:
    """A stand-in for the transformer's forward pass in which conditions are read from a cache.

    No gradient flows through the cache.
    """

    transformer: Any
    forward: Callable[..., Any]
    """The stock one."""
    conditions: Sequence[ConditionTokens]
    phase: Phase
    """Of the processors in place."""
    scope: Scope = "main"
    blocks: range | None = None
    reuse: bool = False
    """Whether keys under the first prompts serve all batches of that size (approximate)."""
    _written: OrderedDict[bytes, list[Written]] = field(default_factory=OrderedDict)

    def velocity(self, inputs: FluxInputs, strengths: Sequence[float | None]) -> Tensor:
        """The velocity of the image tokens, the conditions having these strengths.

        One of None is not seen.

        Raises `ConfigError` where a gradient would be taken of an adapter that is trained.
        """
        if torch.is_grad_enabled() and self._is_trained():
            raise ConfigError(
                "executor",
                "executor cached: a condition is computed once for all steps, so its adapter gets "
                "no gradient.\n  Use executor='branch' to train, or torch.no_grad() to draw.",
            )
        written = self._keys(inputs)
        phase = self.phase
        seen = [(keys, by) for keys, by in zip(written, strengths, strict=True) if by is not None]
        phase.reads, phase.strengths = [keys for keys, _ in seen], [by for _, by in seen]
        phase.scope, phase.blocks = self.scope, self.blocks
        phase.text_length = inputs.encoder_hidden_states.shape[1]
        try:
            return self.forward(**vars(inputs), return_dict=False)[0]
        finally:
            phase.reads, phase.strengths = (), ()

    def _is_trained(self) -> bool:
        return any(
            one.requires_grad
            for condition in self.conditions
            for _, one in lora_parameters(self.transformer, condition.adapter)
        )

    @torch.no_grad()
    def _keys(self, inputs: FluxInputs) -> list[Written]:
        """Keys and values of every condition under this pooled prompt, or under the first one."""
        pooled = inputs.pooled_projections
        name = pooled.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        if self.reuse:
            name = b"%d" % len(pooled)
        if name not in self._written:
            self._written[name] = [self._write(one, inputs) for one in self.conditions]
            while len(self._written) > _KEPT_PROMPTS:
                self._written.popitem(last=False)
        self._written.move_to_end(name)
        return self._written[name]

    def _write(self, condition: ConditionTokens, inputs: FluxInputs) -> Written:
        """One pass over the condition alone; its output is not used.

        With `reuse` a condition with one picture passes under the first prompt alone.
        """
        tokens, ids = placed(condition, inputs)
        rows = len(condition.tokens) if self.reuse else len(tokens)
        guidance = inputs.guidance
        written: Written = []
        self.phase.writes, self.phase.text_length = written, 0
        try:
            with only_adapter(self.transformer, condition.adapter):
                self.forward(
                    hidden_states=tokens[:rows],
                    encoder_hidden_states=inputs.encoder_hidden_states[:rows, :0],
                    pooled_projections=inputs.pooled_projections[:rows],
                    timestep=torch.zeros_like(inputs.timestep[:rows]),
                    img_ids=ids,
                    txt_ids=inputs.txt_ids.reshape(-1, inputs.txt_ids.shape[-1])[:0],
                    guidance=None if guidance is None else torch.ones_like(guidance[:rows]),
                    return_dict=False,
                )
        finally:
            self.phase.writes = None
        shape = (len(tokens), -1, -1, -1)
        return [Heads(None, one.key.expand(shape), one.value.expand(shape)) for one in written]
