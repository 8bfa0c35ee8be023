"""An encoded context on the disk: the same logits when loaded, refused beside anything else."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import InputError, Unavailable, UnsupportedModel
from modelgraft.methods.star_attention.adapter import files
from modelgraft.methods.star_attention.adapter.encode import append_context, encode_context
from modelgraft.methods.star_attention.adapter.files import (
    load_cache,
    model_fingerprint,
    save_cache,
)
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.infer import generate

NUM, QUERY = 40, 4
CONFIG = StarConfig(block=10, anchor=7)


@pytest.fixture
def model(tiny: Any) -> Any:
    return tiny()


@pytest.fixture
def ids(draw: Any) -> torch.Tensor:
    return draw(NUM + QUERY)


@pytest.fixture
def saved(model: Any, ids: torch.Tensor, tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    save_cache(encode_context(model, ids[:, :NUM], CONFIG, headroom=30), model, folder)
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "cache.json"
    described = json.loads(path.read_text())
    change(described)
    path.write_text(json.dumps(described))


# -- the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        CONFIG,
        StarConfig(),
        StarConfig(boundaries=(12, 30, NUM)),
        StarConfig(block=10, anchor_mode="none"),
        StarConfig(pattern="streaming", sinks=2, window=6),
    ],
    ids=["sizes", "defaults", "boundaries", "no anchor", "streaming"],
)
def test_a_loaded_encoding_gives_identical_logits(model, ids, tmp_path, read_query, config):
    """Acceptance 15; the plan comes back whole, whatever made it."""
    cache = encode_context(model, ids[:, :NUM], config, headroom=30)
    save_cache(cache, model, tmp_path / "kept")
    loaded = load_cache(model, tmp_path / "kept", context_ids=ids[:, :NUM], config=config)
    assert loaded.plan == cache.plan and loaded.headroom == 30
    assert torch.equal(read_query(model, loaded, ids), read_query(model, cache, ids))
    assert sorted(path.name for path in tmp_path.glob("kept/*")) == [
        "cache.json",
        "cache.safetensors",
    ]


def test_the_query_and_the_answer_are_left_out(model, ids, tmp_path, read_query):
    cache = encode_context(model, ids[:, :NUM], CONFIG)
    expected = read_query(model, cache, ids)
    generate(model, cache, torch.cat([ids, ids[:, :3]], dim=1), max_new_tokens=5)
    save_cache(cache, model, tmp_path / "kept")
    loaded = load_cache(model, tmp_path / "kept")
    assert loaded.get_seq_length() == NUM
    assert torch.equal(read_query(model, loaded, ids), expected)


def test_a_batch_and_a_continued_context_come_back(model, draw, tmp_path, read_query):
    ids = draw(70, batch=2)
    cache = encode_context(model, ids[:, :33], StarConfig(boundaries=(10, 20, 33)))
    append_context(model, cache, ids[:, 33:66])
    save_cache(cache, model, tmp_path / "kept")
    loaded = load_cache(model, tmp_path / "kept", context_ids=ids[:, :66])
    assert loaded.plan == cache.plan and loaded.num_tokens == 66
    assert torch.equal(read_query(model, loaded, ids), read_query(model, cache, ids))


def test_low_precision_is_kept_bit_by_bit(tiny, ids, tmp_path, read_query):
    model = tiny(dtype=torch.bfloat16)
    cache = encode_context(model, ids[:, :NUM], CONFIG)
    save_cache(cache, model, tmp_path / "kept")
    loaded = load_cache(model, tmp_path / "kept")
    assert torch.equal(read_query(model, loaded, ids), read_query(model, cache, ids))


def test_a_model_loaded_again_may_use_the_encoding(tiny, ids, saved, tmp_path, read_query):
    """The fingerprint is of what the model computes, not of where it was loaded from."""
    model = tiny()
    for place in ("one", "two"):
        model.save_pretrained(tmp_path / place)
    one, two = (type(model).from_pretrained(tmp_path / place) for place in ("one", "two"))
    assert model_fingerprint(one.eval()) == model_fingerprint(two.eval())


# -- refusals ------------------------------------------------------------------------------------


def changed_weights(model: Any, tiny: Any) -> Any:
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.01)
    return model


@pytest.mark.parametrize(
    "change",
    [
        changed_weights,
        lambda model, tiny: tiny(seed=1),
        lambda model, tiny: tiny(rms_norm_eps=1e-5),
        lambda model, tiny: tiny(rope_parameters={"rope_type": "default", "rope_theta": 500.0}),
        lambda model, tiny: tiny(dtype=torch.float64),
        lambda model, tiny: tiny(num_hidden_layers=3),
    ],
    ids=["weights", "seed", "norm", "rope", "number type", "layers"],
)
def test_another_model_is_refused(model, tiny, saved, change):
    """Acceptance 15."""
    with pytest.raises(InputError, match=r"the model .* differ.\n  Choose another --cache folder"):
        load_cache(change(model, tiny), saved)


def test_another_text_and_other_options_are_refused_together(model, ids, saved):
    """Acceptance 15: one changed token, one changed option; all faults in one message."""
    other = ids[:, :NUM].clone()
    other[0, 3] = (other[0, 3] + 1) % 128
    with pytest.raises(InputError) as caught:
        load_cache(model, saved, context_ids=other, config=StarConfig(block=10, halo=2))
    text = str(caught.value)
    assert "the document or its tokenisation" in text
    assert "the options anchor, halo" in text and "the model" not in text
    assert text.startswith(str(saved))


def test_a_model_that_cannot_carry_the_method_is_refused_before_its_files_are_read(tiny, saved):
    model = tiny(kind=transformers.MistralConfig, sliding_window=16)
    with pytest.raises(UnsupportedModel, match="sliding"):
        load_cache(model, saved)


def swapped(field: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda described: described.update({field: value})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("format", lambda d: d.clear()),
        ("format", swapped("format", 1)),
        *[(name, lambda d, name=name: d.pop(name)) for name in files._FIELDS],
        *[(name, swapped(name, True)) for name in files._FIELDS],
        *[("config", swapped("config", value)) for value in (None, [1], "x")],
        ("config", lambda d: d["config"].update(no_such_option=1)),
        ("config", lambda d: d["config"].update(block=-1)),
        ("config", lambda d: d["config"].update(block=None, boundaries=[10, 50])),
        ("config", lambda d: d["config"].update(anchor=11)),
        *[("parts", swapped("parts", value)) for value in ([], [0, 40], [-3, 43], ["ten"], [40.0])],
        ("num_tokens", swapped("num_tokens", 7)),
        ("num_tokens", swapped("parts", [10, 20])),
        *[("headroom", swapped("headroom", value)) for value in (None, -10, 513, 10**13, "30")],
        ("kernel", swapped("kernel", "auto")),
        ("dtype", swapped("dtype", "bfloat16")),
        ("rope", swapped("rope", {"rope_theta": 500.0})),
        ("tensors", lambda d: d["tensors"].pop("layers.1.key")),
        ("tensors", lambda d: d["tensors"].update(more="0")),
        ("the model", lambda d: d["model"].update(weights=None)),
        ("the model", lambda d: d["model"].clear()),
    ],
)
def test_a_damaged_description_is_named_with_its_field(model, saved, field, change):
    """Also when the damage keeps the checksum right, where a value is impossible."""
    edit(saved, change)
    for damaged_alone in (True, False):
        if not damaged_alone:
            forge(saved)
        with pytest.raises(InputError) as caught:
            load_cache(model, saved)
        text = str(caught.value)
        assert str(saved) in text and field in text.splitlines()[0], text


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["config"].update(sinks=3),
        swapped("headroom", 31),
        swapped("context", "0"),
        lambda d: d["model"].update(id="another"),
    ],
    ids=["option", "headroom", "context", "id"],
)
def test_a_description_that_was_changed_into_another_possible_one_is_refused(model, saved, change):
    edit(saved, change)
    with pytest.raises(InputError, match=r"cache\.json: checksum: damaged: a field was changed"):
        load_cache(model, saved)


def forge(folder: Path) -> None:
    """Write the checksum anew, as somebody would who edits the file on purpose."""
    path = folder / "cache.json"
    described = json.loads(path.read_text())
    if "checksum" in described and isinstance(described["checksum"], str):
        path.write_text(json.dumps(described | {"checksum": files._checksum(described)}))


def test_missing_and_broken_files_are_named(model, saved, tmp_path):
    with pytest.raises(InputError, match=r"nowhere/cache\.json: no such file"):
        load_cache(model, tmp_path / "nowhere")
    for text, says in (
        ('{"format": 2,\n', r":\d: not valid JSON"),
        ("[1]", ": format: not an enc"),
    ):
        (saved / "cache.json").write_text(text)
        with pytest.raises(InputError, match=r"cache\.json" + says):
            load_cache(model, saved)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("layers.0.key", lambda t: t.fill_(float("nan"))),
        ("layers.1.value", lambda t: t.mul_(2.0)),
        ("layers.0.key", lambda t: t.double()),
        ("layers.0.value", lambda t: t.long()),
        ("layers.1.key", lambda t: t[:, :1]),
        ("context_ids", lambda t: t.float()),
        ("context_ids", lambda t: t[0]),
        ("context_ids", lambda t: t + 1),
    ],
    ids=["nan", "scaled", "float64", "integers", "one head", "float ids", "flat ids", "other ids"],
)
def test_damaged_tensors_are_named(model, saved, name, damage):
    path = saved / "cache.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors[name] = damage(tensors[name]).contiguous()
    save_file(tensors, path)
    with pytest.raises(InputError, match=rf"cache\.safetensors: {name}: damaged"):
        load_cache(model, saved)


@pytest.mark.parametrize("damage", ["truncated", "missing", "tensor"])
def test_an_unreadable_tensor_file_is_named(model, saved, damage):
    path = saved / "cache.safetensors"
    tensors = load_file(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "missing":
        path.unlink()
    else:
        save_file({name: t for name, t in tensors.items() if name != "layers.1.value"}, path)
    with pytest.raises(InputError, match=r"cache\.safetensors: not a readable encoding"):
        load_cache(model, saved)


def test_values_that_are_not_finite_are_neither_saved_nor_loaded(model, ids, saved, tmp_path):
    """Also where every hash is right."""
    cache = encode_context(model, ids[:, :NUM], CONFIG)
    cache.layers[1].values[0, 0, 3, 5] = float("inf")
    with pytest.raises(InputError, match=r"layers\.1\.value of the cache holds NaN or infinity"):
        save_cache(cache, model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    tensors = {
        name: tensor.clone() for name, tensor in load_file(saved / "cache.safetensors").items()
    }
    tensors["layers.1.value"][0, 0, 3, 5] = float("inf")
    save_file(tensors, saved / "cache.safetensors")
    name = "layers.1.value"
    edit(saved, lambda d: d["tensors"].update({name: files.tensor_hash(tensors[name])}))
    forge(saved)
    with pytest.raises(InputError, match=r"layers\.1\.value: damaged: it holds NaN or infinity"):
        load_cache(model, saved)


def test_what_an_encoding_belongs_to_is_written_down(tiny, ids, saved, make_tokenizer, tmp_path):
    """Specification, section 6."""
    described = json.loads((saved / "cache.json").read_text())
    assert described["dtype"] == "float32" and described["tokenizer"] is None
    assert described["config"]["block"] == 10 and described["num_tokens"] == NUM
    assert described["rope"] == {"rope_theta": 10000.0, "rope_type": "default"}
    assert set(described["model"]) == {"id", "config", "weights"}
    tiny().save_pretrained(tmp_path / "model")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = make_tokenizer()
    cache = encode_context(model, ids[:, :NUM], CONFIG)
    save_cache(cache, model, tmp_path / "other", tokenizer=tokenizer)
    described = json.loads((tmp_path / "other" / "cache.json").read_text())
    assert described["model"]["id"] == str(tmp_path / "model")
    tokenizer("some text", truncation=True, max_length=3)
    load_cache(model, tmp_path / "other", tokenizer=tokenizer)
    load_cache(model, tmp_path / "other")
    other = make_tokenizer("{{ messages[0]['content'] }}")
    with pytest.raises(InputError, match="the tokenizer differ"):
        load_cache(model, tmp_path / "other", tokenizer=other)


@pytest.mark.parametrize("change", ["crop", "reset", "samples"])
def test_a_cache_that_is_not_the_encoding_alone_is_not_saved(model, ids, tmp_path, change):
    cache = encode_context(model, ids[:, :NUM], CONFIG)
    if change == "samples":
        generate(model, cache, ids, do_sample=True, num_return_sequences=2, max_new_tokens=2)
    else:
        cache.crop(-1) if change == "crop" else cache.reset()
    says = "rewind it before" if change == "samples" else "no longer holds its whole context"
    with pytest.raises(InputError, match=says):
        save_cache(cache, model, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_continued_encoding_goes_on_with_its_kernel_after_loading(tiny, draw, tmp_path):
    model, ids = tiny(kind=transformers.DiffLlamaConfig, pad_token_id=0), draw(NUM)
    cache = encode_context(model, ids[:, :20], StarConfig(block=10), kernel="stock")
    save_cache(cache, model, tmp_path / "kept")
    loaded = load_cache(model, tmp_path / "kept")
    for each in (cache, loaded):
        append_context(model, each, ids[:, 20:])
    assert torch.equal(cache.layers[1].keys, loaded.layers[1].keys)


def test_an_existing_folder_is_not_written_over(model, ids, saved):
    before = (saved / "cache.safetensors").read_bytes()
    with pytest.raises(InputError, match="there is something already; choose a new folder"):
        save_cache(encode_context(model, ids[:, :30]), model, saved)
    assert (saved / "cache.safetensors").read_bytes() == before


# -- a full disk ---------------------------------------------------------------------------------


def test_a_disk_too_small_is_noticed_before_anything_is_written(model, ids, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("modelgraft.core.files.shutil.disk_usage", lambda _: usage)
    with pytest.raises(Unavailable, match=r"the encoded document needs about [\d,]+ bytes"):
        save_cache(encode_context(model, ids[:, :NUM]), model, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["save_file", "write_json"])
def test_a_write_that_fails_leaves_nothing_behind(model, ids, tmp_path, monkeypatch, step):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, step, full)
    cache = encode_context(model, ids[:, :NUM])
    with pytest.raises(Unavailable, match=r"(?s)kept.*cannot be written.*Make room"):
        save_cache(cache, model, tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def save_with_small_files_only(cache: Any, model: Any, folder: Path, said: Any) -> None:
    """A real failing write: the system refuses files above 4 KB, as a full disk would."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        save_cache(cache, model, folder)
        said.put("nothing")
    except Unavailable as error:
        said.put(str(error))


def test_a_file_the_system_refuses_leaves_nothing_behind(model, ids, tmp_path):
    cache = encode_context(model, ids[:, :NUM])
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    child = context.Process(
        target=save_with_small_files_only, args=(cache, model, tmp_path / "kept", said)
    )
    child.start()
    child.join(30)
    assert not child.is_alive() and not said.empty()
    assert "cannot be written" in said.get() and list(tmp_path.iterdir()) == []
