"""Which answers an iteration asks for, how they are sampled and paid, and the files that keep them.

Letters: b episodes of this process, n tokens of all their answers, one answer after the other.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import atomic_folder, read_json, remove_folder, write_json
from modelgraft.core.seeds import rng_seed
from modelgraft.language.conversation import tokenise_conversation
from modelgraft.language.generation import Sampling, generate_batch
from modelgraft.language.logprobs import causal_lm
from modelgraft.language.packing import IGNORED, Batch, Sample, collate
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.data import Prompt
from modelgraft.methods.tulu3.verifying import verify
from modelgraft.nn.weights import plain_os_errors
from modelgraft.training.batches import Shuffled

_NO_LIMIT = 2**31
_SMALL, _PADDED = 8, 1.1


@dataclass(frozen=True)
class Question:
    """A prompt and its token ids, up to where the answer begins."""

    prompt: Prompt
    ids: tuple[int, ...]


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt], max_prompt: int) -> list[Question]:
    """The prompts of at most `max_prompt` tokens, in their order.

    Raises `InputError` when none is left.
    """
    found = [Question(prompt, prompt_ids(tokenizer, prompt)) for prompt in prompts]
    kept = [question for question in found if len(question.ids) <= max_prompt]
    if not kept:
        shortest = min((len(question.ids) for question in found), default=0)
        raise InputError(
            f"none of {len(prompts)} prompts has at most {max_prompt} tokens; the shortest has "
            f"{shortest}.\n  Raise --max-prompt."
        )
    return kept


def longest_prompt(policy: Any, config: RlvrConfig) -> int:
    """Tokens of the longest prompt that is used: an answer has to fit behind it."""
    limit = getattr(causal_lm(policy).config.get_text_config(), "max_position_embeddings", None)
    room = config.max_prompt if limit is None else limit - config.max_new_tokens
    if room < 1:
        raise ConfigError(
            "max_new_tokens",
            f"--max-new-tokens {config.max_new_tokens}: the model has {limit} tokens of context, "
            "and a prompt needs some of them.",
        )
    return min(config.max_prompt, room)


def prompt_ids(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """What stands before an answer to the prompt in training: the same tokens, no others."""
    turns = [*prompt.messages, {"role": "assistant", "content": "x"}]
    ids, labels = tokenise_conversation(tokenizer, turns, _NO_LIMIT, row=prompt.id)
    place = len(ids)
    while labels[place - 1] == IGNORED:  # what a template writes behind the last turn
        place -= 1
    while labels[place - 1] != IGNORED:
        place -= 1
    return tuple(ids[:place])


def stop_ids(policy: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer: end of text, and what ends the assistant's turn in training.

    Raises `InputError` when there is none.
    """
    known = causal_lm(policy).generation_config.eos_token_id
    known = known if isinstance(known, list) else [known]
    found = {one for one in (*known, tokenizer.eos_token_id) if one is not None}
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant")]
    _, labels = tokenise_conversation(tokenizer, turns, _NO_LIMIT)
    last = next(label for label in reversed(labels) if label != IGNORED)
    controls = tokenizer.added_tokens_decoder
    if last in controls and controls[last].special:
        found.add(last)
    if not found:
        raise InputError(
            "the tokenizer has no end-of-text token, so no answer could end.\n"
            "  Set tokenizer.eos_token to one of its tokens first."
        )
    return tuple(sorted(found))


