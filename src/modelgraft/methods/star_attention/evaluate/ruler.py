"""Running a model on RULER and BABILong samples under several attention patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError, ModelgraftError
from modelgraft.core.files import Journal
from modelgraft.language.chat import Prompt, chat_frame, encode
from modelgraft.language.documents import read_document
from modelgraft.methods.star_attention.adapter.cache import StarCache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.support import check_ids, check_length
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.likelihood import (
    Likelihood,
    agreement,
    answer_likelihood,
)
from modelgraft.methods.star_attention.evaluate.scores import RULER_13, score
from modelgraft.methods.star_attention.infer import generate
from modelgraft.methods.star_attention.method import Plan, plan_blocks
from modelgraft.methods.star_attention.world import babilong, ruler
from modelgraft.methods.star_attention.world.fitting import Target
from modelgraft.methods.star_attention.world.questions import read_hotpot, read_squad

DENSE = "dense"
_TASK_NAME = re.compile(r"[\w-]+")
_OPENS_WITH_MARKUP = 64  # characters in which a record's own chat markup must show


@dataclass(frozen=True)
class Prediction:
    """One reply: arm, task and index name it, `nll` is the mean negative log-likelihood of the
    reference answer in nats per token, `score` the task's metric from 0 to 1.

    `block` numbers the block from 0 that holds the sample's one fact; -1 when facts are several or
    their place is not known. Where dense attention is compared with another arm, its predictions
    hold how far the two part on the reference answer: `same_token` is the share of its tokens with
    the same likeliest token, `divergence` the mean KL(dense || other) in nats per token.
    """

    arm: str
    task: str
    index: int
    text: str
    nll: float
    score: float
    block: int = -1
    same_token: float | None = None
    divergence: float | None = None


def task_names(names: Sequence[str], *, has_squad: bool, has_hotpot: bool) -> list[str]:
    """The tasks meant by `names`, each one or several with commas; "all" is RULER's thirteen, with
    invented questions standing in for qa_1 and qa_2 where their file is missing."""
    known = [*ruler.TASKS, *babilong.TASKS]
    found: list[str] = []
    for name in [part.strip() for text in names for part in text.split(",")]:
        if name == "all":
            brought = {"qa_1": has_squad, "qa_2": has_hotpot}
            found += [
                task if brought.get(task, True) else task.replace("qa_", "qa_syn_")
                for task in RULER_13
            ]
        elif name in known:
            found.append(name)
        else:
            raise ConfigError(
                "tasks", f"--tasks {name}: no such task; there are all, {', '.join(known)}."
            )
    return list(dict.fromkeys(found))


def read_material(essay: Path | None, squad: Path | None, hotpot: Path | None) -> ruler.Material:
    """What the user brings for haystacks and questions; None stands for ours."""
    return ruler.Material(
        essay=read_document(essay).text if essay else None,
        qa_1=read_squad(squad) if squad else None,
        qa_2=read_hotpot(hotpot) if hotpot else None,
    )


def make_samples(
    tokenizer: Any,
    tasks: Sequence[str],
    *,
    length: int,
    num: int,
    seed: int,
    material: ruler.Material | None = None,
    spread: bool = False,
) -> list[Sample]:
    """`num` generated samples of each task that fill `length` tokens with the chat markup.

    With `spread` the needles lie at evenly spread depths instead of random ones.
    """
    frame = chat_frame(tokenizer)
    markup = len(encode(tokenizer, frame.prefix + frame.suffix, markup=True))
    target = Target(
        length=length,
        count_tokens=lambda text: len(encode(tokenizer, text)),
        seed=seed,
        reserve=markup,
    )
    material = material or ruler.Material()
    samples = []
    for task in tasks:
        for index in range(num):
            if task in babilong.TASKS:
                samples.append(babilong.make_sample(task, index, target, text=material.essay))
            else:
                depth = (index + 0.5) / num if spread else material.depth
                own = replace(material, depth=depth)
                samples.append(ruler.make_sample(task, index, target, own))
    return samples


def sample_prompt(tokenizer: Any, sample: Sample) -> Prompt:
    """Token ids of a sample: its context in the chat's frame, then question and answer prefix.

    A record that opens with control tokens of its own, as the official files do, is taken as it
    stands, without a frame.
    """
    own = tokenizer.all_special_tokens
    if any(token in sample.context[:_OPENS_WITH_MARKUP] for token in own):
        context = encode(tokenizer, sample.context, markup=True)
        query = encode(tokenizer, sample.query + sample.answer_prefix, markup=True)
        return Prompt(tuple(context), tuple(query))
    frame = chat_frame(tokenizer)
    context = encode(tokenizer, frame.prefix, markup=True) + encode(tokenizer, sample.context)
    query = encode(tokenizer, sample.query) + encode(tokenizer, frame.suffix, markup=True)
    query += encode(tokenizer, sample.answer_prefix)
    return Prompt(tuple(context), tuple(query))


def usable(
    model: Any,
    tokenizer: Any,
    samples: Sequence[Sample],
    reject: Callable[[Sample, str], None],
    *,
    arms: Mapping[str, StarConfig],
    allow_extrapolation: bool,
) -> list[Sample]:
    """The samples that can be run under every arm; each of the others goes to `reject` with the
    reason.

    Asked before any of them runs, so that one bad record does not end hours of work.
    """
    kept = []
    for sample in samples:
        prompt = sample_prompt(tokenizer, sample)
        num_context = len(prompt.context_ids)
        answer = max(sample.budget, len(encode(tokenizer, reference_text(sample))))
        length = num_context + len(prompt.query_ids) + answer
        try:
            if not num_context:
                raise InputError("the context is empty")
            if not _TASK_NAME.fullmatch(sample.task):
                raise InputError(f"the task name {sample.task!r} is no plain word")
            check_ids(model, torch.tensor([prompt.context_ids]))
            check_length(model, length, allow_extrapolation=allow_extrapolation)
            for config in arms.values():
                plan_blocks(num_context, config)
        except ModelgraftError as error:
            reject(sample, str(error).splitlines()[0])
        else:
            kept.append(sample)
    return kept


def reference_text(sample: Sample) -> str:
    """The reference answer as it would follow the answer prefix."""
    return " " + ", ".join(sample.outputs)


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A model that reads samples under any attention pattern and is scored by `score`.

    `budget` replaces the samples' own number of new tokens.
    """

    model: Any
    tokenizer: Any
    score: Callable[[Sample, str], float] = score
    budget: int | None = None
    allow_extrapolation: bool = False

    def predict(
        self, sample: Sample, config: StarConfig, arm: str
    ) -> tuple[Prediction, Likelihood]:
        """The sample's context encoded under `config`: its reply, and its reference answer."""
        cache, query, answer = self._encode(sample, config)
        likelihood = answer_likelihood(self.model, cache, query, answer)
        full = torch.cat([cache.context_ids, query], dim=1)
        new_tokens = self.budget or sample.budget
        output = generate(self.model, cache, full, max_new_tokens=new_tokens)
        text = self.tokenizer.decode(output[0, full.shape[1] :], skip_special_tokens=True)
        block = _block_of_fact(self.tokenizer, sample, cache.plan)
        grade = self.score(sample, text)
        found = Prediction(arm, sample.task, sample.index, text, likelihood.nll, grade, block)
        return found, likelihood

    def likelihood(self, sample: Sample, config: StarConfig) -> Likelihood:
        """The likelihood of the reference answer alone."""
        return answer_likelihood(self.model, *self._encode(sample, config))

    def _encode(self, sample: Sample, config: StarConfig) -> tuple[StarCache, Tensor, Tensor]:
        prompt = sample_prompt(self.tokenizer, sample)
        reference = encode(self.tokenizer, reference_text(sample))
        context, query, answer = (
            torch.tensor([ids], device=self.model.device)
            for ids in (prompt.context_ids, prompt.query_ids, reference)
        )
        new_tokens = max(self.budget or sample.budget, len(reference))
        cache = encode_context(
            self.model,
            context,
            config,
            headroom=query.shape[1] + new_tokens,
            allow_extrapolation=self.allow_extrapolation,
        )
        return cache, query, answer


