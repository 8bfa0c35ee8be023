"""Running experiments: records, quick passes, and what a kill leaves behind."""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modelgraft.core.errors import ConfigError, InputError, Interrupted
from modelgraft.core.provenance import commit, machine, versions
from modelgraft.core.results import Artefact, Number
from modelgraft.core.runs import open_run
from modelgraft.evaluation.record import read_experiment
from modelgraft.evaluation.reproduction import (
    DOES_NOT_HOLD,
    HOLDS,
    Experiment,
    Findings,
    reproduce,
    write_experiment,
)

METHOD = "star_attention"


class Laboratory:
    """Three experiments that count how often they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.experiments = [self.make(name) for name in ("E1", "E2", "E3")]

    def make(self, name: str) -> Experiment:
        def run(run, quick: bool) -> Findings:
            self.ran.append(f"{name} quick" if quick else name)
            path = run.add("text", f"{name}.txt", f"what {name} saw")
            path.write_text(name)
            return Findings(
                numbers=(Number("gain", 0.5, 0.4, 0.6, 10, "x", 0.3),),
                verdict=DOES_NOT_HOLD if name == "E2" else HOLDS,
                seeds=(run.seed,),
                artefacts=(Artefact("text", f"artefacts/{name}.txt", f"what {name} saw"),),
                remarks=("small sample",) if name == "E3" else (),
            )

        return Experiment(name, f"The claim of {name}.", f"Figure {name[1:]}", run)

    def reproduce(self, place: Path, *names: str, quick: bool = False, out: str = "run"):
        with open_run(place / out, seed=4) as run:
            return run.finish(
                reproduce(
                    METHOD,
                    self.experiments,
                    names=names,
                    quick=quick,
                    run=run,
                    folder=place / "reproduction",
                )
            )


@pytest.fixture
def laboratory() -> Laboratory:
    return Laboratory()


def recorded(place: Path) -> list[str]:
    return sorted(path.name for path in place.glob("reproduction/**/*") if path.is_file())


def test_all_experiments_run_and_are_recorded_when_none_is_named(laboratory, tmp_path):
    result = laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1", "E2", "E3"]
    assert recorded(tmp_path) == ["E1.json", "E2.json", "E3.json"]
    assert [number.name for number in result.numbers] == ["E1 gain", "E2 gain", "E3 gain"]
    assert result.text.splitlines()[:3] == [
        "E1 holds: The claim of E1.",
        "E2 does not hold at this scale: The claim of E2.",
        "E3 holds: The claim of E3.",
    ]
    assert result.remarks == ("E3: small sample",)
    assert [artefact.path for artefact in result.artefacts] == [
        f"artefacts/{name}.txt" for name in ("E1", "E2", "E3")
    ]


def test_a_record_says_what_ran_how_and_where(laboratory, tmp_path):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    laboratory.reproduce(tmp_path, "E2")
    record = read_experiment(tmp_path / "reproduction" / METHOD / "E2.json")
    assert (record.method, record.experiment, record.verdict) == (METHOD, "E2", DOES_NOT_HOLD)
    assert record.numbers == (Number("gain", 0.5, 0.4, 0.6, 10, "x", 0.3),)
    assert record.seeds == (4,)
    assert (record.versions, record.commit, record.machine) == (versions(), commit(), machine())
    assert 0 <= record.wall_s < 10
    assert datetime.datetime.fromisoformat(record.date) >= before
    assert os.uname().nodename not in json.dumps(list(record.machine.values()))


def test_named_experiments_run_once_each_in_the_order_given(laboratory, tmp_path):
    laboratory.reproduce(tmp_path, "E3", "E1", "E3")
    assert laboratory.ran == ["E3", "E1"]
    assert recorded(tmp_path) == ["E1.json", "E3.json"]


def test_an_unknown_experiment_is_refused_before_any_runs(laboratory, tmp_path):
    with pytest.raises(ConfigError, match="there is no E9; there are E1, E2, E3") as caught:
        laboratory.reproduce(tmp_path, "E1", "E9")
    assert caught.value.field == "experiments" and laboratory.ran == []


def test_a_file_in_the_place_of_the_folder_is_refused_before_any_runs(laboratory, tmp_path):
    (tmp_path / "reproduction").write_text("")
    with pytest.raises(ConfigError, match="this is a file, not a folder"):
        laboratory.reproduce(tmp_path)
    assert laboratory.ran == []


def test_a_quick_pass_never_writes_a_record(laboratory, tmp_path):
    result = laboratory.reproduce(tmp_path, quick=True)
    assert laboratory.ran == ["E1 quick", "E2 quick", "E3 quick"]
    assert not (tmp_path / "reproduction").exists()
    assert result.remarks[0].startswith("Quick pass")


def test_a_quick_pass_leaves_existing_records_alone_even_when_resumed(laboratory, tmp_path):
    laboratory.reproduce(tmp_path, out="full")
    files = {path: path.read_bytes() for path in tmp_path.glob("reproduction/*/*")}
    laboratory.reproduce(tmp_path, quick=True, out="quick")
    laboratory.reproduce(tmp_path, quick=True, out="quick")
    assert {path: path.read_bytes() for path in tmp_path.glob("reproduction/*/*")} == files


def test_a_quick_finding_is_never_taken_for_a_full_one_in_the_same_folder(laboratory, tmp_path):
    laboratory.reproduce(tmp_path, "E1", quick=True)
    laboratory.reproduce(tmp_path, "E1")
    assert laboratory.ran == ["E1 quick", "E1"]


def test_repeating_a_finished_run_runs_nothing_and_gives_the_same_result(laboratory, tmp_path):
    first = laboratory.reproduce(tmp_path)
    again = laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1", "E2", "E3"]
    assert again == first


def test_an_experiment_whose_files_are_gone_runs_again(laboratory, tmp_path):
    laboratory.reproduce(tmp_path)
    (tmp_path / "run" / "artefacts" / "E2.txt").unlink()
    laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1", "E2", "E3", "E2"]


def test_a_record_lost_between_journal_and_folder_is_written_on_resume(laboratory, tmp_path):
    laboratory.reproduce(tmp_path)
    path = tmp_path / "reproduction" / METHOD / "E2.json"
    before = path.read_bytes()
    path.unlink()
    laboratory.reproduce(tmp_path)
    assert path.read_bytes() == before and laboratory.ran == ["E1", "E2", "E3"]


def test_an_old_record_is_replaced_and_a_newer_one_is_kept(laboratory, tmp_path):
    path = tmp_path / "reproduction" / METHOD / "E1.json"
    laboratory.reproduce(tmp_path, "E1")
    ours = json.loads(path.read_text())
    for date, kept in (("2001-01-01T00:00:00+00:00", False), ("2999-01-01T00:00:00+00:00", True)):
        path.write_text(json.dumps({**ours, "date": date}))
        laboratory.reproduce(tmp_path, "E1")
        assert (json.loads(path.read_text())["date"] == date) is kept


def test_array_scalars_become_plain_numbers(tmp_path):
    findings = Findings(
        numbers=(Number("a", np.float32(0.5), np.float64(0.4), 0.6, np.int64(7)),),
        verdict=HOLDS,
        seeds=(np.int64(3),),
    )
    now = datetime.datetime.now(datetime.UTC)
    experiment = Experiment("E1", "Claim.", "Figure 1", lambda run, quick: findings)
    path = write_experiment(tmp_path, METHOD, experiment, findings, started=now, wall_s=1.0)
    record = read_experiment(path)
    assert record.numbers == (Number("a", 0.5, 0.4, 0.6, 7),) and record.seeds == (3,)


def test_a_value_that_is_not_finite_is_refused_and_not_journaled(tmp_path):
    findings = Findings(numbers=(Number("loss", float("nan")),), verdict=HOLDS)
    bad = Experiment("E1", "Claim.", "Figure 1", lambda run, quick: findings)
    with (
        pytest.raises(InputError, match=r"star_attention E1: .*\n.*numbers\[0\]\.value"),
        open_run(tmp_path / "run") as run,
    ):
        reproduce(METHOD, [bad], names=(), quick=True, run=run, folder=tmp_path / "reproduction")
    assert (tmp_path / "run" / "experiments.jsonl").read_text() == ""


def test_a_failing_experiment_keeps_the_finished_ones(laboratory, tmp_path):
    whole = laboratory.experiments[1]

    def fail(run, quick):
        raise InputError("book.txt: no such file.")

    laboratory.experiments[1] = Experiment("E2", "Claim.", "Figure 2", fail)
    with pytest.raises(InputError, match="no such file"):
        laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1"] and recorded(tmp_path) == ["E1.json"]
    laboratory.experiments[1] = whole
    laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1", "E2", "E3"]


def test_a_person_can_stop_between_two_experiments(laboratory, tmp_path):
    first = laboratory.experiments[0].run

    def stop_after(run, quick):
        findings = first(run, quick)
        os.kill(os.getpid(), signal.SIGTERM)
        return findings

    laboratory.experiments[0] = Experiment("E1", "Claim.", "Figure 1", stop_after)
    with pytest.raises(Interrupted):
        laboratory.reproduce(tmp_path)
    assert laboratory.ran == ["E1"] and recorded(tmp_path) == ["E1.json"]


# -- kills -------------------------------------------------------------------------------------

# Each experiment notes that it ran, outside the run folder. The process kills itself at the k-th
# durable operation (fsync or rename), so every moment that can differ on the disk is met.
CHILD = """
import os, signal, sys
from pathlib import Path
from modelgraft.core.results import Number
from modelgraft.core.runs import open_run
from modelgraft.evaluation.reproduction import HOLDS, Experiment, Findings, reproduce

