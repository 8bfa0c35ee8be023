"""Records of experiments: what is written is what is read, and faults name file and key."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.record import (
    DOES_NOT_HOLD,
    HOLDS,
    NOT_TESTED,
    VERDICTS,
    Record,
    parse_record,
    read_experiment,
    write_record,
)

KEYS = [
    "method", "experiment", "statement", "paper", "verdict", "numbers", "seeds", "versions",
    "commit", "wall_s", "machine", "date",
]  # fmt: skip
RECORD = Record(
    method="star_attention",
    experiment="E1",
    statement="Retrieval is kept.",
    paper="Table 1: 16K to 128K, Llama 8B",
    verdict=HOLDS,
    numbers=(
        Number("exact match", 0.9, 0.7, 0.97, 20, "", 0.85),
        Number("prefill", 0.71, unit="x", better="lower"),
    ),
    seeds=(0, 1),
    versions={"python": "3.11.7", "modelgraft": "0.1.0", "numpy": "2.4.6"},
    commit="0123456789ab+dirty",
    wall_s=12.5,
    machine={"cores": 2, "memory_gb": 8.2, "processor": "AMD EPYC"},
    date="2026-01-31T12:00:00+00:00",
)


def broken(tmp_path: Path, change) -> Path:
    """A file that held RECORD before `change` edited its dict (or returned another value)."""
    value = RECORD.as_dict()
    changed = change(value)
    path = tmp_path / "star_attention" / "E1.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value if changed is None else changed))
    return path


def test_the_file_has_exactly_the_agreed_keys_in_their_order(tmp_path):
    path = write_record(tmp_path, RECORD)
    assert path == tmp_path / "star_attention" / "E1.json"
    value = json.loads(path.read_text())
    assert list(value) == KEYS == [field.name for field in fields(Record)]
    assert list(value["numbers"][0]) == [
        "name", "value", "low", "high", "n", "unit", "baseline", "better",
    ]  # fmt: skip
    assert list(value["machine"]) == ["cores", "memory_gb", "processor"]


def test_what_is_written_is_read_again(tmp_path):
    assert read_experiment(write_record(tmp_path, RECORD)) == RECORD


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.builds(
            Number,
            name=st.text(st.characters(categories=("L", "N")), min_size=1),
            value=finite,
            low=st.none() | st.floats(-10, 0),
            high=st.none() | st.floats(0, 10),
            n=st.none() | st.integers(0, 10**9),
            unit=st.text(st.characters(codec="utf-8"), max_size=5),
            baseline=st.none() | finite,
            better=st.sampled_from(["higher", "lower"]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 2**62), max_size=4),
    st.sampled_from(VERDICTS),
)
def test_any_record_survives_json(numbers, seeds, verdict):
    record = replace(RECORD, numbers=tuple(numbers), seeds=tuple(seeds), verdict=verdict)
    assert parse_record(json.loads(json.dumps(record.as_dict())), "here") == record


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(tmp_path, key):
    path = broken(tmp_path, lambda value: value.pop(key) and None)
    with pytest.raises(InputError) as caught:
        read_experiment(path)
    assert str(path) in str(caught.value)
    assert f"{key}: this key is missing" in str(caught.value)


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_the_wrong_kind_is_named(tmp_path, key):
    path = broken(tmp_path, lambda value: value.update({key: {"strange": [1]}}))
    with pytest.raises(InputError, match=key):
        read_experiment(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(host="x"), "host: unknown key"),
        (lambda v: v["machine"].update(host="x"), r"machine\.host: unknown key"),
        (lambda v: v["machine"].update(cores=0), r"machine\.cores: a whole number from 1 up"),
        (lambda v: v.update(verdict="maybe"), "verdict: one of holds, does not hold at this scale"),
        (lambda v: v.update(verdict=["holds"]), "verdict: one of holds"),
        (lambda v: v["numbers"][1].pop("n"), r"numbers\[1\]\.n: this key is missing"),
        (lambda v: v["numbers"][0].update(low="0.7"), r"numbers\[0\]\.low: a finite number or"),
        (lambda v: v["numbers"][0].update(low=0.98), r"numbers\[0\]\.low: 0\.98 lies above high"),
        (lambda v: v["numbers"][0].update(value=None), r"numbers\[0\]\.value: a finite number"),
        (lambda v: v["numbers"][0].update(value=float("nan")), r"numbers\[0\]\.value"),
        (lambda v: v["numbers"][0].update(n=True), r"numbers\[0\]\.n: a whole number or null"),
        (lambda v: v["numbers"].append(3), r"numbers\[2\]: an object is needed, not 3"),
        (lambda v: v.update(numbers=[]), "the verdict 'holds' needs at least one number"),
        (lambda v: v.update(seeds=[0.5]), "seeds: a list of whole numbers"),
        (lambda v: v.update(versions={"numpy": "2"}), "versions: an object of versions with pyt"),
        (lambda v: v.update(wall_s=-1), "wall_s: a number of seconds from 0 up"),
        (lambda v: v.update(date="yesterday"), "date: a date with time and zone"),
        (lambda v: v.update(date="2026-01-31"), "date: a date with time and zone"),
        (lambda v: v.update(method="../x"), "method: a name of letters"),
        (lambda v: v.update(statement=" "), "statement: some text"),
        (lambda v: [v], "an object is needed, not a list of 1"),
    ],
)
def test_every_fault_names_file_key_and_need(tmp_path, change, message):
    path = broken(tmp_path, change)
    with pytest.raises(InputError, match=message) as caught:
        read_experiment(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_many_faults_are_listed_together_but_at_most_ten(tmp_path):
    path = broken(tmp_path, lambda value: {"method": 1})
    with pytest.raises(InputError) as caught:
        read_experiment(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 12 and lines[-1] == "  ... and 2 more"


def test_a_file_that_was_moved_is_refused(tmp_path):
    path = write_record(tmp_path, RECORD)
    moved = path.rename(path.with_name("E2.json"))
    with pytest.raises(InputError, match=r"star_attention and E1, but the file lies where .* E2"):
        read_experiment(moved)


def test_a_missing_and_a_cut_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"E9\.json: no such file"):
        read_experiment(tmp_path / "E9.json")
    path = write_record(tmp_path, RECORD)
    path.write_text(path.read_text()[:200])
    with pytest.raises(InputError, match=r"E1\.json:\d+: not valid JSON"):
        read_experiment(path)


def test_a_faulty_record_is_refused_before_anything_is_written(tmp_path):
    faulty = replace(RECORD, numbers=(Number("loss", float("nan")),))
    with pytest.raises(InputError, match=r"numbers\[0\]\.value: a finite number is needed"):
        write_record(tmp_path, faulty)
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_tested_needs_no_numbers(tmp_path):
    record = replace(RECORD, verdict=NOT_TESTED, numbers=(), seeds=())
    assert read_experiment(write_record(tmp_path, record)) == record
    with pytest.raises(InputError, match="needs at least one number"):
        write_record(tmp_path, replace(record, verdict=DOES_NOT_HOLD))
