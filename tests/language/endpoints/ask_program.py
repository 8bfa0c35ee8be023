"""Asks an endpoint many questions through a store, and prints what came of each as JSON.

Arguments: the address with the model, the store, and how many questions.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from modelgraft.language.endpoints import CallStore, Endpoint, HttpModel, Reply, Request
from modelgraft.language.endpoints.gather import complete_all


class ShortWaits:
    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


async def main(url: str, path: str, num: int) -> None:
    asked = [Request(messages=[{"role": "user", "content": f"item {i}"}]) for i in range(num)]
    clock = ShortWaits()
    endpoint = Endpoint(url=url, in_flight=16, timeout_s=30)
    with CallStore(Path(path)) as store:
        async with HttpModel(endpoint, clock=clock) as model:
            found = await complete_all(model, asked, store=store, clock=clock)
    print(
        json.dumps([one.text if isinstance(one, Reply) else {"failure": one.kind} for one in found])
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
