"""The pool ends every check in bounded time and goes on with the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError, MissingExtra, Unavailable
from modelgraft.language.verify import Case, Pool, Verdict, check_ground_truth

# Backtracks for longer than the world will last.
CATASTROPHE = {"instruction_id": ["keywords:existence"], "kwargs": [{"keywords": ["(a+)+$"]}]}
HANGS = Case("ifeval", "a" * 60 + "!", CATASTROPHE)
FINE = Case("gsm8k", "it is 5", "5")
OWN = """
import os, sys, time
from modelgraft.core.errors import ConfigError, MissingExtra
from modelgraft.language.verify import Verdict

def echo(response, truth, *, shout=False):
    print("noise on the standard output")
    os.write(1, b"more noise")
    return Verdict.of(response == truth, response.upper() if shout else response)

def spin(response, truth):
    open(response, "w").write(str(os.getpid()))
    while True:
        pass

def crash(response, truth): os._exit(7)
def grow(response, truth): return Verdict.of(bool(bytearray(16 << 30)), "")
def fault(response, truth): raise ValueError("no such thing")
def deep(response, truth): return deep(response, truth)
def lacking(response, truth): raise MissingExtra("something is not installed")
def strange(response, truth): raise ConfigError("beta", "is out of range")
def half(response, truth): return Verdict(False, 0.5, "half \\ud800")
"""


@pytest.fixture(scope="module")
def custom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_checks.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]))
        names = "echo spin crash grow fault deep lacking strange half absent".split()
        yield {name: f"own_checks:{name}" for name in names}


@pytest.fixture(scope="module")
def pool(custom: dict[str, str]) -> Iterator[Pool]:
    with Pool(workers=2, limit_s=1.0, custom=custom) as pool:
        pool.check_all([FINE, FINE])
        yield pool


def timed(pool: Pool, case: Case) -> tuple[Verdict, float]:
    begin = time.perf_counter()
    verdict = pool.check(case)
    return verdict, time.perf_counter() - begin


def test_a_hanging_check_is_ended_from_another_thread_and_the_next_one_works(pool):
    assert check_ground_truth("ifeval", CATASTROPHE) == []
    outcomes = []

    def work() -> None:
        outcomes.extend([timed(pool, HANGS), timed(pool, FINE)])

    thread = threading.Thread(target=work)
    before = dict(pool.counts)
    thread.start()
    thread.join()
    (hung, seconds), (fine, _) = outcomes
    assert hung == Verdict(False, 0.0, "no verdict within 1 s", is_error=True)
    assert 1 <= seconds < 5
    assert fine.passed
    assert pool.counts["timeouts"] == before["timeouts"] + 1
    assert pool.counts["errors"] == before["errors"] + 1
    assert pool.counts["checked"] == before["checked"] + 2


def test_verdicts_come_in_the_order_of_the_cases(pool):
    cases = [Case("gsm8k", f"it is {i}", str(i - i % 2)) for i in range(50)]
    assert [verdict.passed for verdict in pool.check_all(cases)] == [True, False] * 25


def test_a_check_that_hangs_holds_up_no_other_worker(pool):
    verdicts = pool.check_all([HANGS, *[FINE] * 20])
    assert [verdict.is_error for verdict in verdicts] == [True] + [False] * 20


@pytest.mark.parametrize(
    "case",
    [
        Case("math", "\\boxed{9^{9^9}}", "5"),
        Case("math", "\\boxed{9**9**9}", "5"),
        Case("math", "\\boxed{" + "(" * 200 + "}", "5"),
        Case("gsm8k", "9" * 1_000_000, "5", {"numeric": True}),
        Case("mcq", "answer is " * 90_000, "A"),
        Case("ifeval", "[" * 500_000, {"func_name": "validate_json_format"}),
        Case("gsm8k", "5 " * 5_000_000, "5"),
    ],
    ids=lambda case: f"{case.verifier}:{case.response[:12]}",
)
def test_what_a_model_may_write_ends_in_bounded_time(pool, case):
    warm = pool.check(Case("math", "\\boxed{x^2+2x+1}", "(x+1)^2"))
    verdict, seconds = timed(pool, case)
    assert warm.passed and not verdict.passed and seconds < 5


def test_a_response_of_ten_megabytes_is_not_checked(pool):
    verdict, seconds = timed(pool, Case("gsm8k", "x" * 10_000_000 + " 5", "5"))
    assert "10000002 characters" in verdict.detail and not verdict.is_error and seconds < 0.1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crash", "process ended"),
        ("grow", "MemoryError"),
        ("fault", "ValueError: no such thing"),
        ("deep", "RecursionError"),
    ],
)
def test_a_check_that_fails_is_an_error_and_is_counted(pool, name, reason):
    before = dict(pool.counts)
    verdict = pool.check(Case(name, "text", "truth"))
    assert (verdict.passed, verdict.score, verdict.is_error) == (False, 0.0, True)
    assert reason in verdict.detail
    assert pool.counts["errors"] == before["errors"] + 1
    assert 0 < pool.error_share < 1
    assert pool.check(FINE).passed


def test_own_verifiers_take_options_and_may_print(pool):
    assert pool.check(Case("echo", "same", "same")) == Verdict.of(True, "same")
    assert pool.check(Case("echo", "a", "b", {"shout": True})) == Verdict.of(False, "A")


def test_a_partial_score_arrives_and_its_detail_can_be_written(pool):
    verdict = pool.check(Case("half", "", ""))
    assert (verdict.passed, verdict.score, verdict.detail) == (False, 0.5, "half ?")


def test_what_concerns_the_caller_is_raised(pool):
    with pytest.raises(InputError, match="unknown verifier"):
        pool.check(Case("gsm9k", "5", "5"))
    with pytest.raises(InputError, match="ground truth cannot be used"):
        pool.check(Case("ifeval", "5", {"func_name": "validate_end"}))
    with pytest.raises(MissingExtra, match="not installed"):
        pool.check(Case("lacking", "", ""))
    with pytest.raises(InputError, match="beta: is out of range"):
        pool.check(Case("strange", "", ""))
    with pytest.raises(Unavailable, match="absent"):
        pool.check(Case("absent", "", ""))
    with pytest.raises(InputError, match="unknown verifier"):
        pool.check_all([FINE, Case("gsm9k", "5", "5")])
    assert pool.check(FINE).passed


def test_half_characters_survive_the_way(pool):
    assert pool.check(Case("echo", "\ud800\0\n", "\ud800\0\n")).passed


def test_an_interrupted_call_leaves_no_answer_for_the_next(custom, tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with Pool(workers=1, limit_s=20, custom=custom) as pool:
        assert pool.check(FINE).passed
        old = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            with pytest.raises(KeyboardInterrupt):
                pool.check(Case("spin", str(tmp_path / "pid"), ""))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert pool.check(Case("echo", "mine", "mine")).detail == "mine"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"


def test_a_worker_does_not_outlive_a_caller_that_was_killed(custom, tmp_path):
    script = (
        "import sys\nfrom modelgraft.language.verify import Case, Pool\n"
        f"Pool(limit_s=1, custom={custom}).check(Case('spin', sys.argv[1], ''))"
    )
    note = tmp_path / "pid"
    caller = subprocess.Popen([sys.executable, "-c", script, str(note)])
    end = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    worker = int(note.read_text())
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(worker)


def test_closing_ends_the_processes(custom, tmp_path):
    code = "import os\nfrom modelgraft.language.verify import Verdict\n"
    code += "def pid(response, truth): return Verdict.of(True, str(os.getpid()))\n"
    (tmp_path / "pid_check.py").write_text(code)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
        with Pool(workers=1, custom={"pid": "pid_check:pid"}) as pool:
            pid = int(pool.check(Case("pid", "", "")).detail)
            assert is_alive(pid)
        assert not is_alive(pid)


def test_a_process_that_cannot_start_is_said_so(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool() as pool, pytest.raises(Unavailable, match="did not start"):
        pool.check(FINE)
