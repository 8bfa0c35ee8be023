"""What is free, what is refused, and the most that was used."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from modelgraft.core.errors import ConfigError
from modelgraft.nn import memory
from modelgraft.nn.memory import check_memory, free_memory, peak_memory

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 1000 bytes free, and a folder where a container would state its limit."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return tmp_path


def test_free_memory_is_what_the_machine_has(machine):
    assert free_memory(CPU) == 1000


@pytest.mark.parametrize(("limit", "free"), [("900", 700), ("5000", 1000), ("max", 1000)])
def test_the_limit_of_a_container_counts_when_it_is_lower(machine, limit, free):
    (machine / "memory.max").write_text(limit + "\n")
    (machine / "memory.current").write_text("300\n")
    (machine / "memory.stat").write_text("anon 200\ninactive_file 100\n")
    assert free_memory(CPU) == free


def test_more_than_nine_tenths_of_the_free_memory_is_refused(machine):
    check_memory(900, CPU, what="this", advice="Lower --block.")
    with pytest.raises(ConfigError, match="this would need about") as refused:
        check_memory(901, CPU, what="this", advice="Lower --block.")
    assert "Lower --block." in str(refused.value)


def test_the_free_memory_of_this_machine_is_plausible():
    assert 1 << 24 < free_memory(CPU) < 1 << 46


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_of_a_block_is_what_was_held_inside_it_only():
    size = 64 << 20
    with peak_memory(torch.device("cpu")) as before:
        pass
    with peak_memory(torch.device("cpu")) as with_tensor:
        torch.ones(size, dtype=torch.uint8)
    with peak_memory(torch.device("cpu")) as after:
        pass
    assert with_tensor[0] - before[0] > 0.9 * size
    assert with_tensor[0] - after[0] > 0.9 * size


def test_a_system_without_a_high_water_mark_gives_no_peak(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "write_text", refuse)
    with peak_memory(torch.device("cpu")) as found:
        pass
    assert found == []