# -- sampling --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """The answers that one iteration asks for, one for each of `prompts` (token ids).

    `places` are those of the prompts among all questions, `seeds` what each answer is drawn with,
    and `version` counts the iterations that the policy which writes them has been trained for.
    """

    iteration: int
    version: int
    places: tuple[int, ...]
    prompts: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """The job of every iteration: a function of the seed and the iteration alone.

    Prompts come in a fresh order each pass over them, `config.samples` answers to each side by
    side. With `lag` 1, iteration t (from 0) is sampled with the weights that t - 1 begins with, and
    the first batch of prompts serves twice (Tulu 3). Of `world` processes each takes
    every world-th prompt.
    """

    questions: Sequence[Question]
    config: RlvrConfig
    seed: int
    rank: int = 0
    world: int = 1

    @property
    def iterations(self) -> int:
        """How many there are."""
        return -(-self.config.episodes // self.config.optim.batch)

    def job(self, iteration: int) -> Job:
        """What this process samples for an iteration."""
        lag, samples = int(self.config.lag), self.config.samples
        batch = max(0, iteration - lag)
        chosen = self._order.indices(batch)[self.rank :: self.world]
        places = tuple(place for place in chosen for _ in range(samples))
        numbers = range(len(places))
        # Seeds go by the place in the whole batch, so processes do not change what is drawn.
        spots = [(i // samples * self.world + self.rank) * samples + i % samples for i in numbers]
        return Job(
            iteration,
            batch,
            places,
            tuple(self.questions[place].ids for place in places),
            tuple(rng_seed(self.seed, "episode", iteration, spot) for spot in spots),
        )

    @functools.cached_property
    def _order(self) -> Shuffled[Question, list[Question]]:
        size = self.config.optim.batch // self.config.samples
        return Shuffled(self.questions, list, size, size, seed=self.seed, world=self.world)


@dataclass(frozen=True)
class Samples:
    """Sampled answers: `ids` [n], of which `lengths` [b] belong to each, what ended it included.

    `places` [b] are those of the prompts among all questions, `ended` [b] says whether the answer
    ended by itself, `logprobs` [n] what the sampling policy gave its tokens, and `version` how many
    iterations that policy had been trained for. `seconds` is the time that sampling took.
    """

    places: Tensor
    lengths: Tensor
    ended: Tensor
    ids: Tensor
    logprobs: Tensor
    version: int
    seconds: float

    @functools.cached_property
    def answers(self) -> tuple[Tensor, ...]:
        """The token ids of each answer."""
        return self.ids.split(self.lengths.tolist())

    def tensors(self) -> dict[str, Tensor]:
        """What is kept of them in a file."""
        names = ("places", "lengths", "ended", "ids", "logprobs")
        return {name: getattr(self, name) for name in names}


def draw(policy: Any, job: Job, sampling: Sampling, *, batch_size: int) -> Samples:
    """The answers of a job, each up to its first end-of-text token, `batch_size` at a time."""
    began = time.perf_counter()
    found = generate_batch(policy, job.prompts, sampling, seeds=job.seeds, batch_size=batch_size)
    return Samples(
        torch.tensor(job.places),
        torch.tensor([len(one.ids) for one in found]),
        torch.tensor([one.finished_by == "stop_token" for one in found]),
        torch.tensor([id for one in found for id in one.ids]),
        torch.tensor([value for one in found for value in one.logprobs], dtype=torch.float32),
        job.version,
        time.perf_counter() - began,
    )


# -- what they are worth ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Verified:
    """The share [b] of what each answer was asked for that it keeps, and how many checks failed."""

    share: Tensor
    num_errors: int


def verified(
    samples: Samples,
    questions: Sequence[Question],
    tokenizer: Any,
    pool: Pool,
    *,
    partial: bool = False,
) -> Verified:
    """What the verifiers say of the answers' texts; raises what `verifying.verify` raises."""
    texts = answer_texts(tokenizer, [one.tolist() for one in samples.answers])
    prompts = [questions[place].prompt for place in samples.places.tolist()]
    verdicts = verify(pool, prompts, texts, partial=partial)
    share = torch.tensor([verdict.score for verdict in verdicts])
    return Verified(share, sum(verdict.is_error for verdict in verdicts))


def answer_texts(tokenizer: Any, answers: Sequence[Sequence[int]]) -> list[str]:
    """The answers as text, without control tokens."""
    return tokenizer.batch_decode(list(answers), skip_special_tokens=True)


def chunks(
    samples: Samples, questions: Sequence[Question], picks: Sequence[int], size: int
) -> list[list[int]]:
    """The picked episodes in groups of at most `size`, those of similar length together.

    A group that padding would make a tenth longer is cut, unless it is small.
    """
    prompts = (len(questions[place].ids) for place in samples.places.tolist())
    lengths = [a + b for a, b in zip(prompts, samples.lengths.tolist(), strict=True)]
    groups: list[list[int]] = []
    used = 0
    for pick in sorted(picks, key=lambda pick: (lengths[pick], pick)):
        num = len(groups[-1]) if groups else size
        used += lengths[pick]
        is_loose = num >= _SMALL and (num + 1) * lengths[pick] > _PADDED * used
        if num == size or is_loose:
            groups.append([])
            used = lengths[pick]
        groups[-1].append(pick)
    return groups


