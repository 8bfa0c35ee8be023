"""Answers keys 0, 1, 2, ... through a store and prints each when it is acknowledged.

Arguments: the store, how many keys, and a file that gets a line per call that is paid for.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.store import CallStore


class Paid:
    """A model that writes down what it is asked."""

    name = "paid"
    in_flight = 3

    def __init__(self, calls: Path) -> None:
        self.calls = os.open(calls, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def complete(self, request: Request) -> Reply:
        text = request.messages[0]["content"]
        os.write(self.calls, f"{text}\n".encode())
        await asyncio.sleep(0.002)
        return Reply(text=f"answer {text}")


class Announcing(CallStore):
    """A store that says aloud what it has acknowledged."""

    async def save(self, claim, model, request, reply):
        kept = await super().save(claim, model, request, reply)
        print(request.messages[0]["content"], flush=True)
        return kept


def requests(num: int) -> list[Request]:
    return [Request(messages=[{"role": "user", "content": str(i)}]) for i in range(num)]


if __name__ == "__main__":
    path, num, calls = sys.argv[1:]
    with Announcing(Path(path)) as store:
        found = asyncio.run(complete_all(Paid(Path(calls)), requests(int(num)), store=store))
    assert [reply.text for reply in found] == [f"answer {i}" for i in range(int(num))]
    print("done", flush=True)
