"""Sampling in a second process, which writes the next answers while the policy is being trained.

The process is a fresh Python that reads JSON lines and writes JSON lines; weights and answers pass
as safetensors files. It is started with the first job and ends with whoever started it, killed or
not: when its input closes it is gone.
"""

from __future__ import annotations

import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import load_file, save_file

from modelgraft.core.errors import InputError, ModelgraftError, Unavailable, UnsupportedModel
from modelgraft.core.files import atomic_folder, make_folder, remove_folder, sweep_leftovers
from modelgraft.core.lazy import need
from modelgraft.core.quiet import no_progress_bars
from modelgraft.language.generation import Sampling
from modelgraft.language.logprobs import causal_lm
from modelgraft.language.score_heads import without_adapter
from modelgraft.methods.tulu3.train.rlvr.episodes import (
    Job,
    Samples,
    draw,
    read_samples,
    write_samples,
)
from modelgraft.nn.weights import plain_os_errors
from modelgraft.training.optim import trainable

_MODULE = "modelgraft.methods.tulu3.train.rlvr.sampler"
_START_S = 120.0  # imports and the loading of the model on a busy machine
_SILENCE_S = 60.0
_BEAT_S = 1.0
_RAISED = {kind.__name__: kind for kind in (InputError, Unavailable, UnsupportedModel)}


class Sampler(Protocol):
    """Who writes the answers: this process when it is asked to, or another one meanwhile."""

    def ask(self, job: Job) -> None:
        """Have a job done with the policy's weights as they are now."""
        ...

    def take(self, iteration: int) -> Samples:
        """The answers of a job that was asked for, waiting for them if need be."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class InTurn:
    """Answers sampled by this process, at the moment they are asked for."""

    def __init__(self, policy: Any, sampling: Sampling, *, batch_size: int) -> None:
        self._policy, self._sampling, self._batch_size = policy, sampling, batch_size
        self._drawn: dict[int, Samples] = {}

    def ask(self, job: Job) -> None:
        """Sample the answers now."""
        self._drawn[job.iteration] = draw(
            self._policy, job, self._sampling, batch_size=self._batch_size
        )

    def take(self, iteration: int) -> Samples:
        """The answers of a job that was asked for."""
        return self._drawn.pop(iteration)

    def close(self) -> None:
        """Nothing was started."""


class Meanwhile:
    """Answers sampled by a second process on the same device, one job after the other.

    `folder` keeps the weights of the latest job, by which a run that was killed samples the same
    answers again, and the model itself unless it lies in the folder `model` already. The process
    takes half of the threads. All failures of the process are
    `Unavailable`: its end, or no sign of life for `silence_s`.
    """

    def __init__(
        self,
        policy: Any,
        sampling: Sampling,
        folder: Path,
        *,
        batch_size: int,
        model: Path | None = None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        self._policy, self._sampling, self._batch_size = policy, sampling, batch_size
        self._folder, self._silence_s = folder, silence_s
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self._done: set[int] = set()  # jobs that were finished before somebody waited for them
        self._log = folder / "sampler.log"
        self._model = model or folder / "model"
        self._threads = torch.get_num_threads()
        make_folder(folder)
        sweep_leftovers(folder)
        for left in folder.glob("samples-*"):
            remove_folder(left)

    def ask(self, job: Job) -> None:
        """Write the weights, unless this job's are there, and send the job."""
        weights = self._folder / f"weights-{job.version:08d}.safetensors"
        if not weights.exists():
            write_weights(weights, self._policy)
        for old in self._folder.glob("weights-*.safetensors"):
            if old.name < weights.name:
                old.unlink()
        if self._process is None:
            self._start()
        self._send(
            {
                **asdict(job),
                "weights": str(weights),
                "target": str(self._target(job.iteration)),
                "sampling": asdict(self._sampling),
                "batch_size": self._batch_size,
            }
        )

    def take(self, iteration: int) -> Samples:
        """The answers of a job that was asked for, waiting for them."""
        while iteration not in self._done:
            said = self._read(self._silence_s)
            if "raise" in said:
                raise _RAISED.get(said["raise"], Unavailable)(said["message"])
            if "done" in said:
                self._done.add(said["done"])
        self._done.remove(iteration)
        target = self._target(iteration)
        samples = read_samples(target)
        remove_folder(target)
        return samples

    def close(self) -> None:
        """End the process, and give this one its threads back."""
        process, self._process, self._unread = self._process, None, b""
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
            torch.set_num_threads(self._threads)

    @property
    def pid(self) -> int | None:
        """The process's id, once it was started."""
        return None if self._process is None else self._process.pid

    def _target(self, iteration: int) -> Path:
        return self._folder / f"samples-{iteration:08d}"

    def _start(self) -> None:
        if not self._model.exists():
            write_model(self._model, self._policy)
        theirs = max(1, self._threads // 2)
        torch.set_num_threads(max(1, self._threads - theirs))
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the caller, which then ends us
            )
        inner = causal_lm(self._policy)
        self._send(
            {
                "model": str(self._model),
                "device": str(inner.device),
                "attention": inner.config._attn_implementation,
                "threads": theirs,
            }
        )
        self._read(_START_S)

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._process.stdin.fileno(), data) :]
        except BrokenPipeError:
            raise self._failed("ended") from None

    def _read(self, limit_s: float) -> dict[str, Any]:
        """The next message; the limit is for the time without any."""
        assert self._process is not None and self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self._unread:
            if not poll.poll(limit_s * 1000):
                raise self._failed(f"gave no sign of life for {limit_s:g} s")
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise self._failed("ended")
            self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def _failed(self, what: str) -> Unavailable:
        assert self._process is not None
        code = self._process.poll()
        self.close()
        said = self._log.read_text(errors="replace").strip().splitlines()
        reason = said[-1][:300] if said else f"it left no word (exit code {code})"
        return Unavailable(
            f"the process that samples answers {what}: {reason}.\n"
            f"  Its output is in {self._log}. Run the same command again to go on, or with --lag 0."
        )


