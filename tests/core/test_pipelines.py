"""What a folder of several models must not contain; every case is a folder on the disk."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import modelgraft
from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.pipelines import (
    FLUX,
    MODELS,
    PARTS,
    check_pipeline_configs,
    check_pipeline_folder,
    files_to_fetch,
    has_weights,
)

INDEX = {
    "_class_name": "FluxPipeline",
    "_diffusers_version": "0.30.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
OWN = "diffusion_pytorch_model.safetensors"
CONFIGS: dict[str, dict[str, Any]] = {
    "scheduler/scheduler_config.json": {"_class_name": "FlowMatchEulerDiscreteScheduler"},
    "text_encoder/config.json": {"model_type": "clip_text_model", "hidden_size": 4},
    "text_encoder_2/config.json": {"model_type": "t5", "d_model": 4},
    "tokenizer/tokenizer_config.json": {"model_max_length": 77},
    "tokenizer_2/tokenizer_config.json": {"model_max_length": 512},
    "transformer/config.json": {"num_layers": 1, "axes_dims_rope": [2, 1, 1]},
    "vae/config.json": {"block_out_channels": [4, 4]},
}


def safetensors(data: bytes = bytes(16)) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + data


WEIGHTS = {
    "text_encoder/model.safetensors": safetensors(),
    "text_encoder_2/model.safetensors": safetensors(),
    f"transformer/{OWN}": safetensors(),
    f"vae/{OWN}": safetensors(),
}


def write(folder: Path, files: dict[str, Any] | None = None, **index: Any) -> Path:
    """A sound folder with changes in the index, and other files; None leaves a file out."""
    contents = {"model_index.json": INDEX | index, **CONFIGS, **WEIGHTS, **(files or {})}
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            path.write_text(json.dumps(content))
    return folder


Make = Callable[[Path], Path]


def index(**keys: Any) -> Make:
    return lambda folder: write(folder, **keys)


def key(name: str, **keys: Any) -> Make:
    return lambda folder: write(folder, {name: CONFIGS.get(name, {}) | keys})


def files(**contents: Any) -> Make:
    named = {name.replace("__", "/").replace("_DOT_", "."): one for name, one in contents.items()}
    return lambda folder: write(folder, named)


def only_bin(part: str, single: str, pickle: str) -> Make:
    lost = {f"{part}/{single}": None, f"{part}/{pickle}": b"\x80\x04."}
    return lambda folder: write(folder, lost)


def without(part: str) -> Make:
    def make(folder: Path) -> Path:
        shutil.rmtree(write(folder) / part)
        return folder

    return make


def outward_link(folder: Path) -> Path:
    write(folder)
    outside = folder.parent / f"outside-{folder.name}"
    (folder / "vae").rename(outside)
    (folder / "vae").symlink_to(outside)
    return folder


HOSTILE: dict[str, tuple[Make, str]] = {
    "custom pipeline": (index(_class_name=["pipeline", "Evil"]), "key _class_name.*no pipeline"),
    "unknown pipeline": (index(_class_name="StableDiffusionPipeline"), "key _class_name.*Stable"),
    "no pipeline": (index(_class_name=None), "key _class_name"),
    "custom code": (index(custom_pipelines={"a": "b"}), "key custom_pipelines"),
    "class of a module": (index(vae=["evil", "AutoencoderKL"]), "key vae: .*evil"),
    "class of the standard library": (index(tokenizer=["os", "system"]), "key tokenizer"),
    "a pipeline as a part": (index(vae=["diffusers", "FluxPipeline"]), "key vae"),
    "a class of another part": (index(vae=["diffusers", "FluxTransformer2DModel"]), "key vae"),
    "a class without a library": (index(vae=[None, "AutoencoderKL"]), "key vae"),
    "a part that is a word": (index(vae="AutoencoderKL"), "key vae"),
    "a part that is no name": (index(vae=[["diffusers"], {}]), "key vae"),
    "an unknown part": (index(safety=["diffusers", "AutoencoderKL"]), "key safety.*no such part"),
    "an empty part": (index(text_encoder_2=[None, None]), "comes without text_encoder_2"),
    "code of the transformer": (
        key("transformer/config.json", auto_map={"AutoModel": "evil.M"}),
        r"transformer/config\.json, key auto_map",
    ),
    "code of the scheduler": (
        key("scheduler/scheduler_config.json", trust_remote_code=True),
        r"scheduler_config\.json, key trust_remote_code",
    ),
    "code of a tokenizer": (
        key("tokenizer_2/tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", None]}),
        r"tokenizer_2/tokenizer_config\.json, key auto_map",
    ),
    "an attention from a repository": (
        key("text_encoder/config.json", attn_implementation="evil/attention"),
        r"text_encoder/config\.json, key attn_implementation",
    ),
    "an adapter of another model": (
        key("text_encoder/adapter_config.json", base_model_name_or_path="evil/model"),
        "key base_model_name_or_path",
    ),
    "a million layers": (key("transformer/config.json", num_single_layers=10**6), "1,000,000"),
    "a wide block": (key("vae/config.json", block_out_channels=[4, 10**9]), "block_out_channels"),
    "a wide text encoder": (key("text_encoder_2/config.json", d_model=10**9), "key d_model"),
    "a wide axis": (key("transformer/config.json", axes_dims_rope=[2, 10**9]), "axes_dims_rope"),
    "a long schedule": (
        key("scheduler/scheduler_config.json", num_train_timesteps=10**12),
        "key num_train_timesteps",
    ),
    "a part elsewhere": (outward_link, "vae: refused: a link that leaves"),
    "an index that leaves the folder": (
        key(f"transformer/{OWN}.index.json", weight_map={"w": "../vae/" + OWN}),
        "transformer/.*index.json: refused: it points at",
    ),
    "an index that names a pickle": (
        key(f"transformer/{OWN}.index.json", weight_map={"w": "model.bin"}),
        "only safetensors files",
    ),
}

DAMAGED: dict[str, tuple[Make, str]] = {
    "no index": (files(model_index_DOT_json=None), r"model_index\.json is missing"),
    "an index that is no JSON": (files(model_index_DOT_json=b"{"), "not valid JSON"),
    "a huge index": (index(_note="x" * (1 << 20)), "at most 1,048,576"),
    "a deep config": (
        files(vae__config_DOT_json=json.loads('{"a":' * 17 + "1" + "}" * 17)),
        "deeper than 16",
    ),
    "a missing part": (without("tokenizer_2"), "tokenizer_2: this part of the pipeline is missing"),
    "a part without config": (files(vae__config_DOT_json=None), r"vae.*config\.json is missing"),
    "pickles in a part of diffusers": (
        only_bin("transformer", OWN, "diffusion_pytorch_model.bin"),
        r"(?s)transformer: no weights here.*diffusion_pytorch_model\.bin is not read",
    ),
    "pickles in a part of transformers": (
        only_bin("text_encoder", "model.safetensors", "pytorch_model.bin"),
        r"(?s)text_encoder: no weights here.*pytorch_model\.bin is not read",
    ),
    "weights of another precision": (
        lambda f: write(
            f, {f"vae/{OWN}": None, "vae/diffusion_pytorch_model.fp16.safetensors": safetensors()}
        ),
        r"There is diffusion_pytorch_model\.fp16\.safetensors",
    ),
    "truncated weights": (
        lambda f: write(f, {f"transformer/{OWN}": safetensors(bytes(12))}),
        f"transformer/{OWN}: not a sound safetensors file",
    ),
    "truncated weights of transformers": (
        lambda f: write(f, {"text_encoder_2/model.safetensors": safetensors()[:20]}),
        "text_encoder_2/.*not a sound safetensors file",
    ),
    "a lost piece": (
        key(f"transformer/{OWN}.index.json", weight_map={"w": "a-00001.safetensors"}),
        "a-00001.safetensors: this part of the weights is missing",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_folder_is_refused_and_the_place_named(tmp_path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    with pytest.raises(UnsupportedModel, match=message) as caught:
        check_pipeline_folder(make(tmp_path / "flux"))
    assert str(tmp_path) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_named_with_what_to_do(tmp_path: Path, case: str) -> None:
    make, message = DAMAGED[case]
    with pytest.raises(InputError, match=message) as caught:
        check_pipeline_folder(make(tmp_path / "flux"))
    assert str(tmp_path) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("pipeline", FLUX)
def test_a_sound_folder_passes_with_its_parts_and_weights(tmp_path: Path, pipeline: str) -> None:
    folder = write(tmp_path, _class_name=pipeline)
    checked = check_pipeline_folder(folder)
    assert checked.pipeline == pipeline
    assert {part: [*kind] for part, kind in checked.parts.items()} == {
        part: value for part, value in INDEX.items() if part in PARTS and value != [None, None]
    }
    found = [file for files in checked.weights.values() for file in files]
    assert sorted(found) == sorted(folder / name for name in WEIGHTS)


def test_the_index_of_a_part_of_diffusers_wins_over_a_single_file(tmp_path: Path) -> None:
    piece = "diffusion_pytorch_model-00001-of-00001.safetensors"
    folder = write(
        tmp_path,
        {
            f"transformer/{piece}": safetensors(),
            f"transformer/{OWN}.index.json": {"weight_map": {"w": piece}},
        },
    )
    assert check_pipeline_folder(folder).weights["transformer"] == (folder / "transformer" / piece,)


def test_the_links_of_the_hub_cache_are_allowed_in_parts_too(tmp_path: Path) -> None:
    snapshot = write(tmp_path / "models--owner--name" / "snapshots" / "0123abcd")
    blobs = tmp_path / "models--owner--name" / "blobs"
    blobs.mkdir()
    for number, path in enumerate([path for path in snapshot.rglob("*") if path.is_file()]):
        path.rename(blobs / str(number))
        path.symlink_to(os.path.relpath(blobs / str(number), path.parent))
    assert check_pipeline_folder(snapshot).pipeline == "FluxPipeline"
    (snapshot / "vae" / "more.json").symlink_to("/etc/hostname")
    with pytest.raises(UnsupportedModel, match=r"more\.json: refused: a link that leaves"):
        check_pipeline_folder(snapshot)


def test_the_checks_open_no_connection_and_import_no_library(tmp_path: Path) -> None:
    for number, (make, _) in enumerate((HOSTILE | DAMAGED).values()):
        make(tmp_path / f"model-{number}")
    script = """
