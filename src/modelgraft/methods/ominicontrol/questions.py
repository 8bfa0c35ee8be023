"""Is the subject kept and the prompt done? Five yes/no questions about every output.

The paper puts such questions to GPT-4o and reports shares of yes (OminiControl, section 4), but
does not publish them. Those here are ours, so shares compare with each other, not with the paper's.

    judge = asking_judge(ask)          # ask(question, pictures) -> str, any model that sees
    answers = judge_outputs(judge, references, prompts, outputs)
    numbers = answer_shares(answers)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, Interval, bootstrap_mean, wilson


class Answers(NamedTuple):
    """What a judge says of one output; yes is good."""

    identity: bool
    material: bool
    colour: bool
    natural: bool
    """Of the look of the output, whatever its subject."""
    modification: bool
    """Whether the prompt was done."""


Judge = Callable[[Tensor, str, Tensor], Answers | None]
"""From the reference [3, h, w], the prompt and the output [3, H, W]; None where there is no answer,
as where a model would not say yes or no."""
Ask = Callable[[str, Sequence[Tensor]], str]
"""The answer to a question about pictures [3, H, W] from 0 to 1, given in the order of their
numbers in it."""

_WORD: Final = "Answer with one word, yes or no."
QUESTIONS: Final[dict[str, str]] = {
    "identity": "Picture 1 shows an object. Is the main object of picture 2 that very object, the "
    "same in shape, parts, pattern and markings, seen from whatever side and wherever it is?",
    "material": "Compare the main objects of picture 1 and picture 2. Do their surfaces look as if "
    "they were made of the same materials, with the same texture and finish?",
    "colour": "Compare the main objects of picture 1 and picture 2. Have they the same colours in "
    "the same places, apart from what another light explains?",
    "natural": "Look at the picture. Does it look natural: nothing cut off and pasted, no broken "
    "or doubled parts, light and scale that fit the scene?",
    "modification": "Picture 1 shows an object, and picture 2 was drawn for this request about it: "
    '"{prompt}" Does picture 2 show everything that the request says of the scene, the place and '
    "what is done?",
}
"""By the fields of `Answers`; the last one has a place for the prompt."""
_NAMES: Final = {"natural": "natural look"}


def asking_judge(ask: Ask) -> Judge:
    """A judge that puts each of `QUESTIONS` to a model that sees pictures.

    `ask` is shown the reference and the output, and of the look the output alone. One answer that
    is not plainly yes or no leaves the output without any.
    """

    def judge(reference: Tensor, prompt: str, output: Tensor) -> Answers | None:
        found = []
        for name, question in QUESTIONS.items():
            # Not str.format: a prompt may hold braces, and a question none but its own.
            text = f"{question.replace('{prompt}', prompt)} {_WORD}"
            answer = yes_or_no(ask(text, [output] if name == "natural" else [reference, output]))
            if answer is None:
                return None
            found.append(answer)
        return Answers(*found)

    return judge


def yes_or_no(text: str) -> bool | None:
    """Whether an answer is yes; None unless it is that one word or no, in whatever marks.

    More words are no answer, since "No doubt about it" and "Yes and no" begin like one.
    """
    found = re.fullmatch(r"[\W_]*(yes|no)[\W_]*", text, flags=re.IGNORECASE)
    return None if found is None else found[1].lower() == "yes"


def judge_outputs(
    judge: Judge, references: Tensor, prompts: Sequence[str], outputs: Tensor
) -> Array:
    """What a judge says [seeds, n, 5] of outputs [seeds, n, 3, H, W], as 1 for yes and 0 for no.

    References [n, 3, h, w] and prompts are those of the n columns. NaN is where the judge gave no
    answer. Raises `InputError` where their numbers differ.
    """
    seeds, number = outputs.shape[:2]
    if outputs.dim() != 5 or not len(references) == len(prompts) == number:
        raise InputError(
            f"{len(references)} references, {len(prompts)} prompts and outputs of shape "
            f"{tuple(outputs.shape)}: [seeds, n, 3, H, W] is needed, with n references and prompts."
        )
    found = np.full((seeds, number, len(Answers._fields)), np.nan)
    for seed in range(seeds):
        for place, prompt in enumerate(prompts):
            answers = judge(references[place], prompt, outputs[seed, place])
            if answers is not None:
                found[seed, place] = answers
    return found


def answer_shares(answers: Array, baseline: Array | None = None) -> list[Number]:
    """The share of yes to every question and to all, as the mean and the best of the seeds.

    Both arrays are what `judge_outputs` gives [seeds, n, 5]; `baseline` is of other outputs, such
    as those without the condition. Best is, by question, whether any seed has a yes; the paper does
    not say how its best was chosen. Intervals are over the n pairs of reference and prompt: by
    bootstrap or, where each is a plain yes or no, Wilson's; that pairs of one subject are alike
    they do not know. Pairs without an answer are left out, and outputs without one are counted as
    `unanswered`. Raises `InputError` where there is no answer at all.
    """
    kept = _answered(answers)
    others = None if baseline is None else _answered(baseline)
    numbers = []
    for name, values in kept.items():
        found = _share(values)
        beside = None if others is None else float(others[name].mean()) if name in others else None
        numbers.append(Number(name, found.value, found.low, found.high, found.n, baseline=beside))
    missing = np.isnan(answers[..., 0])
    return [*numbers, Number("unanswered", int(missing.sum()), n=missing.size, better="lower")]


def _answered(answers: Array) -> dict[str, Array]:
    """By name the share of yes of every pair that has an answer [pairs]."""
    kept = answers[:, ~np.isnan(answers[..., 0]).all(axis=0)]
    if not kept.size:
        raise InputError(
            "The judge gave no answer to any question.\n"
            "  A model behind `ask` has to answer with the one word yes or no."
        )
    found: dict[str, Array] = {}
    ways = {"": np.nanmean(kept, axis=0)}
    if len(answers) > 1:
        ways[f", best of {len(answers)}"] = np.nanmax(kept, axis=0)
    for way, values in ways.items():
        for place, field in enumerate(Answers._fields):
            found[_NAMES.get(field, field) + way] = values[:, place]
        found[f"average{way}"] = values.mean(axis=1)
    return found


def _share(values: Array) -> Interval:
    if np.isin(values, (0, 1)).all():
        return wilson(float(values.sum()), len(values))
    return bootstrap_mean(values)
