"""The reward model: a scalar head on the SFT model (Tulu 3).

It serves to start the critic of the last stage, and to score responses.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def reward_loss(chosen: Tensor, rejected: Tensor) -> Tensor:
    """-log sigmoid(r_chosen - r_rejected) of each pair, [pairs]; no centring term."""
    return -logsigmoid(chosen - rejected)


def last_kept(mask: Tensor) -> Tensor:
    """The index [b] of the last kept token in each row of a 0/1 mask [b, t]."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return (places * mask.long()).argmax(dim=1)
