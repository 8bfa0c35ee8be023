"""The language of a text, or None."""

from __future__ import annotations

import sys

import pytest

from modelgraft.core.errors import MissingExtra
from modelgraft.language.verify.languages import LANGUAGES, detect, is_in, load

SENTENCES = {
    "en": "The weather was fine, so we walked along the river until the evening.",
    "de": "Das Wetter war gut, deshalb gingen wir bis zum Abend am Fluss entlang.",
    "fr": "Il faisait beau, nous avons donc march\u00e9 le long de la rivi\u00e8re.",
    "es": "Hac\u00eda buen tiempo, as\u00ed que caminamos junto al r\u00edo hasta la tarde.",
    "pt": "O tempo estava bom, ent\u00e3o caminhamos ao longo do rio at\u00e9 \u00e0 noite.",
    "it": "Faceva bel tempo, quindi abbiamo camminato lungo il fiume fino a sera.",
    "fi": "S\u00e4\u00e4 oli hyv\u00e4, joten k\u00e4velimme joen vartta iltaan asti.",
    "sw": "Hali ya hewa ilikuwa nzuri, kwa hivyo tulitembea kando ya mto.",
    "vi": (
        "Th\u1eddi ti\u1ebft \u0111\u1eb9p n\u00ean ch\u00fang t\u00f4i \u0111i d\u1ea1o d"
        "\u1ecdc b\u1edd s\u00f4ng."
    ),
    "ru": (
        "\u041f\u043e\u0433\u043e\u0434\u0430 \u0431\u044b\u043b\u0430 \u0445\u043e\u0440"
        "\u043e\u0448\u0430\u044f, \u0438 \u043c\u044b \u0433\u0443\u043b\u044f\u043b\u0438 "
        "\u0443 \u0440\u0435\u043a\u0438."
    ),
    "ar": (
        "\u0643\u0627\u0646 \u0627\u0644\u0637\u0642\u0633 \u062c\u0645\u064a\u0644\u0627 "
        "\u0644\u0630\u0644\u0643 \u0645\u0634\u064a\u0646\u0627 \u0639\u0644\u0649 \u0627"
        "\u0644\u0646\u0647\u0631"
    ),
    "hi": (
        "\u092e\u094c\u0938\u092e \u0905\u091a\u094d\u091b\u093e \u0925\u093e \u0907\u0938"
        "\u0932\u093f\u090f \u0939\u092e \u0928\u0926\u0940 \u0915\u0947 \u0915\u093f\u0928"
        "\u093e\u0930\u0947 \u091a\u0932\u0947"
    ),
    "ja": (
        "\u5929\u6c17\u304c\u826f\u304b\u3063\u305f\u306e\u3067\u5ddd\u6cbf\u3044\u3092\u6b69"
        "\u304d\u307e\u3057\u305f"
    ),
    "ko": "\ub0a0\uc528\uac00 \uc88b\uc544\uc11c \uac15\ubcc0\uc744 \uac78\uc5c8\uc2b5\ub2c8\ub2e4",
    "zh": (
        "\u5929\u6c14\u5f88\u597d\uff0c\u6240\u4ee5\u6211\u4eec\u6cbf\u7740\u6cb3\u8fb9\u6563\u6b65"
    ),
}


@pytest.mark.parametrize("code", SENTENCES)
def test_a_sentence_is_enough(code):
    assert detect(SENTENCES[code]) == code
    assert is_in(SENTENCES[code], code)
    assert not is_in(SENTENCES[code], "en" if code != "en" else "de")


def test_capitals_are_the_same_language():
    assert detect(SENTENCES["en"].upper()) == "en"
    assert detect(SENTENCES["de"].upper()) == "de"


@pytest.mark.parametrize("text", ["", "123 456", "!?", "{}", "\u00a0", "x = 3", "OK"])
def test_what_has_no_sure_language_passes_for_any(text):
    assert detect(text) is None
    assert is_in(text, "en") and is_in(text, "ja")


def test_regions_are_let_go_and_case_too():
    assert is_in(SENTENCES["zh"], "zh-cn") and is_in(SENTENCES["zh"], "zh-TW")


def test_the_same_text_gives_the_same_answer_and_half_characters_do_no_harm():
    assert detect("\ud800" + SENTENCES["en"]) == "en"
    assert len({detect(SENTENCES["pt"]) for _ in range(5)}) == 1


def test_a_long_text_is_judged_by_its_beginning():
    assert detect(SENTENCES["fr"] * 20_000) == "fr"


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    load.cache_clear()
    with pytest.raises(MissingExtra, match=r"modelgraft\[llm\]"):
        detect(SENTENCES["en"])


def test_there_are_54_languages():
    assert len(set(LANGUAGES)) == len(LANGUAGES) == 54
