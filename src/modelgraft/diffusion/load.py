"""From a name on the command line to a Flux pipeline, checked before it is loaded.

`load_flux("tiny:flux").pipe` is the stock object; nothing of ours is inside but, in the embedded
model, its codec and tokenizer.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from modelgraft.core import store
from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.files import read_json
from modelgraft.core.hub import Layout, fetch_snapshot
from modelgraft.core.lazy import need
from modelgraft.core.pipelines import (
    MODEL_INDEX,
    PipelineFolder,
    check_pipeline_configs,
    check_pipeline_folder,
    files_to_fetch,
    has_weights,
)
from modelgraft.core.quiet import no_progress_bars
from modelgraft.core.store import Report, to_stderr
from modelgraft.nn.devices import DType, find_device, find_dtype, move
from modelgraft.nn.memory import check_memory
from modelgraft.nn.weights import non_finite, refuse_non_finite, weight_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, FluxTransformer2DModel

_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_EXAMPLES = "a pipeline is tiny:flux, a folder, or owner/name or owner/name@revision on the hub"
_LIBRARIES = ("diffusers", "transformers")
_LAYOUT = Layout(
    entry=MODEL_INDEX,
    choose=files_to_fetch,
    check=check_pipeline_configs,
    has_weights=has_weights,
    wanted=f"{MODEL_INDEX}, and safetensors in the folder of every model",
    instead="tiny:flux, or a folder written by save_pretrained",
)


@dataclass(frozen=True)
class LoadedFlux:
    """A stock pipeline without progress bars, its models in eval mode, and where it came from.

    `revision` pins the weights: the hub commit, or how the embedded model is stored; empty for a
    user's own path.
    """

    pipe: DiffusionPipeline
    name: str
    revision: str
    folder: Path


@dataclass(frozen=True)
class FluxSkeleton:
    """A transformer on the meta device: all of its sizes, none of its weights."""

    transformer: FluxTransformer2DModel
    token_px: int
    """Pixels along one side of a token."""
    name: str
    revision: str
    folder: Path


def load_flux(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: DType = "auto",
    offline: bool = False,
    report: Report = to_stderr,
) -> LoadedFlux:
    """The Flux pipeline called `name`, of any class in `core.pipelines.FLUX`, from safetensors.

    `device` auto is the GPU if there is one; `dtype` auto is bfloat16 there and float32 on a CPU.
    `report` is told what is fetched. Raises `InputError` for a name or folder that is none,
    `UnsupportedModel` for a folder that must not or cannot be loaded, `Unavailable` when the hub
    cannot be reached, and `ConfigError` when the weights would take more than nine tenths of the
    free memory. Offloading and 4-bit weights are choices of whoever builds a pipeline with
    diffusers; such a pipeline goes wherever `pipe` goes.
    """
    place = find_device(device)
    number_type = find_dtype(dtype, place, lambda: "float32")
    path, revision = _find(str(name), offline, report)
    checked = check_pipeline_folder(path)
    files = [(part, file) for part, files in checked.weights.items() for file in files]
    check_memory(
        sum(weight_bytes(file, number_type) for _, file in files),
        place,
        what=f"{name}: its weights",
        advice="Use --dtype bfloat16, a smaller model, or another --device.",
    )
    refuse_non_finite(path, [f"{part}/{one}" for part, file in files for one in non_finite(file)])
    with _one_clear_error(path):
        pipe = _load_folder(checked, number_type)
        move(pipe, place, name=name)
    pipe.set_progress_bar_config(disable=True)
    set_default_size(pipe)
    return LoadedFlux(pipe, str(name), revision, path)


def load_flux_skeleton(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: DType = "auto",
    offline: bool = False,
    report: Report = to_stderr,
) -> FluxSkeleton:
    """The transformer of the pipeline called `name` on the meta device, for plans and estimates.

    Of a hub id only the small files are fetched, and a folder needs no weights. The number type is
    the one that `load_flux` would take. Raises what `load_flux` raises.
    """
    number_type = find_dtype(dtype, find_device(device), lambda: "float32")
    path, revision = _find(str(name), offline, report, weights=False)
    check_pipeline_configs(path)
    with _one_clear_error(path):
        kind = need("diffusers", extra="hf").FluxTransformer2DModel
        config = kind.load_config(path / "transformer", local_files_only=True)
        with torch.device("meta"):
            transformer = kind.from_config(config).to(number_type).eval()
        codec = read_json(path / "vae" / "config.json", "the codec's config")
        token_px = 2 ** len(codec["block_out_channels"])
    return FluxSkeleton(transformer, token_px, str(name), revision, path)


def set_default_size(pipe: Any) -> None:
    """Let the stock call without sizes draw what the codec says it was made for.

    Pipelines assume 128 latents a side whatever their codec; the embedded one has 16.
    """
    if picture_px := pipe.vae.config.get("picture_px"):
        pipe.default_sample_size = picture_px // pipe.vae_scale_factor


def _find(name: str, offline: bool, report: Report, *, weights: bool = True) -> tuple[Path, str]:
    """Where the pipeline lies on this machine, after fetching it if need be, and its revision."""
    if name.startswith(store.PREFIX) or name == store.DEFAULT:
        asset = store.resolve(name, "flux")
        if asset is None:
            raise _unknown(name)
        folder = store.get(asset.name, report=report, offline=offline)
        return folder, f"{asset.source}:{asset.identity}"
    path = Path(name).expanduser()
    if name and path.is_dir():
        return path, ""
    if path.is_file():
        raise InputError(
            f"{path}: a single file; name the folder that a pipeline's save_pretrained writes.\n"
            "  FluxPipeline.from_single_file of diffusers reads such files where you trust them."
        )
    match = _HUB_ID.fullmatch(name)
    if match:
        snapshot = fetch_snapshot(
            match[1], match[2] or "", _LAYOUT, offline=offline, report=report, weights=weights
        )
        return snapshot.folder, snapshot.commit
    raise _unknown(name)


def _unknown(name: str) -> InputError:
    other = store.resolve(name) if name.startswith(store.PREFIX) else None
    if other is not None:
        return InputError(
            f"{name}: a {other.kind} model; a Flux pipeline is needed.\n  {_EXAMPLES.capitalize()}."
        )
    folder = Path(name).expanduser().parent
    near = [str(entry) for entry in folder.iterdir()] if folder.is_dir() else []
    embedded = [store.PREFIX + one.name for one in store.assets().values() if one.kind == "flux"]
    close = difflib.get_close_matches(name, [*embedded, *near], n=2)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return InputError(f"{name}: no pipeline of this name.\n  {hint}{_EXAMPLES.capitalize()}.")


def _load_folder(checked: PipelineFolder, dtype: torch.dtype) -> Any:
    """The pipeline from its parts, each loaded by its own class; nothing else is read."""
    parts = {part: _load_part(checked, part, dtype) for part in checked.parts}
    return getattr(need("diffusers", extra="hf"), checked.pipeline)(**parts)


def _load_part(checked: PipelineFolder, part: str, dtype: torch.dtype) -> Any:
    library, name = checked.parts[part]
    kind = getattr(importlib.import_module(library), name)
    folder = checked.path / part
    if part not in checked.weights:
        return kind.from_pretrained(folder, local_files_only=True)
    # diffusers has the newer word only since 0.40, transformers warns of the older one.
    word = "dtype" if library == "transformers" else "torch_dtype"
    model, info = kind.from_pretrained(
        folder,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **{word: dtype},
    )
    # The stock loaders fill what is missing with random numbers, or not at all, and only warn.
    if absent := sorted(info["missing_keys"]):
        some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise UnsupportedModel(
            f"{folder}: {len(absent)} tensors of the model are not in its weight files: {some}.\n"
            "  The folder belongs to another kind of model, or is incomplete."
        )
    return model.eval()


@contextlib.contextmanager
def _one_clear_error(folder: Path) -> Generator[None]:
    try:
        # transformers first, so that importing diffusers is quiet too.
        with no_progress_bars(*reversed(_LIBRARIES), remarks=False):
            yield
    except UnsupportedModel:
        raise
    # The stock loaders raise every kind of error, tokenizers the bare class.
    except Exception as error:
        versions = [f"{one} {need(one, extra='hf').__version__}" for one in _LIBRARIES]
        raise UnsupportedModel(
            f"{folder}: {' with '.join(versions)} cannot load it as a Flux pipeline:\n"
            f"  {str(error).strip()[:500]}"
        ) from error
