"""The actions as the command line calls them, on small networks with random weights."""

import hashlib
import json

import numpy as np
import pytest
import torch

from modelgraft.cli.main import main
from modelgraft.methods.material_anything import opening
from modelgraft.methods.material_anything.shipped import save_network
from modelgraft.methods.material_anything.tiny import TinyTripleHead
from modelgraft.methods.material_anything.world import object_mesh
from modelgraft.methods.material_anything.world_textures import textured_mesh
from modelgraft.spatial.files.gltf.writing import write_glb
from modelgraft.spatial.files.reading import read_asset
from modelgraft.spatial.meshes import Asset, Material, Part

SMALL = ["--view-size", "32", "--texture-size", "64", "--steps", "1", "--quiet"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    path = tmp_path_factory.mktemp("meshes") / "bare.glb"
    write_glb(path, Asset((Part(object_mesh("train", 3), Material()),)))
    return path


def _texture(networks, out, *options):
    estimator, refiner = map(str, networks)
    words = ["--model", estimator, "--refiner", refiner, *SMALL, "--out", str(out), *options]
    return main(["material_anything", "texture", *words])


def test_a_bare_mesh_becomes_an_asset_with_maps_and_equal_seeds_give_equal_bytes(
    networks, bare, tmp_path
):
    hashes = []
    for out in (tmp_path / "one", tmp_path / "two"):
        options = ["--prompt", "gold", "--relight", "rim", "--blender"]
        assert _texture(networks, out, str(bare), *options) == 0
        names = sorted(one.name for one in (out / "artefacts" / "maps").iterdir())
        assert names == [
            "bare_albedo.png", "bare_blender.py", "bare_metallic.png", "bare_normal.png",
            "bare_rm.png", "bare_roughness.png",
        ]  # fmt: skip
        hashes.append(hashlib.sha256((out / "artefacts" / "bare.glb").read_bytes()).hexdigest())
        numbers = json.loads((out / "result.json").read_text())["numbers"]
        counts = {one["name"]: one["value"] for one in numbers}
        assert counts["textures drawn by the refiner"] == 1
        assert counts["calls of the refiner"] == 1
        assert counts["calls of the estimator"] == counts["views drawn by the estimator"] >= 5
        assert counts["pictures rasterised"] == 11
    assert hashes[0] == hashes[1]
    (part,) = read_asset(tmp_path / "one" / "artefacts" / "bare.glb").parts
    assert part.material.albedo is not None and part.material.albedo.shape[:2] == (64, 64)
    assert (
        part.material.rough_metal is not None and (part.material.rough_metal[..., 0] == 255).all()
    )
    assert part.mesh.tangents is not None


def test_a_mesh_without_colours_needs_a_prompt_that_the_painter_knows(
    networks, bare, tmp_path, capsys
):
    assert _texture(networks, tmp_path / "a", str(bare)) == 2
    assert "--prompt" in capsys.readouterr().err
    assert _texture(networks, tmp_path / "b", str(bare), "--prompt", "a dream") == 2
    assert "brushed steel" in capsys.readouterr().err


def test_an_asset_can_be_relit_viewed_and_compared(networks, bare, tmp_path):
    assert _texture(networks, tmp_path / "one", str(bare), "--prompt", "wood") == 0
    made = str(tmp_path / "one" / "artefacts" / "bare.glb")
    out = tmp_path / "two"
    words = [made, "--env", "neutral", "--env", "rim", "--size", "32", "--turntable", "4"]
    assert main(["material_anything", "relight", *words, "--quiet", "--out", str(out)]) == 0
    assert sorted(one.name for one in (out / "artefacts").iterdir()) == [
        "bare_neutral.gif", "bare_relit.png", "bare_rim.gif",
    ]  # fmt: skip
    out = tmp_path / "three"
    assert main(["material_anything", "view", made, "--quiet", "--out", str(out)]) == 0
    page = (out / "artefacts" / "bare.html").read_text()
    assert "model-viewer" in page and "default-src" in page
    out = tmp_path / "four"
    words = ["evaluate", made, made, "--size", "32", "--quiet", "--out", str(out)]
    assert main(["material_anything", *words]) == 0
    numbers = json.loads((out / "result.json").read_text())["numbers"]
    errors = [one["value"] for one in numbers if "RMSE" in one["name"] or "RMSE" in one["unit"]]
    assert numbers and all(one == 0 for one in errors)


def test_a_model_is_measured_beside_the_picture_itself(networks, tmp_path):
    words = ["--model", str(networks[0]), "--objects", "2", "--size", "32", "--steps", "1"]
    out = tmp_path / "run"
    assert main(["material_anything", "evaluate", *words, "--quiet", "--out", str(out)]) == 0
    numbers = json.loads((out / "result.json").read_text())["numbers"]
    assert {"albedo", "bump angle", "relight PSNR"} <= {one["name"] for one in numbers}
    assert all(one["baseline"] is not None and one["n"] == 2 for one in numbers)


def test_maps_of_pictures_need_normals_of_the_same_size(networks, tmp_path, capsys):
    words = ["--model", str(networks[0]), "--size", "32", "--steps", "1", "--quiet"]
    out = tmp_path / "run"
    assert main(["material_anything", "estimate", *words, "--out", str(out)]) == 0
    made = out / "artefacts" / "view-00_albedo.png"
    assert made.exists()
    out = tmp_path / "other"
    assert main(["material_anything", "estimate", str(made), *words, "--out", str(out)]) == 2
    assert "view-00_albedo_normal.png" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["estimator", "refiner"])