# -- weights and models on the disk ----------------------------------------------------------------


def write_weights(path: Path, model: Any) -> None:
    """Write the trainable parameters by name; the file is whole or absent."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    tensors = {name: one.detach().cpu().contiguous() for name, one in trainable(model).items()}
    with plain_os_errors():
        save_file(tensors, temporary)
    os.replace(temporary, path)


@torch.no_grad()
def read_weights(path: Path, model: Any) -> None:
    """Put the weights of a file into the parameters of the same names."""
    parameters = dict(model.named_parameters())
    for name, tensor in load_file(path).items():
        parameters[name].copy_(tensor)


def write_model(folder: Path, policy: Any) -> None:
    """Write the policy as stock folders: the model, and its adapter if it has one."""
    inner = causal_lm(policy)
    with atomic_folder(folder) as temporary, plain_os_errors(), no_progress_bars():
        inner.save_pretrained(temporary, state_dict=without_adapter(inner))
        if inner is not policy:
            policy.save_pretrained(temporary / "adapter")


def read_model(folder: Path, attention: str) -> Any:
    """The policy that `write_model` wrote, with the same names of parameters."""
    transformers = need("transformers", extra="hf")
    with no_progress_bars():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype="auto",
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
        )
    if (folder / "adapter").exists():
        model = need("peft", extra="hf").PeftModel.from_pretrained(model, folder / "adapter")
    return model.eval().requires_grad_(False)


# -- the process -----------------------------------------------------------------------------------


def main() -> None:
    """Do the jobs that come in, one after the other, until the other side closes."""
    channel = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not reach the channel
    lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    threading.Thread(target=_beat, args=(channel,), daemon=True).start()
    start = lines.get()
    torch.set_num_threads(start["threads"])
    model = read_model(Path(start["model"]), start["attention"]).to(start["device"])
    while True:
        job = lines.get()
        try:
            _do(model, job)
        except ModelgraftError as error:
            _say(channel, {"raise": type(error).__name__, "message": str(error)})
        else:
            _say(channel, {"done": job["iteration"]})


def _do(model: Any, message: Mapping[str, Any]) -> None:
    read_weights(Path(message["weights"]), model)
    job = Job(
        message["iteration"],
        message["version"],
        tuple(message["places"]),
        tuple(tuple(prompt) for prompt in message["prompts"]),
        tuple(message["seeds"]),
    )
    sampling: dict[str, Any] = message["sampling"]
    sampling["stop_ids"] = tuple(sampling["stop_ids"])
    samples = draw(model, job, Sampling(**sampling), batch_size=message["batch_size"])
    write_samples(Path(message["target"]), samples)


def _listen(lines: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Pass on what comes in; when nobody is left who could ask, this process ends at once."""
    for line in sys.stdin.buffer:
        lines.put(json.loads(line))
    os._exit(0)


def _beat(channel: int) -> None:
    """Say now and then that this process is alive."""
    while True:
        _say(channel, {"alive": True})
        time.sleep(_BEAT_S)


def _say(channel: int, message: Mapping[str, Any]) -> None:
    # One write of a few bytes is never torn by another thread's.
    os.write(channel, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    try:
        main()
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # the thread that listens must not hold the process
