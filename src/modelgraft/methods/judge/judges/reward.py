"""A reward model as a judge: a scalar head on the last token of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from modelgraft.language.chat import encode, split_chat
from modelgraft.methods.judge.judges.calls import Call, Verdict, scored
from modelgraft.methods.judge.judges.local import Report
from modelgraft.methods.judge.judges.overflow import Overflow, fitted, room_of
from modelgraft.nn.modes import eval_mode

_ROWS = 16


def answer_ids(tokenizer: Any, instruction: str, answer: str) -> tuple[int, ...]:
    """The tokens of an instruction and its answer, whose last one is read."""
    prompt = split_chat(tokenizer, [{"role": "user", "content": instruction}])
    return (*prompt.context_ids, *prompt.query_ids, *encode(tokenizer, answer))


class RewardJudge:
    """The scores of a stock sequence classifier with one label; of a pair, their difference.

    It is asked by no template and no rubric.
    """

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

    @property
    def name(self) -> str:
        """The model's name and how it is read."""
        return f"{self._name} reward"

    def read(self, calls: Sequence[Call]) -> list[Verdict]:
        """Scores of points, and of pairs the score of the first less that of the second."""
        room = room_of(self.model)
        shown = [fitted(call, self._num_tokens, room, self.overflow) for call in calls]
        return scored(calls, shown, self.scores)

    def _num_tokens(self, call: Call) -> int:
        """Of the longest of its candidates with the instruction before it."""
        instruction = call.item.instruction
        return max(
            len(answer_ids(self.tokenizer, instruction, one.text)) for one in call.candidates
        )

    @torch.no_grad()
    def scores(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The score of each answer to its instruction."""
        ids = [answer_ids(self.tokenizer, *pair) for pair in pairs]
        order = np.argsort([len(one) for one in ids], kind="stable").tolist()
        found = np.empty(len(ids))
        pad = self.model.config.get_text_config().pad_token_id
        with eval_mode(self.model):
            for at in range(0, len(order), _ROWS):
                places = order[at : at + _ROWS]
                longest = max(len(ids[place]) for place in places)
                rows = torch.full((len(places), longest), pad)
                mask = torch.zeros_like(rows)
                for row, place in enumerate(places):
                    size = len(ids[place])
                    rows[row, :size], mask[row, :size] = torch.tensor(ids[place]), 1
                device = self.model.device
                values = self.model(input_ids=rows.to(device), attention_mask=mask.to(device))
                found[places] = values.logits[:, 0].double().cpu().numpy()
                if self.report is not None:
                    self.report(at + len(places), len(order))
        return found.tolist()
