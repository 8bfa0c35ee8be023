"""Suites of prompts with ground truth: a model answers, verifiers judge (Tulu 3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.passing import pass_at_k
from modelgraft.language.conversation import tokenise_prompt
from modelgraft.language.generation import Sampling, generate_batch
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.config import EvaluateConfig
from modelgraft.methods.tulu3.data import Prompt, read_prompts, world_prompt
from modelgraft.methods.tulu3.verifying import verify
from modelgraft.methods.tulu3.world.tasks import suite

Kind = Literal["dev", "unseen"]
# What was said, by the prompt's place in its suite and the number of the answer.
Answers = dict[tuple[int, int], str]


@dataclass(frozen=True)
class Suite:
    """Prompts that models are steered by (dev), or that are looked at last (unseen).

    The `source` of a prompt is the skill it belongs to.
    """

    kind: Kind
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of one prompt: its last turn, the answers, and which of them passed."""

    id: str
    skill: str
    prompt: str
    answers: tuple[str, ...]
    passed: tuple[bool, ...]

    def pass_at(self, k: int) -> float:
        """The unbiased estimate of pass@k from these answers."""
        return pass_at_k(len(self.passed), sum(self.passed), k)


def read_suites(config: EvaluateConfig, *, seed: int) -> tuple[Suite, Suite]:
    """The dev and the unseen suite: from files, or drawn from the embedded world.

    Of a file at most `config.num` prompts of each source are taken, from its beginning. Any bad
    row raises `InputError`: a suite is whole or not used.
    """
    return (
        _suite("dev", config.dev, config.num, seed),
        _suite("unseen", config.unseen, config.num, seed),
    )


def _suite(kind: Kind, files: Sequence[Path], num: int, seed: int) -> Suite:
    if not files:
        return Suite(kind, tuple(world_prompt(task) for task in suite(kind, num, seed=seed)))
    taken: dict[str, list[Prompt]] = defaultdict(list)
    for file in files:
        for prompt in read_prompts(file, reject=None):
            if len(taken[prompt.source]) < num:
                taken[prompt.source].append(prompt)
    return Suite(kind, tuple(prompt for prompts in taken.values() for prompt in prompts))


def prompt_ids(model: Any, tokenizer: Any, prompts: Sequence[Prompt], new: int) -> list[list[int]]:
    """Token ids of each prompt with the markup that opens its answer.

    Raises `InputError` naming a prompt that the chat template does not take, or that leaves no room
    for `new` tokens. Of the model only its config is asked.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    found = []
    for prompt in prompts:
        ids = tokenise_prompt(tokenizer, prompt.messages, row=prompt.id)
        if limit is not None and len(ids) + new > limit:
            raise InputError(
                f"{prompt.id}: a prompt of {len(ids):,} tokens and {new:,} new ones are more than "
                f"the {limit:,} positions of the model.\n"
                "  Lower --max-new-tokens, or leave the prompt out."
            )
        found.append(ids)
    return found


def answer_all(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int,
    batch: int = 64,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
    known: Answers | None = None,
    keep: Callable[[Answers], None] | None = None,
) -> list[list[str]]:
    """`samples` answers to each prompt, without the token that ends them; greedy at temperature 0.

    What an answer is depends on the model, its prompt, its number and the seed alone, up to
    rounding. `report(done, total)` is called between batches and may raise to stop. `known` are
    answers that an earlier attempt gave to `keep`, which receives those of each batch; they are not
    written again. Raises `InputError` naming a prompt that leaves no room for an answer.
    """
    asked = prompt_ids(model, tokenizer, prompts, max_new_tokens)
    answers = dict(known or {})
    places = [(place, number) for place in range(len(prompts)) for number in range(samples)]
    jobs = [job for job in places if job not in answers]
    jobs.sort(key=lambda job: len(asked[job[0]]))
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, stop_ids=_ends(model, tokenizer)
    )
    for start in range(0, len(jobs), batch):
        if report is not None:
            report(len(answers), len(places))
        part = jobs[start : start + batch]
        seeds = [rng_seed("answer", seed, prompts[place].id, number) for place, number in part]
        rollouts = generate_batch(
            model,
            [asked[place] for place, _ in part],
            sampling,
            seeds=seeds if temperature else (),
            batch_size=batch,
        )
        said = [tokenizer.decode(one.ids, skip_special_tokens=True) for one in rollouts]
        written = dict(zip(part, said, strict=True))
        if keep is not None:
            keep(written)
        answers |= written
    return listed(answers, len(prompts), samples)


def listed(answers: Answers, num: int, samples: int) -> list[list[str]]:
    """The `samples` answers to each of `num` prompts, in order."""
    return [[answers[place, number] for number in range(samples)] for place in range(num)]


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: those that stop stock `generate`, and the tokenizer's own."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return tuple(sorted({one for one in (*ends, tokenizer.eos_token_id) if one is not None}))


def judge_all(
    pool: Pool, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
) -> list[Outcome]:
    """What the verifiers say of each answer; one whose check came to no end did not pass."""
    flat = [(prompt, said) for prompt, own in zip(prompts, answers, strict=True) for said in own]
    verdicts = iter(verify(pool, [prompt for prompt, _ in flat], [said for _, said in flat]))
    return [
        Outcome(
            prompt.id,
            prompt.source,
            prompt.messages[-1]["content"],
            tuple(own),
            tuple(next(verdicts).passed for _ in own),
        )
        for prompt, own in zip(prompts, answers, strict=True)
    ]
