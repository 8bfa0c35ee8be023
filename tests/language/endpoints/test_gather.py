"""Many calls: in order, bounded, stopped cleanly, and asked once."""

from __future__ import annotations

import asyncio
import random

import pytest

from modelgraft.core.errors import InputError, Interrupted, Unavailable
from modelgraft.language.endpoints import gather
from modelgraft.language.endpoints.callable import CallableModel
from modelgraft.language.endpoints.exchange import CallFailed, Failure, Reply
from modelgraft.language.endpoints.gather import complete_all, shortfall
from modelgraft.language.endpoints.store import CallStore


class Plain:
    """A model from a coroutine function, with nothing around it."""

    name = "plain"

    def __init__(self, answer, in_flight: int = 4) -> None:
        self.answer = answer
        self.in_flight = in_flight
        self.asked: list[str] = []

    async def complete(self, request) -> Reply:
        text = request.messages[0]["content"]
        self.asked.append(text)
        return Reply(text=await self.answer(text))


async def after_a_while(text: str) -> str:
    await asyncio.sleep(random.random() * 0.01)
    return f"answer {text}"


def test_results_come_in_the_order_of_the_requests_whatever_the_order_of_answers(ask):
    asked = [ask(str(i)) for i in range(200)]
    outcomes = asyncio.run(complete_all(Plain(after_a_while, 64), asked))
    assert [one.text for one in outcomes] == [f"answer {i}" for i in range(200)]


def test_no_more_calls_are_begun_than_a_few_for_each_that_can_run(ask):
    busy, most = 0, 0

    async def count(text: str) -> str:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0)
        busy -= 1
        return text

    asyncio.run(complete_all(Plain(count, 5), [ask(str(i)) for i in range(300)]))
    assert most == 20


def test_equal_requests_are_asked_once_and_samples_each(ask):
    model = Plain(after_a_while)
    asked = [ask("a"), ask("b"), ask("a"), ask("a", sample=1)]
    outcomes = asyncio.run(complete_all(model, asked))
    assert sorted(model.asked) == ["a", "a", "b"]
    assert outcomes[0] is outcomes[2] and len(outcomes) == 4


def test_nothing_asked_is_nothing_answered():
    assert asyncio.run(complete_all(Plain(after_a_while), [])) == [] and shortfall([]) == ""


def test_a_failure_is_counted_and_the_others_are_answered(ask):
    async def sometimes(text: str) -> str:
        if text == "1":
            raise CallFailed("timeout", "too slow")
        if text == "2":
            raise InputError("this text cannot be asked")
        return text

    outcomes = asyncio.run(complete_all(Plain(sometimes), [ask(str(i)) for i in range(4)]))
    assert outcomes[1:3] == [
        Failure("timeout", "too slow"),
        Failure("rejected", "this text cannot be asked"),
    ]
    assert shortfall(outcomes) == "2 of 4 calls have no answer: 1 timeout, 1 rejected"
    assert shortfall(outcomes[:1]) == ""


def test_progress_is_told_until_everything_is_done(ask, monkeypatch):
    monkeypatch.setattr(gather, "_TICK_S", 0.005)
    told = []
    asyncio.run(
        complete_all(
            Plain(after_a_while, 1),
            [ask(str(i)) for i in range(20)],
            progress=lambda done, total, text: told.append((done, total, text)),
        )
    )
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert len(told) > 2 and told[-1] == (20, 20, "20 answered, 0 from the store, 0 failed")


def test_a_wish_to_stop_lets_calls_in_flight_end_and_begins_no_others(ask, monkeypatch, tmp_path):
    monkeypatch.setattr(gather, "_TICK_S", 0.01)
    monkeypatch.setattr(gather, "_GRACE_S", 100)

    async def slow(text: str) -> str:
        await asyncio.sleep(0.05)
        return text

    def stop(done: int, total: int, text: str) -> None:
        raise Interrupted("stopped")

    model = Plain(slow, 2)
    with CallStore(tmp_path / "calls.sqlite") as store:
        work = complete_all(model, [ask(str(i)) for i in range(50)], store=store, progress=stop)
        with pytest.raises(Interrupted):
            asyncio.run(work)
        assert len(model.asked) == len(store) == 8
        again = Plain(slow, 8)
        asyncio.run(complete_all(again, [ask(str(i)) for i in range(50)], store=store))
    assert not set(again.asked) & set(model.asked) and len(again.asked) == 42


def test_cancelling_frees_what_was_claimed_and_leaves_no_task(ask, tmp_path):
    async def never(text: str) -> str:
        await asyncio.sleep(3600)
        return text

    async def scene(store: CallStore) -> list:
        before = asyncio.all_tasks()
        for delay in (0, 0.001, 0.01, 0.03):
            work = asyncio.create_task(complete_all(Plain(never), asked, store=store))
            await asyncio.sleep(delay)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            assert asyncio.all_tasks() == before
        return await complete_all(Plain(after_a_while), asked, store=store)

    asked = [ask(str(i)) for i in range(30)]
    with CallStore(tmp_path / "calls.sqlite") as store:
        outcomes = asyncio.run(asyncio.wait_for(scene(store), 100))
    assert len(outcomes) == 30


def test_an_endpoint_that_is_gone_ends_the_work_and_keeps_what_was_answered(ask, tmp_path):
    async def until_ten(text: str) -> str:
        if int(text) >= 10:
            raise Unavailable("gone")
        return text

    with CallStore(tmp_path / "calls.sqlite") as store:
        with pytest.raises(Unavailable, match="gone"):
            asyncio.run(
                complete_all(Plain(until_ten, 1), [ask(str(i)) for i in range(50)], store=store)
            )
        assert len(store) == 10


def test_a_failure_is_not_stored_and_is_asked_again(ask, tmp_path):
    def fail(request):
        raise CallFailed("timeout", "too slow")

    with CallStore(tmp_path / "calls.sqlite") as store:
        first = asyncio.run(complete_all(CallableModel(fail, name="m"), [ask()], store=store))
        well = CallableModel(lambda request: "yes", name="m")
        second = asyncio.run(complete_all(well, [ask()], store=store))
    assert isinstance(first[0], Failure) and second[0].text == "yes"


def test_two_gatherings_in_one_process_ask_once(ask, tmp_path, swift):
    async def scene(store: CallStore) -> None:
        asked = [ask(str(i)) for i in range(20)]
        models = [Plain(after_a_while), Plain(after_a_while)]
        both = await asyncio.gather(
            *(complete_all(model, asked, store=store, clock=swift) for model in models)
        )
        assert both[0] == both[1]
        assert len(models[0].asked) + len(models[1].asked) == 20

    with CallStore(tmp_path / "calls.sqlite") as store:
        asyncio.run(scene(store))
