"""An adapter that learns to write verdicts: supervised fine-tuning on their text.

The loss counts the tokens of the verdict alone. An item's rationale (`"rationale"` in its row)
speaks of the answers by their slots and comes before the verdict, with the slots exchanged in the
other order.

Letters: b prompts, n tokens that are learnt, v vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import Run
from modelgraft.language.chat import encode
from modelgraft.language.endpoints.exchange import Outcome, Request
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.local import LocalModel
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judges.local import ChoiceJudge, Report
from modelgraft.methods.judge.judges.overflow import room_of
from modelgraft.methods.judge.judging.judgments import BOTH_ORDERS, Asking
from modelgraft.methods.judge.method.slots import exchange_slots
from modelgraft.methods.judge.tuning.choice import ChoiceOptions, length_sorted
from modelgraft.methods.judge.tuning.halves import LowerStates, Prompts, UpperHalf
from modelgraft.methods.judge.tuning.labelled import first_is_better
from modelgraft.nn.modes import eval_mode
from modelgraft.training.fit import Loss, fit
from modelgraft.training.processes import accelerator_of

RATIONALE = "rationale"
_EXTRACTOR = "brackets"


@dataclass(frozen=True)
class WrittenPrompts:
    """Prompts with their verdicts behind them; of the last `learnt` tokens each is predicted."""

    prompts: Prompts
    learnt: tuple[int, ...]

    def rows(self, pairs: Sequence[int]) -> list[int]:
        """The places of these pairs' two orders."""
        return [row for pair in pairs for row in (2 * pair, 2 * pair + 1)]


def verdict_text(item: Item, labels: Sequence[str], *, first_wins: bool, is_swapped: bool) -> str:
    """What is to be written of a pair: its rationale, if there is one, and the verdict."""
    said = str(item.meta.get(RATIONALE, "")).strip()
    if said and is_swapped:
        said = exchange_slots(said)
    verdict = f"[[{labels[0 if first_wins != is_swapped else 1]}]]"
    return f"{said}\n\n{verdict}" if said else verdict


def written_prompts(
    model: Any, tokenizer: Any, items: Sequence[Item], asking: Asking
) -> WrittenPrompts:
    """The prompts of labelled pairs in both orders, each with its verdict and the end of the turn.

    Raises `ConfigError` for a template whose verdicts are not in brackets, for a tokenizer without
    an end of a turn, and for a pair that is longer than the model's context.
    """
    if asking.template.extractor != _EXTRACTOR:
        raise ConfigError(
            "template",
            f"--template {asking.template.name}: its verdicts are read as "
            f"{asking.template.extractor}, and those that are learnt are in [[brackets]].\n"
            "  Use --template pair_written.",
        )
    if tokenizer.eos_token_id is None:
        raise ConfigError("judge", "its tokenizer has no end of a turn, so no verdict would end.")
    reader, room = ChoiceJudge(model, tokenizer, name=""), room_of(model)
    ids, learnt = [], []
    for item, wins in zip(items, first_is_better(items).tolist(), strict=True):
        for order in BOTH_ORDERS:
            call = asking.call(item, *order)
            text = verdict_text(item, call.labels, first_wins=wins, is_swapped=order == (1, 0))
            answer = [*encode(tokenizer, text), tokenizer.eos_token_id]
            ids.append((*reader.prompt_ids(call), *answer))
            learnt.append(len(answer))
            if len(ids[-1]) > room:
                raise ConfigError(
                    "items",
                    f"item {item.id}: with its verdict it has {len(ids[-1]):,} tokens, and the "
                    f"model's context {room:,}.\n  Leave it out, or shorten its candidates.",
                )
    # What is shared ends before anything that is learnt.
    prompts = Prompts.of(ids)
    shared = min(prompts.shared, min(len(o) - n for o, n in zip(ids, learnt, strict=True)) - 1)
    return WrittenPrompts(Prompts(prompts.ids, shared), tuple(learnt))


def train_written(
    wrapped: Any,
    data: WrittenPrompts,
    lower: LowerStates,
    pairs: Sequence[int],
    options: ChoiceOptions,
    run: Run,
) -> int:
    """Train the adapter on some of the pairs, by their places; returns the number of steps.

    Resumes from the run's checkpoint.
    """
    accelerator = accelerator_of(options.optim, run.settings)
    wrapped.to(accelerator.device)
    with eval_mode(wrapped):
        upper = UpperHalf(wrapped, lower.block)
        upper.check(lower)

        def step(chosen: list[int]) -> Loss:
            logits, targets = token_logits(upper, data, lower, data.rows(chosen))
            loss = cross_entropy(logits, targets, reduction="sum")
            return Loss(loss, float(len(targets)))

        batches, steps = length_sorted(pairs, data.prompts, data.rows, options.optim,
                                       options.epochs, run.seed)  # fmt: skip
        fit(step, batches, wrapped, run, options.optim, steps=steps, accelerator=accelerator)
    return steps


def token_logits(
    upper: UpperHalf, data: WrittenPrompts, lower: LowerStates, rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Logits [n, v] before every token of the prompts' verdicts, and these tokens [n]."""
    states = lower.rows(rows)
    where, columns, targets = [], [], []
    for row, place in enumerate(rows):
        num, last = data.learnt[place], int(states.last[row])
        where += [row] * num
        columns += range(last - num, last)
        targets += data.prompts.ids[place][-num:]
    device = states.own.device
    at = torch.tensor(columns, device=device)
    logits = upper.logits_at(states, torch.tensor(where, device=device), at)
    return logits, torch.tensor(targets, device=device)


def written_judge(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    store: Callable[[], AbstractContextManager[CallStore]],
    max_tokens: int,
    temperature: float = 0.0,
    report: Report | None = None,
) -> ChatJudge:
    """The judge that writes verdicts by a model that is at hand, through what `store()` opens."""

    def ask(requests: Sequence[Request]) -> list[Outcome]:
        async def work() -> list[Outcome]:
            with store() as opened:
                async with LocalModel(model, tokenizer, name=name) as local:
                    return await complete_all(local, requests, store=opened, progress=told)

        return asyncio.run(work())

    def told(done: int, total: int, text: str) -> None:
        if report is not None:
            report(done, total)

    return ChatJudge(
        ask, name=name, reader="written", temperature=temperature, max_tokens=max_tokens
    )
