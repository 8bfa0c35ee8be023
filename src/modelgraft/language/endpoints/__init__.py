"""Chat models behind one small protocol: over HTTP, as a Python function, or on this machine.

    async with HttpModel("http://127.0.0.1:8000/v1#judge-7b") as model:
        with CallStore(run.folder / "calls.sqlite") as store:
            outcomes = await complete_all(model, requests, store=store, progress=run.progress)

Answers are kept in a store, so a killed run asks nothing twice; a `Budget` stops before it is
overdrawn; what could not be answered comes back as a counted `Failure`, never as a score.
"""

from typing import TYPE_CHECKING

from modelgraft.core.lazy import public_names

if TYPE_CHECKING:
    from modelgraft.language.endpoints.budget import Budget, Price, read_prices
    from modelgraft.language.endpoints.callable import CallableModel
    from modelgraft.language.endpoints.exchange import (
        CallFailed,
        ChatModel,
        Failure,
        Reply,
        Request,
    )
    from modelgraft.language.endpoints.gather import complete_all, shortfall
    from modelgraft.language.endpoints.http import Endpoint, HttpModel
    from modelgraft.language.endpoints.local import LocalModel
    from modelgraft.language.endpoints.store import CallStore

__all__ = [
    "Budget",
    "CallFailed",
    "CallStore",
    "CallableModel",
    "ChatModel",
    "Endpoint",
    "Failure",
    "HttpModel",
    "LocalModel",
    "Price",
    "Reply",
    "Request",
    "complete_all",
    "read_prices",
    "shortfall",
]
_MODULES = {
    "budget": "Budget Price read_prices",
    "callable": "CallableModel",
    "exchange": "CallFailed ChatModel Failure Reply Request",
    "gather": "complete_all shortfall",
    "http": "Endpoint HttpModel",
    "local": "LocalModel",
    "store": "CallStore",
}
__getattr__ = public_names(
    __name__,
    {name: f"{__name__}.{home}" for home, names in _MODULES.items() for name in names.split()},
)
