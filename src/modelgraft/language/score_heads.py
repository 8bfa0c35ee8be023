"""A scalar head on the trunk of any causal language model: a reward model.

It is the stock sequence classifier of the model's family with one label (its head is `score`), so a
reward model is a folder that transformers loads.
"""

from __future__ import annotations

import contextlib
import copy
import math
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, UnsupportedModel
from modelgraft.core.files import atomic_folder, remove_folder
from modelgraft.core.intake import check_configs, check_model_folder
from modelgraft.core.lazy import need
from modelgraft.core.quiet import no_progress_bars
from modelgraft.language.logprobs import causal_lm
from modelgraft.nn.weights import non_finite, plain_os_errors, refuse_non_finite

Trunk = Literal["copied", "shared", "fresh"]


def with_score_head(model: Any, *, seed: int, trunk: Trunk = "copied") -> Any:
    """A stock sequence classifier with one label: the trunk of `model` below a new head.

    The trunk is without any adapter that is on it: a copy, or the very same weights, which then
    belong to both models and take no memory of their own, or it is drawn at random. The head is
    drawn from N(0, 1 / (d + 1)). It is in eval mode, and all of it trains, but of a
    shared trunk only what trains in `model`.

    Raises `UnsupportedModel` for a model whose family has no such classifier, and `ConfigError`
    for one without a padding token (`resize_embeddings` sets it).
    """
    inner = causal_lm(model)
    if inner.config.get_text_config().pad_token_id is None:
        raise ConfigError(
            "pad_token_id",
            f"{type(inner).__name__}: its pad_token_id is not set, so the end of a padded answer "
            "cannot be found.\n  Call set_chat_template and resize_embeddings first.",
        )
    config = copy.deepcopy(inner.config)
    config.num_labels = 1
    is_empty = trunk != "fresh"  # its weights come from elsewhere: none are made to be replaced
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = _classifier(inner, config, is_empty=is_empty)
        if is_empty:
            classifier.score.to_empty(device="cpu")
        init_score_head(classifier.score)
    if is_empty:
        given = without_adapter(inner.base_model)
        if trunk == "copied":
            given = {name: tensor.detach().clone() for name, tensor in given.items()}
        classifier.base_model.load_state_dict(given, assign=True)
    classifier = classifier.to(inner.device).eval()
    return classifier if trunk == "shared" else classifier.requires_grad_(True)


@torch.no_grad()
def init_score_head(head: nn.Linear, *, generator: torch.Generator | None = None) -> None:
    """Draw the head's weights from N(0, 1 / (d + 1)) for hidden size d, and no bias.

    (Stiennon et al. 2020, section 3.4.)
    """
    head.weight.normal_(0.0, 1 / math.sqrt(head.in_features + 1), generator=generator)
    if head.bias is not None:
        head.bias.zero_()


def without_adapter(module: nn.Module) -> dict[str, Tensor]:
    """The weights under the names they had before peft put an adapter around them.

    They are the module's own parameters.
    """
    return {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if ".lora_" not in name
    }


def save_scores(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model and its tokenizer as a stock folder, an adapter merged into a copy.

    A folder that is there already is replaced; nothing is half there after a kill.
    """
    whole = copy.deepcopy(model).merge_and_unload() if hasattr(model, "peft_config") else model
    if folder.exists():
        remove_folder(folder)
    with atomic_folder(folder) as temporary, plain_os_errors(), no_progress_bars():
        whole.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def load_scores(folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """The reward model in a folder, in eval mode; only safetensors weights are read.

    Raises `InputError` for a folder that holds no model, and `UnsupportedModel` for one that must
    not be loaded, or that holds no model with one score.
    """
    transformers = need("transformers", extra="hf")
    checked = check_model_folder(folder)
    refuse_non_finite(checked.path, [name for file in checked.weights for name in non_finite(file)])
    try:
        with no_progress_bars():
            model, info = transformers.AutoModelForSequenceClassification.from_pretrained(
                checked.path,
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (ValueError, OSError, RuntimeError) as error:
        raise _no_reward_model(folder, str(error).strip()[:500]) from None
    # The stock loader draws a missing head at random and only warns.
    if absent := sorted(info["missing_keys"]):
        raise _no_reward_model(folder, f"{', '.join(absent[:5])} is not in its weight files")
    _require_one_score(folder, model)
    return model.eval()


def load_scores_skeleton(folder: str | Path) -> Any:
    """The reward model in a folder on the meta device, for estimates: its sizes, no weights.

    Raises what `load_scores` raises, as far as the configuration shows it.
    """
    transformers = need("transformers", extra="hf")
    check_configs(Path(folder))
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = transformers.AutoModelForSequenceClassification.from_config(
                config, dtype=torch.float32, attn_implementation="sdpa"
            )
    except (ValueError, OSError, RuntimeError) as error:
        raise _no_reward_model(folder, str(error).strip()[:500]) from None
    _require_one_score(folder, model)
    return model.eval()


def _require_one_score(folder: str | Path, model: Any) -> None:
    if model.config.num_labels != 1:
        raise _no_reward_model(folder, f"it gives {model.config.num_labels} scores, not one")


def _classifier(inner: Any, config: Any, *, is_empty: bool) -> Any:
    """The classifier at random, or without any weights."""
    transformers = need("transformers", extra="hf")
    attention = inner.config._attn_implementation
    try:
        with init_empty_weights() if is_empty else contextlib.nullcontext():
            made = transformers.AutoModelForSequenceClassification.from_config(
                config, dtype=inner.dtype, attn_implementation=attention
            )
    except ValueError as error:
        raise UnsupportedModel(
            f"{type(inner).__name__}: transformers has no sequence classifier of its family, which "
            f"reward model and critic are made of: {str(error)[:200]}"
        ) from None
    if type(made.base_model) is not type(inner.base_model) or not hasattr(made, "score"):
        raise UnsupportedModel(
            f"{type(inner).__name__}: its sequence classifier has another trunk or no head called "
            "score.\n  Use a decoder such as Llama, Qwen3, Gemma 2 or SmolLM2."
        )
    return made


def _no_reward_model(folder: str | Path, why: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{folder}: this is no reward model: {why}.\n"
        "  Make one with the action reward, or name a sequence classifier with one label."
    )