def episode_rows(
    samples: Samples, questions: Sequence[Question], picks: Sequence[int], *, pad_id: int
) -> Batch:
    """One row for each picked episode, prompt and answer, with labels on the answer."""
    rows = []
    for pick in picks:
        prompt = questions[int(samples.places[pick])].ids
        answer = samples.answers[pick].tolist()
        rows.append([Sample([*prompt, *answer], [IGNORED] * len(prompt) + answer)])
    return collate(rows, pad_id=pad_id)


# -- files -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episodes:
    """The answers of an iteration with all that is known of them before its first step.

    `score` [b] is what each is paid. `old` and `reference` [n] are the log-probabilities of policy
    and reference at the sampling temperature, `values` what the critic said, position by position
    of each answer, and None without a critic. `metrics` are means over all processes.
    """

    samples: Samples
    score: Tensor
    old: Tensor
    reference: Tensor
    values: Tensor | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class EpisodeFiles:
    """Samples and episodes by iteration, each in a folder that is whole or absent.

    `suffix` sets the files of processes that share a folder apart.
    """

    folder: Path
    suffix: str = ""

    def save_samples(self, iteration: int, samples: Samples) -> None:
        """Keep what was sampled for an iteration."""
        write_samples(self._path("samples", iteration), samples)

    def samples(self, iteration: int) -> Samples | None:
        """What was sampled for an iteration, if it is there."""
        path = self._path("samples", iteration)
        return read_samples(path) if path.exists() else None

    def has_samples(self, iteration: int) -> bool:
        """Whether they are there."""
        return self._path("samples", iteration).exists()

    def save_episodes(self, iteration: int, episodes: Episodes) -> None:
        """Keep the episodes of an iteration; its samples, which they hold, are deleted."""
        tensors = episodes.samples.tensors()
        tensors |= {name: getattr(episodes, name) for name in ("score", "old", "reference")}
        if episodes.values is not None:
            tensors["values"] = episodes.values
        state = {**_about(episodes.samples), "metrics": episodes.metrics}
        _write(self._path("episodes", iteration), tensors, state)
        if self.has_samples(iteration):
            remove_folder(self._path("samples", iteration))

    def episodes(self, iteration: int) -> Episodes | None:
        """The episodes of an iteration, if they are there."""
        path = self._path("episodes", iteration)
        if not path.exists():
            return None
        tensors, state = _read(path)
        return Episodes(
            _samples(tensors, state),
            tensors["score"],
            tensors["old"],
            tensors["reference"],
            tensors.get("values"),
            state["metrics"],
        )

    def forget_before(self, iteration: int) -> None:
        """Delete the episodes of all earlier iterations."""
        first = self._path("episodes", iteration).name
        for path in self.folder.glob(f"episodes-*{self.suffix}"):
            if path.name < first:
                remove_folder(path)

    def _path(self, kind: str, iteration: int) -> Path:
        return self.folder / f"{kind}-{iteration:08d}{self.suffix}"


def write_samples(path: Path, samples: Samples) -> None:
    """Write the folder `path`, whole or not at all."""
    _write(path, samples.tensors(), _about(samples))


def read_samples(path: Path) -> Samples:
    """The samples in the folder `path`."""
    return _samples(*_read(path))


def _about(samples: Samples) -> dict[str, Any]:
    return {"version": samples.version, "seconds": samples.seconds}


def _samples(tensors: dict[str, Tensor], state: dict[str, Any]) -> Samples:
    names = ("places", "lengths", "ended", "ids", "logprobs")
    return Samples(*(tensors[name] for name in names), state["version"], state["seconds"])


def _write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    if path.exists():
        remove_folder(path)
    with atomic_folder(path) as folder, plain_os_errors():
        save_file(tensors, folder / "tensors.safetensors")
        write_json(folder / "state.json", state)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = load_file(path / "tensors.safetensors")
    return tensors, read_json(path / "state.json", "the state of sampled episodes")
