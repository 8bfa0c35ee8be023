"""Memory is told from configs, and grows with the picture as it must."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from modelgraft.core.errors import ConfigError
from modelgraft.methods.material_anything.adapter.estimates import memory_of, require_memory
from modelgraft.methods.material_anything.adapter.grafting import graft
from modelgraft.methods.material_anything.adapter.saving import save_folder


def test_memory_is_weights_and_what_is_alive_at_once(sd_folder, settings, tmp_path):
    save_folder(tmp_path / "own", grafted := graft(sd_folder, settings))
    small, large = (
        memory_of(tmp_path / "own", "estimator", settings, size_px=px) for px in (256, 512)
    )
    assert small.unet == sum(4 * one.numel() for one in grafted.unet.parameters())
    assert small.vae == sum(4 * one.numel() for one in grafted.codec.vae.parameters())
    for name in ("denoising", "decoding"):
        assert getattr(large, name) == pytest.approx(4 * getattr(small, name), rel=0.02)
    # The last level of the VAE holds the input of a convolution and its result.
    assert large.decoding >= 2 * 8 * 512 * 512 * 4
    assert large.decoding <= 8 * 8 * 512 * 512 * 4
    lower = replace(settings, dtype="bfloat16")
    half = memory_of(tmp_path / "own", "estimator", lower, size_px=256)
    assert (half.unet, half.vae) == (small.unet // 2, small.vae)
    assert half.denoising < 0.6 * small.denoising
    assert large.offloaded_peak < large.peak
    require_memory(small, small, torch.device("cpu"), what="this")
    huge = type(large)(large.unet, large.vae, 1 << 50, large.decoding)
    with pytest.raises(ConfigError, match="Half the size takes about"):
        require_memory(huge, large, torch.device("cpu"), what="the estimator")
