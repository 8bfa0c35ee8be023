"""Who attends to whom: text, noisy image and conditions in one attention, without a mask.

Letters: b batch, l tokens, h heads, e head size. Branches are numbered: `TEXT`, `IMAGE`, and the
conditions from 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from modelgraft.nn.attention import attend_with_bias

TEXT: Final = -2
IMAGE: Final = -1
Mode = Literal["joint", "independent"]
Scope = Literal["main", "image"]


class Heads(NamedTuple):
    """One branch's queries (None where nobody reads the output), keys and values [b, l, h, e]."""

    query: Tensor | None
    key: Tensor
    value: Tensor


class Sight(NamedTuple):
    """Branches that see the same keys, and the bias of each key branch on their scores."""

    queries: tuple[int, ...]
    keys: tuple[tuple[int, float], ...]


def sights(strengths: Sequence[float], *, mode: Mode | Sequence[Mode], scope: Scope) -> list[Sight]:
    """Who sees whom with conditions of these strengths (section 3.2; gamma of equations 5 and 6).

    Text and image see everything, a condition itself alone: no other condition, and text and image
    only in the joint mode; `mode` is one for all, or one each. A strength adds its logarithm to the
    scores between its condition and text and image (`main`, the official code of April 2025), or
    the image alone (`image`, the paper). A strength of 0 removes the keys, so in scope `main`
    nothing of a condition is left; in scope `image` it still reaches the image through the text.
    """
    text = [(TEXT, 0.0), (IMAGE, 0.0)]
    image = list(text)
    for place, strength in enumerate(strengths):
        if strength > 0:
            image.append((place, math.log(strength)))
        heard = strength if scope == "main" else 1.0
        if heard > 0:
            text.append((place, math.log(heard)))
    if text == image:
        found = [Sight((TEXT, IMAGE), tuple(text))]
    else:
        found = [Sight((TEXT,), tuple(text)), Sight((IMAGE,), tuple(image))]
    modes = [mode] * len(strengths) if isinstance(mode, str) else mode
    for place, strength in enumerate(strengths):
        keys = [(place, 0.0)]
        if modes[place] == "joint":
            seen = {TEXT: strength if scope == "main" else 1.0, IMAGE: strength}
            keys = [(one, math.log(by)) for one, by in seen.items() if by > 0] + keys
        found.append(Sight((place,), tuple(keys)))
    return found


def mix(heads: Mapping[int, Heads], seen: Sequence[Sight]) -> dict[int, Tensor]:
    """Attention outputs [b, l, h e] of every branch with queries.

    Key branches that are not in `heads` are not seen.
    """
    outputs: dict[int, Tensor] = {}
    for sight in seen:
        asked = {one: heads[one].query for one in sight.queries if one in heads}
        queries = {one: query for one, query in asked.items() if query is not None}
        if not queries:
            continue
        keys = [(heads[one], bias) for one, bias in sight.keys if one in heads]
        query = torch.cat(list(queries.values()), dim=1)
        output = attend_keys(query, keys)
        lengths = [one.shape[1] for one in queries.values()]
        outputs |= dict(zip(queries, output.split(lengths, dim=1), strict=True))
    return outputs


def attend_keys(query: Tensor, keys: Sequence[tuple[Heads, float]]) -> Tensor:
    """Attention [b, l, h e] of `query` [b, l, h, e] over groups of keys, each with its bias."""
    key = torch.cat([heads.key for heads, _ in keys], dim=1).transpose(1, 2)
    value = torch.cat([heads.value for heads, _ in keys], dim=1).transpose(1, 2)
    rows = query.transpose(1, 2)
    if any(bias for _, bias in keys):
        bias = torch.cat([torch.full((heads.key.shape[1],), one) for heads, one in keys])
        output = attend_with_bias(rows, key, value, bias)
    else:
        output = scaled_dot_product_attention(rows, key, value)
    return output.transpose(1, 2).flatten(2)
