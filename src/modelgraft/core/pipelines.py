"""A look at a folder of several models, as diffusers writes it, before any library loads it.

`model_index.json` names a class for each part, which lies in a folder of the part's name. Only the
classes listed here pass; every part is then held to the rules of `core/intake.py`. Nothing is
imported and no connection is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.intake import (
    INDEX,
    WEIGHTS,
    check_configs,
    check_model_folder,
    check_safetensors,
    indexed_weights,
    refused,
    what_else,
)

MODEL_INDEX = "model_index.json"
PARTS_WEIGHTS = "diffusion_pytorch_model.safetensors"
PARTS_INDEX = "diffusion_pytorch_model.safetensors.index.json"
FLUX = ("FluxPipeline", "FluxFillPipeline", "FluxKontextPipeline", "FluxControlPipeline")


class ClassName(NamedTuple):
    """A class as `model_index.json` names it."""

    library: str
    name: str

    def __str__(self) -> str:
        return f"{self.library}.{self.name}"


_PHRASES = ClassName("modelgraft.tiny.phrases", "PhraseTokenizer")
_TOKENIZERS = ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast")
_ANY_TOKENIZER = (*(ClassName("transformers", name) for name in _TOKENIZERS), _PHRASES)
# The classes that each part of a Flux pipeline may have. With any class of a library a part could
# be a pipeline of its own, whose model_index.json nobody has looked at.
PARTS: dict[str, tuple[ClassName, ...]] = {
    "scheduler": (
        ClassName("diffusers", "FlowMatchEulerDiscreteScheduler"),
        ClassName("diffusers", "FlowMatchLCMScheduler"),
    ),
    "vae": (
        ClassName("diffusers", "AutoencoderKL"),
        ClassName("modelgraft.tiny.codec", "PixelCodec"),
    ),
    "text_encoder": (ClassName("transformers", "CLIPTextModel"),),
    "tokenizer": _ANY_TOKENIZER,
    "text_encoder_2": (ClassName("transformers", "T5EncoderModel"),),
    "tokenizer_2": _ANY_TOKENIZER,
    "transformer": (ClassName("diffusers", "FluxTransformer2DModel"),),
    "image_encoder": (ClassName("transformers", "CLIPVisionModelWithProjection"),),
    "feature_extractor": (ClassName("transformers", "CLIPImageProcessor"),),
}
_OPTIONAL = ("image_encoder", "feature_extractor")
# The file that describes a part which has no weights; all others have a config.json.
_MAIN_FILES = {
    "scheduler": "scheduler_config.json",
    "tokenizer": "tokenizer_config.json",
    "tokenizer_2": "tokenizer_config.json",
    "feature_extractor": "preprocessor_config.json",
}
MODELS = tuple(part for part in PARTS if part not in _MAIN_FILES)
_SMALL_FILES = (".json", ".txt", ".model")


@dataclass(frozen=True)
class PipelineFolder:
    """A folder that passed: its pipeline class, the class of each part, and the weights by part."""

    path: Path
    pipeline: str
    parts: Mapping[str, ClassName]
    """Without those that `model_index.json` leaves empty."""
    weights: Mapping[str, tuple[Path, ...]]


def check_pipeline_folder(path: str | Path) -> PipelineFolder:
    """The folder's parts and weight files, if loading them can neither run nor choose code.

    Raises `InputError` when something is missing or damaged, and `UnsupportedModel` when the
    folder is sound but must not be loaded; both name the file.
    """
    folder = Path(path)
    try:
        pipeline, parts = check_pipeline_configs(folder)
        weights = {part: _weights(folder / part, parts[part]) for part in MODELS if part in parts}
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read: {error.strerror}.") from None
    return PipelineFolder(folder, pipeline, parts, weights)


def check_pipeline_configs(folder: Path) -> tuple[str, dict[str, ClassName]]:
    """The pipeline class and those of its parts, when no small file of any part names code."""
    index = check_configs(folder, MODEL_INDEX)
    pipeline = index.get("_class_name")
    if pipeline not in FLUX:
        raise refused(
            folder / MODEL_INDEX,
            "_class_name",
            f"{str(pipeline)[:80]!r} is no pipeline that is known here.",
            f"Allowed are {', '.join(FLUX)}.",
        )
    parts = _parts(folder / MODEL_INDEX, index)
    for part in parts:
        if not (folder / part).is_dir():
            raise InputError(
                f"{folder / part}: this part of the pipeline is missing.\n"
                "  The copy or download is incomplete; fetch the folder again."
            )
        check_configs(folder / part, _MAIN_FILES.get(part, "config.json"))
    return pipeline, parts


def files_to_fetch(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The small files and the weight files to take from a repository that holds `names`.

    No weights at all when a model among the parts has none in safetensors form. Of an index and a
    single file the one that the stock loader prefers is taken.
    """
    known = set(names)
    small = [MODEL_INDEX] if MODEL_INDEX in known else []
    weights: list[str] = []
    is_whole = True
    for part in PARTS:
        own = sorted(name for name in known if name.startswith(f"{part}/") and name.count("/") == 1)
        indices = (f"{part}/{INDEX}", f"{part}/{PARTS_INDEX}")
        small += [name for name in own if name.endswith(_SMALL_FILES) and name not in indices]
        if part in MODELS and f"{part}/config.json" in known:
            chosen = _weights_to_fetch(part, own)
            is_whole = is_whole and bool(chosen)
            weights += chosen
    return small, weights if is_whole else []


