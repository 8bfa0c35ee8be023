"""A stock model cut at a block: what lies below does not change while what lies above trains.

The states at the cut are computed once and kept in a file, so that an epoch costs the upper blocks
alone. What all prompts have in common at their beginning is computed and kept once.

Letters: b rows, t tokens of a row, d width.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.core.files import make_folder, read_json, require_space, write_json
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.logprobs import causal_lm
from modelgraft.nn.modes import eval_mode

Report = Callable[[int, int], None]

_AT_ONCE = 2048  # tokens of one forward pass below the cut
# Files above this size hold half as many bits a number, where the model has 32.
_LARGE_BYTES = 4 * 2**30
_STATES, _STATE = "states.bin", "state.json"


@dataclass(frozen=True)
class Prompts:
    """Token ids of many prompts, of which the first `shared` are the same in all."""

    ids: tuple[tuple[int, ...], ...]
    shared: int

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]]) -> Prompts:
        """Prompts with what they share counted; each keeps a token of its own."""
        rows = tuple(tuple(one) for one in ids)
        shortest = min(map(len, rows))
        first, last = min(rows), max(rows)  # what these two share, all between them share
        differing = (place for place in range(shortest) if first[place] != last[place])
        return cls(rows, min(next(differing, shortest), shortest - 1))

    @property
    def sizes(self) -> np.ndarray:
        """How many tokens of its own each prompt has [prompts]."""
        return np.array([len(one) - self.shared for one in self.ids])


@dataclass(frozen=True)
class States:
    """States at the cut of some prompts: `shared` [p, d] and `own` [b, t, d], filled up by zeros.

    `last` [b] is the place of each prompt's last token in `own`.
    """

    shared: Tensor
    own: Tensor
    last: Tensor


# -- below the cut ---------------------------------------------------------------------------------


class _Reached(Exception):
    """The blocks below the cut have been computed."""


class LowerStates:
    """The states at the input of a block for every token of prompts, in a file of `folder`.

    They are computed on the first use. A process that was killed goes on where it stopped; a file
    of another model, block or prompts is overwritten. Numbers have the model's type; of
    float32 float16 in files above 4 GB.
    """

    def __init__(
        self,
        folder: Path,
        model: Any,
        tokenizer: Any,
        prompts: Prompts,
        block: int,
        *,
        report: Report | None = None,
    ) -> None:
        self.model, self.prompts, self.block = causal_lm(model), prompts, block
        self.width = self.model.config.get_text_config().hidden_size
        self.device = self.model.device
        sizes = prompts.sizes
        self.starts = prompts.shared + np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self.numbers = int((prompts.shared + sizes.sum()) * self.width)
        own = self.model.dtype
        # bfloat16 is as short already, and reaches beyond float16.
        is_halved = own == torch.float32 and self.numbers * own.itemsize > _LARGE_BYTES
        self.dtype = torch.float16 if is_halved else own
        known = [fingerprint(self.model, tokenizer), block, prompts.ids, str(self.dtype)]
        self.key = hashlib.sha256(repr(known).encode()).hexdigest()[:16]
        self.folder = folder
        self._open()
        self._compute(report)

    def rows(self, places: Sequence[int]) -> States:
        """The states of some prompts, in the model's number type and on its device."""
        sizes = self.prompts.sizes[list(places)]
        own = torch.zeros(len(places), int(sizes.max()), self.width, dtype=self.dtype)
        for row, (place, size) in enumerate(zip(places, sizes, strict=True)):
            start = int(self.starts[place])
            own[row, :size] = self.file[start : start + size]
        shared = self.file[: self.prompts.shared].clone()
        last = torch.from_numpy(sizes - 1)
        kind = {"dtype": self.model.dtype, "device": self.device}
        return States(shared.to(**kind), own.to(**kind), last.to(self.device))

    def _open(self) -> None:
        make_folder(self.folder)
        path, state = self.folder / _STATES, self.folder / _STATE
        num_bytes = self.numbers * self.dtype.itemsize
        if not state.exists() or read_json(state, "the state of a cache")["key"] != self.key:
            state.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            require_space(self.folder, num_bytes, "the states below the adapter")
            write_json(state, {"key": self.key, "done": 0})
        flat = torch.from_file(str(path), shared=True, size=self.numbers, dtype=self.dtype)
        self.file = flat.view(-1, self.width)

    @torch.no_grad()
    def _compute(self, report: Report | None) -> None:
        chunks = self._chunks()
        done = int(read_json(self.folder / _STATE, "the state of a cache")["done"])
        if done == len(chunks):
            return
        shared = self.prompts.shared
        begun: list[tuple[Tensor, Tensor]] = []
        with eval_mode(self.model):
            if shared:
                cache = DynamicCache()
                ids = torch.tensor([self.prompts.ids[0][:shared]], device=self.device)
                self.file[:shared] = self._forward(ids, cache)[0].to("cpu", self.dtype)
                begun = _kept(cache)
            for number in range(done, len(chunks)):
                self._chunk(chunks[number], begun)
                write_json(self.folder / _STATE, {"key": self.key, "done": number + 1})
                if report is not None:
                    report(number + 1, len(chunks))

    def _chunks(self) -> list[list[int]]:
        """The prompts in groups of about one length."""
        sizes = self.prompts.sizes
        chunks: list[list[int]] = []
        for place in np.argsort(-sizes, kind="stable").tolist():
            longest = sizes[chunks[-1][0]] if chunks else 0
            if not chunks or longest * (len(chunks[-1]) + 1) > _AT_ONCE:
                chunks.append([])
            chunks[-1].append(place)
        return chunks

    def _chunk(self, places: list[int], begun: list[tuple[Tensor, Tensor]]) -> None:
        shared, sizes = self.prompts.shared, self.prompts.sizes[places]
        ids = torch.zeros(len(places), int(sizes.max()), dtype=torch.int64)
        for row, place in enumerate(places):
            ids[row, : sizes[row]] = torch.tensor(self.prompts.ids[place][shared:])
        cache = repeated(begun, len(places)) if shared else None
        states = self._forward(ids.to(self.device), cache).to("cpu", self.dtype)
        for row, place in enumerate(places):
            start = int(self.starts[place])
            self.file[start : start + sizes[row]] = states[row, : sizes[row]]

    def _forward(self, ids: Tensor, cache: DynamicCache | None) -> Tensor:
        """The states [b, t, d] after the blocks below the cut, padding on the right unseen."""
        decoder, kept = self.model.get_decoder(), []

        def keep(module: Any, arguments: Any, output: Any) -> None:
            kept.append(output[0] if isinstance(output, tuple) else output)
            raise _Reached

        hook = decoder.layers[self.block - 1].register_forward_hook(keep)
        try:
            decoder(input_ids=ids, past_key_values=cache, use_cache=cache is not None)
        except _Reached:
            pass
        finally:
            hook.remove()
        return kept[0]


