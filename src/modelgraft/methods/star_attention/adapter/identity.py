"""Hashes that say what an encoding belongs to: the model, the tokenizer and the tokens."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import UnsupportedModel
from modelgraft.methods.star_attention.adapter.support import text_config


def config_hash(model: Any) -> str:
    """A hash of the configuration, without where the model was loaded from and its number type."""
    return _hash_of(text_config(model).to_dict() | {"dtype": "", "_name_or_path": ""})


def model_fingerprint(model: Any) -> str:
    """A hash of the configuration and of every weight, adapters included.

    It changes with any weight, an active adapter or the number type, and costs one pass over the
    weights: about a second for 2 GB. Raises `UnsupportedModel` when weights are offloaded.
    """
    active = getattr(model, "active_adapter", "")
    digest = hashlib.sha256(config_hash(model).encode())
    digest.update(f"{model.dtype}{active if isinstance(active, str) else ''}".encode())
    for name, parameter in sorted(model.named_parameters()):
        if parameter.is_meta:
            raise UnsupportedModel(
                f"the weight {name} is offloaded, so it cannot be said which model an encoding "
                "belongs to.\n  Load the model whole to save or load encodings."
            )
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(_bytes_of(parameter.detach()))
    return digest.hexdigest()


def tokenizer_hash(tokenizer: Any) -> str:
    """A hash of how text becomes tokens: vocabulary, rules and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {}
    for call_setting in ("padding", "truncation"):  # left there by the last call
        rules.pop(call_setting, None)
    return _hash_of([rules or tokenizer.get_vocab(), tokenizer.chat_template])


def ids_hash(ids: Any) -> str:
    """A hash of token ids [b, n], whatever their number type."""
    return _hash_of(ids.tolist() if isinstance(ids, Tensor) else str(ids))


def tensor_hash(tensor: Tensor) -> str:
    """A hash of a tensor's number type, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> Any:
    return tensor.contiguous().reshape(-1).view(torch.uint8).cpu().numpy()


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
