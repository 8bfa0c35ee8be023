"""A judge that reads what a model knows and does not say: a linear probe on its hidden states.

The states are those at the verdict slot of the same pair prompt, after some of the blocks; the rest
of the model is not computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import atomic_folder, read_json, remove_folder, write_json
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.prefixes import Counts, Question, read_states
from modelgraft.methods.judge.judges.calls import Call, Verdict
from modelgraft.methods.judge.judges.local import ChoiceJudge, Report
from modelgraft.methods.judge.method.probe import (
    Array,
    Probe,
    both_orders,
    cross_validated,
    fit_probe,
)

FORMAT = 1


@dataclass(frozen=True)
class PairProbe:
    """A probe with where it reads: after `block` blocks, of the model with this fingerprint."""

    probe: Probe
    block: int
    model: str


def pair_states(
    model: Any,
    tokenizer: Any,
    calls: Sequence[Call],
    blocks: Sequence[int],
    *,
    counts: Counts | None = None,
    report: Report | None = None,
) -> Array:
    """Hidden states [calls, blocks, d] where the verdict of each call would be written."""
    reader = ChoiceJudge(model, tokenizer, name="")
    questions = [Question.after(reader.prompt_ids(call), (0,)) for call in calls]
    found = read_states(model, questions, blocks, counts=counts, report=report)
    return found.double().numpy()


@dataclass(frozen=True)
class Tuned:
    """A fitted probe, the cross-validated accuracy [blocks] it was chosen by, and log-odds.

    `held_out` [pairs, 2] are the log-odds that the first shown wins, in both orders, by probes that
    were fitted without the pair, after the chosen block. They are a little too good where several
    blocks were tried, because the block was chosen by them.
    """

    probe: PairProbe
    blocks: tuple[int, ...]
    accuracies: Array
    held_out: Array


def tune_probe(
    model: Any,
    tokenizer: Any,
    calls: Sequence[tuple[Call, Call]],
    first_wins: Sequence[bool],
    blocks: Sequence[int],
    *,
    ridge: float = 1.0,
    folds: int = 5,
    seed: int = 0,
    report: Report | None = None,
) -> Tuned:
    """The probe of the best block, from pairs in both orders.

    `first_wins` says of each pair whether the first one shown in the first order is better. The
    block is chosen by the accuracy of the swap-averaged verdict in a cross-validation that keeps a
    pair's orders together. Raises `ConfigError` for fewer pairs than folds.
    """
    if len(calls) < folds:
        raise ConfigError("items", f"{len(calls)} labelled pairs: at least {folds} are needed.")
    flat = [call for pair in calls for call in pair]
    states = pair_states(model, tokenizer, flat, blocks, report=report)
    first, second = states[0::2], states[1::2]
    wins = np.asarray(first_wins, dtype=bool)
    groups = [*range(len(calls)), *range(len(calls))]
    held_out, accuracies = [], []
    for column in range(len(blocks)):
        rows, targets = both_orders(first[:, column], second[:, column], wins)
        odds = cross_validated(rows, targets, groups, folds=folds, ridge=ridge, seed=seed)
        odds = odds.reshape(2, -1).T
        held_out.append(odds)
        accuracies.append(float(((odds[:, 0] > odds[:, 1]) == wins).mean()))
    best = int(np.argmax(accuracies))
    rows, targets = both_orders(first[:, best], second[:, best], wins)
    found = PairProbe(
        fit_probe(rows, targets, ridge=ridge), blocks[best], fingerprint(model, tokenizer)
    )
    return Tuned(found, tuple(blocks), np.array(accuracies), held_out[best])


class ProbeJudge:
    """The probe's log-odds that the first of a pair wins, read after its block."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        probe: PairProbe,
        *,
        name: str,
        report: Report | None = None,
    ) -> None:
        if (own := fingerprint(model, tokenizer)) != probe.model:
            raise ConfigError(
                "probe",
                f"the probe was fitted on a model with the fingerprint {probe.model}, and this one "
                f"has {own}: its states mean something else.\n  Use the same model, or tune anew.",
            )
        self.model, self.tokenizer, self.probe = model, tokenizer, probe
        self._name, self.report = name, report
        self.counts = Counts()

    @property
    def name(self) -> str:
        """The model's name and how it is read."""
        return f"{self._name} probe after block {self.probe.block}"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each pair."""
        if not calls:
            return []
        states = pair_states(
            self.model,
            self.tokenizer,
            calls,
            [self.probe.block],
            counts=self.counts,
            report=self.report,
        )
        odds = self.probe.probe(states[:, 0])
        return [self._verdict(*one) for one in zip(calls, odds.tolist(), strict=True)]

    @staticmethod
    def _verdict(call: Call, odds: float) -> Verdict:
        label = call.labels[0 if odds > 0 else 1] if odds else None
        return Verdict(
            call.item.id, call.order, call.labels, label, "ok", score=odds, sample=call.sample
        )


# -- files -----------------------------------------------------------------------------------------


def save_probe(folder: Path, found: PairProbe) -> None:
    """Write `probe.safetensors` and `probe.json` into the folder, whole or not at all."""
    if folder.exists():
        remove_folder(folder)
    tensors = {
        "mean": torch.from_numpy(found.probe.mean),
        "weights": torch.from_numpy(found.probe.weights),
        "scale_bias": torch.tensor([found.probe.scale, found.probe.bias], dtype=torch.float64),
    }
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / "probe.safetensors")
        state = {"format": FORMAT, "block": found.block, "model": found.model}
        write_json(temporary / "probe.json", state)


def load_probe(folder: Path) -> PairProbe:
    """The probe in a folder. Raises `InputError` for a folder that holds none."""
    state = read_json(folder / "probe.json", "a probe")
    try:
        tensors = load_file(folder / "probe.safetensors")
        scale, bias = tensors["scale_bias"].tolist()
        probe = Probe(tensors["mean"].numpy(), scale, tensors["weights"].numpy(), bias)
        return PairProbe(probe, int(state["block"]), str(state["model"]))
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise InputError(f"{folder}: this is no whole probe: {str(error)[:200]}") from None