import sys
touched = []
names = ("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.system")
sys.addaudithook(lambda name, _: touched.append(name) if name.startswith(names) else None)
from pathlib import Path
from modelgraft.core.errors import ModelgraftError
from modelgraft.core.pipelines import check_pipeline_folder
refused = 0
for folder in sorted(Path(sys.argv[1]).glob("model-*")):
    try:
        check_pipeline_folder(folder)
    except ModelgraftError:
        refused += 1
heavy = sorted({"torch", "numpy", "diffusers", "transformers", "safetensors"} & sys.modules.keys())
print(refused, touched, heavy, "modelgraft.tiny" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
    )
    assert done.stdout.strip() == f"{len(HOSTILE) + len(DAMAGED)} [] [] False", done.stderr


# -- what is taken from a repository ---------------------------------------------------------------

PIECES = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]


def test_only_the_known_parts_in_safetensors_form_are_wanted() -> None:
    names = ["model_index.json", *CONFIGS, *WEIGHTS, "README.md", "flux1-dev.safetensors"]
    names += ["tokenizer/merges.txt", "tokenizer_2/spiece.model", "transformer/evil.py"]
    names += ["vae/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.fp16.safetensors"]
    names += ["other/config.json", "transformer/old/config.json", "text_encoder_2/model.fp16.bin"]
    small, weights = files_to_fetch(names)
    assert small[0] == "model_index.json"
    extra = ["model_index.json", "tokenizer/merges.txt", "tokenizer_2/spiece.model"]
    assert sorted(small) == sorted([*CONFIGS, *extra])
    assert sorted(weights) == sorted(WEIGHTS)


def test_of_index_and_single_file_the_one_that_is_read_is_wanted() -> None:
    pieces = [f"transformer/{piece}" for piece in PIECES]
    index, other = f"transformer/{OWN}.index.json", "text_encoder/model.safetensors.index.json"
    names = ["model_index.json", *CONFIGS, *WEIGHTS, index, other, *pieces]
    small, weights = files_to_fetch(names)
    assert index not in small and other not in small
    single = WEIGHTS.keys() - {f"transformer/{OWN}"}
    assert sorted(weights) == sorted([*single, index, *pieces])


@pytest.mark.parametrize("lost", WEIGHTS)
def test_a_repository_that_lacks_weights_of_one_part_has_none_to_give(lost: str) -> None:
    names = {"model_index.json", *CONFIGS, *WEIGHTS, "vae/diffusion_pytorch_model.bin"}
    assert files_to_fetch(names - {lost})[1] == []
    assert files_to_fetch(names)[1] != []


def test_a_folder_of_small_files_is_known_as_one(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(WEIGHTS))
    assert not has_weights(tmp_path)
    check_pipeline_configs(tmp_path)
    assert has_weights(write(tmp_path))
    assert {name.split("/")[0] for name in WEIGHTS} <= {*MODELS}
