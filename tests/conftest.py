"""Rules of the whole test run: no network, and in CI no test that quietly does not run.

MODELGRAFT_HOME stays as the user has it, so the embedded models are not built again.
"""

from __future__ import annotations

import os
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

_NO_NETWORK = str(Path(__file__).parent / "no_network")
_LOG = "MODELGRAFT_TEST_ATTEMPTS"


def pytest_configure(config: pytest.Config) -> None:
    """Block outside sockets here and in every Python that a test starts.

    Signals are heard again even if the tests run in the background, where shells switch them off.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    folders = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    folders = [os.path.abspath(folder) for folder in folders]  # programs start in other folders
    if _NO_NETWORK not in folders:
        runpy.run_path(os.path.join(_NO_NETWORK, "sitecustomize.py"))
        os.environ["PYTHONPATH"] = os.pathsep.join([_NO_NETWORK, *folders])


@pytest.fixture(autouse=True)
def no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of the attempts to leave this machine; the test fails when there is one in it."""
    log = tmp_path_factory.getbasetemp() / "network-attempts"
    log.write_text("")
    os.environ[_LOG] = str(log)
    yield log
    attempts = log.read_text()
    assert not attempts, f"attempts to reach another machine:\n{attempts}"


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI a missing tool is a failure: what is skipped there is tested nowhere."""
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"skipped, which CI counts as a failure: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector):
    report = yield
    _fail_if_skipped(report)
    return report
