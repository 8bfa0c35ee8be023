"""What a model folder must not contain; every case is a folder on the disk."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelgraft
from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.gguf import gguf_metadata
from modelgraft.core.intake import check_model_folder, check_safetensors

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4}


def safetensors(header: Any = None, data: bytes = bytes(16)) -> bytes:
    if header is None:
        header = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def write_model(folder: Path, config: Any = CONFIG, **files: Any) -> Path:
    """A sound folder, with other files by name; a value None leaves a file out."""
    folder.mkdir(exist_ok=True)
    contents = {"config.json": config, "model.safetensors": safetensors()}
    contents |= {name.replace("__", "."): content for name, content in files.items()}
    for name, content in contents.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


def nested(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = {"text_config": value}
    return value


def with_key(**keys: Any) -> Callable[[Path], Path]:
    return lambda folder: write_model(folder, CONFIG | keys)


def in_file(name: str, content: dict[str, Any]) -> Callable[[Path], Path]:
    return lambda folder: write_model(folder, **{name: content})


def index(weight_map: dict[str, str]) -> Callable[[Path], Path]:
    files = {"model__safetensors": None, "model__safetensors__index__json": None}
    files["model__safetensors__index__json"] = {"weight_map": weight_map}  # type: ignore[assignment]
    return lambda folder: write_model(folder, **files)


def outward_link(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write_model(folder)
        outside = folder.parent / f"outside-{name}"
        (folder / name).rename(outside) if (folder / name).exists() else outside.touch()
        (folder / name).symlink_to(outside)
        return folder

    return make


HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "remote class": (with_key(auto_map={"AutoModel": "evil--model.Evil"}), "key auto_map"),
    "remote class in a nested config": (
        with_key(text_config={"auto_map": {"AutoConfig": "configuration.Evil"}}),
        r"key text_config\.auto_map",
    ),
    "remote class in a list": (
        with_key(experts=[{}, {"auto_map": {}}]),
        r"key experts\[1\]\.auto_map",
    ),
    "trust switched on": (with_key(trust_remote_code=True), "key trust_remote_code"),
    "custom code": (with_key(custom_code="model.py"), "key custom_code"),
    "attention from a repository": (
        with_key(attn_implementation="evil/attention"),
        "key attn_implementation.*evil/attention",
    ),
    "attention by the private key": (
        with_key(_attn_implementation="evil/attention"),
        "key _attn_implementation",
    ),
    "attention by the internal key": (
        with_key(_attn_implementation_internal="evil/attention@main:f"),
        "key _attn_implementation_internal",
    ),
    "attention per sub-model": (
        with_key(attn_implementation={"": "sdpa", "text_config": "evil/attention"}),
        "key attn_implementation.*evil",
    ),
    "attention in a nested config": (
        with_key(text_config={"_attn_implementation": "paged|evil/attention"}),
        r"text_config\._attn_implementation",
    ),
    "attention in a layer": (
        with_key(per_layer_config={"3": {"attn_implementation": "evil/attention"}}),
        r"per_layer_config\.3\.attn_implementation",
    ),
    "experts from a repository": (
        with_key(_experts_implementation="evil/experts"),
        "_experts_implementation",
    ),
    "unknown quantisation": (
        with_key(quantization_config={"quant_method": "evil"}),
        r"quantization_config\.quant_method",
    ),
    "a million layers": (with_key(num_hidden_layers=10**6), "key num_hidden_layers.*1,000,000"),
    "a wide layer in a nested config": (
        with_key(text_config={"hidden_size": 10**9}),
        r"key text_config\.hidden_size",
    ),
    "a token id that is a word": (
        in_file("generation_config__json", {"eos_token_id": "x"}),
        r"generation_config\.json, key eos_token_id",
    ),
    "a negative length": (
        in_file("generation_config__json", {"max_length": -4}),
        "key max_length.*not a number from 1 up",
    ),
    "a template that is a number": (
        in_file("tokenizer_config__json", {"chat_template": 5}),
        "key chat_template: refused: it is not a text",
    ),
    "a named template that is none": (
        in_file("tokenizer_config__json", {"chat_template": [{"name": "default"}]}),
        "key chat_template",
    ),
    "other weight file": (with_key(transformers_weights="adapter_model.bin"), "another weight"),
    "tokenizer class": (
        in_file("tokenizer_config__json", {"auto_map": {"AutoTokenizer": ["evil.Tok", None]}}),
        r"tokenizer_config\.json, key auto_map",
    ),
    "generation code": (
        in_file("generation_config__json", {"custom_generate": "evil/generate"}),
        r"generation_config\.json, key custom_generate",
    ),
    "processor class": (
        in_file("processor_config__json", {"auto_map": {"AutoProcessor": "evil.P"}}),
        r"processor_config\.json, key auto_map",
    ),
    "adapter code": (
        in_file("adapter_config__json", {"auto_map": {"AutoModel": "evil.M"}}),
        r"adapter_config\.json, key auto_map",
    ),
    "adapter of another model": (
        in_file("adapter_config__json", {"base_model_name_or_path": "someone/model"}),
        "(?s)key base_model_name_or_path: refused: .*'someone/model'.*merge_and_unload",
    ),
    "adapter of a folder elsewhere": (
        in_file("adapter_config__json", {"base_model_name_or_path": ".."}),
        "key base_model_name_or_path",
    ),
    "pickled adapter": (
        lambda folder: write_model(folder, adapter_config__json={}, adapter_model__bin=b"\x80"),
        "adapter_model.bin: refused",
    ),
    "index that leaves the folder": (index({"w": "../other/model.safetensors"}), "refused"),
    "index with an absolute path": (index({"w": "/etc/model.safetensors"}), "refused"),
    "index that names a pickle": (index({"w": "pytorch_model.bin"}), "refused"),
    "config link": (outward_link("config.json"), "leaves the model folder"),
    "weights link": (outward_link("model.safetensors"), "leaves the model folder"),
    "tokenizer link": (outward_link("tokenizer.json"), "leaves the model folder"),
}

DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no config": (lambda f: write_model(f, config=None), "config.json is missing"),
    "config that is no JSON": (lambda f: write_model(f, config=b"{'a': 1}"), "not valid JSON"),
    "config in UTF-16": (lambda f: write_model(f, config='{"a": 1}'.encode("utf-16")), "not valid"),
    "config that is a list": (lambda f: write_model(f, config=[CONFIG]), "this is a list"),
    "deep config": (lambda f: write_model(f, config=nested(17, {})), "deeper than 16"),
    "bottomless config": (
        lambda f: write_model(f, config=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "not valid JSON",
    ),
    "huge config": (lambda f: write_model(f, config={"a": "x" * (1 << 20)}), "at most 1,048,576"),
    "huge number": (lambda f: write_model(f, config=b'{"a": ' + b"9" * 9999 + b"}"), "not valid"),
    "no weights": (lambda f: write_model(f, model__safetensors=None), "give a folder as written"),
    "pickled weights": (
        lambda f: write_model(f, model__safetensors=None, pytorch_model__bin=b"\x80\x04."),
        r"pytorch_model\.bin is not read.*\n.*use_safetensors=False",
    ),
    "other weight name": (
        lambda f: write_model(f, model__safetensors=None, weights__safetensors=safetensors()),
        r"There is weights\.safetensors",
    ),
    "adapter alone": (
        lambda f: write_model(f, config=None, adapter_config__json={}),
        "adapter without its model",
    ),
    "lost part": (index({"w": "model-00001-of-00002.safetensors"}), "part of the weights"),
    "empty index": (index({}), "weight_map is missing or empty"),
    "dead link": (
        lambda f: (write_model(f) / "loop").symlink_to("loop") or f,
        "leads nowhere",
    ),
}


def entry(dtype: Any = "F32", shape: Any = (2, 2), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


HEADERS: dict[str, bytes] = {
    "empty file": b"",
    "shorter than its length": b"\x01\x00",
    "length beyond the file": struct.pack("<Q", 1 << 40) + b"{}",
    "not JSON": safetensors(b"not json at all"),
    "bottomless JSON": safetensors(b"[" * 200_000),
    "a list": safetensors([]),
    "not UTF-8": safetensors(b'{"\xff": 1}'),
    "a name twice": safetensors(
        b'{"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},'
        b' "w": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]}}'
    ),
    "unknown type": safetensors(entry(dtype="OBJECT")),
    "no offsets": safetensors({"w": {"dtype": "F32", "shape": [2, 2]}}),
    "entry that is a number": safetensors({"w": 3}),
    "negative offset": safetensors(entry(offsets=(-16, 0))),
    "fractional shape": safetensors(entry(shape=(2, 2.0))),
    "true as a number": safetensors(entry(shape=(4, True), offsets=(0, 16))),
    "offsets beyond the file": safetensors(entry(shape=(2, 2000), offsets=(0, 16_000))),
    "size unlike the shape": safetensors(entry(shape=(2, 3))),
    "overflowing shape": safetensors(entry(shape=(2**62, 2**62, 0, 2**80))),
    "hole before the data": safetensors(entry(shape=(1, 2), offsets=(8, 16))),
    "data after the last tensor": safetensors(data=bytes(17)),
    "overlap": safetensors(
        {
            "a": {"dtype": "U8", "shape": [12], "data_offsets": [0, 12]},
            "b": {"dtype": "U8", "shape": [12], "data_offsets": [4, 16]},
        }
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_folder_is_refused_and_the_place_named(tmp_path: Path, case: str) -> None:
    make, message = HOSTILE[case]
    with pytest.raises(UnsupportedModel, match=message) as caught:
        check_model_folder(make(tmp_path / "model"))
    assert str(tmp_path) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_folder_is_named_with_what_to_do(tmp_path: Path, case: str) -> None:
    make, message = DAMAGED[case]
    with pytest.raises(InputError, match=f"(?i){message}") as caught:
        check_model_folder(make(tmp_path / "model"))
    assert str(tmp_path) in str(caught.value).splitlines()[0]


@pytest.mark.parametrize("case", HEADERS)
def test_malformed_weights_are_refused(tmp_path: Path, case: str) -> None:
    folder = write_model(tmp_path / "model", model__safetensors=HEADERS[case])
    with pytest.raises(InputError, match=r"model\.safetensors: not a sound safetensors file"):
        check_model_folder(folder)


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        check_model_folder(tmp_path / "nowhere")


def test_an_unreadable_file_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "model")

    def refuse(self: Path, **_: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(InputError, match=r"config\.json: cannot be read: Permission denied"):
        check_model_folder(folder)


def test_a_sound_folder_passes_with_its_config_and_weights(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "model",
        CONFIG
        | {
            "attn_implementation": "sdpa",
            "_attn_implementation": None,
            "text_config": {"attn_implementation": {"": "flex_attention", "vision": "eager"}},
            "quantization_config": {"quant_method": "awq"},
        },
        generation_config__json={"eos_token_id": [2, 7], "max_length": 20, "pad_token_id": None},
        tokenizer_config__json={"chat_template": "{{ messages }}"},
    )
    checked = check_model_folder(folder)
    assert checked.config["model_type"] == "llama"
    assert checked.weights == (folder / "model.safetensors",)


def test_safetensors_beside_pickles_are_used_and_the_pickles_left_alone(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", pytorch_model__bin=b"\x80", training_args__bin=b"\x80")
    assert [file.name for file in check_model_folder(folder).weights] == ["model.safetensors"]


def test_parts_listed_by_an_index_are_all_checked(tmp_path: Path) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    folder = index({"a": names[0], "b": names[1], "c": names[0]})(tmp_path / "model")
    (folder / names[0]).write_bytes(safetensors())
    (folder / names[1]).write_bytes(safetensors())
    assert [file.name for file in check_model_folder(folder).weights] == names
    (folder / names[1]).write_bytes(safetensors()[:-1])
    with pytest.raises(InputError, match="00002-of-00002"):
        check_model_folder(folder)


def test_the_links_of_the_hub_cache_are_allowed(tmp_path: Path) -> None:
    blobs = tmp_path / "models--owner--name" / "blobs"
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "0123abcd"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "aaa").write_text(json.dumps(CONFIG))
    (blobs / "bbb").write_bytes(safetensors())
    (snapshot / "config.json").symlink_to("../../blobs/aaa")
    (snapshot / "model.safetensors").symlink_to("../../blobs/bbb")
    assert len(check_model_folder(snapshot).weights) == 1
    (snapshot / "tokenizer.json").symlink_to("/etc/hostname")
    with pytest.raises(UnsupportedModel, match="leaves the model folder"):
        check_model_folder(snapshot)


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
from modelgraft.core.intake import check_model_folder
refused = 0
for folder in sorted(Path(sys.argv[1]).glob("model-*")):
    try:
        check_model_folder(folder)
    except ModelgraftError:
        refused += 1
heavy = sorted({"torch", "numpy", "yaml", "transformers", "safetensors"} & sys.modules.keys())
print(refused, touched, heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(modelgraft.__file__).parents[1])},
    )
    assert done.stdout.strip() == f"{len(HOSTILE) + len(DAMAGED)} [] []", done.stderr


# -- parsers under random input --------------------------------------------------------------------

FUZZ = settings(
    max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(cut=st.integers(0, 200), at=st.integers(0, 120), junk=st.binary(max_size=9))
def test_a_damaged_safetensors_file_gives_an_input_error_or_passes(
    tmp_path: Path, cut: int, at: int, junk: bytes
) -> None:
    sound = safetensors()
    path = tmp_path / "w.safetensors"
    path.write_bytes((sound[:at] + junk + sound[at + len(junk) :])[: cut or None])
    try:
        check_safetensors(path)
    except InputError as error:
        assert str(path) in str(error)


def gguf(num_tensors: int = 0) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.architecture") + struct.pack("<I", 8) + text("llama"),
        text("llama.block_count") + struct.pack("<II", 4, 30),
        text("llama.rope.freq_base") + struct.pack("<If", 6, 100000.0),
        text("tokenizer.ggml.add_bos_token") + struct.pack("<I?", 7, False),
        text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
        text("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", 1, 1),
        text("tokenizer.ggml.pre") + struct.pack("<I", 8) + text("smollm"),
    ]
    return b"GGUF" + struct.pack("<IQQ", 3, num_tensors, len(entries)) + b"".join(entries)


def test_gguf_metadata_keeps_single_values_and_walks_over_arrays(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(gguf())
    assert gguf_metadata(path) == {
        "general.architecture": "llama",
        "llama.block_count": 30,
        "llama.rope.freq_base": 100000.0,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.pre": "smollm",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "GGUF"),
        (b"\x80\x04." * 9, "GGUF"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1), "promises"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 60), "promises"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 1 << 60), "a text of"),
        (gguf()[:-3], "ends inside"),
    ],
)
def test_a_malformed_gguf_header_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.gguf: not a sound GGUF file.*{message}"):
        gguf_metadata(path)


@FUZZ
@given(at=st.integers(0, 330), junk=st.binary(min_size=1, max_size=12), cut=st.integers(0, 400))
def test_a_damaged_gguf_header_gives_an_input_error_or_passes(
    tmp_path: Path, at: int, junk: bytes, cut: int
) -> None:
    sound = gguf()
    path = tmp_path / "model.gguf"
    path.write_bytes((sound[:at] + junk + sound[at + len(junk) :])[: cut or None])
    try:
        gguf_metadata(path)
    except InputError as error:
        assert str(path) in str(error)


def test_an_adapter_whose_base_is_the_folder_itself_passes(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model(folder, adapter_config__json={"base_model_name_or_path": str(folder)})
    assert check_model_folder(folder).weights


@pytest.mark.parametrize("is_there", [True, False])
def test_a_quantisation_that_fetches_kernels_passes_only_where_none_can_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    folder = write_model(
        tmp_path / "model", CONFIG | {"quantization_config": {"quant_method": "mxfp4"}}
    )
    if is_there:
        (tmp_path / "kernels.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(UnsupportedModel, match="quant_method"):
            check_model_folder(folder)
    else:
        check_model_folder(folder)
