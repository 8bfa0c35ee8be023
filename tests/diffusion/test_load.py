"""Names to Flux pipelines: folders, the store, hub ids (a hub on loopback), what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loopback_hub import COMMIT, point_at, serving
from modelgraft.cli import models
from modelgraft.core import store
from modelgraft.core.errors import ConfigError, InputError, Unavailable, UnsupportedModel
from modelgraft.core.pipelines import FLUX
from modelgraft.diffusion.load import LoadedFlux, load_flux, load_flux_skeleton
from modelgraft.nn import memory

diffusers = pytest.importorskip("diffusers")

from modelgraft.tiny.flux import build_pipeline, save_pipeline  # noqa: E402

PROMPT = "a red star toy on grass"
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"


def quiet(text: str) -> None:
    """Progress is not looked at."""


def never(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("the weights were read")


@pytest.fixture(scope="module")
def original() -> Any:
    """TinyFlux with random weights that float16 holds exactly."""
    torch.manual_seed(0)
    pipe = build_pipeline()
    for part in (pipe.transformer, pipe.text_encoder, pipe.text_encoder_2):
        for parameter in part.parameters():
            parameter.data = parameter.data.half().float()
    return pipe


@pytest.fixture(scope="module")
def saved(original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "tiny-flux"
    save_pipeline(original, folder)
    return folder


@pytest.fixture(scope="module")
def loaded(saved: Path) -> LoadedFlux:
    return load_flux(saved, device="cpu", report=quiet)


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "tiny-flux"))


def change(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def draw(pipe: Any, **options: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    found = pipe(
        PROMPT, num_inference_steps=2, generator=generator, output_type="pt", **options
    ).images
    assert found.std() > 0
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -- what is saved is what is loaded ---------------------------------------------------------------


def test_a_loaded_pipeline_draws_what_the_saved_one_drew_bit_for_bit(
    original: Any, loaded: LoadedFlux, saved: Path
) -> None:
    assert torch.equal(draw(loaded.pipe), draw(original))
    assert type(loaded.pipe) is diffusers.FluxPipeline
    assert (loaded.name, loaded.revision, loaded.folder) == (str(saved), "", saved)
    for name, model in loaded.pipe.components.items():
        if isinstance(model, torch.nn.Module):
            assert not model.training and model.dtype == torch.float32, name


def test_plain_diffusers_loads_the_folder_and_draws_the_same(original: Any, saved: Path) -> None:
    plain = diffusers.FluxPipeline.from_pretrained(saved)
    plain.set_progress_bar_config(disable=True)
    assert torch.equal(draw(plain, height=32, width=32), draw(original))


def test_the_stock_call_without_sizes_draws_32_pixels(original: Any, loaded: LoadedFlux) -> None:
    for pipe in (original, loaded.pipe):
        assert pipe.default_sample_size == 16
        picture = pipe(PROMPT, num_inference_steps=1).images[0]
        assert (picture.mode, picture.size) == ("RGB", (32, 32))


def test_the_tokenizers_keep_their_length_and_their_words(
    original: Any, loaded: LoadedFlux
) -> None:
    for part in ("tokenizer", "tokenizer_2"):
        before, after = getattr(original, part), getattr(loaded.pipe, part)
        options = {"padding": "max_length", "max_length": 512, "truncation": True}
        ids = after([PROMPT, "toy " * 40], **options).input_ids
        assert type(after) is type(before) and after.model_max_length == 24
        assert [len(row) for row in ids] == [24, 24]
        assert ids == before([PROMPT, "toy " * 40], **options).input_ids


def test_the_codec_is_stored_exactly_and_the_rest_in_half_the_room(
    original: Any, loaded: LoadedFlux, saved: Path
) -> None:
    before, after = original.vae.state_dict(), loaded.pipe.vae.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for part in ("transformer", "text_encoder", "text_encoder_2"):
        (file,) = (saved / part).glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    assert sum(path.stat().st_size for path in saved.rglob("*") if path.is_file()) < 8_000_000


def test_equal_weights_give_equal_bytes_without_places_and_versions(
    original: Any, loaded: LoadedFlux, saved: Path, tmp_path: Path
) -> None:
    draw(loaded.pipe)
    for number, pipe in enumerate((original, loaded.pipe)):
        save_pipeline(pipe, tmp_path / str(number))
        assert digests(tmp_path / str(number)) == digests(saved)
    for path in saved.rglob("*.json"):
        text = path.read_text()
        assert "version" not in text.replace('"version": "1.0"', "") and str(saved) not in text
    assert {path.stat().st_mode & 0o777 for path in saved.rglob("*.*")} == {
        saved.stat().st_mode & 0o666
    }


# -- options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pipeline", FLUX)
def test_every_known_pipeline_loads_as_its_own_class(folder: Path, pipeline: str) -> None:
    change(folder / "model_index.json", _class_name=pipeline)
    pipe = load_flux(folder, device="cpu", dtype="bfloat16", report=quiet).pipe
    assert type(pipe) is getattr(diffusers, pipeline)
    assert pipe.transformer.dtype == pipe.text_encoder.dtype == torch.bfloat16
    assert pipe.default_sample_size == 16


def test_loading_says_nothing_and_opens_no_socket(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: opened.append(args))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: opened.append(args))
    logging = diffusers.utils.logging
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    draw(load_flux(saved, device="cpu").pipe)
    assert opened == [] and capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_weights_that_would_not_fit_are_refused_before_they_are_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int
) -> None:
    files = list(saved.rglob("*.safetensors"))
    numbers = sum(one.numel() for file in files for one in load_file(file).values())
    monkeypatch.setattr(memory, "free_memory", lambda device: int(numbers * size / 0.9) - 2)
    monkeypatch.setattr(diffusers.FluxTransformer2DModel, "from_pretrained", never)
    with pytest.raises(ConfigError, match="its weights would need about"):
        load_flux(saved, device="cpu", dtype=dtype)
    monkeypatch.setattr(memory, "free_memory", lambda device: int(numbers * size / 0.9) + 2)
    with pytest.raises(UnsupportedModel, match="the weights were read"):
        load_flux(saved, device="cpu", dtype=dtype)


@pytest.mark.parametrize("option", [{"device": "tpu"}, {"device": "cuda:99"}, {"dtype": "int8"}])
def test_impossible_options_name_the_field(saved: Path, option: dict[str, Any]) -> None:
    for load in (load_flux, load_flux_skeleton):
        with pytest.raises(ConfigError) as caught:
            load(saved, **option)
        assert caught.value.field in option


# -- what is refused; tests/core/test_pipelines.py has the folders that are refused unread ---------


def test_a_folder_that_names_code_is_refused_before_anything_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusers.FluxTransformer2DModel, "from_pretrained", never)
    (folder / "transformer" / "evil.py").write_text("raise SystemExit")
    change(folder / "transformer" / "config.json", auto_map={"AutoModel": "evil.Evil"})
    for load in (load_flux, load_flux_skeleton):
        with pytest.raises(UnsupportedModel, match=r"transformer/config\.json, key auto_map"):
            load(folder, report=quiet)


def test_code_beside_a_part_is_not_run(folder: Path) -> None:
    # Where diffusers looks for a class that a repository brings along.
    for part, name in (("scheduler", "diffusers"), ("text_encoder", "transformers")):
        (folder / part / f"{name}.py").write_text("raise SystemExit")
    assert load_flux(folder, device="cpu", report=quiet).pipe


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / TRANSFORMER).rename(folder / "transformer" / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"diffusion_pytorch_model\.bin is not read"):
        load_flux(folder, report=quiet)


@pytest.mark.parametrize("kept", [0, 7, 2000, -4])
def test_truncated_weights_are_refused(folder: Path, kept: int) -> None:
    content = (folder / TRANSFORMER).read_bytes()
    (folder / TRANSFORMER).write_bytes(content[:kept])
    with pytest.raises(InputError, match="not a sound safetensors file"):
        load_flux(folder, report=quiet)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_numbers_are_named(folder: Path, value: float) -> None:
    tensors = load_file(folder / TRANSFORMER)
    tensors["x_embedder.bias"][3] = value
    save_file(tensors, folder / TRANSFORMER, metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match="NaN or infinity: transformer/x_embedder"):
        load_flux(folder, report=quiet)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (TRANSFORMER, "x_embedder.weight"),
        ("vae/diffusion_pytorch_model.safetensors", "synthesis"),
        ("text_encoder/model.safetensors", "encoder.layers.0.self_attn.q_proj.weight"),
    ],
)
def test_weights_that_are_missing_are_named_instead_of_drawn_at_random(
    folder: Path, file: str, name: str
) -> None:
    tensors = load_file(folder / file)
    (found,) = (one for one in tensors if one.endswith(name))
    del tensors[found]
    save_file(tensors, folder / file, metadata={"format": "pt"})
    with pytest.raises(UnsupportedModel, match=rf"(?s)1 tensors .*{name}"):
        load_flux(folder, report=quiet)


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("transformer/config.json", {"joint_attention_dim": 32}),
        ("transformer/config.json", {"num_layers": "many"}),
        ("text_encoder_2/config.json", {"d_model": -1}),
        ("tokenizer/tokenizer.json", {"model": None}),
        ("vae/config.json", {"block_out_channels": None}),
    ],
)
def test_what_the_stock_loader_cannot_read_is_one_clear_error(
    folder: Path, file: str, keys: dict[str, Any]
) -> None:
    change(folder / file, **keys)
    with pytest.raises(UnsupportedModel, match=r"(?s)diffusers .* cannot load it as a Flux"):
        load_flux(folder, report=quiet)


# -- skeletons -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "expected"), [("auto", "float32"), ("bfloat16", "bfloat16")])
def test_a_skeleton_has_the_sizes_and_needs_no_weights(
    folder: Path, original: Any, dtype: Any, expected: str
) -> None:
    for file in folder.rglob("*.safetensors"):
        file.unlink()
    skeleton = load_flux_skeleton(folder, device="cpu", dtype=dtype, report=quiet)
    parameters = list(skeleton.transformer.parameters())
    assert all(one.is_meta and one.dtype == getattr(torch, expected) for one in parameters)
    shapes = {name: one.shape for name, one in original.transformer.state_dict().items()}
    assert {name: one.shape for name, one in skeleton.transformer.state_dict().items()} == shapes
    assert skeleton.token_px == 4 and skeleton.folder == folder


# -- names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny:smollm", "(?s)a causal-lm model; a Flux pipeline is needed.*tiny:flux"),
        ("tiny:no-such", "no pipeline of this name"),
        ("flux", "(?s)no pipeline of this name.*tiny:flux, a folder"),
        ("./no/such/folder", "no pipeline of this name"),
        ("https://127.0.0.1/model", "no pipeline of this name"),
        ("", "no pipeline of this name"),
    ],
)
def test_an_unknown_name_says_what_a_pipeline_can_be(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load_flux(name, report=quiet)


def test_a_misspelt_folder_gets_its_neighbour_proposed(saved: Path) -> None:
    with pytest.raises(InputError, match=f"Did you mean {saved}"):
        load_flux(str(saved).replace("tiny-flux", "tiny-fluks"), report=quiet)


def test_a_single_file_and_a_folder_of_another_kind_are_named(folder: Path) -> None:
    with pytest.raises(InputError, match="a single file; name the folder"):
        load_flux(folder / TRANSFORMER, report=quiet)
    with pytest.raises(InputError, match=r"model_index\.json is missing"):
        load_flux(folder / "transformer", report=quiet)


@pytest.fixture
def table(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table that ships the folder as tiny:flux behind a language model of the alias tiny."""
    package = tmp_path / "package"
    shutil.copytree(saved, package / "weights" / "flux")
    rows = [
        f'[[flux.files]]\npath = "{path.relative_to(package)}"\n'
        f'sha256 = "{hashlib.sha256(path.read_bytes()).hexdigest()}"\n'
        f"num_bytes = {path.stat().st_size}\n"
        for path in sorted(package.rglob("*.*"))
    ]
    entries = (
        '[{name}]\naliases = ["tiny"]\nkind = "{kind}"\nuse = "pictures"\nlicence = "Apache-2.0"\n'
        'source = "shipped"\nfolder = "weights/{name}"\nnum_bytes = 6_000_000\n'
    )
    text = entries.format(name="chat", kind="causal-lm") + entries.format(name="flux", kind="flux")
    (package / "assets.toml").write_text(text + "\n".join(rows))
    monkeypatch.setattr(store, "PACKAGE", package)
    monkeypatch.setattr(store, "TABLE", package / "assets.toml")
    monkeypatch.setenv("MODELGRAFT_HOME", str(tmp_path / "home"))
    return package


