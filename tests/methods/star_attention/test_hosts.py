"""One context on several hosts: simulated ones, and real processes started as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import modelgraft
from modelgraft.cli.main import main
from modelgraft.core.errors import ConfigError
from modelgraft.methods.star_attention import ProcessHosts, gather_cache
from modelgraft.methods.star_attention.adapter.encode import encode_context
from modelgraft.methods.star_attention.adapter.hosts import SimulatedHosts
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.infer import generate, open_hosts
from modelgraft.methods.star_attention.method import plan_blocks
from modelgraft.nn.attention import attend, merge_attention

NUM, QUERY, NEW = 40, 4, 8
WORKER = Path(__file__).with_name("host_process.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
# Without a GPU, --multi_gpu is accelerate's way to start processes; the backend is ours to choose.
ACCELERATE = (
    *("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
    "--num_processes",
)


def launch(words: tuple[str, ...], num: int, *rest: str) -> subprocess.CompletedProcess[str]:
    """Start `num` processes and wait for them; they never wait for each other for ever."""
    folders = [str(Path(modelgraft.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, *words, str(num), *rest]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, env=env)


# -- simulated -------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", [1, 5])
@pytest.mark.parametrize("hosts", [2, 3, 4, 6])
def test_every_query_token_gets_the_logits_of_one_host(
    tiny, draw, star_forward, read_query, query, hosts
):
    """Acceptance 7: Lq > 1, also with more hosts than blocks."""
    model, ids = tiny(dtype=torch.float64), draw(NUM + query)
    alone, cache = star_forward(model, ids, query, StarConfig(block=10))
    cache.rewind()
    cache.hosts = SimulatedHosts(plan_blocks(NUM, cache.plan.config, hosts=hosts), hosts)
    shared = read_query(model, cache, ids)
    assert (alone - shared).abs().max() < 1e-9


def test_a_causal_mask_on_context_hosts_would_be_wrong(tiny, draw, star_forward, read_query):
    """Acceptance 7, the trap: right for one query token, wrong for every earlier one of more."""
    model = tiny(dtype=torch.float64)
    ids = draw(NUM + 5)

    class Masked(SimulatedHosts):
        def attend(self, query: Any, key: Any, value: Any, *, scale: float) -> Any:
            ends = [*self.bounds[1:-1], key.shape[2]]
            parts = [
                attend(query, key[:, :, a:b], value[:, :, a:b], scale=scale, causal=True)
                for a, b in zip(self.bounds, ends, strict=False)
            ]
            return merge_attention(parts).output

    for query, wrong in ((1, False), (5, True)):
        part = ids[:, : NUM + query]
        alone, cache = star_forward(model, part, query, StarConfig(block=10))
        cache.rewind()
        cache.hosts = Masked(plan_blocks(NUM, cache.plan.config, hosts=2), 2)
        assert ((read_query(model, cache, part) - alone).abs().max() > 0.1) == wrong


def test_simulated_hosts_generate_the_tokens_of_one(tiny, draw):
    model, ids = tiny(eos_token_id=None), draw(NUM + QUERY)
    cache = encode_context(model, ids[:, :NUM], StarConfig(block=10))
    expected = generate(model, cache, ids, max_new_tokens=NEW)
    for hosts in (2, 3):
        cache.rewind()
        cache.hosts = SimulatedHosts(plan_blocks(NUM, cache.plan.config, hosts=hosts), hosts)
        assert torch.equal(generate(model, cache, ids, max_new_tokens=NEW), expected)


# -- processes -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompt(draw: Any) -> torch.Tensor:
    return draw(NUM + QUERY)


@pytest.fixture(scope="module")
def model(tiny: Any) -> Any:
    return tiny(dtype=torch.float64, eos_token_id=None)


@pytest.fixture(scope="module", params=[2, 3], ids=["accelerate-2", "torchrun-3"])
def launched(
    request: Any,
    tmp_path_factory: Any,
    model: Any,
    prompt: torch.Tensor,
    model_folder: Path,
    document: Path,
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]], Path]:
    """How it ended, what every rank saw, and where: 2 under accelerate launch, 3 under torchrun.

    In the second, rank 1 breaks when everything else is done.
    """
    folder = tmp_path_factory.mktemp("ranks")
    model.save_pretrained(folder / "model")
    command = answer_command(model_folder, document, folder / "run")
    task = {"ids": prompt.tolist(), "num_context": NUM, "command": command}
    (folder / "task.json").write_text(json.dumps(task))
    words = (ACCELERATE, ()) if request.param == 2 else (TORCHRUN, ("fail",))
    done = launch(words[0], request.param, str(WORKER), str(folder), *words[1])
    files = [folder / f"rank-{rank}.json" for rank in range(request.param)]
    assert all(file.exists() for file in files), done.stderr[-3000:]
    return done, [json.loads(file.read_text()) for file in files], folder


@pytest.fixture(scope="module")
def ranks(launched: Any) -> list[dict[str, Any]]:
    """What every rank saw."""
    return launched[1]


def answer_command(model_folder: Path, document: Path, out: Path) -> list[str]:
    return [
        *("star_attention", "answer", str(document), "--model", str(model_folder)),
        *("--question", "Who carries nets?", "--question", "How many?", "--max-new-tokens", "6"),
        *("--dtype", "float32", "--device", "cpu", "--out", str(out)),
    ]


def alone(model: Any, prompt: torch.Tensor, read_query: Any, **options: Any) -> tuple[Any, Any]:
    cache = encode_context(model, prompt[:, :NUM], StarConfig(**options))
    logits = read_query(model, cache, prompt)[0]
    cache.rewind()
    tokens = generate(model, cache, prompt, max_new_tokens=NEW)[:, NUM + QUERY :].tolist()
    return logits, tokens


def test_processes_answer_as_one(ranks, model, prompt, read_query):
    """Acceptance 8: greedy tokens and logits, also when one rank has no block; acceptance 3."""
    size = len(ranks)
    assert {(one["size"], one["backend"]) for one in ranks} == {(size, "gloo")}
    few = {"block": -(-NUM // (size - 1))}
    plans = {"": {"block": 10, "anchor": 7}, ", idle": few, "steps": {"block": 4}}
    for ending, options in plans.items():
        logits, tokens = alone(model, prompt, read_query, **options)
        names = [name for name in ranks[0] if ending and name.endswith(ending)]
        for name in names or ("shared", "recompute", "broadcast"):
            for one in ranks:
                assert one[name]["tokens"] == tokens, (name, one["rank"])
                found = torch.tensor(one[name]["logits"], dtype=torch.float64)
                assert (found - logits).abs().max() < 1e-9
    assert len({tuple(ranks[0][name]["tokens"][0]) for name in ("shared", "shared, idle")}) == 2


def test_only_the_query_host_grows(ranks):
    """Acceptance 10: n entries over all hosts; the last one adds Lq, and gives them back."""
    size = len(ranks)
    for name in ("shared", "recompute", "broadcast", "shared, idle"):
        after, read, rewound = (
            [one[name]["lengths"][moment] for one in ranks] for moment in range(3)
        )
        assert sum(lengths[0] for lengths in after) == NUM
        added = [now[0] - before[0] for now, before in zip(read, after, strict=True)]
        assert added == [0] * (size - 1) + [QUERY] and rewound == after
        assert {one[name]["total"] for one in ranks} == {NUM + QUERY}
    assert ranks[-1]["shared, idle"]["lengths"][0] == [0, 0]


def test_each_rank_sends_one_output_and_one_scalar_per_token_head_and_layer(ranks):
    layers, heads, size, number = 2, 4, 16, 8
    for one in ranks:
        assert one["shared"]["bytes_per_token"] == layers * heads * (size + 1) * number


def test_sampling_stays_in_step(ranks, model, prompt):
    """Acceptance 9: one seed, seeds of their own, several samples, and ends of text."""
    for name in ("one seed", "own seeds", "two samples", "ends"):
        assert all(one[name] == ranks[0][name] for one in ranks), name
    cache = encode_context(model, prompt[:, :NUM], StarConfig(block=10, anchor=7))
    torch.manual_seed(3)
    expected = generate(model, cache, prompt, max_new_tokens=NEW, do_sample=True, temperature=1.5)[
        :, NUM + QUERY :
    ].tolist()
    assert ranks[0]["one seed"] == ranks[0]["own seeds"] == expected
    assert ranks[0]["two samples"][0] != ranks[0]["two samples"][1]
    assert min(len(turn[0]) for turn in ranks[0]["ends"]) < NEW


def test_what_several_hosts_cannot_do_is_refused_on_all(ranks):
    """Section 9: beam search and assisted decoding over processes, and what needs one cache."""
    assert all(one["refused"] == ranks[0]["refused"] for one in ranks)
    says = {
        "beams": "beam search and assisted decoding need one host",
        "lookup": "beam search and assisted decoding need one host",
        "mask": "attention_mask hides tokens",
        "save": "cannot be saved as one file",
        "append": "more context can only follow",
        "halo": "one host only",
        "streaming": "one host only",
    }
    assert all(text in ranks[0]["refused"][name] for name, text in says.items())


def test_a_gathered_context_answers_without_the_others(ranks):
    """Also where the query host had no block of its own."""
    for name, shared in (("gathered", "shared"), ("idle gathered", "shared, idle")):
        assert [one[name] for one in ranks[:-1]] == [None] * (len(ranks) - 1)
        assert ranks[-1][name] == ranks[-1][shared]["tokens"]


@pytest.mark.parametrize("launched", [2], indirect=True, ids=["accelerate-2"])
def test_a_stop_of_one_rank_stops_all(ranks):
    """A criterion, a time limit, an error in a criterion, and a report that ends an encoding."""
    first, other = (one["stopped"] for one in ranks)
    whole = ranks[0]["shared"]["tokens"][0]
    assert first["criterion"] == [whole[:3]] and first["time"] == [whole[:1]]
    assert first["raised"] == "division by zero" and first["afterwards"] == [whole]
    assert other["raised"] == [whole[:1]]
    for name in ("criterion", "time", "afterwards"):
        assert other[name] == first[name]
    for name in ("report, shared", "report, broadcast"):
        assert first[name] == "Interrupted: a person asked to stop"
        assert other[name].startswith("Interrupted: another host was stopped while it encoded")


@pytest.mark.parametrize("launched", [2], indirect=True, ids=["accelerate-2"])
def test_hosts_with_different_work_are_told_so_before_they_begin(ranks):
    assert ranks[0]["disagreeing"] == ranks[1]["disagreeing"]
    says = {
        "dtype": "the number type ('torch.float64' on host 0",
        "text": "the context (",
        "length": "the context (",
        "options": "block (10 on host 0",
        "headroom": "headroom (5 on host 0",
        "model": "the model's configuration (",
        "query": "the query (",
        "answer": "max_new_tokens (8 on host 0",
    }
    for name, text in says.items():
        said = ranks[0]["disagreeing"][name]
        assert said.startswith("ConfigError: the hosts were given different work; what differs is")
        assert text in said and "on host 1)." in said, name
        assert said.count("(") == 1 and "the same model, context and options" in said


def test_a_choice_of_one_rank_can_be_shared(ranks):
    assert {one["choice of rank 0"] for one in ranks} == {"rank 0"}


def test_the_group_is_closed_at_exit(launched):
    _, ranks, folder = launched
    assert [(folder / f"open-{rank}").read_text() for rank in range(len(ranks))] == ["False"] * (
        len(ranks)
    )


def test_a_launched_command_prints_the_text_of_one_process(
    ranks, model_folder, document, tmp_path, capsys
):
    """Acceptance 27: accelerate launch and torchrun; rank 0 speaks for all."""
    assert main(answer_command(model_folder, document, tmp_path / "run")) == 0
    assert [one["exit code"] for one in ranks] == [0] * len(ranks)
    text = capsys.readouterr().out.splitlines()[:4]
    assert ranks[0]["said"].splitlines()[:4] == text and "Who carries nets?" in text
    assert [one["said"] for one in ranks[1:]] == [""] * (len(ranks) - 1)


def test_an_error_on_one_rank_ends_the_others(launched):
    """Section 9: nobody waits for a rank that is gone."""
    done, ranks, _ = launched
    assert (done.returncode != 0) == (len(ranks) == 3), done.stderr[-3000:]
    assert ("this rank is broken" in done.stderr) == (len(ranks) == 3)
    assert ("Unavailable: another host of this group is gone" in done.stderr) == (len(ranks) == 3)


def test_a_rank_does_not_wait_for_a_run_that_was_finished_before(
    model_folder, document, tmp_path, monkeypatch, capsys
):
    """The first process only shows the earlier result, so it would never be met."""
    command = answer_command(model_folder, document, tmp_path / "run")
    assert main(command) == 0
    capsys.readouterr()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(command) == 0 and capsys.readouterr().out == ""


# -- what is missing -------------------------------------------------------------------------------


def test_hosts_without_a_process_group_say_how_to_start(monkeypatch):
    with pytest.raises(ConfigError, match=r"(?s)no process group.*torchrun --nproc-per-node N"):
        ProcessHosts()
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert open_hosts() is None


def test_a_world_without_ranks_is_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"(?s)WORLD_SIZE is 2, but RANK.*Start with torchrun"):
        open_hosts()


def test_gathering_needs_a_shared_context(tiny, draw):
    cache = encode_context(tiny(), draw(NUM), StarConfig(block=10))
    with pytest.raises(ConfigError, match="nothing is to be gathered"):
        gather_cache(cache)
