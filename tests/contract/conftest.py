"""The small model that pages, examples and commands are tried with."""

from __future__ import annotations

from pathlib import Path

import pytest

import modelgraft


@pytest.fixture(scope="session")
def yearbook() -> Path:
    """A document of a few thousand tokens that comes with the package."""
    package = Path(modelgraft.__file__).parent
    return package / "methods" / "star_attention" / "world" / "harbour.md"


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, yearbook: Path) -> Path:
    """A random two-layer Llama whose tokenizer makes a few thousand tokens of the yearbook."""
    tokenizers = pytest.importorskip("tokenizers")
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    bytes_ = tokenizers.pre_tokenizers.ByteLevel
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = bytes_(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=bytes_.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(yearbook.read_text(encoding="utf-8").splitlines(), trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>"
    )
    config = transformers.LlamaConfig(
        vocab_size=800,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16384,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "small-llama"
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
