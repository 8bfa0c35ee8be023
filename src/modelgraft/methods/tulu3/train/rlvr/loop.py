"""The iterations of RLVR as the steps of `training.fit`: sample, measure, train, look, repeat.

Everything that an iteration trains on is in the run's folder before its first step, so a run that
is stopped or killed goes on with the very same episodes.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from modelgraft.core.errors import ConfigError, Partial
from modelgraft.core.files import make_folder, remove_folder, sweep_leftovers
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.language.generation import Sampling
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.data import Prompt
from modelgraft.methods.tulu3.train.curves import recorded
from modelgraft.methods.tulu3.train.rlvr.episodes import (
    EpisodeFiles,
    Episodes,
    Question,
    Samples,
    Schedule,
    encode_prompts,
    longest_prompt,
    stop_ids,
    verified,
)
from modelgraft.methods.tulu3.train.rlvr.held_out import BestPolicy, Evaluate
from modelgraft.methods.tulu3.train.rlvr.ppo import (
    Actors,
    Credit,
    Graph,
    Measured,
    Micro,
    Ranks,
    Reference,
    credit,
    episode_loss,
    explained_variance,
    measure,
    micro_batches,
    scored,
)
from modelgraft.methods.tulu3.train.rlvr.sampler import (
    InTurn,
    Meanwhile,
    Sampler,
    write_model,
    write_weights,
)
from modelgraft.nn.modes import eval_mode
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of, same_text

_AT_ONCE = 64  # answers written at the same time, if a forward pass of training takes fewer
_RECORDED = ("verified", "score", "length", "kl")


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    `partial` says why it ended early, if it did. `best` is the file with the parameters of the
    policy that did best on held-out prompts (`sampler.read_weights` puts them in place), or None
    when nobody looked.
    """

    numbers: tuple[Number, ...]
    remarks: tuple[str, ...]
    partial: str
    best: Path | None


class TooFar(Partial):
    """The policy has gone further from its reference than was allowed."""


def train_rlvr(
    actors: Actors,
    prompts: Sequence[Prompt],
    config: RlvrConfig,
    run: Run,
    *,
    pool: Pool,
    evaluate: Evaluate | None = None,
    sampler: Sampler | None = None,
) -> Outcome:
    """Train the policy in place on what its own answers are paid; resumes in the run's folder.

    PPO trains `actors.critic` beside it (`scores.make_critic`). The reference is the policy as it
    is given, adapters off or copied. `pool` checks the answers (`verifying.verifier_pool`),
    `evaluate` looks at the policy before, every `config.eval_every` iterations and after
    (`held_out.verified_rate`). `sampler` is who writes the answers: by default this process with
    lag 0, a second one with lag 1. Dropout is off. When the mean distance of an answer to the
    reference exceeds `config.max_kl` the run ends there, with the weights kept in
    `stopped.safetensors` and the reason in the outcome.

    Under `accelerate launch` each process samples and trains on its share of the prompts; weights
    that are sharded are refused.
    """
    accelerator = accelerator_of(config.optim, run.settings)
    _check(actors, config, accelerator)
    longest = longest_prompt(actors.policy, config)
    questions = encode_prompts(actors.tokenizer, prompts, longest)
    remarks = []
    if num_long := len(prompts) - len(questions):
        remarks.append(f"{num_long} prompts of more than {longest} tokens are left out.")
        run.log("prompts left out", num=num_long, reason=remarks[-1])
    parts = {"policy": actors.policy, "critic": actors.critic}
    model = nn.ModuleDict({name: one for name, one in parts.items() if one is not None})
    model.to(accelerator.device)
    if config.reward_weight:
        actors.reward_model.to(accelerator.device)
    best = BestPolicy(run, evaluate) if evaluate is not None and config.eval_every else None
    partial = ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(eval_mode(model))
        sampler = sampler or _sampler(actors, config, run, accelerator)
        stack.callback(sampler.close)
        if best is not None:
            stack.callback(best.close)
        loop = _Loop(actors, questions, config, run, accelerator, pool, sampler, best)
        try:
            fit(
                loop.step,
                loop.batches,
                model,
                run,
                replace(config.optim, save_every=config.optim.save_every * loop.steps_each),
                steps=loop.iterations * loop.steps_each,
                accelerator=accelerator,
                between=loop.between,
            )
        except TooFar as stop:
            partial = str(stop)
    if not partial:
        _clear(run)
    numbers = [*_curves(run.folder), *(best.numbers() if best is not None else [])]
    kept = best.path if best is not None and best.path.exists() else None
    return Outcome(tuple(numbers), tuple(remarks), partial, kept)


