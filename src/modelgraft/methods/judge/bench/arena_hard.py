"""Arena-Hard (Li et al. 2024): a model against a baseline in two games, judged by grades.

row  {"uid" or "question_id", "category", "judge", "model", "baseline",
      "games": [{"score": "A>>B" to "B>>A" or null, "prompt" or "user_prompt"}, ...]}

Game 1 shows the baseline as A, game 2 the model.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, shown, text_of
from modelgraft.methods.judge.bench.fields import GIVEN, ORDERS, grade_of, id_of, slot_of
from modelgraft.methods.judge.bench.files import read_folder, read_records
from modelgraft.methods.judge.data import Candidate, Item

JUDGE = "judge"
_BASELINE = "baseline"
# How the judge's prompt delimits what it shows.
_SHOWN = re.compile(
    r"<\|User Prompt\|>\n(.*?)\n\n<\|The Start of Assistant A's Answer\|>\n(.*?)\n"
    r"<\|The End of Assistant A's Answer\|>\n\n<\|The Start of Assistant B's Answer\|>\n(.*?)\n"
    r"<\|The End of Assistant B's Answer\|>",
    re.DOTALL,
)


def read_arena_hard(path: Path, *, reject: Reject | None) -> list[Item]:
    """The battles of a file or a folder: the first candidate is the baseline, the second the model.

    The group is the category. Grades are kept in `meta["grades"]`, in the letters that were shown,
    and as verdicts (`orders.recorded_orders`). Texts are those of the first game's prompt, and
    empty where it holds none.
    """
    return read_folder(
        path,
        "*.jsonl",
        lambda file, _: read_records(
            file, _item, reject=reject, key=lambda item: item.id, id_field="uid"
        ),
        "judgments of Arena-Hard",
    )


def _item(row: Row, place: int) -> Item:
    model = text_of(row, "model")
    baseline = text_of(row, _BASELINE) if _BASELINE in row else _BASELINE
    if model == baseline:
        raise BadRow(f'fields "model" and "{_BASELINE}": both are {model}')
    games = row.get("games")
    if not isinstance(games, list) or len(games) != 2:
        raise BadRow(f'field "games": {shown(games)} is no list of two')
    grades = [grade_of(game, "score") if isinstance(game, dict) else None for game in games]
    question, *texts = _texts(games[0])
    return Item(
        f"{id_of(row, 'uid' if 'uid' in row else 'question_id')}:{model}",
        question,
        tuple(
            Candidate(name, text, {"generator": name})
            for name, text in zip((baseline, model), texts, strict=True)
        ),
        group=str(row.get("category", "")),
        meta={
            GIVEN: grades,
            ORDERS: [slot_of(one) for one in grades],
            JUDGE: str(row.get("judge", "")),
        },
    )


def _texts(game: Any) -> tuple[str, str, str]:
    """The question, A and B, from the prompt of a game."""
    if isinstance(game, dict):
        prompt = game.get("prompt", game.get("user_prompt"))
        turns = prompt if isinstance(prompt, list) else [prompt]
        for turn in turns:
            text = turn.get("content") if isinstance(turn, dict) else turn
            if isinstance(text, str) and (found := _SHOWN.search(text)):
                return found[1], found[2], found[3]
    return "", "", ""
