"""Acceptance 24: killed and resumed, or two at once, real commands pay for each answer once."""

from __future__ import annotations

import random

from modelgraft.methods.judge.experiments.commands import (
    compare_words,
    exports,
    served,
    start,
    write_sums,
)
from modelgraft.methods.judge.experiments.endpoint import killed_often, stored_keys

IN_FLIGHT = 8


def test_two_kills_change_no_byte_and_no_kept_answer_is_paid_for_again(tmp_path):
    items = write_sums(tmp_path / "items.jsonl", 60)
    with served(tmp_path / "served", items, "--latency", 0.1) as judge:
        again, lost = killed_often(
            items, judge, tmp_path / "killed", 2, random.Random(1), "--in-flight", IN_FLIGHT
        )
        kept = stored_keys(tmp_path / "killed" / "calls.sqlite")
        whole = start(*compare_words(items, judge.url, tmp_path / "whole"))
        whole.communicate()
    assert whole.returncode == 0 and len(kept) == 120
    assert again == 0 and lost <= 2 * IN_FLIGHT
    assert exports(tmp_path / "killed") == exports(tmp_path / "whole")


def test_two_commands_with_one_store_pay_once_and_one_of_them_again_pays_nothing(tmp_path):
    items = write_sums(tmp_path / "items.jsonl", 40)
    store = tmp_path / "shared" / "answers.sqlite"
    with served(tmp_path / "served", items, "--latency", 0.1) as judge:

        def begin(name: str):
            return start(*compare_words(items, judge.url, tmp_path / name, "--store", store))

        both = [begin("one"), begin("two")]
        assert [(one.communicate(), one.returncode)[1] for one in both] == [0, 0]
        assert set(judge.whole().values()) == {1} and len(judge.whole()) == 80
        # The same command in the same folder goes on, although the store has changed since.
        (tmp_path / "one" / "result.json").unlink()
        once_more = begin("one")
        once_more.communicate()
        assert once_more.returncode == 0 and len(judge.rows()) == 80
    assert exports(tmp_path / "one") == exports(tmp_path / "two")
    assert not (tmp_path / "one" / "calls.sqlite").exists()
