"""The reward model: a scalar head on the SFT model (Tulu 3).

It serves to start the critic of the last stage, and to score responses.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid


@torch.no_grad()
def init_score_head(head: nn.Linear, *, generator: torch.Generator | None = None) -> None:
    """Draw the head's weights from N(0, 1 / (d + 1)) for hidden size d, and no bias."""
    head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
    if head.bias is not None:
        head.bias.zero_()


def reward_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected) of each pair, [pairs]; no centring term."""
    return -logsigmoid(chosen - rejected)


def last_kept(mask: Tensor) -> Tensor:
    """The index [b] of the last kept token in each row of a 0/1 mask [b, t]."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return (places * mask.long()).argmax(dim=1)
