"""The HTTP client against real servers on this machine that misbehave in each known way."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from email.utils import formatdate

import pytest

from modelgraft.core.errors import ConfigError, Unavailable
from modelgraft.language.endpoints import http
from modelgraft.language.endpoints.exchange import CallFailed, Failure, Reply
from modelgraft.language.endpoints.gather import complete_all
from modelgraft.language.endpoints.http import Endpoint, HttpModel
from modelgraft.language.endpoints.scripted import Faults, ScriptedServer
from modelgraft.language.endpoints.store import CallStore
from modelgraft.language.endpoints.wire import write_reply

CANARY = "canary-7f3a9c51d2e84b06"


def respond(handler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def answer(handler, text: str = "yes") -> None:
    respond(handler, 200, write_reply(Reply(text=text), "m"))


def complete(model: HttpModel, request) -> Reply:
    async def scene() -> Reply:
        async with model:
            return await model.complete(request)

    return asyncio.run(scene())


def complete_each(model: HttpModel, requests: list, **options) -> list:
    async def scene() -> list:
        async with model:
            return await complete_all(model, requests, **options)

    return asyncio.run(scene())


class Sequence:
    """Answers the n-th POST with the n-th step, and the last for ever; counts them."""

    def __init__(self, *steps) -> None:
        self.steps = steps
        self.count = 0

    def __call__(self, handler, body: bytes) -> None:
        step = self.steps[min(self.count, len(self.steps) - 1)]
        self.count += 1
        step(handler)


def status(code: int, body: bytes = b"", **headers: str):
    return lambda handler: respond(handler, code, body, **headers)


def hang_up(handler) -> None:
    handler.close_connection = True


def half(handler) -> None:
    whole = write_reply(Reply(text="a long answer"), "m")
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(whole)))
    handler.end_headers()
    handler.wfile.write(whole[:20])
    handler.close_connection = True


def test_what_is_sent_is_the_body_and_a_bearer_key(serve, ask, monkeypatch):
    monkeypatch.setenv("MY_KEY", CANARY)
    seen = {}

    def look(handler, body):
        seen.update(json.loads(body), path=handler.path, headers=dict(handler.headers))
        answer(handler)

    endpoint = Endpoint(
        url=serve(look), api_key_env="MY_KEY", max_tokens_name="max_completion_tokens"
    )
    reply = complete(HttpModel(endpoint), ask("hi", max_tokens=5, temperature=0.5))
    assert reply.text == "yes" and reply.seconds > 0
    assert seen["path"] == "/v1/chat/completions"
    assert seen["headers"]["Authorization"] == f"Bearer {CANARY}"
    assert seen["headers"]["Accept-Encoding"] == "identity"
    assert seen["max_completion_tokens"] == 5 and "max_tokens" not in seen
    assert seen["messages"] == [{"role": "user", "content": "hi"}] and seen["model"] == "m"


@pytest.mark.parametrize(
    ("fault", "kind", "tries"),
    [
        (status(500), "server_error", 8),
        (status(503, retry_after="2"), "server_error", 8),
        (status(408), "server_error", 8),
        (status(429), "rate_limited", 8),
        (hang_up, "dropped", 8),
        (half, "dropped", 8),
        (status(200), "malformed", 8),
        (status(200, b'{"choices": [{"mess'), "malformed", 8),
        (status(200, write_reply(Reply(text=""), "m")), "empty", 3),
        (status(400, b'{"error": {"message": "context length"}}'), "rejected", 1),
        (status(422, b"bad\x1b[31m\nfield"), "rejected", 1),
        (status(403), "refused", 1),
    ],
)
def test_a_failure_is_tried_as_often_as_it_makes_sense(serve, ask, by_hand, fault, kind, tries):
    always = Sequence(fault)
    with pytest.raises(CallFailed) as caught:
        complete(HttpModel(serve(always), clock=by_hand), ask())
    assert caught.value.kind == kind and always.count == tries
    assert "http://127.0.0.1" in str(caught.value) and "\x1b" not in str(caught.value)
    if tries > 1:
        then_well = Sequence(*[fault] * (tries - 1), answer)
        assert complete(HttpModel(serve(then_well), clock=by_hand), ask()).text == "yes"
        assert then_well.count == tries


def test_waits_double_and_retry_after_is_kept_in_both_forms(serve, ask, by_hand):
    later = formatdate(time.time() + 30, usegmt=True)
    refusals = [status(429, retry_after=after) for after in ("20", later)]
    steps = [status(500), status(500), *refusals, answer]
    model = HttpModel(serve(Sequence(*steps)), clock=by_hand, jitter=random.Random(1))
    complete(model, ask())
    first, second, third, fourth = by_hand.slept
    assert 0 <= first <= 0.5 and 0 <= second <= 1
    assert 20 <= third <= 22 and 28 <= fourth <= 34


def test_a_slow_drip_ends_at_the_time_limit(ask, swift):
    with ScriptedServer(faults=Faults(slow=1.0, slow_s=20)) as server:
        endpoint = Endpoint(url=f"{server.url}#m", timeout_s=0.05)
        start = time.monotonic()
        with pytest.raises(CallFailed, match=r"no whole answer within 0.05 s") as caught:
            complete(HttpModel(endpoint, clock=swift), ask())
    assert caught.value.kind == "timeout" and time.monotonic() - start < 10


def test_a_slow_answer_within_the_limit_is_an_answer(ask):
    with ScriptedServer(faults=Faults(slow=1.0, slow_s=0.1)) as server:
        assert complete(HttpModel(f"{server.url}#m"), ask("slow")).text == "slow"


def test_an_endless_body_is_cut_off(serve, ask, monkeypatch):
    monkeypatch.setattr(http, "_MAX_BODY_BYTES", 10_000)
    sent = []

    def pour(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**9))
        handler.end_headers()
        try:
            for _ in range(100_000):
                sent.append(handler.wfile.write(b" " * 1000))
        except OSError:
            handler.close_connection = True

    always = Sequence(pour)
    with pytest.raises(CallFailed, match="longer than 10,000 bytes") as caught:
        complete(HttpModel(serve(always)), ask())
    assert caught.value.kind == "oversized" and always.count == 1
    assert sum(sent) < 50_000_000


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_other_place_sees_nothing(serve, ask, code, monkeypatch):
    monkeypatch.setenv("MY_KEY", CANARY)
    other = Sequence(answer)
    target = serve(other).partition("#")[0]
    url = serve(Sequence(status(code, location=f"{target}/chat/completions")))
    with pytest.raises(ConfigError, match="not followed"):
        complete(HttpModel(Endpoint(url=url, api_key_env="MY_KEY")), ask())
    assert other.count == 0


def test_an_address_or_model_that_is_not_there_stops_everything(serve, ask):
    missing = Sequence(status(404, b'{"error": {"message": "no model m"}}'))
    with pytest.raises(ConfigError, match="HTTP 404: no model m") as caught:
        complete_each(HttpModel(serve(missing)), [ask(str(i)) for i in range(500)])
    assert missing.count < 150 and "no model 'm'" in str(caught.value)


def test_a_refused_key_stops_everything_and_names_its_variable(serve, ask, monkeypatch):
    monkeypatch.setenv("MY_KEY", CANARY)
    refuse = Sequence(status(401, f"no such key: {CANARY}".encode()))
    model = HttpModel(Endpoint(url=serve(refuse), api_key_env="MY_KEY"))
    with pytest.raises(ConfigError, match=r"no such key: \[key\]\s+The key came from the variable"):
        complete_each(model, [ask(str(i)) for i in range(500)])
    assert refuse.count < 150
    with pytest.raises(ConfigError, match="No key was sent"):
        complete(HttpModel(serve(refuse)), ask())


@pytest.mark.parametrize("value", [None, "", "two words", "caf\u00e9", "a\nb"])
def test_a_variable_without_a_usable_key_is_named_and_its_value_is_not(monkeypatch, value):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="MY_KEY holds no usable key") as caught:
        HttpModel(Endpoint(url="http://127.0.0.1/v1#m", api_key_env="MY_KEY"))
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "ftp://host/v1#m",
        "https:///v1#m",
        "tiny:smollm",
        "http://[::1/v1#m",
        "http://host:99999/v1#m",
        "http://a b/v1#m",
        f"http://me:{CANARY}@[::1/v1#m",
        f"https://me:{CANARY}@host/v1#m",
        f"https://{CANARY}@host/v1#m",
        f"https://host/v1?key={CANARY}#m",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_without_showing_it(url):
    with pytest.raises(ConfigError) as caught:
        HttpModel(url)
    assert "#model-name" in str(caught.value) and CANARY not in str(caught.value)


def test_the_key_is_in_no_file_log_reply_or_message(
    serve, ask, tmp_path, monkeypatch, caplog, swift
):
    monkeypatch.setenv("MY_KEY", CANARY)
    caplog.set_level(logging.DEBUG)

    def tell(handler, body):
        key = handler.headers["Authorization"]
        number = int(json.loads(body)["messages"][0]["content"])
        if number % 3 == 0:
            answer(handler, f"your key is {key}")
        elif number % 3 == 1:
            respond(handler, 400, json.dumps({"error": {"message": f"bad key {key}"}}).encode())
        else:
            respond(handler, 500, f"trace: {key}".encode(), X_Key=key)

    model = HttpModel(Endpoint(url=serve(tell), api_key_env="MY_KEY"), clock=swift)
    with CallStore(tmp_path / "calls.sqlite") as store:
        asked = [ask(str(i)) for i in range(12)]
        outcomes = complete_each(model, asked, store=store)
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    kinds = {type(one) for one in outcomes}
    assert kinds == {Reply, Failure} and "[key]" in repr(outcomes)
    everything = [
        repr(outcomes),
        caplog.text,
        repr(model),
        repr(model.endpoint),
        stored.decode(errors="replace"),
    ]
    assert not [text for text in everything if CANARY in text]
    assert caplog.records, "the client's own log was looked at"


def test_the_placeholder_key_of_a_local_server_changes_no_answer(serve, ask, monkeypatch):
    monkeypatch.setenv("MY_KEY", "EMPTY")
    url = serve(lambda handler, body: answer(handler, "EMPTY is a word"))
    reply = complete(HttpModel(Endpoint(url=url, api_key_env="MY_KEY")), ask())
    assert reply.text == "EMPTY is a word"


def test_a_server_that_is_gone_stops_the_run_early_and_can_be_resumed(ask, swift, tmp_path):
    with ScriptedServer() as server:
        url = f"{server.url}#m"
    asked = [ask(str(i)) for i in range(200)]
    with CallStore(tmp_path / "calls.sqlite") as store:
        with pytest.raises(Unavailable, match=r"20 calls failed in a row") as caught:
            complete_each(HttpModel(url, clock=swift), asked, store=store, clock=swift)
        assert not isinstance(caught.value, CallFailed) and caught.value.exit_code == 4
        with ScriptedServer() as server:
            again = HttpModel(f"{server.url}#m")
            outcomes = complete_each(again, asked, store=store)
    assert [one.text for one in outcomes] == [str(i) for i in range(200)]


def test_an_endpoint_out_of_order_stops_the_run_after_twenty_calls_given_up(serve, ask, swift):
    always = Sequence(status(503))
    model = HttpModel(Endpoint(url=serve(always), in_flight=8), clock=swift)
    with pytest.raises(Unavailable, match=r"20 calls failed in a row.*HTTP 503") as caught:
        complete_each(model, [ask(str(i)) for i in range(300)])
    assert not isinstance(caught.value, CallFailed) and always.count < 8 * 60


def test_a_few_items_that_always_fail_do_not_stop_the_run(serve, ask, swift):
    def fail_some(handler, body):
        if b"bad" in body:
            respond(handler, 500)
        else:
            answer(handler)

    asked = [ask(f"good {i}") for i in range(20)] + [ask(f"bad {i}") for i in range(10)]
    outcomes = complete_each(HttpModel(serve(fail_some), clock=swift), asked)
    assert [isinstance(one, Failure) for one in outcomes] == [False] * 20 + [True] * 10


def test_bad_items_in_a_row_do_not_stop_the_run(serve, ask, swift):
    url = serve(lambda handler, body: respond(handler, 400, b"too long"))
    outcomes = complete_each(HttpModel(url, clock=swift), [ask(str(i)) for i in range(60)])
    assert {one.kind for one in outcomes} == {"rejected"}


def test_answers_belong_to_their_requests_although_ids_repeat_and_models_change(ask):
    def rename(request):
        text = request.messages[-1]["content"]
        return Reply(text=text, model=f"m-{text}")

    with ScriptedServer(rename) as server:
        asked = [ask(str(i)) for i in range(50)]
        outcomes = complete_each(HttpModel(f"{server.url}#m"), asked)
    assert [(one.text, one.model) for one in outcomes] == [(str(i), f"m-{i}") for i in range(50)]


def test_one_model_serves_one_event_loop_after_another(ask):
    with ScriptedServer() as server:
        model = HttpModel(f"{server.url}#m")
        assert [complete(model, ask(text)).text for text in "ab"] == ["a", "b"]


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(ask, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with ScriptedServer() as server:
        assert complete(HttpModel(f"{server.url}#m"), ask("direct")).text == "direct"


def test_the_name_for_the_store_may_differ_from_the_name_that_is_sent(serve, ask):
    sent = []

    def look(handler, body):
        sent.append(json.loads(body)["model"])
        answer(handler)

    model = HttpModel(Endpoint(url=serve(look), name="m@q4"))
    complete(model, ask())
    assert model.name == "m@q4" and sent == ["m"]
