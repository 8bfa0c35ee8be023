"""From a name to a model that can be trained, and from a trained model to folders that load.

What is saved are the files of transformers and peft: a model folder with safetensors, tokenizer and
card, and, for an adapter, also the peft folder that holds it alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError
from modelgraft.core.files import atomic_folder, remove_folder, write_atomic
from modelgraft.core.quiet import no_progress_bars
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.tables import markdown_rows, markdown_table
from modelgraft.language.adapters import adapter_tensors, attach_lora, write_adapter
from modelgraft.language.conversation import resize_embeddings, set_chat_template
from modelgraft.language.load import (
    DType,
    Loaded,
    is_measured,
    load_causal_lm,
    load_skeleton,
)
from modelgraft.language.logprobs import causal_lm
from modelgraft.methods.tulu3.config import LoraConfig
from modelgraft.nn.weights import plain_os_errors
from modelgraft.training.checkpoints import whole

MODEL, ADAPTER = "model", "adapter"
Template = Literal["tulu", "own"]
_PAPER = "https://arxiv.org/abs/2411.15124"


def load_trainable(
    name: str, run: Run, lora: LoraConfig, *, template: Template | None = None
) -> Loaded:
    """The model called `name` with its chat template, padding token and, if asked, an adapter.

    All weights train in float32 unless --dtype says otherwise; below an adapter they take the
    number type of inference and are frozen. Without `template` a tokenizer keeps its own, if it has
    one. Raises what `load_causal_lm` raises, and `ConfigError` for --template own with a tokenizer
    that has none.
    """
    settings = run.settings
    loaded = load_causal_lm(
        name, device=settings.device, dtype=_dtype(settings, lora), offline=settings.offline
    )
    loaded = _for_training(loaded, lora, template, seed=run.seed)
    run.log("loaded", model=loaded.name, revision=loaded.revision, dtype=str(loaded.model.dtype))
    return loaded


def load_trainable_skeleton(
    name: str, settings: Settings, lora: LoraConfig, *, template: Template | None = None
) -> Loaded:
    """What `load_trainable` gives, on the meta device: its sizes and tokenizer, no weights."""
    loaded = load_skeleton(
        name, device=settings.device, dtype=_dtype(settings, lora), offline=settings.offline
    )
    return _for_training(loaded, lora, template, seed=settings.seed)


def _dtype(settings: Settings, lora: LoraConfig) -> DType:
    """float32 where all weights train: updates of 1e-6 of a weight are lost in bfloat16.

    On a CPU always: what a measurement chooses might change between two attempts of a run.
    """
    is_open = settings.dtype == "auto"
    if is_open and (not lora.rank or is_measured(settings.dtype, settings.device)):
        return "float32"
    return settings.dtype


def _for_training(
    loaded: Loaded, lora: LoraConfig, template: Template | None, *, seed: int
) -> Loaded:
    model: Any = loaded.model
    own: Template = "own" if loaded.tokenizer.chat_template else "tulu"
    prepare_tokenizer(loaded.tokenizer, template or own)
    resize_embeddings(model, loaded.tokenizer)
    _stop_at_end(model, loaded.tokenizer)
    if not lora.rank:
        model.requires_grad_(True)
        return loaded
    wrapped = attach(model, lora, seed=seed)
    if re.fullmatch("[0-9a-f]{40}", loaded.revision):  # of the hub, not of this machine's cache
        config = wrapped.peft_config["default"]
        config.base_model_name_or_path = loaded.name.partition("@")[0]
        config.revision = loaded.revision
    return replace(loaded, model=wrapped)


def _stop_at_end(model: Any, tokenizer: Any) -> None:
    """Have stock `generate` stop at the token that the Tulu template ends an answer with."""
    config, end = model.generation_config, tokenizer.eos_token_id
    known = config.eos_token_id
    known = known if isinstance(known, list) else [known]
    if end not in known:
        config.eos_token_id = [*(one for one in known if one is not None), end]


def prepare_tokenizer(tokenizer: Any, template: Template) -> None:
    """Give the tokenizer the Tulu chat template, or check that it has one of its own."""
    if template == "tulu":
        set_chat_template(tokenizer)
        return
    if not tokenizer.chat_template:
        raise ConfigError(
            "template",
            "--template own: this tokenizer has no chat template.\n  Use --template tulu.",
        )
    set_chat_template(tokenizer, tokenizer.chat_template)


def attach(
    model: Any, lora: LoraConfig, *, seed: int, task: Literal["CAUSAL_LM", "SEQ_CLS"] = "CAUSAL_LM"
) -> Any:
    """A peft model around `model`: frozen weights below a fresh adapter that changes nothing yet.

    Raises `ConfigError` when no layer has one of the names in `lora.targets`.
    """
    return attach_lora(
        model,
        rank=lora.rank,
        alpha=lora.alpha,
        dropout=lora.dropout,
        targets=lora.targets,
        seed=seed,
        task=task,
    )


@dataclass(frozen=True)
class Recipe:
    """What a model card says of how the model came about; `task` is the hub's name of its use."""

    stage: str
    base: str
    data: Mapping[str, int]
    options: Mapping[str, Any]
    numbers: Sequence[Number] = ()
    task: str = "text-generation"


