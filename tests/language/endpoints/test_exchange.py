"""Requests and replies: exact keys, exact round trips, nothing secret or odd in a body."""

from __future__ import annotations

import json
import math

import pytest

from modelgraft.core.errors import ConfigError
from modelgraft.language.endpoints.exchange import CallFailed, Reply, Request, TokenLogprob
from modelgraft.language.endpoints.wire import read_reply, write_reply

FULL = {
    "model": "other",
    "temperature": 0.7,
    "top_p": 0.95,
    "max_tokens": 5,
    "seed": 3,
    "stop": ("END",),
    "top_logprobs": 4,
    "extra": {"response_format": {"type": "json_object"}},
}


def test_every_field_but_the_address_changes_the_key(ask):
    keys = {ask().key("m"), ask("other").key("m"), ask().key("n"), ask(sample=1).key("m")}
    keys |= {ask(**{name: value}).key("m") for name, value in FULL.items()}
    assert len(keys) == 4 + len(FULL)


def test_equal_requests_have_equal_keys_however_they_are_written(ask):
    one = ask(temperature=1, stop=["a"], extra={"a": 1, "b": 2})
    other = ask(temperature=1.0, stop=("a",), extra={"b": 2, "a": 1})
    assert one.key("m") == other.key("m")
    assert ask(model="m").key("x") == ask().key("m")


@pytest.mark.parametrize("fields", [{}, FULL, {"temperature": None}])
def test_a_body_says_all_of_a_request_and_is_read_back(ask, fields):
    request = ask(**fields)
    body = request.body("m")
    again = Request.from_body(json.loads(json.dumps(body)))
    assert again.body("") == body and again.key("") == request.key("m")


def test_what_is_none_is_not_sent(ask):
    body = ask(temperature=None).body("m")
    assert body.keys() == {"model", "messages"}


def test_a_lone_surrogate_and_a_null_byte_have_a_key_and_a_body(ask):
    request = ask("a\ud800b\x00c")
    assert len(request.key("m")) == 64
    assert json.loads(json.dumps(request.body("m")))["messages"][0]["content"] == "a\ud800b\x00c"


@pytest.mark.parametrize("name", ["n", "stream", "model", "messages", "max_tokens"])
def test_extra_fields_cannot_change_what_a_request_means(ask, name):
    with pytest.raises(ConfigError, match=name):
        ask(extra={name: 2})


REPLY = Reply(
    text="caf\u00e9 \ud800",
    finish_reason="length",
    reasoning="because",
    logprobs=(TokenLogprob("ca", -0.5, (99, 97), (("ca", -0.5), ("x", -2.0))),),
    prompt_tokens=3,
    completion_tokens=2,
    cached_tokens=1,
    model="m-2",
    cost=0.25,
    seconds=1.5,
)


def test_a_reply_survives_the_store_and_says_where_it_was(tmp_path):
    again = Reply.from_dict(json.loads(json.dumps(REPLY.as_dict())))
    assert again == REPLY and again.seconds == 1.5
    assert again.is_stored and not REPLY.is_stored


def test_a_completion_is_read_as_it_was_written():
    again = read_reply(write_reply(REPLY, "m"), "here")
    assert again == Reply(**{**vars(REPLY), "cost": None})


def completion(**changes: object) -> bytes:
    """A whole completion with another message, choice or usage."""
    data = json.loads(write_reply(Reply(text="yes", prompt_tokens=1), "m"))
    for path, value in changes.items():
        place = data
        *parents, last = path.split("__")
        for name in parents:
            place = place[int(name) if name.isdigit() else name]
        place[int(last) if last.isdigit() else last] = value
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"error": {"message": "no"}}',
        b"[" * 100_000,
        completion()[:-40],
        completion(choices=[]),
        completion(choices__0__message=None),
        completion(choices__0__message__content=7),
        completion(usage__prompt_tokens=-1),
        completion(usage__prompt_tokens="3"),
        completion(choices__0__logprobs={"content": [{"token": "a"}]}),
        completion(choices__0__logprobs={"content": [{"token": "a", "logprob": math.nan}]}),
    ],
)
def test_what_is_no_whole_completion_is_malformed(body):
    with pytest.raises(CallFailed, match="here: the answer is not a whole") as caught:
        read_reply(body, "here")
    assert caught.value.kind == "malformed" and caught.value.may_be_paid


@pytest.mark.parametrize("content", [None, ""])
def test_an_answer_without_a_word_is_empty_unless_it_says_why(content):
    with pytest.raises(CallFailed) as caught:
        read_reply(completion(choices__0__message__content=content), "here")
    assert caught.value.kind == "empty"
    for reason in ("length", "content_filter"):
        body = completion(choices__0__message__content=content, choices__0__finish_reason=reason)
        assert read_reply(body, "here").finish_reason == reason


def test_what_an_endpoint_leaves_out_is_not_known():
    body = json.dumps({"choices": [{"message": {"content": "yes"}}]}).encode()
    reply = read_reply(body, "here")
    assert reply.prompt_tokens is None and reply.logprobs is None and reply.cost is None


def test_an_impossible_token_has_a_finite_logprob_that_json_can_carry():
    token = {"token": "a", "logprob": -math.inf, "top_logprobs": None}
    reply = read_reply(completion(choices__0__logprobs={"content": [token]}), "here")
    assert reply.logprobs is not None and reply.logprobs[0].logprob == -9999.0
    json.dumps(reply.as_dict(), allow_nan=False)
