"""Instructions about the response as a whole: language, case, start and end, several answers."""

from __future__ import annotations

import re

from modelgraft.language.verify import languages

_SENTENCES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def response_language(response: str, *, language: str) -> bool:
    """The text is in this language (an ISO 639-1 code), or its language cannot be told."""
    return languages.is_in(response, language)


def english_capital(response: str) -> bool:
    """No letter is lower case, one is a capital, and the text may be English."""
    return response.isupper() and languages.is_in(response, "en")


def english_lowercase(response: str) -> bool:
    """No letter is a capital, one is lower case, and the text may be English."""
    return response.islower() and languages.is_in(response, "en")


def constrained_response(response: str, *, options: list[str] | None = None) -> bool:
    """One of IFEval's three sentences stands in the text; or one of the options, as whole words."""
    if options is None:
        return any(sentence in response for sentence in _SENTENCES)
    return any(
        re.search(rf"(?<!\w){re.escape(option.strip())}(?!\w)", response) for option in options
    )


def two_responses(response: str) -> bool:
    """Exactly two different parts that are not blank, between them six asterisks.

    Blank parts before the first and behind the last divider do not count.
    """
    parts = [part.strip() for part in response.split("******")]
    answers = [part for part in parts if part]
    return all(parts[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """The response starts with the prompt, whatever the case of its letters."""
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def end_checker(response: str, *, end_phrase: str) -> bool:
    """The response ends with the phrase, whatever its case; double quotes around it are let go."""
    return response.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(response: str) -> bool:
    """The response begins and ends with a double quotation mark, two of them."""
    text = response.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(response: str) -> bool:
    """No comma stands in the text."""
    return "," not in response