@dataclass(frozen=True)
class _Now:
    """The iteration that is trained on."""

    iteration: int
    episodes: Episodes
    learned: Credit
    began: float


class _Loop:
    """`batches`, `step` and `between` for `fit`."""

    def __init__(
        self,
        actors: Actors,
        questions: Sequence[Question],
        config: RlvrConfig,
        run: Run,
        accelerator: Accelerator,
        pool: Pool,
        sampler: Sampler,
        best: BestPolicy | None,
    ) -> None:
        self.actors, self.questions, self.config, self.run = actors, questions, config, run
        self.accelerator, self.pool, self.sampler, self.best = accelerator, pool, sampler, best
        self.ranks = Ranks(accelerator)
        rank, world = self.ranks.rank, self.ranks.world
        self.schedule = Schedule(questions, config, run.seed, rank, world)
        self.iterations = self.schedule.iterations
        self.steps_each = config.ppo.passes * config.ppo.minibatches
        self.reference = Reference(actors.policy)
        # All processes keep theirs in the first one's folder, which is there after a stop.
        folder = Path(same_text(str(run.folder), accelerator)) / "episodes"
        if accelerator.is_main_process:
            make_folder(folder)
            sweep_leftovers(folder)
        accelerator.wait_for_everyone()
        self.files = EpisodeFiles(folder, f"-{rank}of{world}" if world > 1 else "")
        self.asked: set[int] = set()
        self.now: _Now | None = None
        self.graphs: list[Graph] = []
        self.ended = time.perf_counter()  # when the iteration before this one did

    def batches(self, index: int) -> list[Micro]:
        """The micro-batches of one optimiser step; the first of an iteration samples for it."""
        iteration, part = divmod(index, self.steps_each)
        if self.now is None or self.now.iteration != iteration:
            self.now = self._begin(iteration)
        micros = micro_batches(
            self.now.episodes.samples,
            self.questions,
            self.now.learned,
            self._picks(iteration, *divmod(part, self.config.ppo.minibatches)),
            self.config,
            pad_id=self.actors.tokenizer.pad_token_id,
            device=self.accelerator.device,
            ranks=self.ranks,
        )
        graphs, self.graphs = self.graphs, []  # they are of the weights before this step
        if not graphs:
            return micros
        return [replace(one, graph=graph) for one, graph in zip(micros, graphs, strict=True)]

    def step(self, micro: Micro) -> Loss:
        """The loss of a micro-batch."""
        return episode_loss(self.actors, micro, self.config)

    def between(self, index: int) -> None:
        """After the last step of an iteration: look, record, and have the next answers on disk."""
        iteration, part = divmod(index, self.steps_each)
        if part + 1 < self.steps_each or self.now is None:
            return
        version, every = iteration + 1, self.config.eval_every
        is_main = self.accelerator.is_main_process
        if is_main:
            metrics = self.now.episodes.metrics
            ended, before = time.perf_counter(), self.ended
            self.ended = ended
            seconds = {"seconds_whole": ended - before, "seconds_training": ended - self.now.began}
            self.run.metric(index, iteration=iteration, **seconds, **metrics)
        if every and is_main and (version % every == 0 or version == self.iterations):
            self._look(version)
        if version in self.asked and not self.files.has_samples(version):
            # Before the checkpoint, which cannot bring back the weights that wrote them.
            self.files.save_samples(version, self.sampler.take(version))

    # -- an iteration ------------------------------------------------------------------------------

    def _begin(self, iteration: int) -> _Now:
        if iteration == 0 and self.accelerator.is_main_process:
            self._look(0)
        if self.config.lag == "1":
            self._ask_ahead(iteration)
        episodes = self.files.episodes(iteration)
        if self.ranks.mean(torch.tensor([float(episodes is not None)])) < 1:
            episodes = self._made(iteration)
            self.files.save_episodes(iteration, episodes)
        assert episodes is not None
        # As many as the checkpoints that are kept can need.
        self.files.forget_before(iteration - 2 * self.config.optim.save_every)
        self._check_distance(iteration, episodes.metrics["kl"])
        learned = credit(episodes, self.config, self.ranks)
        if learned.returns is not None:
            episodes.metrics["explained_variance"] = explained_variance(learned, self.ranks)
        return _Now(iteration, episodes, learned, time.perf_counter())

    def _ask_ahead(self, iteration: int) -> None:
        """Have the next iteration sampled with the weights that this one begins with."""
        if iteration == 0 and self.files.episodes(0) is None:
            self._ask(0, 0)
        later = iteration + 1
        if later < self.iterations and not self.files.has_samples(later):
            if self.files.episodes(later) is None:
                self._ask(later, iteration)

    def _ask(self, iteration: int, version: int) -> None:
        if iteration not in self.asked:
            self.asked.add(iteration)
            self.sampler.ask(replace(self.schedule.job(iteration), version=version))

    def _samples(self, iteration: int) -> Samples:
        found = self.files.samples(iteration)
        if found is None:
            if iteration not in self.asked and self.config.lag == "1":
                self.run.log("sampled without lag", iteration=iteration, reason="nothing was kept")
            self._ask(iteration, iteration)
            found = self.sampler.take(iteration)
        return found

    def _made(self, iteration: int) -> Episodes:
        """Sample, verify and measure the episodes of an iteration."""
        began = time.perf_counter()
        samples = self._samples(iteration)
        sampled = time.perf_counter()
        config = self.config
        found = verified(
            samples, self.questions, self.actors.tokenizer, self.pool, partial=config.partial
        )
        checked = time.perf_counter()
        with self.accelerator.autocast():
            known = measure(self.actors, self.reference, samples, self.questions, config)
        self.graphs = known.graphs
        score = scored(found.share, samples, config, known.scores)
        if len(set(torch.cat(self.ranks.gather(score)).tolist())) == 1:
            self.run.log("all rewards equal", iteration=iteration, score=float(score[0]))
        metrics = _means(samples, found.share, score, known, self.ranks) | {
            "verifier_errors": self.ranks.mean(torch.tensor([float(found.num_errors)]))
            * self.ranks.world,
            "version": samples.version,
            "seconds_sampling": samples.seconds,
            "seconds_waiting": sampled - began,
            "seconds_verifying": checked - sampled,
            "seconds_measuring": time.perf_counter() - checked,
        }
        return Episodes(samples, score, known.old, known.reference, known.values, metrics)

    def _picks(self, iteration: int, number: int, part: int) -> list[int]:
        """The episodes of one minibatch of one pass, as equal parts of a fresh order."""
        assert self.now is not None
        size, parts = len(self.now.episodes.samples.lengths), self.config.ppo.minibatches
        if parts == 1:
            return list(range(size))
        seed = rng_seed(self.run.seed, "minibatches", iteration, number)
        order = np.random.default_rng(seed).permutation(size)
        return np.array_split(order, parts)[part].tolist()

    def _look(self, version: int) -> None:
        if self.best is not None:
            self.best.look(self.actors.policy, version)

    def _check_distance(self, iteration: int, kl: float) -> None:
        if kl <= self.config.max_kl:
            return
        path = self.run.folder / "stopped.safetensors"
        if self.accelerator.is_main_process:
            write_weights(path, self.actors.policy)
        raise TooFar(
            f"after {iteration} iterations an answer is {kl:.1f} nats from the reference, more "
            f"than --max-kl {self.config.max_kl:g}; the policy as it is was kept in {path.name}.\n"
            "  Raise --beta or lower --optim.lr, in a new folder; the best policy on held-out "
            "prompts was kept too, if any was evaluated."
        )


