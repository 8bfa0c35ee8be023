"""Running a model on RULER and BABILong samples under several attention patterns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from modelgraft.core.errors import ConfigError, InputError, ModelgraftError
from modelgraft.core.files import Journal
from modelgraft.language.chat import Prompt, chat_frame, encode
from modelgraft.language.documents import read_document
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.support import check_length
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.likelihood import answer_likelihood
from modelgraft.methods.star_attention.evaluate.scores import RULER_13
from modelgraft.methods.star_attention.infer import generate
from modelgraft.methods.star_attention.world import babilong, ruler
from modelgraft.methods.star_attention.world.fitting import Target
from modelgraft.methods.star_attention.world.questions import read_hotpot, read_squad

_TASK_NAME = re.compile(r"[\w-]+")
_OPENS_WITH_MARKUP = 64  # characters in which a record's own chat markup must show


@dataclass(frozen=True)
class Prediction:
    """One reply: arm, task and index name it, `nll` is the mean negative log-likelihood of the
    reference answer in nats per token, `score` the task's metric from 0 to 1."""

    arm: str
    task: str
    index: int
    text: str
    nll: float
    score: float


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
    allow_extrapolation: bool,
) -> list[Sample]:
    """The samples that can be run; each of the others goes to `reject` with the reason.

    Asked before any of them runs, so that one bad record does not end hours of work.
    """
    kept = []
    for sample in samples:
        prompt = sample_prompt(tokenizer, sample)
        length = len(prompt.context_ids) + len(prompt.query_ids) + sample.budget
        try:
            if not prompt.context_ids:
                raise InputError("the context is empty")
            if not _TASK_NAME.fullmatch(sample.task):
                raise InputError(f"the task name {sample.task!r} is no plain word")
            check_length(model, length, allow_extrapolation=allow_extrapolation)
        except ModelgraftError as error:
            reject(sample, str(error).splitlines()[0])
        else:
            kept.append(sample)
    return kept


def reference_text(sample: Sample) -> str:
    """The reference answer as it would follow the answer prefix."""
    return " " + ", ".join(sample.outputs)


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
    prompt = sample_prompt(tokenizer, sample)
    context = torch.tensor([prompt.context_ids], device=model.device)
    query = torch.tensor([prompt.query_ids], device=model.device)
    answer = torch.tensor([encode(tokenizer, reference_text(sample))], device=model.device)
    new_tokens = budget or sample.budget
    cache = encode_context(
        model,
        context,
        config,
        headroom=query.shape[1] + max(new_tokens, answer.shape[1]),
        allow_extrapolation=allow_extrapolation,
    )
    nll = answer_likelihood(model, cache, query, answer).nll
    full = torch.cat([context, query], dim=1)
    output = generate(model, cache, full, max_new_tokens=new_tokens)
    text = tokenizer.decode(output[0, full.shape[1] :], skip_special_tokens=True)
    return Prediction(arm, sample.task, sample.index, text, nll, score(sample, text))


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
