"""The actions of the thirteenth method."""

from __future__ import annotations

import time

from modelgraft.core.errors import InputError, Partial, Unavailable
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.methods.thirteenth.config import CopyConfig, CountConfig, FailConfig, WaitConfig


def count(config: CountConfig, run: Run) -> Result:
    """Count the words of a file."""
    text = config.file.read_text()
    run.progress(1, 1, "counting")
    run.add("text", "words.txt", "The words.").write_text("\n".join(text.split()))
    numbers = [Number("words", len(text.split()), unit="words", baseline=1.0)]
    numbers += [Number(f"of {word}", text.split().count(word)) for word in config.question]
    return Result(tuple(numbers), text=f"counted by {run.seed}", remarks=("Counted on spaces.",))


def estimate_count(config: CountConfig, settings: Settings) -> list[Number]:
    """The size of the file."""
    return [Number("size", config.file.stat().st_size * config.repeats, unit="bytes")]


def copy(config: CopyConfig, run: Run) -> Result:
    """Write a text into the run folder."""
    run.add("text", "copy.txt", "A copy.").write_text("\n".join(config.text))
    return Result(text="copied")


def wait(config: WaitConfig, run: Run) -> Result:
    """Do `steps` steps, each noted in a journal, so that a resumed run does the rest."""
    with run.journal("steps.jsonl") as journal:
        for step in range(len(journal.rows), config.steps):
            run.check()
            run.progress(step, config.steps, "waiting")
            time.sleep(config.seconds)
            journal.append({"step": step})
        return Result((Number("steps", len(journal.rows)),))


def fail(config: FailConfig, run: Run) -> Result:
    """End badly."""
    if config.how == "input":
        raise InputError("row.jsonl:3: this row is no good.")
    if config.how == "raise-partial":
        raise Partial("three of five are done.")
    if config.how == "unavailable":
        raise Unavailable("the endpoint is gone.")
    if config.how == "memory":
        raise MemoryError
    if config.how == "partial":
        return Result(text="half", partial="the budget is spent")
    raise ZeroDivisionError("a slip of ours")
