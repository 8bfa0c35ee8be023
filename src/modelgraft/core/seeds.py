"""Seeds: every item draws from its own stream, so order, shards and resume cannot change it."""

from __future__ import annotations

import hashlib


def rng_seed(*parts: str | int) -> int:
    """A stable integer in [0, 2**63) for this sequence of strings and integers."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
