"""The scripted endpoint: exact shares, the same faults every time, and a program of its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from random import Random

import pytest

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.language.endpoints.exchange import Reply
from modelgraft.language.endpoints.rules import choose, echo, persona, replay
from modelgraft.language.endpoints.scripted import (
    Faults,
    ScriptedServer,
    main,
    read_faults,
    read_rule,
)
from modelgraft.language.endpoints.wire import read_reply

PLAN = Faults(rate_limited=0.3, server_error=0.1, dropped=0.05, slow=0.03, cut=0.02, empty=0.01)


def post(url: str, body: object) -> tuple[int, dict, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(f"{url}/chat/completions", data, timeout=10) as answer:  # noqa: S310
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_faults_have_their_shares():
    random = Random(0)
    drawn = Counter(PLAN.draw(random) for _ in range(20_000))
    assert drawn[""] / 20_000 == pytest.approx(0.49, abs=0.01)
    for name in ("rate_limited", "server_error", "dropped", "slow", "cut", "empty"):
        assert drawn[name] / 20_000 == pytest.approx(getattr(PLAN, name), abs=0.01)


def test_what_a_try_meets_depends_on_seed_request_and_number_only(ask):
    def story(seed: int, order: list[int]) -> dict[int, list[str]]:
        with ScriptedServer(faults=PLAN, seed=seed) as server:
            met: dict[int, list[str]] = {i: [] for i in range(10)}
            for i in order:
                met[i].append(server.take(ask(str(i))).fault)
            return met

    forward = [i for _ in range(6) for i in range(10)]
    assert story(0, forward) == story(0, forward[::-1])
    assert story(0, forward) != story(1, forward)


def test_both_forms_of_retry_after_are_sent(ask):
    with ScriptedServer(faults=Faults(rate_limited=1.0, retry_after_s=30)) as server:
        answers = [post(server.url, ask().body("m")) for _ in range(20)]
    assert {status for status, _, _ in answers} == {429}
    forms = {headers["Retry-After"] == "30" for _, headers, _ in answers}
    assert forms == {True, False}
    assert all(h["Retry-After"].endswith(("30", "GMT")) for _, h, _ in answers)


def test_requests_are_counted_under_the_key_the_client_uses(ask):
    with ScriptedServer() as server:
        for text in ("a", "a", "b"):
            post(server.url, ask(text).body("m"))
        expected = {ask("a").key("m"): [2, 2], ask("b").key("m"): [1, 1]}
        for _ in range(100):  # the last answer is counted after it has been sent
            with urllib.request.urlopen(f"{server.url}/counts", timeout=10) as answer:  # noqa: S310
                counts = json.load(answer)
            if counts == expected:
                break
    assert counts == expected


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", {"model": "m", "messages": []}])
def test_a_body_that_is_no_request_is_answered_with_400(body):
    with ScriptedServer() as server:
        status, _, said = post(server.url, body)
    assert status == 400 and json.loads(said)["error"]["message"]


def test_choose_gives_one_label_with_the_probabilities_it_is_drawn_from(ask):
    rule = choose(["A", "B", "C"], seed=1)
    drawn: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    for i in range(3000):
        reply = rule(ask(str(i), temperature=1.0, top_logprobs=3))
        probabilities = {text: math.exp(logprob) for text, logprob in reply.logprobs[0].top}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert probabilities[reply.text] == pytest.approx(math.exp(reply.logprobs[0].logprob))
        drawn[reply.text] += 1
        expected.update(probabilities)
        greedy = rule(ask(str(i), top_logprobs=3))
        assert greedy.text == greedy.logprobs[0].top[0][0]
    for label in "ABC":
        assert drawn[label] == pytest.approx(expected[label], abs=110)
    assert rule(ask("x")) == rule(ask("x")) and rule(ask("x")).logprobs is None


def test_persona_fills_its_templates_and_replay_knows_only_its_own(ask):
    rule = persona(["Math problem: {persona} counts {apples}."])
    text = "Write a problem.\nPersona: a beekeeper\nEnd."
    assert rule(ask(text)).text == "Math problem: a beekeeper counts {apples}."
    found = replay({"q": Reply(text="full"), "r": "short"})
    assert found(ask("q")).text == "full" and found(ask("r")).text == "short"
    with pytest.raises(InputError, match="no answer is recorded to 's'"):
        found(ask("s"))


def test_an_answer_is_cut_at_its_limit(ask):
    reply = echo(ask("one two three", max_tokens=2))
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("one two", "length", 2)


def test_the_program_prints_its_address_and_answers(ask, tmp_path):
    (tmp_path / "answers.json").write_text('{"q": "recorded"}')
    words = ["--rule", f"replay:{tmp_path / 'answers.json'}", "--seed", "1"]
    command = [sys.executable, "-m", "modelgraft.language.endpoints.scripted", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            url = child.stdout.readline().strip()
            assert read_reply(post(url, ask("q").body("m"))[2], url).text == "recorded"
        finally:
            child.kill()


def test_words_it_does_not_know_are_named():
    assert read_faults("cut=0.5,slow_s=2") == Faults(cut=0.5, slow_s=2)
    assert read_faults("") == Faults() and read_rule("echo", 0) is echo
    for words in (
        ["--rule", "sing"],
        ["--rule", "choose:"],
        ["--faults", "cut"],
        ["--faults", "x=1"],
    ):
        with pytest.raises(ConfigError, match=f"{words[0][2:-1]}"):
            main(words)