def has_weights(folder: Path) -> bool:
    """Whether every model that lies in the folder has weights or an index of them."""
    names = (WEIGHTS, INDEX, PARTS_WEIGHTS, PARTS_INDEX)
    models = [folder / part for part in MODELS if (folder / part / "config.json").is_file()]
    return all(any((model / name).is_file() for name in names) for model in models)


def _weights_to_fetch(part: str, names: list[str]) -> list[str]:
    # diffusers prefers the index, transformers the single file.
    for choice in (PARTS_INDEX, PARTS_WEIGHTS, WEIGHTS, INDEX):
        if f"{part}/{choice}" not in names:
            continue
        stem = f"{part}/{choice.removesuffix('.safetensors.index.json')}-"
        pieces = [one for one in names if one.startswith(stem) and one.endswith(".safetensors")]
        return [f"{part}/{choice}", *pieces]
    return []


def _parts(path: Path, index: dict[str, Any]) -> dict[str, ClassName]:
    """The class of each part that is not empty, after comparison with the list."""
    found = {}
    for part, value in index.items():
        if part.startswith("_") or value == [None, None]:
            continue
        if part not in PARTS:
            if isinstance(value, list):
                why = "a Flux pipeline has no such part."
                raise refused(path, part, why, f"Its parts are {', '.join(PARTS)}.")
            continue
        if not (isinstance(value, list) and tuple(value) in PARTS[part]):
            raise refused(
                path,
                part,
                f"{str(value)[:80]} is no class for this part.",
                f"Allowed are {', '.join(map(str, PARTS[part]))}.",
            )
        found[part] = ClassName(*value)
    absent = [part for part in PARTS if part not in found and part not in _OPTIONAL]
    if absent:
        raise UnsupportedModel(
            f"{path}: the pipeline comes without {', '.join(absent)}.\n"
            "  Save it with all of its parts, or load it yourself and pass the pipeline."
        )
    return found


def _weights(folder: Path, kind: ClassName) -> tuple[Path, ...]:
    """The files that the stock loader will read, each with a sound header."""
    if kind.library == "transformers":
        return check_model_folder(folder).weights
    if (folder / PARTS_INDEX).is_file():
        files = indexed_weights(folder / PARTS_INDEX)
    elif (folder / PARTS_WEIGHTS).is_file():
        files = (folder / PARTS_WEIGHTS,)
    else:
        raise InputError(
            f"{folder}: no weights here; {PARTS_WEIGHTS} is missing.{what_else(folder)}"
        )
    for file in files:
        check_safetensors(file)
    return files
