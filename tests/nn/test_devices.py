"""Words for devices and number types."""

from __future__ import annotations

import pytest
import torch

from modelgraft.core.errors import ConfigError
from modelgraft.nn.devices import find_device, find_dtype


def test_auto_asks_for_the_type_of_a_cpu_only_on_a_cpu() -> None:
    assert find_dtype("auto", torch.device("cpu"), lambda: "float16") == torch.float16
    assert find_dtype("auto", torch.device("cuda"), lambda: 1 / 0) == torch.bfloat16
    assert find_dtype("float32", torch.device("cpu"), lambda: 1 / 0) == torch.float32


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "", "meta"])
def test_a_device_that_is_not_here_is_an_option_to_change(device: str) -> None:
    with pytest.raises(ConfigError, match=r"(?s)device: .*auto"):
        find_device(device)


def test_a_named_and_an_automatic_device_are_found() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_another_number_type_is_an_option_to_change() -> None:
    with pytest.raises(ConfigError, match="dtype: 'int8'; use auto, float32"):
        find_dtype("int8", torch.device("cpu"), lambda: "float32")
