"""What conditions cost, from the sizes of a Flux transformer alone (OminiControl2, section 4).

Every token passes 24 d^2 operations of linear layers in each block; attention adds 4 q k d for q
queries and k keys. Embedders, modulation and the head are left out; they are under one per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Way = Literal["joint", "cached"]


@dataclass(frozen=True)
class Shape:
    """Width and number of blocks of a transformer."""

    width: int
    blocks: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """From the config of a `FluxTransformer2DModel`."""
        return cls(
            config["num_attention_heads"] * config["attention_head_dim"],
            config["num_layers"] + config["num_single_layers"],
        )

    def linear(self, tokens: int) -> int:
        """Operations of the linear layers on so many tokens."""
        return 24 * self.width**2 * self.blocks * tokens

    def attention(self, queries: int, keys: int) -> int:
        """Operations of so many queries over so many keys."""
        return 4 * self.width * self.blocks * queries * keys

    def key_values(self, tokens: int, bytes_per_number: int = 2) -> int:
        """Bytes of the keys and values of so many tokens."""
        return 2 * self.width * self.blocks * tokens * bytes_per_number


def sampling_flop(
    shape: Shape, *, image: int, text: int, condition: int, conditions: int, steps: int, way: Way
) -> int:
    """Operations of a whole picture: `conditions` of `condition` tokens each beside the image's.

    `joint` runs all branches at every step; `cached` runs each condition once and reads its keys.
    """
    main, added = image + text, conditions * condition
    if way == "joint":
        seen = shape.attention(main, main + added)
        seen += conditions * shape.attention(condition, main + condition)
        return steps * (shape.linear(main + added) + seen)
    write = conditions * (shape.linear(condition) + shape.attention(condition, condition))
    return steps * (shape.linear(main) + shape.attention(main, main + added)) + write