def save_trained(model: nn.Module, tokenizer: Any, run: Run, recipe: Recipe) -> None:
    """Write `model/` and, for an adapter, `adapter/` into the run's artefacts and list them.

    An adapter is merged into a copy of the weights for `model/`. Every process calls it, since
    shards are gathered; the first one writes. Nothing is half there after a kill.
    """
    inner, wrapper = causal_lm(model), _peft(model)
    is_main = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    state = _gathered(_plain(inner), is_main)
    adapter = _gathered(adapter_tensors(wrapper), is_main) if wrapper is not None else {}
    if not is_main:
        return
    card = model_card(recipe)
    folders = [(MODEL, lambda folder: inner.save_pretrained(folder, state_dict=state))]
    if wrapper is not None:
        folders.append((ADAPTER, lambda folder: write_adapter(wrapper, adapter, folder)))
    for name, write in folders:
        target = run.artefacts / name
        if target.exists():
            remove_folder(target)
        with atomic_folder(target) as temporary, plain_os_errors(), no_progress_bars():
            write(temporary)
            tokenizer.save_pretrained(temporary)
            write_atomic(temporary / "README.md", card)
        run.add("text", f"{name}/README.md", f"Card of the {name} in {name}/")


def _peft(model: nn.Module) -> Any:
    """The model if it is one of peft, else None."""
    return model if hasattr(model, "peft_config") else None


def _gathered(tensors: Iterable[tuple[str, Tensor]], is_main: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU, one after the other; only the first process keeps them."""
    kept = {}
    for name, tensor in tensors:
        gathered = whole(tensor)
        if is_main:
            kept[name] = gathered
    return kept


def _plain(inner: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights under the names of the stock class, adapters merged in one by one."""
    tuned = {
        f"{name}.weight": module
        for name, module in inner.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    # Of weights that are one, such as a tied head, stock models save the first.
    once = {name for name, _ in inner.named_parameters()}
    again = {name for name, _ in inner.named_parameters(remove_duplicate=False)} - once
    for name, tensor in inner.state_dict().items():
        if ".lora_" in name or name in again:
            continue
        plain = name.replace(".base_layer.", ".")
        if layer := tuned.get(plain):
            delta = sum(layer.get_delta_weight(key) for key in layer.active_adapters)
            yield plain, (tensor + delta).to(tensor.dtype)
        else:
            yield plain, tensor


def model_card(recipe: Recipe) -> str:
    """A card in Markdown with the head that the hub reads."""
    head = {
        "base_model": recipe.base,
        "library_name": "transformers",
        "pipeline_tag": recipe.task,
        "tags": ["modelgraft", "tulu3", recipe.stage],
    }
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", ""]
    lines += [f"# {recipe.stage} of {recipe.base}", ""]
    lines += [f"Trained with modelgraft after Tulu 3 ({_PAPER}).", "", "## Data", ""]
    rows = [(name, f"{count:,}") for name, count in recipe.data.items()]
    lines += [markdown_rows(("source", "rows"), rows), "", "## Recipe", ""]
    options = [(name, str(value)) for name, value in recipe.options.items()]
    lines += [markdown_rows(("option", "value"), options)]
    if recipe.numbers:
        lines += ["", "## Numbers", "", markdown_table(recipe.numbers)]
    return "\n".join(lines) + "\n"
