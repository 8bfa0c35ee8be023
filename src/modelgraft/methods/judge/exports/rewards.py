"""A judge as the reward of trainers that call a function on prompts and completions, as GRPO's do.

with as_reward_func(ScoreConfig(judge="http://127.0.0.1:8000/v1#judge"), "runs/reward") as reward:
    trainer = GRPOTrainer(model, reward_funcs=reward, train_dataset=prompts, ...)
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.calls import Calls
from modelgraft.methods.judge.config import ScoreConfig
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judging.judgments import Asking, Reading, score
from modelgraft.methods.judge.method.pointwise import Pooling
from modelgraft.methods.judge.opening import asking_of, open_judge, store_of, with_references

Text = str | Sequence[Mapping[str, Any]]
_CANDIDATE = "a"


class JudgeReward:
    """Scores of completions by a judge, each by itself: higher is better, whatever the rubric.

    A batch is judged in one go, after `prepare` made its items ready. What no score could be read
    of is nan, which trainers leave out of a group's mean, and counted in `num_failed`; it is never
    a number.
    """

    def __init__(
        self,
        judge: Judge,
        asking: Asking,
        *,
        reading: Reading = "expectation",
        pooling: Pooling = "mean",
        prepare: Callable[[list[Item]], list[Item]] = list,
    ) -> None:
        self.prepare = prepare
        self.judge, self.asking, self.reading, self.pooling = judge, asking, reading, pooling
        self.num_failed = 0
        self.__name__ = f"judge_{asking.rubric.name}"  # what trainers call the reward in their logs

    def __call__(
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
    ) -> list[float]:
        """A reward for each completion; texts, or chats of which the last turn is judged.

        Of the data's `columns` "reference" (a text) and "context" (a text or several) are shown to
        the judge; others are ignored. InputError when prompts and completions differ in number.
        """
        if len(prompts) != len(completions):
            raise InputError(
                f"reward: {len(prompts)} prompts for {len(completions)} completions: one each is "
                "needed."
            )
        items = [
            Item(
                f"completion-{place}",
                _prompt(prompt),
                (Candidate(_CANDIDATE, _answer(completion)),),
                reference=_at(columns, "reference", place),
                context=_context(_at(columns, "context", place)),
            )
            for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        judgments, _ = score(
            self.prepare(items), self.judge, self.asking, reading=self.reading, pooling=self.pooling
        )
        sign = 1 if self.asking.rubric.better == "higher" else -1
        rewards = [sign * one.scores.get(_CANDIDATE, math.nan) for one in judgments]
        self.num_failed += sum(map(math.isnan, rewards))
        return rewards


@contextlib.contextmanager
def as_reward_func(config: ScoreConfig, folder: str | Path) -> Generator[JudgeReward]:
    """The judge of a config as a reward, its calls stored in the run of this folder.

    What was judged before is not asked again, also by a later training in the same folder. With
    `reference` own the judge answers each prompt first, once.
    ConfigError for scores that are not one rubric's.
    """
    if config.by != "rubric" or config.criteria or config.steps:
        raise ConfigError("by", "by, criteria and steps: a reward is the score of one rubric.")
    with open_run(folder) as run, store_of(config, run) as store:
        calls = Calls(config, run, store)
        judge = open_judge(config, run, store, calls=calls)
        asking = asking_of(config, "point")
        yield JudgeReward(
            judge, asking, reading=config.reading, pooling=config.pooling,
            prepare=lambda items: with_references(config, run, items, calls),
        )  # fmt: skip


def _prompt(prompt: Text) -> str:
    """The instruction: a text, or the turns of a chat with their roles if there are several."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return str(prompt[0]["content"])
    return "\n\n".join(f"{str(turn['role']).title()}: {turn['content']}" for turn in prompt)


def _answer(completion: Text) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _at(columns: Mapping[str, Any], name: str, place: int) -> Any:
    values = columns.get(name)
    return None if values is None else values[place]


def _context(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
