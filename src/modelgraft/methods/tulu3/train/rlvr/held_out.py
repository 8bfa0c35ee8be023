"""Looking at the policy on held-out prompts while it is trained, and keeping the best one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Interval, wilson
from modelgraft.language.generation import Sampling, generate_batch
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.config import RlvrConfig
from modelgraft.methods.tulu3.data import Prompt
from modelgraft.methods.tulu3.train.rlvr.episodes import answer_texts, encode_prompts, stop_ids
from modelgraft.methods.tulu3.train.rlvr.sampler import write_weights
from modelgraft.methods.tulu3.verifying import verify

# The quality of a policy, higher being better.
Evaluate = Callable[[Any], Interval]


def verified_rate(
    tokenizer: Any, prompts: Sequence[Prompt], config: RlvrConfig, pool: Pool
) -> Evaluate:
    """The share of held-out prompts that a policy's likeliest answer passes, with its interval.

    Prompts longer than `config.max_prompt` are left out, as in training.
    """
    questions = encode_prompts(tokenizer, prompts, config.max_prompt)

    def evaluate(policy: Any) -> Interval:
        sampling = Sampling(
            max_new_tokens=config.max_new_tokens,
            temperature=0.0,
            stop_ids=stop_ids(policy, tokenizer),
        )
        found = generate_batch(policy, [one.ids for one in questions], sampling)
        texts = answer_texts(tokenizer, [one.ids for one in found])
        verdicts = verify(pool, [one.prompt for one in questions], texts)
        return wilson(sum(verdict.passed for verdict in verdicts), len(verdicts))

    return evaluate


class BestPolicy:
    """The evaluations of a run, and the weights of the policy that came out best.

    `evaluations.jsonl` holds a row for each version that was evaluated; a resumed run does not
    evaluate one again. `best.safetensors` holds the trainable parameters by name, of the earlier
    one where two are equal.
    """

    def __init__(self, run: Run, evaluate: Evaluate) -> None:
        self._run, self._evaluate = run, evaluate
        self._journal = run.journal("evaluations.jsonl")
        self.path: Path = run.folder / "best.safetensors"

    def look(self, policy: Any, version: int) -> None:
        """Evaluate the policy after `version` iterations, unless that was done."""
        if any(row["version"] == version for row in self._journal.rows):
            return
        found = self._evaluate(policy)
        if not self._journal.rows or found.value > self._best()["value"]:
            write_weights(self.path, policy)
        self._journal.append({"version": version, **found._asdict()})
        self._run.log("evaluated", version=version, **found._asdict())

    @property
    def values(self) -> dict[int, float]:
        """The value of each version that was evaluated."""
        return {row["version"]: row["value"] for row in self._journal.rows}

    def numbers(self) -> list[Number]:
        """The best evaluation against the first, and the version it is of."""
        rows = self._journal.rows
        if not rows:
            return []
        best, last = self._best(), rows[-1]
        interval = Interval(last["value"], last["low"], last["high"], last["n"])
        first = rows[0]["value"]
        return [
            Number("held-out score, last policy", *interval, baseline=first),
            # Without an interval: it is the largest of several looks at the same prompts.
            Number("held-out score, best look", best["value"], n=best["n"], baseline=first),
            Number("iterations of the best look", best["version"]),
        ]

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _best(self) -> dict[str, Any]:
        return max(self._journal.rows, key=lambda row: (row["value"], -row["version"]))
