"""Modes are put back module by module."""

from __future__ import annotations

import pytest
from torch import nn

from modelgraft.nn.modes import eval_mode


def test_every_module_is_in_evaluation_mode_inside_and_as_before_after():
    model = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.Dropout(), nn.Dropout()))
    model[1][0].eval()
    before = [module.training for module in model.modules()]
    with eval_mode(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), eval_mode(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before