# -- around it -------------------------------------------------------------------------------------


def _check(actors: Actors, config: RlvrConfig, accelerator: Accelerator) -> None:
    """Refuse what cannot be trained like this."""
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ConfigError(
            "",
            "rlvr samples with the whole policy in every process, which sharded weights do not "
            "give.\n  Start it without FSDP, or train an adapter: --lora.rank 16.",
        )
    if (actors.critic is not None) != (config.algo == "ppo"):
        raise ConfigError("algo", f"--algo {config.algo}: only ppo trains a critic, and needs one.")
    if config.reward_weight and actors.reward_model is None:
        raise ConfigError(
            "reward_weight",
            f"--reward-weight {config.reward_weight:g}: there is no reward model to score answers."
            "\n  Name one with --reward-model.",
        )
    world = accelerator.num_processes
    share = config.optim.batch // config.samples // world * config.samples
    if share < config.ppo.minibatches:
        raise ConfigError(
            "ppo.minibatches",
            f"--ppo.minibatches {config.ppo.minibatches}: each of {world} processes has {share} "
            f"episodes of --optim.batch {config.optim.batch}.\n  Raise the batch, or use fewer.",
        )


def _sampler(
    actors: Actors, config: RlvrConfig, run: Run, accelerator: Accelerator
) -> InTurn | Meanwhile:
    sampling = Sampling(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        stop_ids=stop_ids(actors.policy, actors.tokenizer),
    )
    size = max(_AT_ONCE, config.optim.micro_batch)
    if config.lag == "0":
        return InTurn(actors.policy, sampling, batch_size=size)
    folder = run.folder / f"sampler-{accelerator.process_index}"
    # Of several processes only the first one writes stock models.
    model = Path(same_text(str(run.folder), accelerator)) / "sampler-model"
    if accelerator.is_main_process and not model.exists():
        write_model(model, actors.policy)
    accelerator.wait_for_everyone()
    return Meanwhile(actors.policy, sampling, folder, batch_size=size, model=model)


