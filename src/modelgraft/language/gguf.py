"""Reading a causal language model from one GGUF file, dequantised, with its exact tokenizer."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from modelgraft.core.errors import UnsupportedModel
from modelgraft.core.gguf import gguf_metadata
from modelgraft.core.lazy import need
from modelgraft.core.quiet import no_progress_bars
from modelgraft.nn.weights import is_finite, refuse_non_finite

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_gguf(path: Path, *, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The stock model with dense weights in `dtype`, and the tokenizer with its own split rule.

    Raises `InputError` for a damaged file and `UnsupportedModel` for weights that are not finite
    or an architecture that transformers cannot read from GGUF.
    """
    transformers = need("transformers", extra="hf")
    need("gguf", extra="hf")
    need("accelerate", extra="hf")
    metadata = gguf_metadata(path)
    with (
        tempfile.TemporaryDirectory() as folder,
        no_progress_bars(),
        # One bar, for dequantising, heeds no switch.
        contextlib.redirect_stderr(io.StringIO()),
    ):
        # Alone in a folder: the loader would also read other configs that lie beside the file.
        Path(folder, "model.gguf").symlink_to(path.absolute())
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                gguf_file="model.gguf",
                quantization_config=transformers.GgufConfig(dequantize=True),
                dtype=dtype,
                attn_implementation="sdpa",
                local_files_only=True,
            )
            tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(
                folder, gguf_file="model.gguf", local_files_only=True
            )
        except (ValueError, KeyError, NotImplementedError) as error:
            architecture = metadata.get("general.architecture", "unnamed")
            raise UnsupportedModel(
                f"{path}: transformers cannot read this GGUF file (architecture {architecture}): "
                f"{error}\n  Use the safetensors folder of the model instead."
            ) from error
    refuse_non_finite(path, [n for n, one in model.named_parameters() if not is_finite(one)])
    model.config.name_or_path = tokenizer.name_or_path = path.stem
    if metadata.get("tokenizer.ggml.pre") == "smollm":
        split_digits(tokenizer)
    return model, tokenizer


def split_digits(tokenizer: PreTrainedTokenizerBase) -> None:
    """Split every digit off, then GPT-2's rule; transformers knows only the second half."""
    split = need("tokenizers", extra="hf").pre_tokenizers
    tokenizer.backend_tokenizer.pre_tokenizer = split.Sequence(
        [split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)]
    )
