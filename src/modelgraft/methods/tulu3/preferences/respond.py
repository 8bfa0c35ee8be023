"""Which models answer a prompt, and what they answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modelgraft.core.errors import ConfigError
from modelgraft.core.seeds import rng_seed
from modelgraft.language.endpoints.calls import Calls, model_label
from modelgraft.language.endpoints.exchange import Failure, Outcome, Request
from modelgraft.methods.tulu3.config import PreferencesConfig
from modelgraft.methods.tulu3.preferences.questions import Question
from modelgraft.methods.tulu3.world.replies import POOL, Respondent, respond


@dataclass(frozen=True)
class Answer:
    """What a model answered. `failure` says why there is no text; `is_cut` that it did not end."""

    model: str
    text: str = ""
    is_cut: bool = False
    failure: Failure | None = None


@dataclass(frozen=True)
class Pool:
    """The models that answer, by the label that records give them.

    A member is an invented model of the world, or the name of a real one. `on_policy` is the label
    of the model that gives one side of every pair, empty for none.
    """

    members: Mapping[str, Respondent | str]
    num_answers: int
    on_policy: str = ""

    def draw(self, id: str, seed: int) -> tuple[str, ...]:
        """The different models that answer the prompt `id`, in random order.

        The draw depends on the prompt's id and the seed alone: neither on other prompts nor on the
        order in which the pool is named.
        """
        rng = random.Random(rng_seed("preferences", "models", seed, id))
        others = sorted(self.members.keys() - {self.on_policy})
        if not self.on_policy:
            return tuple(rng.sample(others, self.num_answers))
        sides = [self.on_policy, rng.choice(others)]
        rng.shuffle(sides)
        return tuple(sides)


def open_pool(config: PreferencesConfig) -> Pool:
    """The pool that the options describe.

    Raises `ConfigError` for too few models, two of the same label, and invented models that are to
    answer a file.
    """
    if not config.pool and config.prompts is not None:
        raise ConfigError(
            "pool",
            "--pool is empty: the invented models know the embedded world alone, and cannot answer "
            f"{config.prompts}.\n  Name the models that shall answer.",
        )
    members: dict[str, Respondent | str] = {model_label(name): name for name in config.pool}
    if len(members) < len(config.pool):
        named = Counter(map(model_label, config.pool))
        twice = ", ".join(label for label, num in named.items() if num > 1)
        raise ConfigError("pool", f"--pool names two models {twice}: pairs could not tell them.")
    members = members or {model.name: model for model in POOL}
    on_policy = model_label(config.on_policy)
    num_answers = 2 if on_policy else config.answers
    num_others = len(members.keys() - {on_policy})
    if num_others < num_answers - bool(on_policy):
        raise ConfigError(
            "pool",
            f"--pool has {num_others} models, but {num_answers - bool(on_policy)} other ones "
            "answer each prompt.\n  Name more models, or ask for fewer --answers.",
        )
    if on_policy:
        members[on_policy] = config.on_policy
    return Pool(members, num_answers, on_policy)


def respond_all(
    pool: Pool, questions: Sequence[Question], calls: Calls, config: PreferencesConfig, seed: int
) -> list[tuple[Answer, ...]]:
    """The answers to each question, in the order in which `Pool.draw` names their models.

    One model answers all of its questions before the next one is loaded.
    """
    drawn = [pool.draw(question.id, seed) for question in questions]
    found: dict[tuple[str, str], Answer] = {}
    for label in sorted({label for labels in drawn for label in labels}):
        asked = [one for one, labels in zip(questions, drawn, strict=True) if label in labels]
        answers = _answers(label, pool.members[label], asked, calls, config, seed)
        found |= {(label, one.id): answer for one, answer in zip(asked, answers, strict=True)}
    return [
        tuple(found[label, question.id] for label in labels)
        for question, labels in zip(questions, drawn, strict=True)
    ]


def _answers(
    label: str,
    member: Respondent | str,
    questions: Sequence[Question],
    calls: Calls,
    config: PreferencesConfig,
    seed: int,
) -> list[Answer]:
    if isinstance(member, Respondent):
        tasks = [question.task for question in questions]
        return [Answer(label, respond(member, task, seed=seed).text) for task in tasks if task]
    requests = [
        Request(
            messages=question.messages,
            temperature=config.temperature,
            top_p=config.top_p,
            max_tokens=config.max_new_tokens,
            # Two prompts of the same text get draws of their own.
            sample=rng_seed("preferences", "sample", seed, question.id),
        )
        for question in questions
    ]
    return [_answer(label, outcome) for outcome in calls.ask(member, requests)]


def _answer(label: str, outcome: Outcome) -> Answer:
    if isinstance(outcome, Failure):
        return Answer(label, failure=outcome)
    if not outcome.text.strip():
        return Answer(label, failure=Failure("empty", "the answer is blank"))
    return Answer(label, outcome.text, is_cut=outcome.finish_reason == "length")
