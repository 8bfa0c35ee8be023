"""A budget is never exceeded, wastes little of itself, and says what it needs."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from modelgraft.core.errors import ConfigError, Partial
from modelgraft.language.endpoints.budget import Budget, Price, Spent, read_prices
from modelgraft.language.endpoints.callable import CallableModel
from modelgraft.language.endpoints.exchange import CallFailed, Failure, Reply
from modelgraft.language.endpoints.gather import complete_all, shortfall

PRICES = {"m": Price(3.0, 15.0)}


def spender(budget: Budget, seed: int = 0) -> CallableModel:
    """A model whose calls overlap and use any number of tokens up to what they may."""
    random = Random(seed)

    async def answer(request):
        await asyncio.sleep(0.0005 * random.random())
        text = request.messages[0]["content"]
        return Reply(
            text=text,
            prompt_tokens=random.randint(1, len(text)),
            completion_tokens=random.randint(1, request.max_tokens),
        )

    return CallableModel(answer, name="m", in_flight=16, budget=budget)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("limits", [{"usd": 0.05}, {"tokens": 9000}, {"calls": 37}])
def test_a_limit_is_never_exceeded_and_used_but_for_one_call(ask, limits, seed):
    budget = Budget(**limits, prices=PRICES)
    asked = [ask(f"question {i}", max_tokens=100) for i in range(300)]
    outcomes = asyncio.run(complete_all(spender(budget, seed), asked))
    answered = [one for one in outcomes if isinstance(one, Reply)]
    left_out = [one for one in outcomes if isinstance(one, Failure)]
    assert len(answered) + len(left_out) == 300 and left_out
    assert {one.kind for one in left_out} == {"budget"}
    ((name, limit),) = limits.items()
    used = getattr(budget.spent, name)
    one_call = {
        "usd": PRICES["m"].cost(64 + 16 + 12, 100),
        "tokens": 64 + 16 + 12 + 100,
        "calls": 1,
    }
    assert limit - one_call[name] <= used <= limit
    assert budget.spent.calls == len(answered)
    assert sum(reply.cost for reply in answered) == pytest.approx(budget.spent.usd)
    assert f"{len(left_out)} of 300 calls have no answer: {len(left_out)} budget" == shortfall(
        outcomes
    )


def test_what_is_left_out_says_what_was_used_and_how_to_go_on(ask):
    asked = [ask(str(i), max_tokens=10) for i in range(3)]
    outcomes = asyncio.run(complete_all(spender(Budget(calls=1)), asked))
    assert "1 of 1 calls used" in outcomes[2].message and "Raise the budget" in outcomes[2].message


def test_a_try_that_may_be_charged_is_booked_and_one_that_is_not_is_free(ask):
    budget = Budget(calls=2)

    async def scene() -> None:
        for may_be_paid, calls in ((False, 0), (True, 1)):
            with pytest.raises(CallFailed):
                async with budget.hold(ask(), "m"):
                    raise CallFailed("dropped", "gone", may_be_paid=may_be_paid)
            assert budget.spent.calls == calls
        async with budget.hold(ask(), "m") as hold:
            hold.settle(Reply(text="", prompt_tokens=1, completion_tokens=1))
        with pytest.raises(Partial):
            async with budget.hold(ask(), "m"):
                pass

    asyncio.run(scene())
    assert budget.spent == Spent(2, 2)


def test_an_unknown_count_is_booked_as_the_most_it_can_be(ask):
    budget = Budget(tokens=1000)

    async def scene() -> None:
        async with budget.hold(ask("12345", max_tokens=7), "m") as hold:
            assert hold.settle(Reply(text="x")).cost is None

    asyncio.run(scene())
    assert budget.spent.tokens == 64 + 16 + 5 + 7


def test_a_budget_in_dollars_needs_a_price_and_an_end(ask):
    async def hold(budget: Budget, request) -> None:
        async with budget.hold(request, "unknown"):
            pass

    with pytest.raises(ConfigError, match="price of unknown is not known"):
        asyncio.run(hold(Budget(usd=1), ask(max_tokens=5)))
    with pytest.raises(ConfigError, match="max_tokens"):
        asyncio.run(hold(Budget(tokens=100), ask()))
    asyncio.run(hold(Budget(calls=1), ask()))


def test_prices_are_read_from_lines_and_reused_tokens_may_be_cheaper():
    prices = read_prices(["a=1/2", "owner/b:x=0.5=0.15/0.6/0.075"])
    assert prices == {"a": Price(1, 2), "owner/b:x=0.5": Price(0.15, 0.6, 0.075)}
    assert prices["owner/b:x=0.5"].cost(1_000_000, 0, 400_000) == pytest.approx(0.12)
    assert Price(1, 2).cost(1_000_000, 500_000, 400_000) == pytest.approx(2.0)
    assert Price(1, 2, 0).cost(10, 0, 10**9) == 0, "no count of an endpoint earns money"
    for text in ("a", "a=1", "a=x/y", "a=1/2/3/4"):
        with pytest.raises(ConfigError, match="is not a price"):
            read_prices([text])
