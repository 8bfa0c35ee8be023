"""The process that checks: JSON lines in, JSON lines out (`pool` starts and ends it).

A request names the verifier, the response, the truth, the options and the time limit. The answer
is one line when what the check needs has been imported, {"ready": true}, and one with the verdict.
{"raise": ..., "message": ...} instead of either names an error of ours that concerns the caller,
{"error": ...} instead of the verdict an exception that the check ended in.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

from modelgraft.core.errors import ModelgraftError, Unavailable
from modelgraft.core.lazy import load
from modelgraft.language.verify.verdict import Verdict
from modelgraft.language.verify.verifiers import prepare, verifier

MEMORY_BYTES = 4 << 30  # of address space, which libraries claim far more of than they use


def main() -> None:
    """Answer requests until the other side closes, or until one of them takes too long."""
    channel = os.dup(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # what a library prints must not reach the channel
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    for line in sys.stdin.buffer:
        answer(json.loads(line), lambda message: _send(channel, message))


def answer(request: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Send what the request leads to."""
    try:
        check = _prepared(request)
    except ModelgraftError as error:
        send({"raise": type(error).__name__, "message": str(error)})
        return
    send({"ready": True})
    # Should the caller die, nobody else ends a check that hangs: SIGALRM then ends this process.
    signal.setitimer(signal.ITIMER_REAL, request["limit_s"] + 1)
    send(_outcome(check, request))
    signal.setitimer(signal.ITIMER_REAL, 0)


def _prepared(request: dict[str, Any]) -> Callable[..., Verdict]:
    target = request["target"]
    try:
        if target:
            return load(target)
        prepare(request["verifier"], request["truth"], request["options"])
    except ModelgraftError:
        raise
    except Exception as error:  # an import can fail in any way, and would in every check to come
        reason = f"{type(error).__name__}: {error}"
        raise Unavailable(f"verifier {request['verifier']} cannot be loaded: {reason}") from None
    return verifier(request["verifier"])


def _outcome(check: Callable[..., Verdict], request: dict[str, Any]) -> dict[str, Any]:
    try:
        verdict = check(request["response"], request["truth"], **request["options"])
    except ModelgraftError as error:
        return {"raise": type(error).__name__, "message": str(error)}
    except Exception as error:  # whatever a text made a library do; the caller counts it
        return {"error": f"{type(error).__name__}: {error!s:.200}"}
    # A lone surrogate that the model wrote would fail in every log and file.
    detail = verdict.detail[:500].encode("utf-8", "replace").decode()
    return {"passed": verdict.passed, "score": verdict.score, "detail": detail}


def _send(channel: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(channel, data) :]


if __name__ == "__main__":
    main()
