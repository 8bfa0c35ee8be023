"""Folders of Stable Diffusion's family as diffusers writes them: found, checked, read by part.

Nothing in a folder chooses code: every part is read by the class named here, from safetensors.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor

from modelgraft.core.errors import InputError, UnsupportedModel
from modelgraft.core.hub import Layout, fetch_snapshot
from modelgraft.core.intake import check_configs, check_safetensors, indexed_weights, what_else
from modelgraft.core.pipelines import MODEL_INDEX
from modelgraft.core.quiet import no_progress_bars
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report
from modelgraft.methods.material_anything.adapter.latents import Origin
from modelgraft.nn.memory import check_memory
from modelgraft.nn.weights import is_finite, non_finite, refuse_non_finite, weight_bytes

DIFFUSERS: Final = "diffusion_pytorch_model"
_STEMS: Final = {"unet": DIFFUSERS, "vae": DIFFUSERS, "text_encoder": "model"}
"""Parts with weights, and how their files begin."""
_MAIN: Final = {"tokenizer": "tokenizer_config.json", "scheduler": "scheduler_config.json"}
PARTS: Final = (*_STEMS, *_MAIN)
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_SHOWN = 5


def find(name: str | Path, settings: Settings, report: Report, *, weights: bool = True) -> Origin:
    """The folder called `name`, after fetching it if it is `owner/name` or `owner/name@revision`.

    Without `weights` only small files are fetched, for plans. Raises `InputError` for a name that
    is none or a part that is missing, `UnsupportedModel` for a folder that must not be read, and
    `Unavailable` when the hub cannot be reached.
    """
    return _find(str(name), _LAYOUT, settings, report, weights)


def find_controlnet(
    name: str | Path, settings: Settings, report: Report, *, weights: bool = True
) -> Origin:
    """The same for a ControlNet, whose folder has no parts."""
    return _find(str(name), _CONTROLNET, settings, report, weights)


def _find(name: str, layout: Layout, settings: Settings, report: Report, weights: bool) -> Origin:
    path = Path(name).expanduser()
    match = _HUB_ID.fullmatch(name)
    if name and path.is_dir():
        layout.check(path)
        return Origin(name, "", path)
    if path.is_file():
        raise InputError(
            f"{path}: a file; name the folder that save_pretrained of diffusers wrote."
        )
    if not match:
        raise InputError(
            f"{name}: there is no such folder, and it is no hub id.\n"
            "  A model is a folder of diffusers, owner/name or owner/name@revision."
        )
    found = fetch_snapshot(
        match[1], match[2] or "", layout, offline=settings.offline, report=report, weights=weights
    )
    return Origin(name, found.commit, found.folder)


def _check_parts(folder: Path) -> None:
    """Raise unless every part is there and no small file of one names code."""
    for part in PARTS:
        if not (folder / part).is_dir():
            raise InputError(
                f"{folder / part}: this part of the model is missing.\n"
                f"  A folder has {', '.join(PARTS)}, as save_pretrained of diffusers writes them."
            )
        check_configs(folder / part, _MAIN.get(part, "config.json"))


def _files_to_fetch(names: Iterable[str]) -> tuple[list[str], list[str]]:
    known = sorted(set(names))
    small = [name for name in known if name == MODEL_INDEX or (
        name.partition("/")[0] in PARTS and name.count("/") == 1
        and name.endswith((".json", ".txt")) and not name.endswith(".index.json")
    )]  # fmt: skip
    files = {part: _files_of(f"{part}/{stem}", known) for part, stem in _STEMS.items()}
    return small, [one for own in files.values() for one in own] if all(files.values()) else []


def _controlnet_files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    known = sorted(set(names))
    return [name for name in known if name == "config.json"], _files_of(DIFFUSERS, known)


def _files_of(start: str, names: list[str]) -> list[str]:
    single, index = f"{start}.safetensors", f"{start}.safetensors.index.json"
    if index in names:
        pieces = (one for one in names if one.startswith(f"{start}-"))
        return [index, *(one for one in pieces if one.endswith(".safetensors"))]
    return [single] if single in names else []


def _has_weights(folder: Path) -> bool:
    names = [str(one.relative_to(folder)) for one in folder.glob("*/*.safetensors*")]
    return all(_files_of(f"{part}/{stem}", names) for part, stem in _STEMS.items())


_LAYOUT = Layout(
    entry=MODEL_INDEX,
    choose=_files_to_fetch,
    check=_check_parts,
    has_weights=_has_weights,
    wanted=f"{MODEL_INDEX}, and safetensors of {', '.join(_STEMS)}",
    instead="a folder written by save_pretrained, or the embedded model",
)
_CONTROLNET = Layout(
    entry="config.json",
    choose=_controlnet_files,
    check=check_configs,
    has_weights=lambda folder: bool(_files_of(DIFFUSERS, [one.name for one in folder.iterdir()])),
    wanted=f"config.json and {DIFFUSERS}.safetensors",
    instead="a folder written by save_pretrained",
)


# -- weights ---------------------------------------------------------------------------------------


def weight_files(folder: Path, stem: str = DIFFUSERS) -> tuple[Path, ...]:
    """The safetensors files of one part, each whole by its header.

    Raises `InputError` for files that are missing or cut off.
    """
    single = folder / f"{stem}.safetensors"
    index = folder / f"{stem}.safetensors.index.json"
    if index.is_file():
        files = indexed_weights(index)
    elif single.is_file():
        files = (single,)
    else:
        raise InputError(f"{folder}: no weights here; {single.name} is missing.{what_else(folder)}")
    for file in files:
        check_safetensors(file)
    return files


def read_tensors(files: Iterable[Path], dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of some files by name, numbers with a point as `dtype`; they must be finite."""
    found = {}
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():
                one = opened.get_tensor(name)
                refuse_non_finite(file, [] if is_finite(one) else [name])
                found[name] = one.to(dtype) if one.is_floating_point() else one
    return found


