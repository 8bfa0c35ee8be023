"""Forward passes of many prompts that begin alike: what they share is computed once.

The prompts make a tree of segments. It is walked from its root; the keys and values of the open
path stay in one cache, and the segments that hang on it go through the model side by side in one
row, each seeing its own path alone, with positions that go on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.language.cache import RowCache
from modelgraft.language.logprobs import causal_lm
from modelgraft.nn.modes import eval_mode

# Tokens of one forward pass: enough to keep a device busy, and few enough that what they cannot
# see of each other costs little; a CPU is busy with fewer.
_AT_ONCE = {"cpu": 384}
_AT_ONCE_ELSEWHERE = 1024
# A segment is shared only if that saves so many tokens: each level is a forward pass of its own.
_WORTH_SHARING = 16
_MASKED = ("sdpa", "eager")  # attention that takes a mask of any shape


@dataclass(frozen=True)
class Question:
    """A prompt's token ids, and at which places what of the next token is asked.

    `wanted` maps a place to token ids: their log-probabilities as the token after `ids[place]`.
    """

    ids: tuple[int, ...]
    wanted: Mapping[int, tuple[int, ...]]

    @classmethod
    def after(cls, ids: Sequence[int], tokens: Sequence[int]) -> Question:
        """The log-probabilities of these tokens after the whole prompt."""
        return cls(tuple(ids), {len(ids) - 1: tuple(tokens)})

    @classmethod
    def of_answer(cls, prompt: Sequence[int], answer: Sequence[int]) -> Question:
        """The log-probability of every token of an answer to the prompt."""
        ids = (*prompt, *answer)
        places = range(len(prompt) - 1, len(ids) - 1)
        return cls(ids, {place: (ids[place + 1],) for place in places})


@dataclass
class Counts:
    """Tokens that went through the model, and those of the prompts one by one."""

    computed: int = 0
    alone: int = 0


def read_logprobs(
    model: Any,
    questions: Sequence[Question],
    *,
    counts: Counts | None = None,
    report: Callable[[int, int], None] | None = None,
    at_once: int | None = None,
) -> list[dict[int, tuple[float, ...]]]:
    """For each question the log-probabilities in nats of what it wants, by place.

    They are those of a forward pass of each prompt alone, but for rounding. Computed in float32;
    logits of the places that are asked for only. `counts` is added to, `report(done, total)` hears
    of the questions, and `at_once` bounds the tokens of a forward pass.

    Raises `UnsupportedModel` for a model whose attention takes no mask of any shape or keeps more
    than keys and values, and `InputError` for a prompt that is empty or longer than its context.
    """
    found: list[dict[int, tuple[float, ...]]] = [{} for _ in questions]

    def take(node: _Node, places: list[int], logits: Tensor) -> None:
        logprobs = logits.float().log_softmax(dim=-1)
        for row, place in zip(logprobs, places, strict=True):
            for number in node.askers(place):
                tokens = questions[number].wanted[place]
                found[number][place] = tuple(row[list(tokens)].tolist())

    _walk(model, questions, take, counts, report, at_once)
    return found


def read_states(
    model: Any,
    questions: Sequence[Question],
    blocks: Sequence[int],
    *,
    counts: Counts | None = None,
    report: Callable[[int, int], None] | None = None,
    at_once: int | None = None,
) -> Tensor:
    """Hidden states [questions, blocks, d] in float32 at the last asked place of each question.

    Block n is the state after n of the model's blocks, 0 the embedding; later blocks than the last
    one asked for are not computed. The final norm is not applied.
    """
    inner = causal_lm(model)
    layers = inner.get_decoder().layers
    if not blocks or not all(0 <= block <= len(layers) for block in blocks):
        raise ConfigError(
            "blocks", f"blocks {list(blocks)}: from 0 to {len(layers)} are there to be read."
        )
    size = inner.config.get_text_config().hidden_size
    found = torch.empty(len(questions), len(blocks), size)
    tap = _Tap(layers, blocks)

    def take(node: _Node, places: list[int], states: Tensor) -> None:
        for column, place in enumerate(places):
            for number in node.askers(place):
                if place == max(questions[number].wanted):
                    found[number] = states[:, column].float().cpu()

    with tap:
        _walk(model, questions, take, counts, report, at_once, tap=tap)
    return found


class _Reached(Exception):
    """The last block that was asked for has been computed."""


class _Tap:
    """Hooks that keep the states between blocks, and end the pass behind the last one wanted."""

    def __init__(self, layers: Any, blocks: Sequence[int]) -> None:
        self.layers, self.blocks = layers, list(blocks)
        self.kept: dict[int, Tensor] = {}
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        for number, layer in enumerate(self.layers):
            self.handles.append(layer.register_forward_pre_hook(self._entering(number)))
        self.handles.append(self.layers[-1].register_forward_hook(self._left))

    def __exit__(self, *exc: object) -> None:
        for handle in self.handles:
            handle.remove()

    def _entering(self, number: int) -> Callable[..., None]:
        def hook(module: Any, arguments: tuple[Any, ...]) -> None:
            self._keep(number, arguments[0])
            if number == max(self.blocks):
                raise _Reached

        return hook

    def _left(self, module: Any, arguments: Any, output: Any) -> None:
        self._keep(len(self.layers), output[0] if isinstance(output, tuple) else output)

    def _keep(self, number: int, states: Tensor) -> None:
        if number in self.blocks:
            self.kept[number] = states

    def states(self, places: Tensor) -> Tensor:
        """Those of the last pass at some places of its row, [blocks, places, d]."""
        return torch.stack([self.kept[block][0, places] for block in self.blocks])


# -- the tree --------------------------------------------------------------------------------------


@dataclass
class _Node:
    """A segment: tokens from place `start` on, below the segments before it.

    `asked` maps a place within the segment to the questions that want it.
    """

    start: int
    ids: tuple[int, ...]
    children: list[_Node] = field(default_factory=list)
    asked: dict[int, list[int]] = field(default_factory=dict)

    def askers(self, place: int) -> list[int]:
        return self.asked.get(place, [])


def _tree(questions: Sequence[Question]) -> _Node:
    """The root, an empty segment, with all prompts below it."""
    order = sorted(range(len(questions)), key=lambda number: questions[number].ids)
    return _Node(0, (), _branches(questions, order, 0))


def _branches(questions: Sequence[Question], order: list[int], start: int) -> list[_Node]:
    """The segments that the questions of `order`, sorted and alike before `start`, go on with."""
    nodes: list[_Node] = []
    place = 0
    while place < len(order):
        ids = questions[order[place]].ids
        group, common = [order[place]], len(ids)
        # What is shared with the first shrinks along the order, so those who join stand together.
        for number in order[place + 1 :]:
            shared = _alike(ids, questions[number].ids, start, common)
            if shared - start < _WORTH_SHARING and questions[number].ids != ids:
                break
            group.append(number)
            common = shared
        nodes.append(_segment(questions, group, start, common))
        place += len(group)
    return nodes


def _segment(questions: Sequence[Question], group: list[int], start: int, end: int) -> _Node:
    first = questions[group[0]].ids
    node = _Node(start, first[start:end])
    for number in group:
        for place in questions[number].wanted:
            if start <= place < end:
                node.asked.setdefault(place, []).append(number)
    longer = [number for number in group if len(questions[number].ids) > end]
    node.children = _branches(questions, longer, end) if longer else []
    return node


def _alike(one: tuple[int, ...], other: tuple[int, ...], start: int, end: int) -> int:
    """Up to which place, at most `end`, both are the same; they are before `start`."""
    end = min(end, len(other))
    if one[start:end] == other[start:end]:
        return end
    low, high = start, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle)
    return low


# -- the walk --------------------------------------------------------------------------------------

Take = Callable[[_Node, list[int], Tensor], None]


class _Walk:
    """The open path: which slots of the cache belong to which place of it."""

    def __init__(
        self, model: Any, capacity: int, take: Take, at_once: int, tap: _Tap | None
    ) -> None:
        self.model, self.take, self.at_once, self.tap = model, take, at_once, tap
        self.cache = RowCache(model, num_rows=1, width=0, capacity=capacity)
        self.cache.begin()
        self.length = 0
        self.positions = np.zeros(capacity, dtype=np.int64)
        self.computed = 0
        self.windows = _windows(model)

    def below(self, node: _Node, slots: np.ndarray) -> Iterator[_Node]:
        """Compute all segments below one whose path lies in `slots`, and yield the done ones."""
        for chunk in _chunks(node.children, self.at_once):
            start = self.length
            own = self._forward(chunk, slots)
            for child, places in zip(chunk, own, strict=True):
                yield child
                if child.children:
                    yield from self.below(child, np.concatenate([slots, places]))
            self.length = start
            self.cache.rewind(start)

    def _forward(self, chunk: list[_Node], slots: np.ndarray) -> list[np.ndarray]:
        """Put segments side by side through the model; the slots that each now has."""
        ids = [token for node in chunk for token in node.ids]
        start, end = self.length, self.length + len(ids)
        mask = np.zeros((len(ids), end), dtype=bool)
        mask[:, slots] = True
        own, row = [], 0
        for node in chunk:
            size = len(node.ids)
            here = np.arange(start + row, start + row + size)
            self.positions[here] = node.start + np.arange(size)
            mask[row : row + size, here] = np.tri(size, dtype=bool)
            own.append(here)
            row += size
        self._run(chunk, own, ids, mask, start, end)
        self.length, self.computed = end, self.computed + len(ids)
        return own

    def _run(
        self,
        chunk: list[_Node],
        own: list[np.ndarray],
        ids: list[int],
        mask: np.ndarray,
        start: int,
        end: int,
    ) -> None:
        device = self.model.device
        asked = [sorted(node.asked) for node in chunk]
        rows = [
            slots[0] - start + place - node.start
            for node, slots, places in zip(chunk, own, asked, strict=True)
            for place in places
        ]
        kept = torch.tensor(rows or [0], dtype=torch.int64, device=device)
        arguments = {
            "input_ids": torch.tensor([ids], device=device),
            "position_ids": torch.tensor(self.positions[None, start:end], device=device),
            "attention_mask": self._masks(mask, start, end),
            "past_key_values": self.cache,
            "use_cache": True,
        }
        if self.tap is None:
            read = self.model(**arguments, logits_to_keep=kept).logits[0]
        else:
            try:
                self.model.get_decoder()(**arguments)
            except _Reached:
                # The blocks behind have stored nothing; they are not asked for on any path.
                pass
            read = self.tap.states(kept)
        axis = 0 if self.tap is None else 1
        sizes = [len(places) for places in asked]
        if not rows:
            return
        for node, places, part in zip(chunk, asked, read.split(sizes, dim=axis), strict=True):
            if places:
                self.take(node, places, part)

    def _masks(self, mask: np.ndarray, start: int, end: int) -> Any:
        """The mask as each kind of layer takes it: windows are counted in positions."""
        whole = self._mask(mask)
        if not self.windows:
            return whole
        size, is_mixed = self.windows
        away = self.positions[start:end, None] - self.positions[None, :end]
        near = self._mask(mask & (away < size))
        return {"full_attention": whole, "sliding_attention": near} if is_mixed else near

    def _mask(self, mask: np.ndarray) -> Tensor:
        sees = torch.tensor(mask[None, None], device=self.model.device)
        if self.model.config._attn_implementation != "eager":
            return sees
        # Eager attention adds its mask to the scores.
        least = torch.finfo(self.model.dtype).min
        return torch.zeros_like(sees, dtype=self.model.dtype).masked_fill(~sees, least)


def _walk(
    model: Any,
    questions: Sequence[Question],
    take: Take,
    counts: Counts | None,
    report: Callable[[int, int], None] | None,
    at_once: int | None,
    tap: _Tap | None = None,
) -> None:
    if not questions:
        return
    inner = causal_lm(model)
    at_once = at_once or _AT_ONCE.get(inner.device.type, _AT_ONCE_ELSEWHERE)
    _check(inner, questions)
    root = _tree(questions)
    walk = _Walk(inner, _capacity(root, at_once), take, at_once, tap)
    done: set[int] = set()
    with torch.no_grad(), eval_mode(inner):
        for node in walk.below(root, np.zeros(0, dtype=np.int64)):
            done.update(number for numbers in node.asked.values() for number in numbers)
            if report is not None:
                report(len(done), len(questions))
    if counts is not None:
        counts.computed += walk.computed
        counts.alone += sum(len(one.ids) for one in questions)


def _chunks(nodes: list[_Node], at_once: int) -> list[list[_Node]]:
    """Segments in groups of at most so many tokens, a longer one alone."""
    chunks: list[list[_Node]] = []
    used = 0
    for node in nodes:
        if not chunks or used + len(node.ids) > at_once:
            chunks.append([])
            used = 0
        chunks[-1].append(node)
        used += len(node.ids)
    return chunks


def _capacity(node: _Node, at_once: int) -> int:
    """Slots that the path below a node takes at most."""
    return max(
        (
            sum(len(child.ids) for child in chunk)
            + max(_capacity(child, at_once) for child in chunk)
            for chunk in _chunks(node.children, at_once)
        ),
        default=0,
    )


def _windows(model: Any) -> tuple[int, bool] | None:
    """The window of sliding attention and whether other layers see all; None without any."""
    config = model.config.get_text_config()
    size = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not size or getattr(config, "use_sliding_window", True) is False:
        return None
    if not kinds:
        return size, False
    return (size, len(kinds) > 1) if "sliding_attention" in kinds else None


def _check(model: Any, questions: Sequence[Question]) -> None:
    kind = model.config._attn_implementation
    if kind not in _MASKED:
        raise UnsupportedModel(
            f"{type(model).__name__} with {kind} attention: prompts that share a beginning need a "
            f"mask of any shape.\n  Load it with attn_implementation {' or '.join(_MASKED)}."
        )
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for number, question in enumerate(questions):
        if not question.ids or not question.wanted:
            raise InputError(f"question {number}: it has no token, or nothing is asked of it.")
        if limit is not None and len(question.ids) > limit:
            raise InputError(
                f"question {number}: {len(question.ids):,} tokens do not fit the context of "
                f"{limit:,}.\n  Shorten it."
            )
