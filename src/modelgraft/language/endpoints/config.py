"""Options of every action that asks models by name."""

from __future__ import annotations

from dataclasses import dataclass

from modelgraft.core.options import opt


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """What calls to models behind URLs may cost, and how many run at once."""

    budget: float | None = opt(
        None, "Most to spend behind URLs before this command stops; needs --prices.", min=0
    )
    prices: tuple[str, ...] = opt(
        (), "MODEL=INPUT/OUTPUT: what a million tokens cost behind a URL.", advanced=True
    )
    api_key_env: tuple[str, ...] = opt(
        (), "HOST=VARIABLE: the environment variable that holds the key for a URL's host."
    )
    in_flight: int = opt(16, "Calls at the same time.", min=1)
