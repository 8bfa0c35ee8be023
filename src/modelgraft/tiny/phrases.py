"""A tokenizer that knows the phrases of the caption grammar, each as one token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
# A caption of the grammar and the end of text.
CONTEXT = 24


class PhraseTokenizer(PreTrainedTokenizerFast):
    """A fast tokenizer whose texts are never padded or cut to more than its own length.

    `FluxPipeline` asks for 512 tokens, which a model of 24 has not learnt.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("max_length"):
            kwargs["max_length"] = min(kwargs["max_length"], self.model_max_length)
        return super().__call__(*args, **kwargs)


def build_tokenizer(phrases: Sequence[str], length: int = CONTEXT) -> PhraseTokenizer:
    """Words by white space, longest known phrase first; case, commas and full stops are lost."""
    words = dict.fromkeys(one for one in phrases if " " not in one)
    symbols = [PAD, END, UNKNOWN, *words]
    found = Tokenizer(
        WordLevel({one: place for place, one in enumerate(symbols)}, unk_token=UNKNOWN)
    )
    found.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), *(normalizers.Replace(mark, " ") for mark in ",.;"),
         normalizers.Replace("  ", " ")]
    )  # fmt: skip
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found.add_tokens(
        [AddedToken(one, single_word=True, normalized=True) for one in phrases if " " in one]
    )
    found.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", special_tokens=[(END, symbols.index(END))]
    )
    return PhraseTokenizer(
        tokenizer_object=found,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=length,
        clean_up_tokenization_spaces=False,
    )
