"""Which benchmark a file is from, told by the files of a folder and the fields of a row."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Row, shown
from modelgraft.methods.judge.bench.files import GROUP, read_groups, read_records

# The fields that a row of each has and no row of those behind it; bias_bench is read as groups.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "judge_bench": ("pair_id", "response_A", "response_B"),
    "llm_bar": ("input", "output_1", "output_2", "label"),
    "alpaca_eval": ("instruction", "output_1", "output_2", "preference"),
    "mt_bench": ("conversation_a", "conversation_b", "winner", "turn"),
    "mt_bench_pairs": ("g1_winner", "g2_winner"),
    "panda_lm": ("response1", "response2", "annotator1"),
    "auto_j": ("response 1", "response 2", "label"),
    "prometheus_scores": ("instruction", "gpt4_score"),
    "prometheus_pairs": ("chosen_instruction", "rejected_instruction"),
    "arena_hard": ("games", "model"),
    "selective": ("outputs", "preferences", "probs"),
    "summ_eval": ("doc_id", "system_output", "scores"),
    "judge_deceiver": ("text1", "text2", "target"),
    "reward_bench": ("prompt", "chosen", "rejected", "subset"),
    "bias_bench": ("response1", "response2", "label", "group"),
}
_FOLDERS = {
    "question.jsonl": "fair_eval",
    "dataset.json": "llm_bar",
    "annotations.json": "alpaca_eval",
    "*.csv": "judge_deceiver",
}


def guess_format(path: Path) -> str:
    """The name of the benchmark in `formats.BENCHES`.

    InputError when no benchmark has such files or such fields.
    """
    if not path.is_dir():
        return _of_row(path, first_row(path))
    for pattern, name in _FOLDERS.items():
        if next(path.rglob(pattern), None) is not None:
            return name
    file = min(path.rglob("*.jsonl"), default=None)
    if file is None:
        raise InputError(
            f"{path}: no file of a benchmark is in this folder.\n"
            "  Name a file, or say what the folder is with --format."
        )
    return _of_row(file, first_row(file))


def first_row(path: Path) -> Row:
    """The first row of a JSONL, JSON or CSV file that is an object.

    Of an object of arrays it is the first of their rows, with the array's name as its "group".
    """
    found: list[Row] = []

    def keep(row: Row, place: int) -> None:
        found.append(row)

    def ignore(path: Path, line: int, id: str, reason: str) -> None:
        """Whoever reads the file for its rows names the bad ones."""

    try:
        read_records(path, keep, reject=ignore)
    except InputError:
        # An object of arrays over several lines looks like JSONL that is broken.
        with contextlib.suppress(InputError):
            read_groups(path, keep, reject=ignore, key=lambda _: None)
        if not found:
            raise
    row = found[0]
    name, value = next(iter(row.items()), ("", None))
    if all(isinstance(one, list) for one in row.values()) and value and isinstance(value[0], dict):
        return {**value[0], GROUP: name}
    return row


def _of_row(path: Path, row: Row) -> str:
    for name, fields in _FIELDS.items():
        if all(field in row for field in fields):
            is_second = name == "reward_bench" and isinstance(row["chosen"], list)
            return "reward_bench_2" if is_second else name
    raise InputError(
        f"{path}: a row has the fields {shown(sorted(row))}, and no benchmark has rows like that.\n"
        f"  Known are {', '.join(sorted({*_FIELDS, *_FOLDERS.values(), 'reward_bench_2'}))}; say "
        "which it is with --format."
    )
