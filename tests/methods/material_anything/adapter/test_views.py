"""Other models as estimators of views: SuperMat's one step, and any callable."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.adapter.per_view import PerView
from modelgraft.methods.material_anything.adapter.supermat import SuperMatUNet, load_supermat
from modelgraft.methods.material_anything.estimators import is_object
from modelgraft.methods.material_anything.method.sampling import Hold
from modelgraft.spatial import frames


def _view(size=32):
    """A picture, normals as colours on white, and where the object is."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.rand(1, 3, size, size, generator=generator)
    normal = functional.normalize(torch.randn(1, 3, size, size, generator=generator), dim=1)
    normal[:, 2].abs_()
    mask = torch.zeros(1, 1, size, size)
    mask[..., 8:24, 4:28] = 1
    return picture * mask + 1 - mask, frames.encode(normal) * mask + 1 - mask, mask


@pytest.fixture(scope="module")
def supermat(sd_folder, settings, tmp_path_factory):
    """SuperMat with two experts that differ, the file it is in, and the stock network."""
    import diffusers

    stock = diffusers.UNet2DConditionModel.from_pretrained(sd_folder / "unet").eval()
    torch.manual_seed(6)
    network = SuperMatUNet(stock)
    for part in (network.last_up_blocks[1], network.rep_conv_out[1]):
        for one in part.parameters():
            one.data += 0.05 * torch.randn_like(one)
    path = tmp_path_factory.mktemp("supermat") / "supermat.safetensors"
    save_file(network.state_dict(), path)
    return load_supermat(path, sd_folder, settings), path, stock


def test_supermat_is_one_step_of_a_network_with_two_last_levels(supermat):
    found, _, stock = supermat
    picture, normal, mask = _view()
    assert torch.equal(is_object(normal), mask)
    given = found.of_view(picture, normal, torch.ones_like(mask))
    maps = found.denoise(given)

    vae, scale = found.codec.vae, found.codec.vae.config.scaling_factor
    kept = found.schedule.kept[-1]
    with torch.no_grad():
        grey = picture * mask + 0.5 * (1 - mask)
        latents = scale * vae.encode(2 * grey - 1).latent_dist.mode()
        text, expected = found.network.text, []
        for expert in (0, 1):
            unet = found.network.unet
            stock.up_blocks[-1].load_state_dict(unet.last_up_blocks[expert].state_dict())
            stock.conv_out.load_state_dict(unet.rep_conv_out[expert].state_dict())
            v = stock(latents, 999, text).sample
            clean = -(1 - kept).sqrt().float() * v
            expected.append((vae.decode(clean / scale).sample / 2 + 0.5).clamp(0, 1))
    assert torch.allclose(maps.albedo, expected[0], atol=1e-5)
    assert torch.allclose(maps.rm[:, 1:], expected[1][:, 1:], atol=1e-5)
    assert (maps.rm[:, 0] == 1).all()
    assert torch.allclose(
        maps.bump, torch.tensor([0.5, 0.5, 1]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    )


def test_what_is_held_stays_to_the_pixel(supermat):
    picture, normal, mask = _view()
    for model in (supermat[0], PerView(lambda one: (one, one[:1], one[:1]))):
        given = model.of_view(picture, normal, mask)
        plain = model.denoise(given, steps=1, generator=torch.Generator())
        known = torch.rand(1, 9, 32, 32)
        where = torch.zeros(1, 1, 32, 32)
        where[..., :16] = 1
        found = model.denoise(
            given, steps=1, generator=torch.Generator(), hold=Hold(known, where)
        ).joined()
        assert torch.equal(found[..., :16], known[..., :16])
        assert torch.equal(found[..., 16:], plain.joined()[..., 16:])


def test_supermat_reads_no_pickles_and_no_half_checkpoints(supermat, sd_folder, settings, tmp_path):
    pickle = tmp_path / "supermat.ckpt"
    pickle.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"supermat\.ckpt: not a safetensors file"):
        load_supermat(pickle, sd_folder, settings)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(supermat[1].read_bytes()[:-5])
    with pytest.raises(InputError, match="not a sound safetensors file"):
        load_supermat(cut, sd_folder, settings)


def test_normals_of_a_callable_become_bumps_along_the_pictures_axes():
    mask = _view()[2]
    seen = torch.where(mask > 0, frames.encode(torch.tensor([0.0, 0.6, 0.8])).view(1, 3, 1, 1), 1)
    given = (torch.zeros(1, 3, 32, 32), seen)
    same = PerView(lambda one: (one, one[:1], one[0], seen[0]))
    bump = same.denoise(same.of_view(*given, mask)).bump
    assert torch.allclose(bump, torch.tensor([0.5, 0.5, 1]).view(1, 3, 1, 1), atol=1e-5)

    target = functional.normalize(torch.tensor([0.3, 0.6, 0.8]), dim=0)
    turned = frames.encode(target).view(3, 1, 1).expand(3, 32, 32)
    model = PerView(lambda one: (one.numpy(), one[:1], one[:1], turned))
    bump = model.denoise(model.of_view(*given, mask)).bump.movedim(1, -1)[0, 16, 16]
    axes = frames.view_axes(torch.tensor([0.0, 0.6, 0.8]), torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(frames.to_world(frames.decode(bump), axes), target, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda one: one, "a tuple of albedo"),
        (lambda one: (one, one, one[:1]), r"roughness of shape \[3, 32, 32\]"),
        (lambda one: (255 * one, one[:1], one[:1]), "albedo with values outside 0 to 1"),
        (lambda one: (one, one[:1] / 0, one[:1]), "roughness with values outside 0 to 1"),
    ],
)
def test_wrong_answers_of_a_callable_are_named(model, said):
    wrong = PerView(model)
    with pytest.raises(InputError, match=said):
        wrong.denoise(wrong.of_view(*_view()))


def test_without_diffusers_all_but_the_networks_can_be_imported():
    package = "modelgraft.methods.material_anything"
    ours = ("per_view", "painting", "supermat", "published", "grafting", "saving", "light")
    names = ["estimators", *(f"adapter.{one}" for one in ours)]
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['diffusers', 'transformers', 'peft']))\n"
        + "".join(f"import {package}.{one}\n" for one in names)
        + f"from {package}.adapter.published import load_estimator\n"
        "from modelgraft.core.errors import MissingExtra\n"
        "from modelgraft.core.settings import Settings\n"
        "try: load_estimator('.', Settings(device='cpu'))\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "modelgraft[hf]"' in done.stdout
