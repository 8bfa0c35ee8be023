"""Mixes: exact counts, the same rows wherever and in whatever order, a manifest that tells all."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import sha256_file
from modelgraft.core.runs import open_run
from modelgraft.methods.tulu3.config import MixConfig
from modelgraft.methods.tulu3.data import (
    read_conversations,
    read_pairs,
    record_row,
    world_pairs,
    world_prompts,
)
from modelgraft.methods.tulu3.mix import mix


def chat(number: int | str, answer: str = "Yes.") -> dict:
    messages = [
        {"role": "user", "content": f"Is {number} a number?"},
        {"role": "assistant", "content": answer},
    ]
    return {"id": f"r{number}", "messages": messages}


def write(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_mix(folder: Path, *sources: str, seed: int = 0, **options) -> tuple[Path, dict]:
    """The artefacts of a mix and its manifest."""
    with open_run(folder, seed=seed) as run:
        run.finish(mix(MixConfig(sources=sources, **options), run))
    artefacts = folder / "artefacts"
    return artefacts, json.loads((artefacts / "manifest.json").read_text())


def ids(artefacts: Path) -> list[str]:
    return [one.id for one in read_conversations(artefacts / "mix.jsonl", reject=None)]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    sizes = {"chat": 1000, "maths": 333, "hard": 24}
    return {
        name: write(tmp_path / f"{name}.jsonl", [chat(number) for number in range(size)])
        for name, size in sizes.items()
    }


def test_shares_counts_and_repeats_give_exact_counts(tmp_path, files):
    sources = (f"{files['chat']}=0.25", f"{files['maths']}=100", f"{files['hard']}=24x10")
    artefacts, manifest = run_mix(tmp_path / "run", *sources)
    mixed = ids(artefacts)
    assert Counter(one.partition("/")[0] for one in mixed) == {
        "chat": 250,
        "maths": 100,
        "hard": 240,
    }
    assert len(set(mixed)) == manifest["rows"] == 590
    hard = Counter(one.partition("#")[0] for one in mixed if one.startswith("hard"))
    assert set(hard.values()) == {10} and len(hard) == 24
    told = {one["source"]: (one["drawn"], one["not drawn"]) for one in manifest["sources"]}
    assert told == {"chat": (250, 750), "maths": (100, 233), "hard": (24, 0)}


@pytest.mark.parametrize(
    ("amount", "written"),
    [("", 333), ("=0.5", 167), ("=.1", 33), ("=1.0", 333), ("=333", 333), ("=1", 1), ("x3", 999),
     ("=1.0x2", 666), ("=0.0016", 1)],
)  # fmt: skip
def test_every_form_of_an_amount(tmp_path, files, amount, written):
    artefacts, manifest = run_mix(tmp_path / "run", f"{files['maths']}{amount}")
    assert manifest["rows"] == len(ids(artefacts)) == written


def test_the_mix_depends_on_the_seed_and_not_on_order_or_place(tmp_path, files):
    sources = [f"{files['chat']}=0.25", f"{files['maths']}=100"]
    first, manifest = run_mix(tmp_path / "a", *sources)
    again, same = run_mix(tmp_path / "b", *sources[::-1])
    assert (first / "mix.jsonl").read_bytes() == (again / "mix.jsonl").read_bytes()
    assert manifest["hash"] == same["hash"]
    other, changed = run_mix(tmp_path / "c", *sources, seed=1)
    assert sorted(ids(other)) != sorted(ids(first))
    assert changed["hash"] != manifest["hash"]
    rows = files["chat"].read_text().splitlines(keepends=True)
    random.Random(0).shuffle(rows)
    (tmp_path / "elsewhere").mkdir()
    shuffled = tmp_path / "elsewhere" / "chat.jsonl"
    shuffled.write_text("".join(rows))
    moved, _ = run_mix(tmp_path / "d", f"{shuffled}=0.25", sources[1])
    assert ids(moved) == ids(first)


def test_a_smaller_share_is_part_of_a_larger_one_and_all_of_it_is_drawn_evenly(tmp_path, files):
    small, _ = run_mix(tmp_path / "a", f"{files['chat']}=0.2")
    large, _ = run_mix(tmp_path / "b", f"{files['chat']}=0.5")
    assert set(ids(small)) < set(ids(large))
    early = sum(int(one.partition("/r")[2]) < 500 for one in ids(large))
    assert 200 < early < 300


def test_leaving_a_source_out_keeps_the_rows_and_order_of_the_others(tmp_path, files):
    sources = [f"{path}=20" for path in files.values()]
    every, full = run_mix(tmp_path / "a", *sources)
    less, manifest = run_mix(tmp_path / "b", *sources, without=("maths",))
    assert ids(less) == [one for one in ids(every) if not one.startswith("maths")]
    assert [one["source"] for one in manifest["sources"]] == ["chat", "hard"]
    assert manifest["hash"] != full["hash"]


def test_the_manifest_changes_with_any_row_of_any_source(tmp_path, files):
    del files["chat"]
    sources = [f"{path}=1" for path in files.values()]
    _, manifest = run_mix(tmp_path / "start", *sources)
    seen = {manifest["hash"]}
    for name, path in files.items():
        rows = path.read_text().splitlines(keepends=True)
        for place in (0, len(rows) // 2, len(rows) - 1):
            changed = [*rows]
            changed[place] = rows[place].replace("Yes.", "Yes!")
            path.write_text("".join(changed))
            _, manifest = run_mix(tmp_path / f"{name}-{place}", *sources)
            seen.add(manifest["hash"])
            told = {one["source"]: one["sha256"] for one in manifest["sources"]}
            assert told[name] == sha256_file(path)
        path.write_text("".join(rows))
    assert len(seen) == 1 + 3 * len(files)
    artefacts, manifest = run_mix(tmp_path / "end", *sources)
    assert manifest["hash"] in seen
    assert manifest["mix_sha256"] == sha256_file(artefacts / "mix.jsonl")
    assert manifest["seed"] == 0 and "python" in manifest["versions"]
    assert manifest["config"]["sources"] == sources


def test_rows_left_out_are_counted_and_named(tmp_path):
    rows = [chat(0), {"id": "bad", "messages": []}, chat(1, "I am ChatGPT."), chat(2), chat(2)]
    path = write(tmp_path / "chat.jsonl", rows)
    artefacts, manifest = run_mix(tmp_path / "run", str(path))
    assert set(ids(artefacts)) == {"chat/r0", "chat/r2"}
    (source,) = manifest["sources"]
    assert (source["rows"], source["bad"], source["another assistant"]) == (5, 2, 1)
    rejects = (tmp_path / "run" / "rejects.jsonl").read_text().splitlines()
    assert [(row["line"], row["id"]) for row in map(json.loads, rejects)] == [
        (2, "bad"),
        (3, "r1"),
        (5, "r2"),
    ]
    assert "ChatGPT" in rejects[1]
    kept, manifest = run_mix(tmp_path / "kept", str(path), drop_identity=False)
    assert "chat/r1" in ids(kept)


def test_raising_on_bad_rows_still_drops_those_that_name_another_assistant(tmp_path):
    path = write(tmp_path / "good.jsonl", [chat(0), chat(1, "I am ChatGPT.")])
    artefacts, _ = run_mix(tmp_path / "run", str(path), on_error="raise")
    assert ids(artefacts) == ["good/r0"]
    write(path, [chat(0), {"messages": []}])
    with pytest.raises(InputError, match=r"good\.jsonl:2"):
        run_mix(tmp_path / "raise", str(path), on_error="raise")


def test_pairs_are_mixed_as_pairs_and_kinds_do_not_mix(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", [record_row(one) for one in world_pairs(20, seed=0)])
    rows = [record_row(one) for one in world_prompts(20, split="train", seed=0)]
    prompts = write(tmp_path / "prompts.jsonl", rows)
    artefacts, _ = run_mix(tmp_path / "run", f"{pairs}=10")
    kept = read_pairs(artefacts / "mix.jsonl", reject=None)
    assert len(kept) == 10 and kept[0].ratings is not None
    with pytest.raises(InputError, match=r"holds pairs, .* prompts with ground truth"):
        run_mix(tmp_path / "both", str(pairs), str(prompts))


def test_files_of_one_name_keep_apart(tmp_path):
    first = write(tmp_path / "a" / "train.jsonl", [chat(0)])
    second = write(tmp_path / "b" / "train.jsonl", [chat(0)])
    artefacts, manifest = run_mix(tmp_path / "run", str(first), str(second))
    assert len(set(ids(artefacts))) == 2
    names = [one["source"] for one in manifest["sources"]]
    assert names == [str(first.with_suffix("")), str(second.with_suffix(""))]


@pytest.mark.parametrize(
    ("sources", "options", "told"),
    [
        (["{chat}=1001"], {}, "1,001 rows are asked for, the file has 1,000 usable rows"),
        (["{chat}=0.0001"], {}, "this share of 1,000 usable rows is less than half a row"),
        (["{chat}=half"], {}, "neither a file nor an amount"),
        (["{chat}=1.5"], {}, "a share is 1.0 at most"),
        (["{chat}=0"], {}, "nothing would be taken"),
        (["{chat}=10x0"], {}, "nothing would be taken"),
        (["{chat}=-3"], {}, "neither a file nor an amount"),
        (["{chat}=10", "{chat}=20"], {}, "named 2 times"),
        (["{chat}", "nowhere.jsonl=10"], {}, "nowhere.jsonl: no such file"),
        (["{chat}"], {"without": ("caht",)}, "Did you mean chat?"),
        (["{chat}"], {"without": ("chat",)}, "leaves no source"),
    ],
)  # fmt: skip
def test_bad_entries_are_told_before_anything_is_written(tmp_path, files, sources, options, told):
    given = [source.format(chat=files["chat"]) for source in sources]
    with pytest.raises(ConfigError) as error:
        run_mix(tmp_path / "run", *given, **options)
    assert told in str(error.value) and error.value.exit_code == 2
    assert not list((tmp_path / "run" / "artefacts").iterdir())


def test_all_impossible_amounts_are_told_at_once(tmp_path, files):
    with pytest.raises(ConfigError) as error:
        run_mix(tmp_path / "run", *(f"{path}=5000" for path in files.values()))
    assert str(error.value).count("5,000 rows are asked for") == 3
