"""A small RLVR run that tests start, stop and kill: `rlvr_job.py RUN WEIGHTS OPTION=VALUE ...`.

The policy is a random network over characters, and what is paid is ending early.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from modelgraft.core.runs import open_run
from modelgraft.language.generation import Sampling
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.adapter.scores import make_critic
from modelgraft.methods.tulu3.config import PpoConfig, RlvrConfig, RlvrOptim
from modelgraft.methods.tulu3.data import Prompt
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config
from modelgraft.methods.tulu3.train.rlvr.episodes import stop_ids
from modelgraft.methods.tulu3.train.rlvr.loop import Outcome, train_rlvr
from modelgraft.methods.tulu3.train.rlvr.ppo import Actors
from modelgraft.methods.tulu3.verifying import verifier_pool

CHECKS = {name: f"rlvr_checks:{name}" for name in ("brief", "same", "broken")}
OPTIM = RlvrOptim(lr=3e-3, batch=12, micro_batch=12, save_every=2, schedule="constant")
CONFIG = RlvrConfig(
    episodes=48,
    max_new_tokens=10,
    max_prompt=40,
    eval_every=0,
    beta=0.05,
    ppo=PpoConfig(critic="policy"),
    optim=OPTIM,
)


def prompts(num: int = 8, *, verifier: str = "brief", truth: str = "4") -> list[Prompt]:
    """Prompts of different lengths."""
    return [
        Prompt(f"p{n}", ({"role": "user", "content": "say" + "." * n},), verifier, truth)
        for n in range(num)
    ]


def policy(*, seed: int = 0, dtype: torch.dtype = torch.float32, layers: int = 1) -> Any:
    """A random network; an answer ends about once in twenty tokens."""
    torch.manual_seed(seed)
    config = tiny_config("nano")
    config.num_hidden_layers = layers
    return LlamaForCausalLM(config).to(dtype).eval()


def actors(config: RlvrConfig = CONFIG, **options: Any) -> Actors:
    """The policy with its tokenizer and, for PPO, a critic."""
    model = policy(**options)
    critic = make_critic(model, "policy", seed=1) if config.algo == "ppo" else None
    return Actors(model, build_tokenizer(), critic)


def sampling(made: Actors, config: RlvrConfig = CONFIG) -> Sampling:
    """How answers are drawn."""
    return Sampling(
        max_new_tokens=config.max_new_tokens, stop_ids=stop_ids(made.policy, made.tokenizer)
    )


@contextmanager
def checking() -> Iterator[Pool]:
    """The pool that knows the verifiers of the tests."""
    here = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, before]))
    try:
        with verifier_pool(workers=1, limit_s=20, custom=CHECKS) as pool:
            yield pool
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


@dataclass
class Job:
    """One run; it may be killed (SIGKILL), or asked to stop (SIGTERM) after the next step."""

    config: RlvrConfig = CONFIG
    prompts: list[Prompt] = field(default_factory=prompts)
    kill_at: int | None = None
    stop_at: int | None = None

    def start(self, folder: Path, pool: Pool, **options: Any) -> tuple[Actors, Outcome]:
        """The trained actors and the outcome."""
        made = options.pop("actors", None) or actors(self.config)
        with open_run(folder, seed=5) as run:
            if self.kill_at is not None or self.stop_at is not None:
                run.metric = self._heard(run.metric)  # ty: ignore
            return made, train_rlvr(made, self.prompts, self.config, run, pool=pool, **options)

    def _heard(self, metric: Any) -> Any:
        def heard(step: int, **values: float) -> None:
            metric(step, **values)
            if step == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if step == self.stop_at and "loss" in values:  # a second signal would not wait
                signal.raise_signal(signal.SIGTERM)

        return heard


def weights(made: Actors) -> dict[str, torch.Tensor]:
    """All trained weights by name."""
    parts = {"policy": made.policy, "critic": made.critic}
    return {
        f"{part}.{name}": tensor.detach().clone()
        for part, model in parts.items()
        if model is not None
        for name, tensor in model.named_parameters()
    }


def main(folder: str, target: str, options: str) -> None:
    """A run in a process of its own, for tests that kill it; `options` is JSON."""
    torch.set_num_threads(1)
    given = json.loads(options)
    kill_at, stop_at = given.pop("kill_at", None), given.pop("stop_at", None)
    ppo = replace(CONFIG.ppo, **given.pop("ppo", {}))
    config = replace(CONFIG, ppo=ppo, **given)
    rank = int(os.environ.get("RANK", 0))
    # As on the command line, only the first process has a folder that outlives it.
    own = Path(tempfile.mkdtemp()) / "run" if rank else Path(folder)
    job = Job(config, kill_at=kill_at, stop_at=None if rank else stop_at)
    with checking() as pool:
        made, _ = job.start(own, pool)
    if rank == 0:
        save_file(weights(made), target)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main(*sys.argv[1:])
