"""Training and evaluation mode, put back module by module."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from torch import nn


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Generator[None]:
    """Every module of `model` is in evaluation mode inside the block, and as before after it.

    A module that was in evaluation mode alone, such as frozen dropout, stays in it.
    """
    trained = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in trained:
            module.training = True
