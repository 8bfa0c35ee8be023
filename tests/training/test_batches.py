"""Batches are a function of the step: epochs, processes and cuts change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.training.batches import Shuffled


def draws(size: int, batch: int, micro: int = 2, seed: int = 0) -> Shuffled:
    return Shuffled(list(range(size)), list, batch, micro, seed)


@given(size=st.integers(1, 30), batch=st.integers(1, 12))
def test_every_item_comes_once_an_epoch(size, batch):
    source = draws(size, batch)
    seen = [index for step in range(size) for index in source.indices(step)]
    for epoch in range(batch):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(world=st.integers(1, 5), micro=st.integers(1, 7), step=st.integers(0, 20))
def test_the_processes_together_see_the_batch_of_one(world, micro, step):
    source = draws(17, 10, micro)
    parts = [replace(source, rank=rank, world=world)(step) for rank in range(world)]
    assert all(0 < len(part) <= micro for share in parts for part in share)
    together = [item for share in parts for part in share for item in part]
    assert sorted(together) == sorted(source.indices(step))


def test_the_order_depends_on_seed_and_epoch():
    one = draws(50, 50)
    assert one.indices(0) != one.indices(1)
    assert one.indices(0) != draws(50, 50, seed=1).indices(0)
    assert one.indices(0) == draws(50, 50).indices(0)


def test_steps_show_every_item_as_often_as_asked():
    assert draws(10, 4).steps(1) == 3
    assert draws(10, 4).steps(0.1) == 1
    assert draws(10, 5).steps(3) == 6


def test_no_items_is_an_error():
    with pytest.raises(ValueError, match="no items"):
        draws(0, 4)
