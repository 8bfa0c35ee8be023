"""Which language a text is written in, told by the py3langid package and its own model file.

Offline and deterministic; the model is a NumPy archive, read without pickle. A short text, or one
of names and numbers, has no sure language: below even odds the answer is None. The 54 languages
are those for which instruction-following prompts are written; close relatives (Norwegian and
Danish, Serbian and Croatian, Indonesian and Malay) need a sentence or two.
"""

from __future__ import annotations

import functools
from typing import Any

from modelgraft.core.lazy import need

LANGUAGES = tuple(
    "af ar bg bn ca cs cy da de el en es et fa fi fr gu he hi hr hu id it ja kn ko lt lv mk ml mr "
    "ne nl no pa pl pt ro ru sk sl so sq sv sw ta te th tl tr uk ur vi zh".split()
)
_EVEN_ODDS = 0.5
_ENOUGH = 20_000  # characters; a longer text says no more


def detect(text: str) -> str | None:
    """The ISO 639-1 code of the text's language, one of `LANGUAGES`, or None when unsure."""
    text = text[:_ENOUGH]
    if not any(letter.isalpha() for letter in text):
        return None
    code, odds = load().classify(text.encode("utf-8", "replace"))
    return str(code) if odds >= _EVEN_ODDS else None


def is_in(text: str, code: str) -> bool:
    """Whether the text is in this language, or in none that can be told; zh-cn counts as zh."""
    return detect(text) in (None, code.lower().partition("-")[0])


@functools.cache
def load() -> Any:
    """The detector, read from the package's file once (about two seconds)."""
    package = need("py3langid.langid", extra="llm")
    model = package.LanguageIdentifier.from_model_file(package.MODEL_FILE, norm_probs=True)
    model.set_languages(list(LANGUAGES))
    return model
