"""Acceptance 26: refusals, errors and broken answers leave no item without a verdict."""

from __future__ import annotations

import json
from collections import Counter

from modelgraft.methods.judge.experiments.commands import (
    compare_words,
    exports,
    served,
    start,
    write_sums,
)
from modelgraft.methods.judge.experiments.endpoint import OVER_IDEAL, span_s

STORM = "rate_limited=0.3,server_error=0.1,cut=0.05,retry_after_s=0.2"
IN_FLIGHT, LATENCY_S, TRIES = 8, 0.3, 8


def test_every_item_is_judged_through_a_storm_in_little_more_than_the_time_of_its_tries(tmp_path):
    items = write_sums(tmp_path / "items.jsonl", 120)
    with served(tmp_path / "served", items, "--latency", LATENCY_S, "--faults", STORM) as judge:
        words = compare_words(items, judge.url, tmp_path / "run", "--in-flight", IN_FLIGHT)
        process = start(*words, "--json")
        told = json.loads(process.communicate()[0])
        rows = judge.rows()
    with served(tmp_path / "calm", items) as judge:
        calm = start(*compare_words(items, judge.url, tmp_path / "unharmed"))
        calm.communicate()
    numbers = {one["name"]: one["value"] for one in told["numbers"]}
    assert process.returncode == 0 and numbers["verdicts that failed"] == 0
    assert numbers["agrees with the label"] == 100
    assert exports(tmp_path / "run") == exports(tmp_path / "unharmed")
    faults = Counter(row["fault"] for row in rows)
    assert faults["rate_limited"] > 40 and faults["server_error"] and faults["cut"]
    # No call is tried more often of one kind than planned, and each is answered once.
    kinds = Counter((row["key"], row["fault"]) for row in rows)
    assert max(kinds.values()) <= TRIES and faults[""] == 240
    ideal_s = len(rows) * LATENCY_S / IN_FLIGHT
    assert span_s(rows, LATENCY_S) <= OVER_IDEAL * ideal_s
