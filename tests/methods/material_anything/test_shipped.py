"""Small networks in folders: saved, loaded again, and refused where they are damaged."""

import json

import pytest
import torch

from modelgraft.core.errors import InputError
from modelgraft.methods.material_anything.shipped import is_small, load_network, save_network
from modelgraft.methods.material_anything.tiny import TinyTripleHead


def test_a_network_comes_back_in_half_precision_with_its_sizes_and_frame(tmp_path):
    model = TinyTripleHead(heads=1, latent=12, shared=9, outer=8, inner=16)
    save_network(model, tmp_path, frame="uv")
    found, frame = load_network(tmp_path)
    assert is_small(tmp_path) and frame == "uv" and found.sizes == model.sizes
    for name, one in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], one.half().float())
    assert not any(one.requires_grad for one in found.parameters())


@pytest.mark.parametrize("harm", ["cut", "other sizes", "no weights", "unknown key"])
def test_a_damaged_folder_is_named(tmp_path, harm):
    save_network(TinyTripleHead(latent=12, shared=9, outer=8, inner=16), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    values = json.loads(config.read_text())
    if harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "no weights":
        weights.unlink()
    else:
        changed = {"outer": 16} if harm == "other sizes" else {"colour": 1}
        config.write_text(json.dumps({**values, **changed}))
    with pytest.raises(InputError, match=str(tmp_path)):
        load_network(tmp_path)
