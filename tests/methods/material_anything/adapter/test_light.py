"""A light adapter comes and goes without a trace, and comes back from its file as it was."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import ConfigError, InputError, UnsupportedModel
from modelgraft.methods.material_anything.adapter.grafting import graft
from modelgraft.methods.material_anything.adapter.light import Light, is_light, load_light
from modelgraft.methods.material_anything.adapter.saving import save_folder
from modelgraft.methods.material_anything.opening import open_estimator, open_refiner


def _state(denoiser):
    return {name: one.clone() for name, one in denoiser.unet.state_dict().items()}


def _predicted(denoiser):
    generator = torch.Generator().manual_seed(4)
    picture = torch.rand(1, 3, 32, 32, generator=generator)
    given = denoiser.of_view(picture, 1 - picture, torch.ones(1, 1, 32, 32))
    z = torch.randn(1, 12, 4, 4, generator=generator)
    with torch.no_grad():
        return denoiser.predict(z, torch.tensor([500]), given)


@pytest.fixture(scope="module")
def trained(sd_folder, settings, tmp_path_factory):
    """A light adapter after a few steps, its file, and what the network was before."""
    denoiser = graft(sd_folder, settings)
    before, prediction = _state(denoiser), _predicted(denoiser)
    light = Light.attach(denoiser, rank=2, seed=0)
    assert torch.equal(_predicted(denoiser), prediction)  # B is zero
    learnt = [one for one in denoiser.unet.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.05)
    sample = torch.randn(1, 21, 4, 4, generator=torch.Generator().manual_seed(5))
    for _ in range(2):
        loss = denoiser.network(sample, torch.tensor([100])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("light") / "light.safetensors"
    light.save(path)
    return light, path, before, prediction


def test_it_trains_lora_and_outer_blocks_and_leaves_no_trace(trained, settings, tmp_path):
    light, path, before, prediction = trained
    unet = light.denoiser.unet
    for name, one in unet.named_parameters():
        is_outer = name.split(".")[0] not in (
            "down_blocks", "mid_block", "up_blocks", "time_embedding",
        )  # fmt: skip
        assert one.requires_grad == (is_outer or ".lora_" in name), name
        if ".base_layer." in name:
            assert torch.equal(one, before[name.replace(".base_layer.", ".")])
    assert not torch.allclose(_predicted(light.denoiser), prediction, atol=1e-6)
    with pytest.raises(InputError, match="light adapter is attached"):
        save_folder(tmp_path / "whole", light.denoiser)
    names = load_file(path).keys()
    key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_A.weight"
    assert key in names
    assert "unet.up_blocks_outer.2.resnets.0.conv1.weight" in names
    assert not any(".base_layer" in one or "time_embedding" in one for one in names)

    kept = _predicted(light.denoiser)
    other = load_light(path, settings)
    assert torch.equal(_predicted(other.denoiser), kept)
    assert (other.denoiser.frame, other.denoiser.role) == ("view", "estimator")
    other.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()

    for one in (light, other):
        one.detach()
        state = one.denoiser.unet.state_dict()
        assert state.keys() == before.keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
        assert torch.equal(_predicted(one.denoiser), prediction)
        assert all(weight.requires_grad for weight in one.denoiser.unet.parameters())


def test_files_that_do_not_fit_are_refused(trained, settings, tmp_path):
    path = trained[1]
    with safe_open(path, framework="pt") as opened:
        header = opened.metadata()
    tensors = load_file(path)
    bad = tmp_path / "bad.safetensors"

    def refused(content, metadata, said):
        save_file(content, bad, metadata=metadata)
        with pytest.raises(InputError, match=said) as caught:
            load_light(bad, settings)
        assert str(bad) in str(caught.value)

    refused(tensors, None, "no light adapter")
    assert (is_light(path), is_light(bad)) == (True, False)
    told = {**json.loads(header["material_anything"]), "cross_attention_dim": 32}
    refused(tensors, {"material_anything": json.dumps(told)}, "made for a network with")
    without = {name: one for name, one in tensors.items() if "conv_out.1" not in name}
    refused(without, header, r"2 tensors are missing.*conv_out\.1\.")
    bad.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="not a sound safetensors file"):
        load_light(bad, settings)
    with pytest.raises(InputError, match="no such file"):
        load_light(tmp_path / "none.safetensors", settings)


def test_a_file_is_used_in_the_role_it_says(trained, sd_folder, settings, tmp_path):
    denoiser = graft(sd_folder, settings, role="refiner", frame="uv")
    light, path = Light.attach(denoiser, rank=2, seed=0), tmp_path / "refiner.safetensors"
    light.save(path)
    found = open_refiner(str(path), settings)
    assert found.role == "refiner"
    state = denoiser.unet.state_dict()
    assert all(torch.equal(one, state[name]) for name, one in found.unet.state_dict().items())
    for name, opened, own, other in (
        (path, open_estimator, "refiner", "estimator"),
        (trained[1], open_refiner, "estimator", "refiner"),
    ):
        with pytest.raises(InputError, match=f"its role is {own}, .* the role {other}") as caught:
            opened(str(name), settings)
        assert str(name) in str(caught.value)


def test_it_needs_a_rank_and_three_heads(sd_folder, settings):
    single = graft(sd_folder, settings, heads=1)
    with pytest.raises(ConfigError, match="rank 0"):
        Light.attach(single, rank=0, seed=0)
    with pytest.raises(UnsupportedModel, match="three heads"):
        Light.attach(single, rank=2, seed=0)