place, fatal = Path(sys.argv[1]), int(sys.argv[2])
count = 0

def dying(function):
    def call(*args, **kwargs):
        global count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call

os.fsync, os.replace = dying(os.fsync), dying(os.replace)

def experiment(name):
    def run(run, quick):
        with open(place / "ran.txt", "a") as log:
            log.write(name + "\\n")
        if name == "E2" and fatal < 0:
            print("E2 started", flush=True)
            sys.stdin.read()
        return Findings((Number("gain", 0.5),), HOLDS, (run.seed,))
    return Experiment(name, "Claim.", "Figure 1", run)

with open_run(place / "run", seed=1) as run:
    run.finish(reproduce("star_attention", [experiment("E1"), experiment("E2")], names=(),
               quick=False, run=run, folder=place / "reproduction"))
"""


@pytest.fixture
def child(tmp_path):
    script = tmp_path / "child.py"
    script.write_text(CHILD)

    def start(place: Path, fatal: int, **options) -> subprocess.Popen:
        place.mkdir(exist_ok=True)
        return subprocess.Popen([sys.executable, script, place, str(fatal)], **options)

    return start


def ran(place: Path) -> list[str]:
    path = place / "ran.txt"
    return path.read_text().split() if path.exists() else []


def test_a_run_killed_within_an_experiment_resumes_at_that_experiment(child, tmp_path):
    process = child(tmp_path, -1, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "E2 started\n"
    process.kill()
    process.communicate()
    first = (tmp_path / "reproduction" / METHOD / "E1.json").read_bytes()
    assert recorded(tmp_path) == ["E1.json"] and ran(tmp_path) == ["E1", "E2"]
    assert child(tmp_path, 0).wait() == 0
    assert ran(tmp_path) == ["E1", "E2", "E2"]
    assert recorded(tmp_path) == ["E1.json", "E2.json"]
    assert (tmp_path / "reproduction" / METHOD / "E1.json").read_bytes() == first


def test_a_kill_at_any_write_loses_no_finished_experiment(child, tmp_path):
    kills = 0
    while True:
        kills += 1
        place = tmp_path / str(kills)
        if child(place, kills).wait() == 0:
            break
        journal = place / "run" / "experiments.jsonl"
        lines = journal.read_text().splitlines() if journal.exists() else []
        acknowledged = [json.loads(line)["record"]["experiment"] for line in lines]
        for path in place.glob("reproduction/*/E*.json"):
            assert read_experiment(path).experiment in acknowledged
        before = ran(place)
        assert child(place, 0).wait() == 0
        assert ran(place)[len(before) :] == [
            name for name in ("E1", "E2") if name not in acknowledged
        ]
        rows = [json.loads(line)["record"] for line in journal.read_text().splitlines()]
        assert [row["experiment"] for row in rows] == ["E1", "E2"]
        files = [place / "reproduction" / METHOD / f"{name}.json" for name in ("E1", "E2")]
        assert [json.loads(path.read_text()) for path in files] == rows
    assert kills > 10
