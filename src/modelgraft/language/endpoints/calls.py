"""The models behind the names of a run: on this machine or behind a URL, every answer stored."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.language.endpoints.budget import Budget, read_prices
from modelgraft.language.endpoints.config import EndpointOptions
from modelgraft.language.endpoints.exchange import Failure, FailureKind, Outcome, Request
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.http import Endpoint, HttpModel
from modelgraft.language.endpoints.store import CallStore

if TYPE_CHECKING:
    from modelgraft.language.endpoints.local import LocalModel
    from modelgraft.language.load import DType

# What another attempt may answer: an item that met one of these has no outcome yet.
LATER: frozenset[FailureKind] = frozenset(
    ("rate_limited", "server_error", "timeout", "unreachable", "dropped", "budget")
)


def model_label(name: str) -> str:
    """What records call the model of this name: of a URL#MODEL only the model."""
    _, mark, model = name.partition("#")
    return urllib.parse.unquote(model) if mark and "://" in name else name


def still_open(num_open: int, what: str, missing: Sequence[Failure]) -> str:
    """Why items wait for another attempt, as the sentence of a partial result; empty if none do."""
    if not num_open:
        return ""
    kinds = Counter(failure.kind for failure in missing).most_common()
    told = ", ".join(f"{num:,} {kind}" for kind, num in kinds)
    return f"{num_open:,} {what} have no outcome yet ({told}); the same command goes on with them"


def call_numbers(asked: Counter[str], num_tokens: int) -> list[Number]:
    """How often models are asked at most, by where they are, and how much they write at most.

    `asked` counts requests by the name of the model, the first attempt of each alone.
    """
    num_outside = sum(num for name, num in asked.items() if "://" in name)
    return [
        Number("calls to URLs at most", num_outside),
        Number("calls to models on this machine at most", asked.total() - num_outside),
        Number("tokens written at most", num_tokens, unit="tokens"),
    ]


class Calls:
    """Asks the models that a run names, one after the other, within one budget.

    What the store holds is not asked again, so a killed run pays for nothing twice.
    """

    def __init__(self, config: EndpointOptions, run: Run, store: CallStore) -> None:
        self._config = config
        self._run = run
        self._store = store
        self._budget = Budget(usd=config.budget, prices=read_prices(config.prices))
        self._keys = _read_keys(config.api_key_env)

    def ask(self, name: str, requests: Sequence[Request]) -> list[Outcome]:
        """An answer or a failure for each request, from the model called `name`.

        Raises what loading the model raises, `Unavailable` when an endpoint is out of order, and
        `Interrupted` when the run is to stop; the answers so far are kept.
        """
        if not requests:
            return []
        label = model_label(name)

        def progress(done: int, total: int, text: str) -> None:
            self._run.progress(done, total, f"{label}: {text}")
            self._run.check()

        async def work() -> list[Outcome]:
            async with self._open(name) as model:
                return await complete_all(model, requests, store=self._store, progress=progress)

        return asyncio.run(work())

    def _open(self, name: str) -> HttpModel | LocalModel:
        if "://" in name:
            key = self._keys.get(urllib.parse.urlsplit(name).netloc, "")
            in_flight = self._config.in_flight
            endpoint = Endpoint(url=name, api_key_env=key, in_flight=in_flight)
            return HttpModel(endpoint, budget=self._budget)
        return self._load(name)

    def _load(self, name: str) -> LocalModel:
        # They bring torch, which a run without local models does without.
        from modelgraft.language.endpoints.local import LocalModel
        from modelgraft.language.load import fastest_cpu_dtype, is_measured, load_causal_lm

        settings = self._run.settings
        dtype: str = settings.dtype
        if is_measured(dtype, settings.device):
            # Stored answers bear the number type, so a resumed run must not measure another.
            dtype = self._run.choose_once("dtype", fastest_cpu_dtype)
        loaded = load_causal_lm(
            name, device=settings.device, dtype=cast("DType", dtype), offline=settings.offline
        )
        return LocalModel(
            loaded.model, loaded.tokenizer, name=name, batch_size=self._config.in_flight
        )


def _read_keys(texts: Sequence[str]) -> dict[str, str]:
    """The variable with the key of each host: a key is sent nowhere else."""
    keys = {}
    for text in texts:
        host, _, variable = text.partition("=")
        if not host or not variable or "/" in host:
            raise ConfigError(
                "api_key_env",
                f"--api-key-env {text}: write HOST=VARIABLE, such as api.example.com=MY_KEY; "
                "the key itself stands in that environment variable.",
            )
        keys[host] = variable
    return keys
