"""Published folders become denoisers, and those that cannot be say why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load, load_file, save_file

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.methods.material_anything.adapter.grafting import graft
from modelgraft.methods.material_anything.adapter.parts import read_schedule
from modelgraft.methods.material_anything.adapter.published import load_estimator, load_refiner
from modelgraft.methods.material_anything.adapter.saving import save_folder
from modelgraft.methods.material_anything.adapter.triple_head import TripleHeadUNet
from modelgraft.methods.material_anything.method.confidence import as_input
from modelgraft.methods.material_anything.method.maps import Maps

WEIGHTS = "diffusion_pytorch_model.safetensors"


def _publish(sd_folder, folder, role="estimator"):
    """A folder in the published form: the class of its own, and heads that differ."""
    import diffusers

    shutil.copytree(sd_folder, folder)
    stock = diffusers.UNet2DConditionModel.from_pretrained(sd_folder / "unet")
    shared, own = (9, 0) if role == "estimator" else (4, 4)
    network = TripleHeadUNet.from_sd(stock, shared=shared, own=own)
    torch.manual_seed(1)
    for one in network.parameters():
        one.data += 0.02 * torch.randn_like(one)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config |= {"_class_name": "UNet2DConditionModelPBR", "in_channels_no_cond": 12}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    save_file(network.state_dict(), folder / "unet" / WEIGHTS)
    return network.eval()


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def published(sd_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "material_estimator"
    return folder, _publish(sd_folder, folder)


@pytest.fixture
def broken(published, tmp_path):
    """A copy to be spoilt."""
    return shutil.copytree(published[0], tmp_path / "copy")


def _view(size=32):
    generator = torch.Generator().manual_seed(3)
    picture, normal = torch.rand(2, 2, 3, size, size, generator=generator)
    return picture, normal, (torch.rand(2, 1, size, size, generator=generator) > 0.5).float()


@pytest.fixture(scope="module")
def loaded(published, settings):
    return load_estimator(published[0], settings)


def test_a_published_estimator_predicts_what_its_network_does(published, loaded):
    network, found = published[1], loaded
    assert (found.frame, found.role) == ("uv", "estimator")
    picture, normal, confidence = _view()
    given = found.of_view(picture, normal, confidence)
    vae = found.codec.vae
    scale = vae.config.scaling_factor
    with torch.no_grad():
        latents = [scale * vae.encode(2 * one - 1).latent_dist.mode() for one in (picture, normal)]
        expected = torch.cat([*latents, as_input(confidence, (4, 4))], 1)
        assert torch.allclose(given.shared, expected, atol=1e-5)
        z = torch.randn(2, 12, 4, 4)
        text = found.network.text.expand(2, -1, -1)
        alone = network(torch.cat([z, given.shared], 1), torch.tensor([7, 7]), text)
        assert torch.equal(found.predict(z, torch.tensor([7, 7]), given), alone)
    maps = found.denoise(given, steps=2, generator=torch.Generator().manual_seed(0), eta=1.0)
    assert all(one.shape == (2, 3, 32, 32) for one in maps)


def test_the_text_of_an_empty_prompt_is_the_pipelines(published, loaded):
    import transformers

    folder = published[0]
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder")
    ids = tokenizer([""], padding="max_length", max_length=12, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = encoder(ids)[0]
    assert torch.equal(loaded.network.text, expected)


def test_a_refiner_is_told_apart_from_an_estimator(sd_folder, published, settings, tmp_path):
    _publish(sd_folder, tmp_path / "refiner", "refiner")
    found = load_refiner(tmp_path / "refiner", settings)
    coarse = Maps(*torch.rand(3, 1, 3, 32, 32))
    given = found.of_texture(coarse, torch.rand(1, 3, 32, 32))
    maps = found.denoise(given, steps=1, generator=torch.Generator().manual_seed(0))
    assert maps.albedo.shape == (1, 3, 32, 32)
    with pytest.raises(UnsupportedModel, match="this is a refiner, and the estimator"):
        load_estimator(tmp_path / "refiner", settings)
    with pytest.raises(UnsupportedModel, match="this is an estimator, and the refiner"):
        load_refiner(published[0], settings)


@pytest.mark.parametrize("heads", [1, 3])
def test_a_saved_folder_loads_to_equal_bits(heads, sd_folder, settings, tmp_path):
    grafted = graft(sd_folder, settings, heads=heads)
    torch.manual_seed(2)
    with torch.no_grad():
        for one in grafted.unet.parameters():
            one += 0.02 * torch.randn_like(one)
    save_folder(tmp_path / "own", grafted)
    again = load_estimator(tmp_path / "own", settings)
    assert again.frame == "view"
    state, other = grafted.unet.state_dict(), again.unet.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(one, other[name]) for name, one in state.items())
    found = [
        one.denoise(one.of_view(*_view()), steps=2, generator=torch.Generator().manual_seed(0))
        for one in (grafted, again)
    ]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    with pytest.raises(InputError, match="there is something of this name"):
        save_folder(tmp_path / "own", grafted)


def test_grafts_start_as_their_base_with_whatever_it_predicts(sd_folder, settings, tmp_path):
    base = shutil.copytree(sd_folder, tmp_path / "eps")
    _edit(base / "scheduler" / "scheduler_config.json", prediction_type="epsilon")
    import diffusers

    stock = diffusers.UNet2DConditionModel.from_pretrained(base / "unet").eval()
    z, step = torch.randn(1, 4, 4, 4), torch.tensor([9])
    for heads in (1, 3):
        found = graft(base, settings, heads=heads)
        given = found.of_view(*(one[:1] for one in _view()))
        with torch.no_grad():
            alone = stock(z, step, found.network.text).sample
            for head in found.predict(z.repeat(1, 3, 1, 1), step, given).chunk(3, 1):
                assert torch.allclose(head, alone, atol=1e-5)


def test_a_refiner_starts_from_an_estimator_blind_to_its_own_conditions(
    published, loaded, settings
):
    found = graft(published[0], settings, role="refiner")
    assert (found.role, found.frame) == ("refiner", "uv")
    given = found.of_texture(Maps(*torch.rand(3, 1, 3, 32, 32)), torch.rand(1, 3, 32, 32))
    z, step = torch.randn(1, 12, 4, 4), torch.tensor([9])
    blind = loaded.of_view(*torch.zeros(2, 1, 3, 32, 32), torch.zeros(1, 1, 32, 32))
    with torch.no_grad():
        nothing = replace(blind, shared=torch.zeros_like(blind.shared))
        expected = loaded.predict(z, step, nothing)
        assert torch.allclose(found.predict(z, step, given), expected, atol=1e-6)
    with pytest.raises(UnsupportedModel, match="only a refiner may start from one"):
        graft(published[0], settings)


def test_a_hub_id_is_fetched_without_what_is_not_needed(published, settings, tmp_path, monkeypatch):
    from loopback_hub import COMMIT, serving

    folder = shutil.copytree(published[0], tmp_path / "hub" / "material_estimator")
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/code.py", "README.md"):
        (folder / name).write_bytes(b"not for us")
    online = replace(settings, offline=False)
    with serving("owner/estimator", folder, tmp_path / "cache", monkeypatch) as names:
        found = load_estimator("owner/estimator", online, report=lambda _: None)
    assert found.origin.revision == COMMIT
    expected = published[1].state_dict()
    assert all(torch.equal(expected[name], one) for name, one in found.unet.state_dict().items())
    assert {one for one in names if one.endswith(".safetensors")} == {
        f"unet/{WEIGHTS}", f"vae/{WEIGHTS}", "text_encoder/model.safetensors",
    }  # fmt: skip
    assert not any(one.endswith((".py", ".md")) for one in names)


def test_a_rescaled_schedule_ends_in_pure_noise(broken, loaded):
    assert loaded.schedule.kept[-1] > 0
    _edit(broken / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    assert read_schedule(broken).kept[-1] == 0


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "v_prediction is need"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear"}, "scaled_linear is needed"),
        ("unet/config.json", {"in_channels_no_cond": 8}, "12 channels"),
        ("unet/config.json", {"_class_name": "Other"}, "no estimator and no refiner"),
        ("unet/config.json", {"auto_map": {"a": "b"}}, "run code"),
        ("unet/config.json", {"cross_attention_dim": 24}, "of shape"),
    ],
)
def test_configs_that_do_not_fit_are_refused(part, changes, said, broken, settings):
    _edit(broken / part, **changes)
    with pytest.raises(UnsupportedModel, match=said) as caught:
        load_estimator(broken, settings)
    assert str(broken) in str(caught.value)


def test_missing_tensors_are_listed_and_refused_and_others_listed(broken, settings):
    file = broken / "unet" / WEIGHTS
    whole = load_file(file)
    save_file({**whole, "class_embedding.weight": torch.zeros(2)}, file)
    said = []
    load_estimator(broken, settings, report=said.append)
    assert "1 tensors that the network has no place for: class_embedding.weight" in said[0]
    save_file({k: v for k, v in whole.items() if not k.startswith("up_blocks_outer.1.")}, file)
    with pytest.raises(UnsupportedModel, match=r"tensors of the network.*up_blocks_outer\.1\."):
        load_estimator(broken, settings)


def test_damaged_folders_are_named(broken, settings, tmp_path):
    file = broken / "unet" / WEIGHTS
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="not a sound safetensors file") as caught:
        load_estimator(broken, settings)
    assert str(file) in str(caught.value)
    bad = load(whole)
    bad["conv_in.1.bias"][0] = torch.nan
    save_file(bad, file)
    with pytest.raises(UnsupportedModel, match=r"NaN or infinity: conv_in\.1\.bias"):
        load_estimator(broken, settings)
    file.unlink()
    (broken / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="is not read: pickled"):
        load_estimator(broken, settings)
    shutil.rmtree(broken / "vae")
    with pytest.raises(InputError, match="this part of the model is missing"):
        load_estimator(broken, settings)
    with pytest.raises(InputError, match="no such folder"):
        load_estimator(tmp_path / "nowhere", settings)
