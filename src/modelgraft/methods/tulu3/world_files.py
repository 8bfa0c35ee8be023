"""The embedded world as files: what the other actions read, to try them and to see their forms."""

from __future__ import annotations

import random
from collections.abc import Iterable

from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.processes import refuse_processes
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3.config import WorldConfig
from modelgraft.methods.tulu3.data import (
    Conversation,
    Record,
    record_row,
    world_conversations,
    world_pairs,
    world_prompt,
    world_prompts,
)
from modelgraft.methods.tulu3.world.splits import Split
from modelgraft.methods.tulu3.world.tasks import Task, suite

_SUITES: tuple[Split, Split] = ("dev", "unseen")


def world(config: WorldConfig, run: Run) -> Result:
    """Write conversations, pairs, prompts and both suites of the world, for the run's seed.

    Among the conversations lie `config.planted` prompts of the dev suite with their answers, each
    once, for `decontaminate` to find.
    """
    refuse_processes("world", "only training shares it")
    dev, unseen = (suite(split, config.suite, seed=run.seed) for split in _SUITES)
    conversations = world_conversations(config.num, seed=run.seed)
    hidden = _planted(dev, config.planted, run.seed)
    rng = random.Random(rng_seed("tinychat", "hide", run.seed))
    for one in hidden:
        conversations.insert(rng.randrange(len(conversations) + 1), one)
    _write(run, "sft.jsonl", "Conversations for sft", conversations)
    pairs = world_pairs(config.pairs, seed=run.seed)
    _write(run, "pairs.jsonl", "Pairs for dpo and reward", pairs)
    prompts = world_prompts(config.prompts, split="train", seed=run.seed)
    _write(run, "prompts.jsonl", "Prompts with their truth for rlvr", prompts)
    _write(run, "dev.jsonl", "The suite to steer by", map(world_prompt, dev))
    _write(run, "unseen.jsonl", "The suite to look at last", map(world_prompt, unseen))
    return Result(
        (
            Number("conversations", len(conversations)),
            Number("of them planted", len(hidden)),
            Number("pairs", len(pairs)),
            Number("prompts", len(prompts)),
            Number("items of each suite", len(dev)),
        )
    )


def estimate_world(config: WorldConfig, settings: Settings) -> list[Number]:
    """The rows that `world` would write into each file."""
    sizes = {one: len(suite(one, config.suite, seed=settings.seed)) for one in _SUITES}
    rows = {
        "sft": config.num + min(config.planted, sizes["dev"]),
        "pairs": config.pairs,
        "prompts": config.prompts,
        **sizes,
    }
    return [Number(f"rows of {name}.jsonl", num, unit="rows") for name, num in rows.items()]


def _planted(dev: tuple[Task, ...], num: int, seed: int) -> list[Conversation]:
    drawn = random.Random(rng_seed("tinychat", "planted", seed)).sample(dev, min(num, len(dev)))
    return [
        Conversation(f"planted-{task.id}", tuple(task.messages(task.answer)), task.source)
        for task in drawn
    ]


def _write(run: Run, name: str, caption: str, records: Iterable[Record]) -> None:
    lines = [dump_json(record_row(one)) + "\n" for one in records]
    write_atomic(run.add("text", name, caption), "".join(lines))