def _block_of_fact(tokenizer: Any, sample: Sample, plan: Plan) -> int:
    """The number of the block that holds the one fact, -1 when there are others or none."""
    if len(sample.depths) != 1:
        return -1
    rest = sample.context[int(sample.depths[0] * len(sample.context)) :]
    token = plan.num_tokens - len(encode(tokenizer, rest))
    return max(number for number, block in enumerate(plan.blocks) if block.start <= max(token, 0))


def predict(
    model: Any,
    tokenizer: Any,
    sample: Sample,
    config: StarConfig,
    *,
    arm: str,
    score: Callable[[Sample, str], float],
    budget: int | None = None,
    allow_extrapolation: bool = False,
) -> Prediction:
    """Encode the sample's context under `config`, score its reference answer and its reply."""
    reader = Reader(
        model=model,
        tokenizer=tokenizer,
        score=score,
        budget=budget,
        allow_extrapolation=allow_extrapolation,
    )
    return reader.predict(sample, config, arm)[0]


def predict_all(
    samples: Iterable[Sample],
    arms: Mapping[str, StarConfig],
    journal: Journal,
    predict_one: Callable[[Sample, StarConfig, str], Prediction],
    *,
    between: Callable[[int, int], None],
) -> list[Prediction]:
    """Every sample under every arm, in order; what the journal holds already is not run again.

    `between(done, total)` is called before each one and may raise to stop.
    """
    done = {(row["arm"], row["task"], row["index"]): Prediction(**row) for row in journal.rows}
    work = [(sample, arm) for sample in samples for arm in arms]
    found = []
    for number, (sample, arm) in enumerate(work):
        between(number, len(work))
        key = (arm, sample.task, sample.index)
        if key not in done:
            done[key] = predict_one(sample, arms[arm], arm)
            journal.append(asdict(done[key]))
        found.append(done[key])
    between(len(work), len(work))
    return found


def predict_beside_dense(
    reader: Reader,
    samples: Iterable[Sample],
    arms: Mapping[str, StarConfig],
    journal: Journal,
    *,
    between: Callable[[int, int], None],
) -> list[Prediction]:
    """`predict_all` by a reader, with what dense's likelihoods say of the first arm's."""
    ours = next(iter(arms))
    last: dict[tuple[str, int], Likelihood] = {}

    def predict_one(sample: Sample, config: StarConfig, arm: str) -> Prediction:
        found, likelihood = reader.predict(sample, config, arm)
        key = (sample.task, sample.index)
        if arm == ours:
            last.clear()
            last[key] = likelihood
        elif arm == DENSE:
            # A resumed run may find the first arm done, and its likelihoods gone.
            other = last.get(key) or reader.likelihood(sample, arms[ours])
            same, divergence = agreement(likelihood, other)
            found = replace(found, same_token=same, divergence=divergence)
        return found

    return predict_all(samples, arms, journal, predict_one, between=between)
