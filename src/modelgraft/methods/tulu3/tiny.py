"""The small models of tinychat: a character tokenizer and two sizes of the stock Llama."""

from __future__ import annotations

from typing import Literal

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from modelgraft.language.conversation import PAD_TOKEN, TULU_TEMPLATE
from modelgraft.methods.tulu3.world.tasks import CONTEXT

EOS, UNKNOWN = "<eos>", "<unk>"
# The line feed and printable ASCII.
CHARACTERS: tuple[str, ...] = ("\n", *map(chr, range(32, 127)))
_SYMBOLS = (PAD_TOKEN, EOS, UNKNOWN, *CHARACTERS)
_ROWS_MULTIPLE = 8  # Tulu 3 resizes embeddings to a multiple of 8
_SIZES = {"nano": (64, 3, 4), "tiny": (96, 4, 4)}  # width, layers, heads


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, with padding, an end of text and the chat template of Tulu 3.

    No token is put in front of a text. Characters beyond printable ASCII become the unknown token,
    which the world's own text never needs.
    """
    vocabulary = {symbol: number for number, symbol in enumerate(_SYMBOLS)}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    characters.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    characters.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        pad_token=PAD_TOKEN,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=TULU_TEMPLATE,
    )


def tiny_config(size: Literal["nano", "tiny"]) -> LlamaConfig:
    """The stock Llama at 0.16 (nano) or 0.45 (tiny) million weights, for `build_tokenizer`."""
    width, num_layers, num_heads = _SIZES[size]
    return LlamaConfig(
        vocab_size=len(_SYMBOLS) + -len(_SYMBOLS) % _ROWS_MULTIPLE,
        hidden_size=width,
        intermediate_size=width * 8 // 3 + -(width * 8 // 3) % _ROWS_MULTIPLE,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=_SYMBOLS.index(PAD_TOKEN),
        bos_token_id=None,
        eos_token_id=_SYMBOLS.index(EOS),
    )