def _means(
    samples: Samples,
    share: torch.Tensor,
    score: torch.Tensor,
    known: Measured,
    ranks: Ranks,
) -> dict[str, float]:
    """What an iteration's answers were like on average, over all processes."""
    lengths = samples.lengths
    distance = torch.stack(
        [part.sum() for part in (known.old - known.reference).split(lengths.tolist())]
    )
    rows = {
        "verified": share,
        "score": score,
        "length": lengths.float(),
        "kl": distance,
        "no_eos": (~samples.ended).float(),
        "drift": known.old - samples.logprobs.to(known.old),
    }
    return {name: ranks.mean(one) for name, one in rows.items()}


def _curves(folder: Path) -> list[Number]:
    """The last tenth of the iterations against the first, for what matters."""
    numbers = []
    for name in _RECORDED:
        values = recorded(folder, name)
        if values:
            size = max(1, len(values) // 10)
            first, last = (sum(part) / size for part in (values[:size], values[-size:]))
            better = "lower" if name == "kl" else "higher"
            numbers.append(
                Number(f"{name}, last iterations", last, n=size, baseline=first, better=better)
            )
    return numbers


def _clear(run: Run) -> None:
    """Delete what only a run that goes on needs."""
    for folder in (run.folder / "episodes", *run.folder.glob("sampler-*")):
        if folder.exists():
            remove_folder(folder)
