"""What a source of training pictures gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Some targets, what is said of them, and what they obey."""

    targets: Tensor
    """[b, 3, H, W] from 0 to 1."""
    prompts: Sequence[str]
    conditions: Mapping[str, Tensor]
    """[b, 3, h, w] from 0 to 1 by task."""

    def __len__(self) -> int:
        return len(self.targets)


class Source(Protocol):
    """Numbered pictures."""

    @property
    def total(self) -> int | None:
        """How many there are; None if there is no end."""
        ...

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        """The pictures with these numbers; what is random in conditions changes with `use`."""
        ...
