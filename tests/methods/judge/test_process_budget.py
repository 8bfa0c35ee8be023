"""Acceptance 25: a budget in dollars ends a real command before it is exceeded, and it goes on."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from itertools import pairwise
from pathlib import Path

from modelgraft.methods.judge.experiments.commands import (
    compare_words,
    exports,
    served,
    start,
    write_sums,
)

BUDGET = 0.10
PRICES = "scripted=20/20"  # dollars for a million tokens read and written


def spent(store: Path) -> float:
    with contextlib.closing(sqlite3.connect(store)) as db:
        return db.execute("SELECT total(cost) FROM calls").fetchone()[0]


def test_a_budget_stops_before_it_is_exceeded_and_the_same_command_goes_on(tmp_path):
    items = write_sums(tmp_path / "items.jsonl", 40)
    out = tmp_path / "run"
    options = ("--budget", BUDGET, "--prices", PRICES, "--max-new-tokens", 20)
    codes, costs, said = [], [0.0], ""
    with served(tmp_path / "served", items) as judge:
        words = compare_words(items, judge.url, out, *options)
        while len(codes) < 10 and (not codes or codes[-1] == 3):
            process = start(*words)
            process.communicate()
            codes.append(process.returncode)
            costs.append(spent(out / "calls.sqlite"))
            state = json.loads((out / "run.json").read_text())["state"]
            assert state == ("partial" if codes[-1] == 3 else "done")
            said = said or json.loads((out / "result.json").read_text())["partial"]
        unlimited = start(*compare_words(items, judge.url, tmp_path / "free"))
        unlimited.communicate()
        paid = judge.whole()
    assert "budget" in said and "the same command goes on" in said
    assert codes[0] == 3 and codes[-1] == 0
    assert all(0 < now - then <= BUDGET for then, now in pairwise(costs))
    assert all(now - then > BUDGET / 2 for then, now in pairwise(costs[:-1]))
    # Once in the run with a budget and once in the one without, which has a store of its own.
    assert len(paid) == 160 and set(paid.values()) == {1}
    assert len(exports(out)[0].splitlines()) == 40
