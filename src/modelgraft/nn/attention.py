"""Attention in parts: outputs with their log-sum-exp, and the exact merge of such parts.

Letters: b batch, h query heads, g key-value heads (h is a multiple of g), q query tokens,
k key tokens, d head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_CPU_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CUDA_FLASH = torch.ops.aten._scaled_dot_product_flash_attention
_CHUNK_BYTES = 1 << 26
_SPARE = 8


class Part(NamedTuple):
    """Attention over one set of keys: `output` [b, h, q, d] and `lse` [b, h, q] in float32.

    `lse` is the log-sum-exp of the scaled scores; -inf marks a query that sees no key.
    """

    output: Tensor
    lse: Tensor


def merge_attention(parts: Sequence[Part]) -> Part:
    """Attention over the union of disjoint key sets, from the parts (Star Attention, section 2.2).

    Exact up to rounding and for any score offsets: computed in float32 (float64 stays float64)
    relative to the largest log-sum-exp. A query that no part sees gives zeros and -inf; a NaN
    in a part stays one.
    """
    if len(parts) == 1:
        return parts[0]
    lse = torch.stack([part.lse for part in parts])
    total = torch.logsumexp(lse, dim=0)
    weights = _zero_unseen(torch.softmax(lse, dim=0), total)
    merged = torch.zeros_like(parts[0].output, dtype=weights.dtype)
    for weight, part in zip(weights, parts, strict=True):
        merged.addcmul_(weight.unsqueeze(-1), part.output.to(weight.dtype))
    return Part(merged.to(parts[0].output.dtype), total)


def attend(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False
) -> Part:
    """Attention of `query` [b, h, q, d] over `key`, `value` [b, g, k, d], with its log-sum-exp.

    `causal` aligns the ends: the last query sees every key, so it needs k >= q. Grouped heads are
    packed instead of repeating the keys. Flash kernels run where they exist; everything else
    takes the chunked reference.
    """
    q, k = query.shape[2], key.shape[2]
    if causal and k < q:
        raise ValueError(f"causal attention needs at least as many keys as queries: {k} < {q}")
    if k == 0:
        return Part(torch.zeros_like(query), _empty_lse(query))
    if not causal or q == 1:
        return _attend_all(query, key, value, scale)
    before = k - q
    square = _attend_square(query, key[:, :, before:], value[:, :, before:], scale)
    if before == 0:
        return square
    prefix = _attend_all(query, key[:, :, :before], value[:, :, :before], scale)
    return merge_attention([prefix, square])


def attend_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    scale: float,
    visible: Tensor | None = None,
    softcap: float | None = None,
) -> Part:
    """The plain formula in chunks of queries; `visible` [q, k] is True where a key is seen."""
    b, h, q, d = query.shape
    g, k = key.shape[1], key.shape[2]
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    keys, values = (t.to(kind).unsqueeze(2) for t in (key, value))
    rows = query.to(kind).reshape(b, g, h // g, q, d)
    step = max(1, _CHUNK_BYTES // max(1, 4 * b * h * k))
    outputs, lses = [], []
    for start in range(0, q, step):
        scores = rows[..., start : start + step, :] @ keys.transpose(-1, -2) * scale
        if softcap is not None:
            scores = softcap * torch.tanh(scores / softcap)
        if visible is not None:
            scores = scores.masked_fill(~visible[start : start + step], float("-inf"))
        lse = torch.logsumexp(scores, dim=-1)
        weights = _zero_unseen(torch.softmax(scores, dim=-1), lse.unsqueeze(-1))
        outputs.append(weights @ values)
        lses.append(lse)
    output = torch.cat(outputs, dim=-2).reshape(b, h, q, d).to(query.dtype)
    return Part(output, torch.cat(lses, dim=-1).reshape(b, h, q))


def _zero_unseen(weights: Tensor, lse: Tensor) -> Tensor:
    """The weights of a query that sees no key are 0, not the NaN of a softmax over nothing."""
    return weights.masked_fill(lse == float("-inf"), 0.0)


def _empty_lse(query: Tensor) -> Tensor:
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    return torch.full(query.shape[:3], float("-inf"), dtype=kind, device=query.device)


def _attend_all(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Part:
    """Every query sees every key, so a group's query heads can be laid along the query axis."""
    b, h, q, d = query.shape
    g = key.shape[1]
    packed = query.reshape(b, g, (h // g) * q, d)
    part = _flash(packed, key, value, scale, causal=False)
    if part is None:
        return attend_reference(query, key, value, scale=scale)
    return Part(part.output.reshape(b, h, q, d), part.lse.reshape(b, h, q))


def _attend_square(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Part:
    """Causal with as many keys as queries; keys are shared by stride 0 inside a group."""
    b, h, q, d = query.shape
    g = key.shape[1]
    rows = query.reshape(b * g, h // g, q, d)
    shared = [t.reshape(b * g, 1, q, d).expand(b * g, h // g, q, d) for t in (key, value)]
    part = _flash(rows, *shared, scale, causal=True)
    if part is None:
        visible = torch.ones(q, q, dtype=torch.bool, device=query.device).tril()
        return attend_reference(query, key, value, scale=scale, visible=visible)
    return Part(part.output.reshape(b, h, q, d), part.lse.reshape(b, h, q))


def _has_cuda_flash(query: Tensor) -> bool:
    """Flash kernels need half precision, heads of at most 256 and compute capability 8.0."""
    is_half = query.dtype in (torch.float16, torch.bfloat16)
    fits = query.shape[-1] <= 256 and torch.cuda.get_device_capability(query.device) >= (8, 0)
    return is_half and fits


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float, causal: bool) -> Part | None:
    if query.device.type == "cpu" and query.dtype != torch.float16:
        return Part(*_CPU_FLASH(query, key, value, 0.0, causal, scale=scale)[:2])
    if query.device.type == "cuda" and _has_cuda_flash(query):
        return Part(*_CUDA_FLASH(query, key, value, 0.0, causal, False, scale=scale)[:2])
    return None


def attend_with_bias(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attention of `query` [b, h, q, d] over `key`, `value` [b, h, k, d] with `bias` [k] on scores.

    A bias that depends on the key alone is one more channel of the keys, met by a 1 in the queries.
    No mask is needed, so every kernel can run it, and the gradients are the plain ones. In half
    precision a second channel holds what the first one rounds away.
    """
    size = query.shape[-1]
    added = (bias * size**0.5).to(torch.float64)
    high = added.to(key.dtype)
    low = (added - high.to(torch.float64)).to(key.dtype)
    channels = torch.zeros(*key.shape[:-1], _SPARE, dtype=key.dtype, device=key.device)
    channels[..., 0], channels[..., 1] = high.to(key.device), low.to(key.device)
    ones = torch.zeros(*query.shape[:-1], _SPARE, dtype=query.dtype, device=query.device)
    ones[..., :2] = 1
    # Kernels want one head size for all three, a multiple of 8.
    wide = torch.nn.functional.scaled_dot_product_attention(
        torch.cat([query, ones], dim=-1),
        torch.cat([key, channels], dim=-1),
        torch.nn.functional.pad(value, (0, _SPARE)),
        scale=size**-0.5,
    )
    return wide[..., :size]
