"""Training sets against test sets: what is removed, what is kept byte for byte, what is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import sha256_file
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.methods.tulu3 import contamination
from modelgraft.methods.tulu3.config import DecontaminateConfig
from modelgraft.methods.tulu3.contamination import decontaminate
from modelgraft.methods.tulu3.data import record_row, world_pairs
from modelgraft.methods.tulu3.world.plants import contaminate


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def chat(row_id: str, text: str) -> dict:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "I see."}]
    return {"id": row_id, "messages": turns}


def prompt(number: int, num_words: int = 12) -> str:
    return " ".join(f"w{number}-{place}" for place in range(num_words // 2))


def write_suite(path: Path, numbers: range) -> Path:
    return write(path, [{"id": f"t{one}", "prompt": prompt(one)} for one in numbers])


def run_it(folder: Path, *train: Path, **options) -> tuple[Result, Path]:
    with open_run(folder, seed=0) as run:
        result = run.finish(decontaminate(DecontaminateConfig(train=train, **options), run))
    return result, folder / "artefacts"


def report_of(artefacts: Path) -> list[dict]:
    return json.loads((artefacts / "contamination.json").read_text())["sets"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    """A training set with planted copies of 120 tests, the tests, and what was planted."""
    folder = tmp_path_factory.mktemp("planted")
    world = contaminate(1000, 120)
    train = write(folder / "train.jsonl", list(world.train))
    return train, write(folder / "suite.jsonl", list(world.tests)), world.plants


def test_copies_go_and_what_shares_only_the_topic_stays(planted, tmp_path):
    train, suite, plants = planted
    _, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    (one,) = report_of(artefacts)
    assert one["action"] == "remove rows" and one["because"] == ["suite"]
    removed = set(one["removed"])
    kinds = {kind: [p.id for p in plants.values() if p.kind == kind] for kind in
             ("exact", "topic_only", "paraphrase")}  # fmt: skip
    assert removed >= set(kinds["exact"])
    assert not removed & {*kinds["topic_only"], *kinds["paraphrase"]}
    assert removed <= set(plants)
    found = {overlap["row_id"]: overlap for overlap in one["overlaps"]}
    for row_id in kinds["exact"]:
        assert found[row_id]["test_id"] == plants[row_id].test_id
        assert found[row_id]["score"] == 1.0


def test_the_clean_set_is_the_kept_lines_and_holds_no_overlap(planted, tmp_path):
    train, suite, _ = planted
    _, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    (one,) = report_of(artefacts)
    gone = {overlap["line"] for overlap in one["overlaps"]}
    lines = train.read_bytes().splitlines(keepends=True)
    kept = [line for number, line in enumerate(lines, start=1) if number not in gone]
    clean = artefacts / "clean" / "train.jsonl"
    assert clean.read_bytes() == b"".join(kept)
    assert (one["rows"], one["removed_rows"], one["kept"]) == (1000, len(gone), len(kept))
    rejects = (tmp_path / "run" / "rejects.jsonl").read_text().splitlines()
    assert {json.loads(line)["line"] for line in rejects} == gone
    _, again = run_it(tmp_path / "again", clean, dev=(suite,))
    (after,) = report_of(again)
    assert after["action"] == "keep" and not after["overlaps"]
    assert (again / "clean" / "train.jsonl").read_bytes() == clean.read_bytes()


def test_bytes_that_no_writer_of_ours_would_choose_are_kept(tmp_path):
    good = [
        b'\xef\xbb\xbf{ "id":1,  "prompt" : "caf\\u00e9 and tea" , "x": [1.50, 1e2]}\r\n',
        b'{"prompt": "caf\xc3\xa9", "prompt2": {}}\n',
        b'{"id": "last", "prompt": "no line feed"}',
    ]
    bad = json.dumps({"id": "bad", "prompt": prompt(3)}).encode() + b"\r\n"
    train = tmp_path / "odd.jsonl"
    train.write_bytes(good[0] + b"\n  \r\n" + bad + good[1] + b"\n" + good[2])
    suite = write_suite(tmp_path / "suite.jsonl", range(10))
    _, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    assert (artefacts / "clean" / "odd.jsonl").read_bytes() == b"".join(good)
    (one,) = report_of(artefacts)
    assert [(row["row_id"], row["line"]) for row in one["overlaps"]] == [("bad", 4)]


def test_neither_processes_nor_pieces_nor_the_order_of_rows_change_the_report(
    planted, tmp_path, monkeypatch
):
    train, suite, _ = planted
    _, one = run_it(tmp_path / "one", train, dev=(suite,))
    _, three = run_it(tmp_path / "three", train, dev=(suite,), shards=3)
    monkeypatch.setattr(contamination, "_PIECE_BYTES", 997)
    _, cut = run_it(tmp_path / "cut", train, dev=(suite,))
    for name in ("contamination.json", "overlap.json", "clean/train.jsonl"):
        content = (one / name).read_bytes()
        assert (three / name).read_bytes() == content, name
        assert (cut / name).read_bytes() == content, name
    lines = train.read_bytes().splitlines(keepends=True)
    random.Random(0).shuffle(lines)
    (tmp_path / "shuffled").mkdir()
    shuffled = tmp_path / "shuffled" / "train.jsonl"
    shuffled.write_bytes(b"".join(lines))
    _, other = run_it(tmp_path / "other", shuffled, dev=(suite,))
    (first,), (second,) = report_of(one), report_of(other)
    assert first["cells"] == second["cells"]
    assert sorted(first["removed"]) == sorted(second["removed"])


@pytest.mark.parametrize(
    ("seen", "unseen", "drop_sets", "action"),
    [
        (2, 0, False, "keep"),
        (3, 0, False, "remove rows"),
        (3, 2, False, "remove rows"),
        (3, 0, True, "drop set"),
        (0, 3, False, "drop set"),
        (0, 2, True, "keep"),
    ],
)
def test_more_than_two_per_cent_decides_and_so_does_the_suite(
    tmp_path, seen, unseen, drop_sets, action
):
    dev = write_suite(tmp_path / "dev.jsonl", range(100))
    last = write_suite(tmp_path / "last.jsonl", range(100, 200))
    copied = [*range(seen), *range(100, 100 + unseen)]
    rows = [chat(f"copy{one}", prompt(one)) for one in copied]
    rows += [chat(f"own{one}", prompt(one)) for one in range(500, 510)]
    train = write(tmp_path / "train.jsonl", rows)
    result, artefacts = run_it(
        tmp_path / "run", train, dev=(dev,), unseen=(last,), drop_sets=drop_sets
    )
    (one,) = report_of(artefacts)
    assert one["action"] == action
    kept = {"keep": len(rows), "remove rows": 10, "drop set": 0}[action]
    clean = artefacts / "clean" / "train.jsonl"
    assert clean.exists() == (action != "drop set")
    assert kept == (len(clean.read_text().splitlines()) if clean.exists() else 0)
    numbers = {number.name: number for number in result.numbers}
    assert numbers["train x dev: overlap"].value == seen
    assert numbers["train x last: overlap"].value == unseen
    assert numbers["train: rows kept"].value == kept
    assert any(remark.startswith(f"train: {action}") for remark in result.remarks)


def test_the_table_has_a_row_for_each_training_set_and_a_column_for_each_test_set(tmp_path):
    dev = write_suite(tmp_path / "dev.jsonl", range(10))
    last = write_suite(tmp_path / "last.jsonl", range(10, 20))
    first = write(tmp_path / "first.jsonl", [chat("a", prompt(0)), chat("b", prompt(99))])
    second = write(tmp_path / "second.jsonl", [chat("a", prompt(10)), chat("b", prompt(11))])
    result, artefacts = run_it(tmp_path / "run", first, second, dev=(dev,), unseen=(last,))
    table = json.loads((artefacts / "overlap.json").read_text())
    assert table["columns"] == ["train set", "dev", "last", "action"]
    assert table["rows"] == [["first", 10, 0, "remove rows"], ["second", 0, 20, "drop set"]]
    markdown = (artefacts / "overlap.md").read_text()
    assert "| first | 10.0 | 0.0 |" in markdown and "| second | 0.0 | 20.0 |" in markdown
    assert result.text.strip() == markdown.strip()
    manifest = json.loads((artefacts / "manifest.json").read_text())
    assert [one["sha256"] for one in manifest["train"]] == [sha256_file(first), sha256_file(second)]
    assert [one["sha256"] for one in manifest["tests"]] == [sha256_file(dev), sha256_file(last)]
    assert [one["suite"] for one in manifest["tests"]] == ["dev", "unseen"]


def test_the_worked_example_overlaps_by_nine_sixteenths_and_eight_do_not(tmp_path):
    letters = "a b c d e f g h i j k l m n o p".split()
    suite = write(tmp_path / "suite.jsonl", [{"id": "t", "prompt": " ".join(letters)}])
    rows = [chat("nine", " ".join(letters[2:11])), chat("eight", " ".join(letters[2:10]))]
    rows += [chat("two", " ".join(letters[:8])) | {"id": "pooled"}]
    train = write(tmp_path / "train.jsonl", rows)
    _, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    (one,) = report_of(artefacts)
    assert [(row["row_id"], row["score"]) for row in one["overlaps"]] == [("nine", 0.5625)]


def test_every_one_of_ten_thousand_copies_is_removed(tmp_path):
    suite = write_suite(tmp_path / "suite.jsonl", range(3))
    rows = [chat(f"c{number}", prompt(1)) for number in range(10_000)] + [chat("own", prompt(9))]
    _, artefacts = run_it(tmp_path / "run", write(tmp_path / "t.jsonl", rows), dev=(suite,))
    (one,) = report_of(artefacts)
    assert (one["removed_rows"], one["kept"]) == (10_000, 1)


def test_short_tests_are_found_whole_and_counted_apart_or_not_looked_for(tmp_path):
    rows = [{"id": "s", "prompt": "Who was Ada?"}, {"id": "l", "prompt": prompt(0)}]
    suite = write(tmp_path / "suite.jsonl", rows)
    train = write(tmp_path / "train.jsonl", [chat("x", "who, was ADA"), chat("y", "Who was Ada L")])
    result, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    numbers = {number.name: (number.value, number.n) for number in result.numbers}
    assert numbers["train x suite: overlap"] == (50, 2)
    assert numbers["train x suite: tests below 8 tokens found whole"] == (100, 1)
    (one,) = report_of(artefacts)
    assert one["removed"] == ["x"] and one["overlaps"][0]["rule"] == "exact"
    result, _ = run_it(tmp_path / "never", train, dev=(suite,), short="never")
    assert {number.name: number.value for number in result.numbers} == {
        "train x suite: overlap": 0,
        "train: rows kept": 2,
    }
    assert "1 tests of fewer than 8 tokens were not looked for" in result.remarks


def test_rows_of_every_kind_are_searched_on_both_sides(tmp_path):
    pairs = [record_row(one) for one in world_pairs(8, seed=0)]
    asked = [row["chosen"][0]["content"] for row in pairs]
    kinds = {
        "pairs": pairs,
        "chats": [chat(f"{place}", text) for place, text in enumerate(asked)],
        "prompts": [{"id": place, "prompt": text} for place, text in enumerate(asked)],
        "turns": [{"prompt": row["prompt"]} for row in pairs],
    }
    files = [write(tmp_path / f"{name}.jsonl", rows) for name, rows in kinds.items()]
    for file in files:
        result, _ = run_it(tmp_path / f"run-{file.stem}", *files, dev=(file,), n=2)
        shares = [one.value for one in result.numbers if one.name.endswith(": overlap")]
        assert shares == [100] * len(kinds)


def test_rows_that_cannot_be_searched_are_in_no_clean_set(tmp_path):
    human = {"id": "human", "messages": [{"role": "human", "content": "hello"}]}
    rows = [chat("good", "hello there"), {"id": "none"}, human]
    train = write(tmp_path / "train.jsonl", rows)
    with train.open("ab") as handle:
        handle.write(b'{"id": "cut\n["list"]\n' + b"[" * 100_000 + b"\n")
    suite = write_suite(tmp_path / "suite.jsonl", range(3))
    result, artefacts = run_it(tmp_path / "run", train, dev=(suite,))
    clean = artefacts / "clean" / "train.jsonl"
    assert clean.read_bytes() == train.read_bytes().splitlines(keepends=True)[0]
    rejects = (tmp_path / "run" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in rejects] == [2, 3, 4, 5, 6]
    assert "none of system, user, assistant" in rejects[1]
    assert "train: 5 bad rows could not be searched" in " ".join(result.remarks)


def test_input_that_cannot_be_used_is_named(tmp_path):
    suite = write_suite(tmp_path / "suite.jsonl", range(3))
    train = write(tmp_path / "train.jsonl", [chat("a", "hello there")])
    bad_suite = write(tmp_path / "bad.jsonl", [{"id": "a", "prompt": "?!"}])
    bad_train = write(tmp_path / "none.jsonl", [{"id": "a"}])
    (tmp_path / "b").mkdir()
    twin = write(tmp_path / "b" / "train.jsonl", [chat("a", "hello there")])
    empty = write(tmp_path / "empty.jsonl", [])
    cases = [
        ([train], {}, ConfigError, "give --dev or --unseen"),
        ([train], {"dev": (tmp_path / "no.jsonl",)}, InputError, "no.jsonl: no such file"),
        ([tmp_path / "no.jsonl"], {"dev": (suite,)}, InputError, "no.jsonl: no such file"),
        ([train, twin], {"dev": (suite,)}, ConfigError, "2 files are called train"),
        ([train], {"dev": (suite,), "unseen": (suite,)}, ConfigError, "2 files are called suite"),
        ([train], {"dev": (bad_suite,)}, InputError, "bad.jsonl:1: there is no word in its prompt"),
        ([bad_train], {"dev": (suite,)}, InputError, "none of its 1 rows can be searched"),
        ([empty], {"dev": (suite,)}, InputError, "there is no row in this file"),
    ]
    for number, (sets, options, kind, told) in enumerate(cases):
        with pytest.raises(kind) as error:
            run_it(tmp_path / f"run{number}", *sets, **options)
        assert told in str(error.value) and error.value.exit_code == 2
