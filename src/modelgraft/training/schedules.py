"""Learning rates as closed functions of the step: nothing to save, nothing to resume."""

from __future__ import annotations

import math

from modelgraft.training.config import Schedule


def learning_rate_factor(step: int, steps: int, *, schedule: Schedule, warmup: float) -> float:
    """The share of the peak learning rate at `step` of `steps`, counted from 0.

    It rises linearly over the first `warmup` share of the steps, then falls to 0 at the end
    (linear, cosine) or stays. The first and the last step both move the weights, as their shares
    are taken at the end of the warm-up's steps and at the start of the fall's.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    if schedule == "linear":
        return 1 - done
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    return 1.0