@pytest.mark.parametrize("name", ["tiny", "tiny:flux"])
def test_the_embedded_pipeline_is_the_one_of_its_kind(
    table: Path, original: Any, name: str
) -> None:
    found = load_flux(name, device="cpu", report=quiet, offline=True)
    assert (found.name, found.folder) == (name, table / "weights/flux")
    assert re.fullmatch(r"shipped:[0-9a-f]{12}", found.revision)
    assert torch.equal(draw(found.pipe), draw(original))
    assert load_flux_skeleton(name).folder == found.folder


def test_the_models_command_lists_gets_and_checks_a_pipeline(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.command(["list", "tiny:flux", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert (row["state"], row["origin"], row["bytes"]) == ("ready", "shipped", 6_000_000)
    assert models.command(["get", "tiny:flux"]) == 0
    assert capsys.readouterr().out == f"{table / 'weights/flux'}\n"
    assert models.command(["check", "flux"]) == 0
    path = table / "weights" / "flux" / "vae" / "config.json"
    path.write_text(path.read_text().replace("12", "13"))
    assert models.command(["check", "flux"]) == 2
    assert f"flux: {path}: another content than recorded" in capsys.readouterr().out


# -- the hub ---------------------------------------------------------------------------------------


@pytest.fixture
def served(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names asked of a hub on loopback that holds `folder` as owner/tiny-flux."""
    with serving("owner/tiny-flux", folder, tmp_path / "hub", monkeypatch) as names:
        yield names


@pytest.mark.parametrize("name", ["owner/tiny-flux", "owner/tiny-flux@main"])
def test_a_hub_id_is_announced_fetched_pinned_and_then_found_without_the_hub(
    served: list[str],
    folder: Path,
    original: Any,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = digests(folder)
    (folder / "flux1-dev.safetensors").write_bytes(b"a single file that nobody needs")
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "transformer" / "script.py").write_text("raise SystemExit")
    said: list[str] = []
    found = load_flux(name, device="cpu", report=said.append)
    assert found.revision == found.folder.name == COMMIT
    assert torch.equal(draw(found.pipe), draw(original))
    assert f"fetching {len(wanted)} files from the hub, 5.9 MB" in said[0]
    assert said[1:] == [f"owner/tiny-flux: {one}" for one in _numbered(sorted(wanted))]
    # The two tokenizers have the same files, which the cache keeps once.
    assert sorted(wanted[one] for one in served) == sorted({*wanted.values()})
    fetched = len(served)
    point_at("http://127.0.0.1:9", tmp_path / "hub", monkeypatch)
    assert load_flux(name, device="cpu", offline=True).revision == COMMIT
    assert load_flux(name, device="cpu", report=quiet).revision == COMMIT
    assert len(served) == fetched


def _numbered(names: list[str]) -> list[str]:
    parts = ("vae", "text_encoder", "text_encoder_2", "transformer")
    files = [
        next(one for one in names if one.startswith(f"{part}/") and one.endswith(".safetensors"))
        for part in parts
    ]
    return [f"{name} ({number} of 4)" for number, name in enumerate(files, start=1)]


def test_a_skeleton_of_a_hub_id_fetches_no_weights_and_the_pipeline_then_does(
    served: list[str],
) -> None:
    assert load_flux_skeleton("owner/tiny-flux", report=quiet).revision == COMMIT
    assert not [name for name in served if name.endswith(".safetensors")]
    assert load_flux_skeleton("owner/tiny-flux", offline=True).revision == COMMIT
    with pytest.raises(Unavailable, match="not in this machine's hub cache"):
        load_flux("owner/tiny-flux", offline=True)
    assert load_flux("owner/tiny-flux", device="cpu", report=quiet).revision == COMMIT
    assert served.count(TRANSFORMER) == 1


def test_a_hostile_repository_is_refused_before_its_weights_are_fetched(
    served: list[str], folder: Path
) -> None:
    change(folder / "model_index.json", vae=["evil", "Codec"])
    with pytest.raises(UnsupportedModel, match="key vae"):
        load_flux("owner/tiny-flux", report=quiet)
    assert "model_index.json" in served and TRANSFORMER not in served


def test_a_repository_of_pickles_is_refused_before_anything_is_fetched(
    served: list[str], folder: Path
) -> None:
    (folder / TRANSFORMER).rename(folder / "transformer" / "diffusion_pytorch_model.bin")
    with pytest.raises(UnsupportedModel, match="no model in safetensors form"):
        load_flux("owner/tiny-flux", report=quiet)
    assert served == []


def test_an_unknown_repository_is_an_input_error(served: list[str]) -> None:
    with pytest.raises(InputError, match="neither such a folder here nor such a repository"):
        load_flux("owner/unknown", report=quiet)


def test_an_unreachable_hub_is_unavailable_with_local_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_at("http://127.0.0.1:9", tmp_path / "hub", monkeypatch)
    with pytest.raises(Unavailable, match=r"(?s)owner/tiny-flux.*cannot be reached.*tiny:flux"):
        load_flux("owner/tiny-flux", report=quiet)


@pytest.mark.parametrize("switch", ["argument", "variable"])
def test_an_offline_run_asks_no_hub(
    served: list[str], monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    if switch == "variable":
        monkeypatch.setenv("MODELGRAFT_OFFLINE", "1")
    with pytest.raises(Unavailable, match="offline run"):
        load_flux("owner/tiny-flux", offline=switch == "argument", report=quiet)
    assert served == []