def load_weights(model: Any, tensors: dict[str, Tensor], *, source: object, report: Report) -> None:
    """Put tensors into a model that is on the meta device; those it has no place for are listed.

    Raises `UnsupportedModel` when some are missing or of another shape.
    """
    wanted = model.state_dict()
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise UnsupportedModel(
            f"{source}: {len(missing)} tensors of the network are not in its weight files: "
            f"{listed(missing)}.\n  Without them there is nothing to compute with: the folder "
            "belongs to another kind of model, or its copy is incomplete."
        )
    for name, like in wanted.items():
        if tensors[name].shape != like.shape:
            raise UnsupportedModel(
                f"{source}: {name} is of shape {list(tensors[name].shape)}, and the config asks "
                f"for {list(like.shape)}.\n  Config and weights do not belong together."
            )
    if others := sorted(tensors.keys() - wanted.keys()):
        report(f"{source}: {len(others)} tensors that the network has no place for: "
               f"{listed(others)}")  # fmt: skip
    model.load_state_dict({name: tensors[name] for name in wanted}, assign=True)


def listed(names: list[str]) -> str:
    """The first names of a list, and that there are more."""
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def stock_part(kind: Any, folder: Path, dtype: torch.dtype, stem: str = DIFFUSERS) -> Any:
    """A part by its stock class, in eval mode on the CPU; nothing of it may be missing."""
    for file in weight_files(folder, stem):
        refuse_non_finite(file, non_finite(file))
    is_text = kind.__module__.startswith("transformers.")
    with one_clear_error(folder):
        model, info = kind.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, output_loading_info=True,
            **{"dtype" if is_text else "torch_dtype": dtype},
        )  # fmt: skip
    if absent := sorted(info["missing_keys"]):
        raise UnsupportedModel(
            f"{folder}: {len(absent)} tensors of {kind.__name__} are not in its weight files: "
            f"{listed(absent)}.\n  The folder belongs to another kind of model, or is incomplete."
        )
    return model.eval()


@contextlib.contextmanager
def one_clear_error(folder: Path) -> Generator[None]:
    """Say of which folder it is when a stock loader fails, in whatever way it does."""
    try:
        with no_progress_bars("transformers", "diffusers", remarks=False):
            yield
    except (InputError, UnsupportedModel):
        raise
    except Exception as error:
        raise UnsupportedModel(
            f"{folder}: diffusers or transformers cannot load it:\n  {str(error).strip()[:500]}"
        ) from error


def require_memory(origin: Origin, dtype: torch.dtype, place: torch.device) -> None:
    """Raise `ConfigError` when U-Net and VAE, the latter in float32, would not fit on a device."""
    sizes = (("unet", dtype), ("vae", torch.float32))
    needed = sum(
        weight_bytes(file, kind)
        for part, kind in sizes
        for file in weight_files(origin.folder / part)
    )
    check_memory(
        needed, place, what=f"{origin.name}: its weights",
        advice="Use --dtype bfloat16, or another --device.",
    )  # fmt: skip
