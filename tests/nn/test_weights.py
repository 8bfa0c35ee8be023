"""Non-finite weights are found in every floating type, and full disks keep their errno."""

from __future__ import annotations

import errno
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modelgraft.nn.weights import non_finite, plain_os_errors

FLOATS = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


# float8_e4m3fn has no infinities.
BAD = [(dtype, value) for dtype in FLOATS for value in ("nan", "inf", "-inf")]
BAD = [(dtype, value) for dtype, value in BAD if (dtype, value[-3:]) != (FLOATS[4], "inf")]


@pytest.mark.parametrize(("dtype", "value"), BAD, ids=str)
@pytest.mark.parametrize("position", [0, 77, 999])
def test_a_value_that_is_no_number_is_found_wherever_it_is(
    tmp_path: Path, dtype: torch.dtype, value: str, position: int
) -> None:
    bad = torch.linspace(-3, 3, 1000).to(dtype)
    bad[position] = float(value)
    save_file({"good": torch.ones(10, dtype=dtype), "bad": bad}, tmp_path / "w.safetensors")
    assert non_finite(tmp_path / "w.safetensors") == ["bad"]


def test_the_largest_finite_values_integers_and_empty_tensors_pass(tmp_path: Path) -> None:
    tensors = {str(kind): torch.tensor([torch.finfo(kind).max], dtype=kind) for kind in FLOATS}
    tensors |= {"ids": torch.tensor([2**62]), "mask": torch.tensor([True]), "none": torch.empty(0)}
    save_file(tensors, tmp_path / "w.safetensors")
    assert non_finite(tmp_path / "w.safetensors") == []


def test_a_folder_is_searched_through_all_its_files(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([float("nan")])}, tmp_path / "1.safetensors")
    save_file(
        {"b": torch.tensor([1.0]), "c": torch.tensor([float("inf")])}, tmp_path / "2.safetensors"
    )
    assert non_finite(tmp_path) == ["a", "c"]


def test_a_full_disk_is_an_os_error_with_its_number(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError) as caught, plain_os_errors():
            save_file({"w": torch.zeros(1000)}, tmp_path / "w.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
