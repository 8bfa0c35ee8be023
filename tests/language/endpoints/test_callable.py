"""Python functions as models, sync and async."""

from __future__ import annotations

import asyncio
import threading

import pytest

from modelgraft.core.errors import Unavailable
from modelgraft.language.endpoints.callable import CallableModel
from modelgraft.language.endpoints.exchange import CallFailed, Failure, Reply
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.rules import echo


def upper(request) -> str:
    return request.messages[-1]["content"].upper()


async def upper_later(request) -> str:
    await asyncio.sleep(0)
    return upper(request)


class Sdk:
    async def __call__(self, request) -> Reply:
        return Reply(text=upper(request), completion_tokens=1)


@pytest.mark.parametrize(
    "function", [upper, upper_later, Sdk(), lambda request: upper_later(request)]
)
def test_any_kind_of_function_answers(ask, function):
    model = CallableModel(function, name="f")
    outcomes = asyncio.run(complete_all(model, [ask("a"), ask("b")]))
    assert [one.text for one in outcomes] == ["A", "B"]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_sync_function_runs_in_as_many_threads_as_it_may(ask, in_flight):
    together = threading.Barrier(in_flight, timeout=60)
    busy, most, lock = 0, 0, threading.Lock()

    def meet(request):
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait()
        with lock:
            busy -= 1
        return "met"

    model = CallableModel(meet, name="f", in_flight=in_flight)
    for _ in range(2):  # the second time in another event loop
        asyncio.run(complete_all(model, [ask(str(i)) for i in range(12)]))
    assert most == in_flight


def test_an_exception_is_the_failure_of_its_item_alone(ask):
    def odd(request):
        number = int(upper(request))
        if number % 2:
            raise KeyError(f"no {number}")
        return None if number == 4 else str(number)

    outcomes = asyncio.run(
        complete_all(CallableModel(odd, name="f"), [ask(str(i)) for i in range(6)])
    )
    assert [isinstance(one, Failure) for one in outcomes] == [False, True, False, True, True, True]
    assert outcomes[1] == Failure("error", "f: KeyError: 'no 1'")
    assert "must return text or a Reply" in outcomes[4].message


def test_a_function_that_always_fails_stops_the_run(ask):
    def broken(request):
        raise RuntimeError("no quota")

    with pytest.raises(Unavailable, match=r"f: 20 calls failed in a row.*no quota"):
        asyncio.run(complete_all(CallableModel(broken, name="f"), [ask(str(i)) for i in range(50)]))


def test_a_fault_in_the_family_keeps_its_kind(ask):
    def full(request):
        raise CallFailed("too_long", "12 tokens too many")

    outcomes = asyncio.run(complete_all(CallableModel(full, name="f"), [ask()]))
    assert outcomes == [Failure("too_long", "12 tokens too many")]


def test_a_rule_is_a_model(ask):
    (reply,) = asyncio.run(complete_all(CallableModel(echo, name="echo"), [ask("a b")]))
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("a b", 2, 2)
