"""How the token losses of a batch become one number (Tulu 3).

Letters: b samples, n_i label tokens of sample i, l_i its summed token loss.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Aggregation = Literal["token_mean", "token_sum", "example_mean", "microbatch_mean"]


def aggregate(sums: Tensor, counts: Tensor, how: Aggregation) -> tuple[Tensor, float]:
    """The sum and the count whose quotient, taken over all micro-batches, is the step's loss.

    `sums` [b] are the l_i of one micro-batch and `counts` [b] its n_i. With B samples, A
    micro-batches and W processes in a step:

    - `token_mean`: sum l / sum n over the whole step.
    - `token_sum`: sum l / B. The official code divides by A W, which is B at its one sample per
      micro-batch; divided by B it does not change with the split.
    - `example_mean`: the mean over samples of l_i / n_i.
    - `microbatch_mean`: the mean over micro-batches of their token means, the fault that made
      results depend on micro-batch size and number of GPUs; kept for comparison.
    """
    if how == "token_mean":
        return sums.sum(), float(counts.sum())
    if how == "token_sum":
        return sums.sum(), float(len(sums))
    if how == "example_mean":
        return (sums / counts).sum(), float(len(sums))
    return sums.sum() / counts.sum(), 1.0
