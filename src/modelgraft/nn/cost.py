"""What a computation really costs: operations counted as they run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_MATMULS = (_aten.mm.default, _aten.bmm.default)
_ADDED_MATMULS = (_aten.addmm.default, _aten.baddbmm.default)
_FUSED_ATTENTION = (
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
)


class FlopCounter(TorchDispatchMode):
    """Counts matrix products and fused attention inside the block, in `linear` and `attention`.

    Attention is counted by visible (query, key) pairs, 4 d operations each, so a causal kernel
    counts half of a full one and a masked kernel what its mask shows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = 0
        self.attention = 0

    @property
    def total(self) -> int:
        """All operations counted so far."""
        return self.linear + self.attention

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _MATMULS:
            self.linear += _matmul_flops(args[0], args[1])
        elif func in _ADDED_MATMULS:
            self.linear += _matmul_flops(args[1], args[2])
        elif func in _FUSED_ATTENTION:
            self.attention += _attention_flops(func, args, kwargs)
        return func(*args, **kwargs)


def _matmul_flops(left: Tensor, right: Tensor) -> int:
    return 2 * math.prod(left.shape) * right.shape[-1]


def _attention_flops(func: Any, args: Any, kwargs: Any) -> int:
    names = [argument.name for argument in func._schema.arguments]
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    b, h, q, d = given["query"].shape
    k = given["key"].shape[2]
    mask = given.get("attn_mask", given.get("attn_bias"))
    if mask is not None:
        seen = mask if mask.dtype == torch.bool else torch.isfinite(mask)
        pairs = int(seen.expand(b, h, q, k).sum())
    elif given.get("is_causal", False):
        square = min(q, k)
        pairs = b * h * (square * (square + 1) // 2 + (q - square) * k)
    else:
        pairs = b * h * q * k
    return 4 * d * pairs