def test_what_is_trained_can_be_used(networks, bare, tmp_path, what):
    out = tmp_path / what
    words = ["--what", what, "--objects", "2", "--steps", "2", "--probe-every", "0",
             "--optim.batch", "2", "--optim.micro-batch", "2"]  # fmt: skip
    start = networks[0] if what == "estimator" else networks[1]
    words += ["--start", str(start), "--size", "32"]
    assert main(["material_anything", "train", *words, "--quiet", "--out", str(out)]) == 0
    name = {"estimator": "materials", "refiner": "materials-refiner"}[what]
    assert (out / "artefacts" / name / "config.json").read_text() == (
        start / "config.json"
    ).read_text()
    # The folder of the run is a model.
    made, drawn = tmp_path / "made", tmp_path / "drawn"
    if what == "refiner":
        options = ["--prompt", "gold", "--relight", "rim"]
        assert _texture((networks[0], out), made, str(bare), *options) == 0
        numbers = json.loads((made / "result.json").read_text())["numbers"]
        assert {"calls of the refiner": 1.0}.items() <= {
            one["name"]: one["value"] for one in numbers
        }.items()
        return
    for model, folder in ((out, made), (start, drawn)):
        words = ["--model", str(model), "--size", "32", "--steps", "1", "--quiet"]
        assert main(["material_anything", "estimate", *words, "--out", str(folder)]) == 0
    name = "artefacts/view-00_rm.png"
    assert (made / name).read_bytes() != (drawn / name).read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An estimator that takes the picture for the albedo of an even surface."""
    folder = tmp_path_factory.mktemp("plain")
    save_network(TinyTripleHead(outer=8, inner=16).silenced(), folder)
    return folder, "none"


def test_a_white_painting_is_painted_once_more(plain, bare, tmp_path, monkeypatch):
    seeds = []

    def pictures(prompt, *, seed):
        seeds.append(seed)
        value = 1.0 if len(seeds) == 1 else 0.4
        return lambda sight: torch.full((1, 3, *sight.surface.mask.shape[1:]), value)

    monkeypatch.setattr(opening, "world_pictures", pictures)
    out = tmp_path / "run"
    options = ["--prompt", "gold", "--seed", "7", "--hold", "none", "--relight", "rim"]
    assert _texture(plain, out, str(bare), *options) == 0
    assert seeds == [7, 8]
    remarks = " ".join(json.loads((out / "result.json").read_text())["remarks"])
    assert "came out white" in remarks and "seed 7" in remarks and "once more" in remarks
    (part,) = read_asset(out / "artefacts" / "bare.glb").parts
    assert np.median(part.material.albedo) == pytest.approx(0.4 * 255, abs=2)


def test_the_files_own_relief_stays_below_the_bumps_with_green_as_it_is_said(plain, tmp_path):
    mesh = textured_mesh("train", 3, size=64)
    bump = np.broadcast_to(np.array([128, 204, 229], np.uint8), (64, 64, 3)).copy()
    path, out = tmp_path / "relief.glb", tmp_path / "run"
    material = Material(albedo=np.full_like(bump, 128), normal=bump)
    write_glb(path, Asset((Part(mesh, material),)))
    options = ["--light", "none", "--normal", "dx", "--relight", "rim"]
    assert _texture(plain, out, str(path), *options) == 0
    (part,) = read_asset(out / "artefacts" / "relief.glb").parts
    found = np.median(part.material.normal.reshape(-1, 3), 0)
    assert np.abs(found - [128, 51, 229]).max() < 12
    numbers = json.loads((out / "result.json").read_text())["numbers"]
    counts = {one["name"]: one["value"] for one in numbers}
    assert counts["pictures rasterised"] == 31  # of the mesh, its colours and its relief
    assert counts["textures drawn by the refiner"] == counts["calls of the refiner"] == 0
