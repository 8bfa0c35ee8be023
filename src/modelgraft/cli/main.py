"""The entry point: what belongs to the process, before any word of the command line is read.

Nothing is imported here that takes time, so that Ctrl-C finds a place to end quietly at once.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than all of this
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "demo": ("modelgraft.cli.demo:command", "Every method once, on its embedded model."),
    "run": ("modelgraft.cli.pipeline:command", "The steps of a recipe, or a saved config again."),
    "show": ("modelgraft.cli.saved:show_command", "What a run was given and what came out."),
    "compare": ("modelgraft.cli.saved:compare_command", "What differs between two runs."),
    "report": ("modelgraft.cli.saved:report_command", "A page to keep, of one run or two."),
    "models": ("modelgraft.cli.models:command", "The embedded models: list, get, check, where."),
    "doctor": ("modelgraft.cli.doctor:command", "What this machine has, lacks, and the remedy."),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing is raised."""
    try:
        _prepare_streams()
        from modelgraft.cli.dispatch import dispatch

        return dispatch(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return 130


def _prepare_streams() -> None:
    """Open the standard streams that the caller closed, leading nowhere; let none fail on a text.

    Else the next file that is opened gets the number of the closed one, and what is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
