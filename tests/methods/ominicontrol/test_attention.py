"""Who sees whom, checked by gradients, and three ways to count a condition more or less."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from random_flux import distance, draw
from torch import Tensor

from modelgraft.methods.ominicontrol.method.attention import (
    IMAGE,
    TEXT,
    Heads,
    attend_keys,
    mix,
    sights,
)
from modelgraft.nn.attention import Part, attend, merge_attention

LENGTHS = {TEXT: 3, IMAGE: 4, 0: 2, 1: 5}


def make_heads(names: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[int, Heads]:
    """Two samples, two heads of 8."""
    found = {}
    for name in names:
        size = (2, LENGTHS[name], 2, 8)
        found[name] = Heads(*(draw(*size, seed=9 * name + part).to(dtype) for part in range(3)))
    return found


def table(strengths: Sequence[float], mode: str, scope: str) -> set[tuple[int, int]]:
    """Pairs (query branch, key branch) with a gradient that is not exactly zero."""
    heads = make_heads([TEXT, IMAGE, *range(len(strengths))], torch.float64)
    for one in heads.values():
        one.value.requires_grad_(True)
        one.key.requires_grad_(True)
    outputs = mix(heads, sights(strengths, mode=mode, scope=scope))
    found = set()
    for query, output in outputs.items():
        for key, one in heads.items():
            slopes = torch.autograd.grad(
                output.square().sum(), [one.key, one.value], retain_graph=True, allow_unused=True
            )
            if any(slope is not None and slope.any() for slope in slopes):
                found.add((query, key))
    return found


def pairs(text: str) -> set[tuple[int, int]]:
    """'TX' is text sees image; conditions are a and b."""
    names = {"T": TEXT, "X": IMAGE, "a": 0, "b": 1}
    return {(names[one], names[other]) for one, other in text.split()}


MAIN = "TT TX XT XX"


@pytest.mark.parametrize(
    ("strengths", "mode", "scope", "expected"),
    [
        ((1, 0.5), "independent", "main", f"{MAIN} Ta Xa Tb Xb aa bb"),
        ((1, 0.5), "joint", "main", f"{MAIN} Ta Xa Tb Xb aa bb aT aX bT bX"),
        ((1, 0), "independent", "main", f"{MAIN} Ta Xa aa bb"),
        ((1, 0), "joint", "main", f"{MAIN} Ta Xa aa bb aT aX"),
        ((0, 2), "independent", "image", f"{MAIN} Ta Tb Xb aa bb"),
        ((0, 2), "joint", "image", f"{MAIN} Ta Tb Xb aa bb aT bT bX"),
    ],
)
def test_gradients_are_zero_exactly_where_the_table_forbids_sight(strengths, mode, scope, expected):
    assert table(strengths, mode, scope) == pairs(expected)


@pytest.mark.parametrize("gamma", [1e-6, 0.3, 1.0, 2.5, 1e6])
def test_mask_key_channel_and_merged_parts_give_the_same_dial(gamma):
    heads = make_heads([IMAGE, TEXT, 0])
    groups = [(heads[TEXT], 0.0), (heads[IMAGE], 0.0), (heads[0], math.log(gamma))]
    query = heads[IMAGE].query
    assert query is not None
    rows = query.transpose(1, 2)
    found = attend_keys(query, groups)
    scale = rows.shape[-1] ** -0.5

    key, value = (
        torch.cat([one[0][part] for one in groups], dim=1).transpose(1, 2) for part in (1, 2)
    )
    bias = torch.cat([torch.full((one.key.shape[1],), by) for one, by in groups])
    masked = torch.softmax(rows @ key.transpose(2, 3) * scale + bias, dim=-1) @ value
    assert distance(found, masked.transpose(1, 2).flatten(2)) < 1e-5

    parts = []
    for one, by in groups:
        part = attend(rows, one.key.transpose(1, 2), one.value.transpose(1, 2), scale=scale)
        parts.append(Part(part.output, part.lse + by))
    merged = merge_attention(parts).output
    assert distance(found, merged.transpose(1, 2).flatten(2)) < 1e-5


def test_strength_1_is_no_dial():
    for one in sights([1.0, 1.0], mode="joint", scope="main"):
        assert all(bias == 0 for _, bias in one.keys)


@pytest.mark.parametrize("mode", ["joint", "independent"])
def test_the_dial_of_scope_image_leaves_text_and_condition_alone(mode):
    """Equations 5 and 6: log(gamma) between image and condition, in both directions, else 0."""
    found: dict[tuple[int, int], float] = {}
    for one in sights([2.0], mode=mode, scope="image"):
        found |= {(query, key): bias for query in one.queries for key, bias in one.keys}
    told = {pair for pair, bias in found.items() if bias}
    assert told == pairs("Xa aX" if mode == "joint" else "Xa")
    assert all(found[pair] == pytest.approx(math.log(2)) for pair in told)


def test_a_branch_without_queries_is_seen_and_gets_no_output():
    heads = make_heads([TEXT, IMAGE, 0])
    whole = mix(heads, sights([1.0], mode="joint", scope="main"))
    silent = {**heads, 0: heads[0]._replace(query=None), TEXT: heads[TEXT]._replace(query=None)}
    found = mix(silent, sights([1.0], mode="joint", scope="main"))
    assert list(found) == [IMAGE]
    assert distance(found[IMAGE], whole[IMAGE]) < 1e-6


def test_outputs_come_back_to_their_own_branch():
    heads = make_heads([TEXT, IMAGE])
    found: dict[int, Tensor] = mix(heads, sights([], mode="joint", scope="main"))
    assert {name: one.shape for name, one in found.items()} == {TEXT: (2, 3, 16), IMAGE: (2, 4, 16)}
    swapped = mix({IMAGE: heads[IMAGE], TEXT: heads[TEXT]}, sights([], mode="joint", scope="main"))
    assert all(torch.equal(found[name], swapped[name]) for name in found)
