"""A causal language model on this machine as a judge, read without sampling.

`ChoiceJudge` reads the probabilities of the labels after the prompt, `LikelihoodJudge` those of the
candidates after the instruction. Calls that begin alike share their computation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelgraft.language.chat import encode, split_chat
from modelgraft.language.prefixes import Counts, Question, read_logprobs
from modelgraft.methods.judge.judges.calls import Call, Verdict, failed, scored, verdict_of
from modelgraft.methods.judge.judges.overflow import Overflow, fitted, room_of
from modelgraft.methods.judge.method.readout import LabelTrie, read

Report = Callable[[int, int], None]


def label_variants(
    tokenizer: Any, labels: Sequence[str], *, after_stem: bool = True
) -> dict[str, list[tuple[int, ...]]]:
    """The token sequences that denote each label after a text: with a space before it and without.

    And in other case, where that is no other label's. Two labels never share one.
    """
    taken = {label: label for label in labels}
    spellings: dict[str, list[str]] = {}
    for label in labels:
        forms = dict.fromkeys([label, label.lower(), label.upper(), label.capitalize()])
        own = [form for form in forms if taken.setdefault(form, label) == label]
        leads = (" ", "") if after_stem else ("", " ")
        spellings[label] = [lead + form for lead in leads for form in own]
    found: dict[str, list[tuple[int, ...]]] = {}
    used: set[tuple[int, ...]] = set()
    for label, texts in spellings.items():
        sequences = dict.fromkeys(tuple(encode(tokenizer, text)) for text in texts)
        found[label] = [one for one in sequences if one and one not in used]
        used.update(found[label])
    return found


class ChoiceJudge:
    """The labels' probabilities after the prompt: one forward pass, nothing to parse."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        overflow: Overflow = "error",
        report: Report | None = None,
    ) -> None:
        self.model, self.tokenizer, self._name, self.report = model, tokenizer, name, report
        self.overflow: Overflow = overflow
        self.counts = Counts()
        self._tries: dict[tuple[str, ...], LabelTrie] = {}

    @property
    def name(self) -> str:
        """The model's name and how it is read."""
        return f"{self._name} choice"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """A verdict for each call from the labels' probabilities."""
        verdicts: dict[int, Verdict] = {}
        questions: list[Question] = []
        wanted: list[tuple[int, LabelTrie, list[int], dict[str, Any]]] = []
        for number, call in enumerate(calls):
            trie = self.trie(call.labels)
            room = room_of(self.model) - max(map(len, trie.prefixes))
            shown, meta = fitted(call, self._num_tokens, room, self.overflow)
            if shown is None:
                verdicts[number] = failed(call, "error", meta=meta)
                continue
            ids = self.prompt_ids(shown)
            places = []
            for prefix in trie.prefixes:
                places.append(len(questions))
                questions.append(Question.after((*ids, *prefix), trie.children[prefix]))
            wanted.append((number, trie, places, meta))
        told = read_logprobs(self.model, questions, counts=self.counts, report=self.report)
        for number, trie, places, meta in wanted:
            logprobs = {
                prefix: next(iter(told[place].values()))
                for prefix, place in zip(trie.prefixes, places, strict=True)
            }
            reading = read(trie.labels, trie.probabilities(logprobs))
            verdicts[number] = verdict_of(calls[number], reading, meta=meta)
        return [verdicts[number] for number in range(len(calls))]

    def prompt_ids(self, call: Call) -> tuple[int, ...]:
        """The tokens up to where a label is read; control tokens in data stay text."""
        messages, stem = call.shown()
        prompt = split_chat(self.tokenizer, messages)
        return (*prompt.context_ids, *prompt.query_ids, *encode(self.tokenizer, stem))

    def trie(self, labels: tuple[str, ...]) -> LabelTrie:
        """The token sequences of the labels."""
        if labels not in self._tries:
            self._tries[labels] = LabelTrie.of(label_variants(self.tokenizer, labels))
        return self._tries[labels]

    def _num_tokens(self, call: Call) -> int:
        return len(self.prompt_ids(call))


class LikelihoodJudge:
    """How likely the model finds a candidate after the instruction, in nats for each token.

    Of a pair the score is the difference of the two. It asks for no rubric: it is the baseline
    that every other reader of the same model has to beat (GPTScore, Fu et al. 2023).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str,
        summed: bool = False,
        overflow: Overflow = "error",
        report: Report | None = None,
    ) -> None:
        self.model, self.tokenizer, self._name, self.report = model, tokenizer, name, report
        self.summed = summed
        self.overflow: Overflow = overflow
        self.counts = Counts()

    @property
    def name(self) -> str:
        """The model's name and how it is read."""
        return f"{self._name} {'summed ' if self.summed else ''}likelihood"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """Scores of points, and of pairs the score of the first less that of the second."""
        room = room_of(self.model)
        shown = [fitted(call, self._num_tokens, room, self.overflow) for call in calls]
        return scored(calls, shown, self.likelihoods)

    def _num_tokens(self, call: Call) -> int:
        """Of the longest of its candidates with the instruction before it."""
        begun = self._begun(call.item.instruction)
        return len(begun) + max(len(encode(self.tokenizer, one.text)) for one in call.candidates)

    def _begun(self, instruction: str) -> tuple[int, ...]:
        prompt = split_chat(self.tokenizer, [{"role": "user", "content": instruction}])
        return (*prompt.context_ids, *prompt.query_ids)

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """log p of each answer to its instruction, by token unless summed; nan for an empty one."""
        questions, places = [], []
        for number, (instruction, answer) in enumerate(pairs):
            ids = encode(self.tokenizer, answer)
            if not ids:
                continue
            questions.append(Question.of_answer(self._begun(instruction), ids))
            places.append(number)
        told = read_logprobs(self.model, questions, counts=self.counts, report=self.report)
        found = [np.nan] * len(pairs)
        for number, one in zip(places, told, strict=True):
            values = [logprob for (logprob,) in one.values()]
            found[number] = float(np.sum(values) if self.summed else np.mean(values))
        return found
