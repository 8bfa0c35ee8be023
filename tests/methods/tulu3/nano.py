"""Small models in folders, and runs that stop, for the tests of the training stages.

`nano.py STAGE,STAGE FOLDER OPTION=VALUE ...` runs stages in a process of its own, each in a folder
named after it; with `die=STEP` among the options it is killed in that step.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from modelgraft.core.lazy import load
from modelgraft.core.options import build
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run, open_run
from modelgraft.core.settings import Settings
from modelgraft.methods.tulu3.config import DpoConfig, SftConfig
from modelgraft.methods.tulu3.tiny import build_tokenizer, tiny_config

STAGES = {
    "sft": (SftConfig, "modelgraft.methods.tulu3.train.sft:sft"),
    "dpo": (DpoConfig, "modelgraft.methods.tulu3.train.dpo:dpo"),
}


def make_model(*, layers: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """A random nano Llama."""
    torch.manual_seed(seed)
    config = tiny_config("nano")
    config.num_hidden_layers = layers
    return LlamaForCausalLM(config).to(dtype).eval()


def save_model(folder: Path, *, template: bool = True, **options: Any) -> str:
    """The name of a folder with a random model and its tokenizer."""
    make_model(**options).save_pretrained(folder)
    tokenizer = build_tokenizer()
    if not template:
        tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return str(folder)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    """A JSONL file of rows; one that is text is written as it is."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def chat(id: str, question: str, answer: str) -> dict[str, Any]:
    """A conversation of two turns as a row."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"id": id, "messages": turns, "source": "words"}


def pair(id: str, question: str, chosen: str, rejected: str) -> dict[str, Any]:
    """A preference pair as a row."""
    sides = (chat(id, question, answer)["messages"] for answer in (chosen, rejected))
    return {"id": id, **dict(zip(("chosen", "rejected"), sides, strict=True)), "source": "words"}


def stop_in(run: Run, step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when that step is recorded."""
    record = run.metric

    def metric(at: int, **values: float) -> None:
        record(at, **values)
        if at == step:
            os.kill(os.getpid(), number)

    run.metric = metric  # type: ignore[method-assign]


def start(
    stage: str, folder: Path, values: Mapping[str, Any], *, stop_at: int | None = None, **settings
) -> Result:
    """Run a stage under the options of `values`, in a run of its own."""
    die_at = values.get("die")
    given = replace(Settings(seed=1), **settings)
    with open_run(folder, settings=given) as run:
        if stop_at is not None:
            stop_in(run, stop_at)
        if die_at is not None:
            stop_in(run, int(die_at), signal.SIGKILL)
        return load(STAGES[stage][1])(config_of(stage, values), run)


def config_of(stage: str, values: Mapping[str, Any]) -> Any:
    """The config of a stage with these options."""
    return build(STAGES[stage][0], {name: one for name, one in values.items() if name != "die"})


def number(result: Result | list[Number], name: str) -> float:
    """The value of the number of this name."""
    found = result.numbers if isinstance(result, Result) else result
    return next(one.value for one in found if one.name == name)


def saved(folder: Path, name: str = "model") -> dict[str, Tensor]:
    """The tensors of a model or an adapter that a run saved."""
    [file] = (folder / "artefacts" / name).glob("*.safetensors")
    return load_file(file)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference between tensors of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def rejects(folder: Path) -> list[tuple[int, str]]:
    """Line and reason of the rows that a run left out."""
    path = folder / "rejects.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return sorted((row["line"], row["reason"]) for row in rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    stages, folder, *words = sys.argv[1:]
    own = Path(folder, os.environ.get("RANK", "0"))
    for stage in stages.split(","):
        start(stage, own / stage, dict(word.split("=", 1) for word in words))
