"""Three heads on a Stable Diffusion U-Net equal the U-Net where they must, and only there."""

import pytest
import torch
from diffusers import UNet2DConditionModel

from modelgraft.core.errors import UnsupportedModel
from modelgraft.methods.material_anything.adapter.triple_head import TripleHeadUNet, average

_SMALL = {
    "sample_size": 16,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 2,
    "cross_attention_dim": 24,
    "attention_head_dim": 8,
    "norm_num_groups": 8,
    "use_linear_projection": True,
}
_SD21 = {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(**_SMALL).eval()


def _inputs(side=(16, 16), shared=9, own=0):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, *side, generator=generator)
    conditions = torch.randn(2, shared, *side, generator=generator)
    coarse = torch.randn(2, 3 * own, *side, generator=generator)
    text = torch.randn(2, 5, 24, generator=generator)
    return latents, torch.cat([latents.repeat(1, 3, 1, 1), conditions, coarse], 1), text


@pytest.mark.parametrize("side", [(16, 16), (16, 24), (20, 12)])
def test_every_new_head_predicts_what_the_unet_does(unet, side):
    latents, sample, text = _inputs(side)
    with torch.no_grad():
        alone = unet(latents, 500, text).sample
        found = TripleHeadUNet.from_sd(unet).eval()(sample, 500, text)
    for head in found.chunk(3, 1):
        assert torch.allclose(head, alone, atol=1e-4)


def test_heads_read_their_own_conditions_and_the_shared_ones(unet):
    model = TripleHeadUNet.from_sd(unet, shared=4, own=4).eval()
    with torch.no_grad():
        for conv in model.conv_in:
            conv.weight.normal_(std=0.05)
        _, sample, text = _inputs(shared=4, own=4)
        before = model(sample, 10, text)
        other = sample.clone()
        other[:, 16 + 4 : 16 + 8] += 1  # the second head's own conditions
        moved = (model(other, 10, text) - before).abs().amax((0, 2, 3)).view(3, 4).amax(1)
    assert moved[1] > 2 * moved[0]
    assert moved[1] > 2 * moved[2]


def test_one_heads_output_reaches_the_others_weights_only_through_the_merge(unet):
    model = TripleHeadUNet.from_sd(unet)
    _, sample, text = _inputs()
    model(sample, 500, text)[:, :4].square().mean().backward()
    for name, parameter in model.named_parameters():
        other = name.split(".")[1] in ("1", "2")
        if name.startswith(("up_blocks_outer", "conv_norm_out", "conv_out")) and other:
            assert parameter.grad is None or parameter.grad.abs().max() == 0, name
        elif name.startswith("down_blocks_outer"):
            assert parameter.grad is not None, name
    with torch.no_grad():  # no merge, no way from one head's outer level to another's output
        for conv in (model.conv_down, model.conv_down_res):
            width = conv.out_channels
            conv.weight[:, width:] = 0
    model.zero_grad()
    model(sample, 500, text)[:, :4].square().mean().backward()
    assert model.down_blocks_outer[1].resnets[0].conv1.weight.grad.abs().max() == 0


def test_names_and_size_are_those_of_the_published_estimator():
    with torch.device("meta"):
        model = TripleHeadUNet(dict(UNet2DConditionModel(**_SD21).config))
    parts = {name.split(".")[0] for name in model.state_dict()}
    assert parts == {
        "conv_in", "conv_down", "conv_down_res", "time_embedding", "down_blocks_outer",
        "down_blocks", "mid_block", "up_blocks", "up_blocks_outer", "conv_norm_out", "conv_out",
    }  # fmt: skip
    for part in ("conv_in", "down_blocks_outer", "up_blocks_outer", "conv_out"):
        assert len(getattr(model, part)) == 3
    for part in ("down_blocks", "up_blocks"):
        assert len(getattr(model, part)) == 3
    assert model.conv_in[0].weight.shape == (320, 13, 3, 3)
    assert model.conv_down.weight.shape == (320, 960, 3, 3)
    total = sum(one.numel() for one in model.parameters())
    assert abs(total - 931.9e6) < 0.5e6


def test_a_merge_of_means_returns_the_mean():
    conv = torch.nn.Conv2d(12, 4, 3, padding=1)
    average(conv, 3)
    x = torch.randn(2, 12, 8, 8)
    assert torch.allclose(conv(x), x.view(2, 3, 4, 8, 8).mean(1), atol=1e-6)


def test_a_saved_model_comes_back_equal(unet, tmp_path):
    model = TripleHeadUNet.from_sd(unet).eval()
    model.save_pretrained(tmp_path)
    again = TripleHeadUNet.from_pretrained(tmp_path).eval()
    _, sample, text = _inputs()
    with torch.no_grad():
        assert torch.equal(model(sample, 3, text), again(sample, 3, text))


def test_a_unet_of_one_level_is_refused():
    config = dict(
        UNet2DConditionModel(
            **{**_SMALL, "block_out_channels": (16,)},
            down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        ).config
    )
    with pytest.raises(UnsupportedModel, match="one level"):
        TripleHeadUNet(config)