def _kept(cache: Any) -> list[tuple[Tensor, Tensor]]:
    return [(layer.keys, layer.values) for layer in cache.layers]


def repeated(begun: Sequence[tuple[Tensor, Tensor]], rows: int) -> DynamicCache:
    """A cache of `rows` rows that all begin with these keys and values [1, heads, p, d / heads]."""
    cache = DynamicCache()
    for number, (keys, values) in enumerate(begun):
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), number)
    return cache


# -- above the cut ---------------------------------------------------------------------------------


class UpperHalf:
    """The blocks from one on, with what follows them, as a stock model that shares every weight.

    Made of the very modules of `model`, a causal language model or a sequence classifier with or
    without an adapter, so what trains here trains there.
    """

    def __init__(self, model: Any, block: int) -> None:
        inner = causal_lm(model)
        check_block(len(inner.base_model.layers), block)
        self.model = _shallow(inner)
        decoder = _shallow(inner.base_model)
        self.model._modules[inner.base_model_prefix] = decoder
        layers = [_renumbered(one, place) for place, one in enumerate(decoder.layers[block:])]
        decoder.layers = nn.ModuleList(layers)
        decoder.config = _shortened(decoder.config, block)
        self._given: Tensor | None = None
        # In place of what the embedding would be: some families scale it on the way.
        layers[0].register_forward_pre_hook(self._enter)

    def logits(self, states: States) -> Tensor:
        """Logits [b, v] after the last token of each prompt."""
        rows = torch.arange(len(states.last), device=states.last.device)
        return self.logits_at(states, rows, states.last)

    def logits_at(self, states: States, rows: Tensor, columns: Tensor) -> Tensor:
        """Logits [n, v] after the tokens at some columns [n] of `own`, in these rows [n]."""
        places, kept = columns.unique(return_inverse=True)
        found = self._run(self.model, states, logits_to_keep=places).logits
        return found[rows, kept].float()

    def last_states(self, states: States) -> Tensor:
        """States [b, d] at the last token of each prompt, as a head on the model reads them."""
        hidden = self._run(self.model.base_model, states).last_hidden_state
        return hidden[torch.arange(len(states.last), device=hidden.device), states.last]

    def check(self, lower: LowerStates) -> None:
        """Raise `UnsupportedModel` unless both halves of the first prompt make the whole model."""
        with torch.no_grad():
            ids = torch.tensor([lower.prompts.ids[0]], device=lower.device)
            whole = lower.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
            mine = self.last_states(lower.rows([0]))[0]
        size = float(whole.abs().max())
        within = 1e-3 if lower.dtype == torch.float32 else 5e-2
        if not torch.allclose(mine.float(), whole.float(), atol=within * size, rtol=0.0):
            raise UnsupportedModel(
                f"{type(lower.model).__name__}: cut at block {lower.block}, it does not say the "
                "same as whole, so it cannot be trained from its middle.\n"
                "  Tune a probe: --train probe."
            )

    def _run(self, model: Any, states: States, **options: Any) -> Any:
        cache = None
        if len(states.shared):
            cache = DynamicCache()
            self._call(self.model.base_model, states.shared[None], cache)
            cache = repeated(_kept(cache), len(states.own))
        return self._call(model, states.own, cache, **options)

    def _call(self, model: Any, given: Tensor, cache: DynamicCache | None, **options: Any) -> Any:
        self._given = given
        try:
            return model(
                inputs_embeds=given,
                past_key_values=cache,
                use_cache=cache is not None,
                **options,
            )
        finally:
            self._given = None

    def _enter(self, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._given, *arguments[1:])


def check_block(num: int, block: int) -> None:
    """Raise `ConfigError` unless of `num` blocks some lie below the cut and some above it."""
    if not 0 < block < num:
        raise ConfigError(
            "layers",
            f"--layers {num - block}: the model has {num} blocks, and at least one of them stays "
            f"below the adapter.\n  Use 1 to {num - 1}.",
        )


def _shallow(module: Any) -> Any:
    """The module with a list of parts and of hooks of its own; the parts are the same objects."""
    found = copy.copy(module)
    for name in ("_modules", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"):
        found.__dict__[name] = type(module.__dict__[name])(module.__dict__[name])
    return found


def _renumbered(layer: Any, place: int) -> Any:
    """The block as the one at this place of a cache."""
    found = _shallow(layer)
    for name, part in layer.named_children():
        if hasattr(part, "layer_idx"):
            found._modules[name] = _shallow(part)
            found._modules[name].layer_idx = place
    return found


def _shortened(config: Any, block: int) -> Any:
    """The configuration of the blocks from one on."""
    found = copy.copy(config)
    if kinds := getattr(config, "layer_types", None):
        found.layer_types = kinds[block:]
    found.num_hidden_layers = config.num_hidden_layers - block
    return found
