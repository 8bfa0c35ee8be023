"""The options that every training action shares; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt

Schedule = Literal["linear", "cosine", "constant"]
Optimiser = Literal["adamw", "prodigy"]


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """An optimiser with a warm-up and a schedule, and how a batch is cut to fit the memory."""

    optimiser: Optimiser = opt(
        "adamw", "What takes the steps; prodigy finds their size itself and wants lr 1."
    )
    lr: float = opt(1e-4, "Peak learning rate; of prodigy a factor on its own.", min=0)
    schedule: Schedule = opt("linear", "How the learning rate falls after the warm-up.")
    warmup: float = opt(0.03, "Share of the steps in which the learning rate rises.", min=0, max=1)
    batch: int = opt(32, "Samples of one optimiser step, over all processes.", min=1)
    micro_batch: int = opt(
        8, "Samples of one forward pass; smaller takes less memory and gives the same step.", min=1
    )
    clip: float | None = opt(1.0, "Largest gradient norm; none does not clip.", min=0)
    weight_decay: float = opt(0.0, "Decay of the matrices; vectors do not decay.", min=0)
    betas: tuple[float, ...] = opt(
        (0.9, 0.999),
        "The optimiser's two decay rates of its averages.",
        min=0,
        max=1,
        advanced=True,
    )
    eps: float = opt(1e-8, "The optimiser's epsilon.", min=0, advanced=True)
    precision: Literal["no", "bf16"] = opt(
        "no",
        "Number type of the forward pass; the trained weights stay as they are.",
        advanced=True,
    )
    save_every: int = opt(100, "Steps between checkpoints.", min=1, advanced=True)

    def __post_init__(self) -> None:
        if len(self.betas) != 2:
            raise ConfigError("betas", f"betas {self.betas}: the optimiser takes two numbers.")
        if self.optimiser == "prodigy" and not self.eps:
            raise ConfigError("eps", "eps 0: prodigy divides by it; 1e-8 is usual.")
        if self.micro_batch > self.batch:
            raise ConfigError(
                "micro_batch",
                f"micro_batch {self.micro_batch} is larger than batch {self.batch}; lower it.",
            )
