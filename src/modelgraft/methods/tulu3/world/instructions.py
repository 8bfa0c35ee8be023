"""Skill (b): say something under constraints that a program can check.

The truth is written in the schema of IFEval (ids and argument names as in its release), so any
verifier of those constraints reads it. What to say stands in the prompt, so an answer can also be
judged by how much of it survives the constraints.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelgraft.methods.tulu3.world.draft import draw_allowed
from modelgraft.methods.tulu3.world.splits import Palette

Form = Literal["statement", "listing", "times"]
DATASET = "ifeval"

_LEADS: dict[Form, tuple[str, ...]] = {
    "statement": ("Say that {text}.", "Tell me that {text}."),
    "listing": ("Name {text}.", "List {text}."),
    "times": ("Say {word} {num} times.", "Write {word} {num} times."),
}
_UNSEEN_LEADS: dict[Form, tuple[str, ...]] = {
    "statement": ("Please say that {text}.", "Let me hear that {text}."),
    "listing": ("Please name {text}.", "Let me hear {text}."),
    "times": ("Please say {word} {num} times.", "Let me hear {word} {num} times."),
}
_CLAUSES: dict[str, tuple[str, ...]] = {
    "times": ("",),
    "capitals": ("Use all capitals.", "Write in capitals."),
    "end_phrase": ('End with "{phrase}".', 'Finish with "{phrase}".'),
    "no_comma": ("Use no comma.", "Write no comma."),
    "bullets": ("Use {num} bullets.", "Write {num} bullets."),
    "json": ("Use JSON.", "Write it as JSON."),
    "quotation": ("Put it in quotes.", "Use quotes."),
}
_UNSEEN_CLAUSES: dict[str, tuple[str, ...]] = {
    "times": ("",),
    "capitals": ("All in capitals please.",),
    "no_comma": ("Without any comma.",),
    "quotation": ("In quotes please.",),
    "lowercase": ("Small letters only.",),
    "title": ("Give it a title in << >>.",),
    "highlight": ("Mark one word with stars.",),
    "postscript": ("Add a note after P.S.",),
    "placeholder": ("Leave a gap in square brackets.",),
    "two_responses": ("Do it twice with six stars between.",),
    "sentences": ("Make three sentences or more.",),
    "keywords": ("It has to hold {first} and {second}.",),
}
# Constraints that can stand together, by form.
_MENU: dict[Form, tuple[tuple[str, ...], ...]] = {
    "times": (("times",),),
    "statement": (
        ("capitals",),
        ("end_phrase",),
        ("quotation",),
        ("capitals", "end_phrase"),
        ("capitals", "quotation"),
        ("end_phrase", "quotation"),
    ),
    "listing": (
        ("no_comma",),
        ("bullets",),
        ("json",),
        ("no_comma", "capitals"),
        ("no_comma", "end_phrase"),
        ("no_comma", "quotation"),
        ("bullets", "capitals"),
    ),
}
_UNSEEN_MENU: dict[Form, tuple[tuple[str, ...], ...]] = {
    "times": (("times",),),
    "statement": (
        ("capitals",),
        ("quotation",),
        ("lowercase",),
        ("title",),
        ("highlight",),
        ("postscript",),
        ("placeholder",),
        ("two_responses",),
        ("sentences",),
        ("lowercase", "postscript"),
    ),
    "listing": (("no_comma",), ("keywords",), ("title",), ("lowercase",)),
}
# How often each form is drawn.
_FORMS: tuple[Form, ...] = ("times", "statement", "statement", "listing", "listing")
_NUM_TIMES = (2, 6)
_NUM_LISTED = (3, 4)
_WORDY = "It really is so."
_NOTHING = "Yes."


@dataclass(frozen=True)
class Instruction:
    """What to say (words of a statement, a list, or one word `num` times), and how."""

    form: Form
    words: tuple[str, ...]
    num: int
    constraints: tuple[str, ...]
    phrase: str
    lead: str
    clauses: tuple[str, ...]

    @property
    def kind(self) -> str:
        """The constraints, joined by a plus sign."""
        return "+".join(self.constraints)

    @property
    def combination(self) -> tuple[str | int, ...]:
        """What is to be said."""
        return (self.form, *self.words, self.num)

    @property
    def dataset(self) -> str:
        """The verifiers of IFEval."""
        return DATASET

    @property
    def ground_truth(self) -> str:
        """One JSON list with one object: instruction ids and as many objects of arguments."""
        rules = [rule for name in self.constraints for rule in self._rules(name)]
        ids, kwargs = [rule[0] for rule in rules], [rule[1] for rule in rules]
        return json.dumps([{"instruction_id": ids, "kwargs": kwargs}])

    @property
    def content(self) -> tuple[str, ...]:
        """The words to be said."""
        return self.words

    def prompt(self) -> str:
        """What to say and how, in one line."""
        slots = {"phrase": self.phrase, "num": self.num, "word": self.words[0]}
        slots |= {"text": self._text(), "first": self.words[0], "second": self.words[-1]}
        return " ".join(part.format(**slots) for part in (self.lead, *self.clauses) if part)

    def right(self, *, wordy: bool = False) -> str:
        """The text under all constraints."""
        return _shape(self._plain(), self, _WORDY if wordy else "")

    def wrong(self, rng: random.Random, *, wordy: bool = False) -> dict[str, str]:
        """One constraint or all left out, a count off by one."""
        extra = _WORDY if wordy else ""
        answers = {}
        for name in self.constraints:
            if name == "times":
                other = replace(self, num=self.num + rng.choice((-1, 1)))
                answers["wrong_count"] = _shape(other._plain(), other, extra)
                continue
            rest = tuple(one for one in self.constraints if one != name)
            words = self.words[1:-1] if name == "keywords" else self.words
            other = replace(self, constraints=rest, words=words)
            answers[f"breaks_{name}"] = _shape(other._plain(), other, extra)
        if "bullets" in self.constraints:
            short = replace(self, words=self.words[:-1])
            answers["wrong_count"] = _shape(short._plain(), short, extra)
        if len(self.constraints) > 1:
            plain = replace(self, constraints=())
            answers["breaks_all"] = _shape(plain._plain(), plain, extra)
        return answers

    def weak(self) -> dict[str, str]:
        """The constraints met with nothing said, where that can be."""
        if {"times", "keywords", "bullets"} & set(self.constraints):
            return {}
        return {"bare": _shape([_NOTHING], self, "")}

    def _plain(self) -> list[str]:
        """The parts to be said: one sentence, the listed things, or the word many times."""
        if self.form == "times":
            return [" ".join([self.words[0]] * self.num)]
        return [f"{self._text().capitalize()}."] if self.form == "statement" else [*self.words]

    def _text(self) -> str:
        if self.form == "listing":
            return _join(self.words, ", ")
        return "the {} {} {}".format(*self.words) if self.form == "statement" else self.words[0]

    def _rules(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        if name == "times":
            rule, keyword = "keywords:frequency", self.words[0]
            return [
                (rule, {"relation": "at least", "keyword": keyword, "frequency": self.num}),
                (rule, {"relation": "less than", "keyword": keyword, "frequency": self.num + 1}),
            ]
        arguments: dict[str, Mapping[str, Any]] = {
            "end_phrase": {"end_phrase": self.phrase},
            "bullets": {"num_bullets": self.num},
            "highlight": {"num_highlights": 1},
            "postscript": {"postscript_marker": "P.S."},
            "placeholder": {"num_placeholders": 1},
            "sentences": {"relation": "at least", "num_sentences": 3},
            "keywords": {"keywords": [self.words[0], self.words[-1]]},
        }
        return [(_IDS[name], dict(arguments.get(name, {})))]


_IDS = {
    "capitals": "change_case:english_capital",
    "end_phrase": "startend:end_checker",
    "no_comma": "punctuation:no_comma",
    "bullets": "detectable_format:number_bullet_lists",
    "json": "detectable_format:json_format",
    "quotation": "startend:quotation",
    "lowercase": "change_case:english_lowercase",
    "title": "detectable_format:title",
    "highlight": "detectable_format:number_highlighted_sections",
    "postscript": "detectable_content:postscript",
    "placeholder": "detectable_content:number_placeholders",
    "two_responses": "combination:two_responses",
    "sentences": "length_constraints:number_sentences",
    "keywords": "keywords:existence",
}


def draw_instruction(palette: Palette, rng: random.Random) -> Instruction:
    """Something to say that this split may use, with one or two constraints."""
    is_unseen = palette.split == "unseen"
    form = rng.choice(_FORMS)
    constraints = rng.choice((_UNSEEN_MENU if is_unseen else _MENU)[form])
    texts = _UNSEEN_CLAUSES if is_unseen else _CLAUSES
    lead = rng.choice((_UNSEEN_LEADS if is_unseen else _LEADS)[form])
    clauses = tuple(rng.choice(texts[name]) for name in constraints)
    phrase = rng.choice(palette.phrases) if "end_phrase" in constraints else ""

    def draw() -> Instruction:
        words, num = _draw_words(form, palette, rng)
        return Instruction(form, words, num, constraints, phrase, lead, clauses)

    return draw_allowed(draw, palette.split)


def _draw_words(form: Form, palette: Palette, rng: random.Random) -> tuple[tuple[str, ...], int]:
    if form == "times":
        return palette.draw_nouns(1, rng), rng.randint(*_NUM_TIMES)
    if form == "statement":
        (noun,) = palette.draw_nouns(1, rng)
        return (rng.choice(palette.adjectives), noun, rng.choice(palette.verbs)), 1
    num = rng.randint(*_NUM_LISTED)
    return palette.draw_nouns(num, rng), num


def _join(words: tuple[str, ...] | list[str], comma: str) -> str:
    return f"{comma.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def _shape(parts: list[str], task: Instruction, extra: str) -> str:
    """The parts under the constraints of the task, with an extra sentence inside them."""
    names = task.constraints
    if "json" in names:
        text = json.dumps([*parts, extra] if extra else parts)
    elif "bullets" in names:
        text = "\n".join([extra, *(f"* {part}" for part in parts)]).lstrip()
    else:
        text = parts[0]
        if task.form == "listing" and len(parts) > 1:
            listed = _join(parts, " and " if "no_comma" in names else ", ")
            text = f"{listed[0].upper()}{listed[1:]}."
        text = f"{extra} {text}" if task.form == "times" and extra else f"{text} {extra}".rstrip()
    return _mark(text, task)


def _mark(text: str, task: Instruction) -> str:
    names = task.constraints
    if "highlight" in names:
        text = text.replace(text.split()[0], f"*{text.split()[0]}*", 1)
    if "sentences" in names:
        text = f"{text} I say so. I mean it."
    if "placeholder" in names:
        text = f"{text} [name]"
    if "two_responses" in names:
        text = f"{text}\n******\nAnd so it is again."
    if "title" in names:
        text = f"<<{task.words[-1]}>>\n{text}"
    if "end_phrase" in names:
        text = f"{text} {task.phrase}"
    if "capitals" in names:
        text = text.upper()
    if "postscript" in names:
        text = f"{text}\nP.S. bye"
    if "lowercase" in names:
        text = text.lower()
    return f'"{text}"' if "quotation" in names else text
