"""Hosts: who holds which part of the context, and how their attention is merged.

`ProcessHosts` are the processes of torch.distributed (gloo or nccl, under torchrun or accelerate
launch); `SimulatedHosts` split one process's cache the same way, for tests and plans. Every host
runs the whole network on the query tokens; per layer the hosts exchange one output and one
log-sum-exp per query token and head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from modelgraft.core.errors import ConfigError, Unavailable
from modelgraft.methods.star_attention.method import Plan
from modelgraft.nn.attention import Part, attend, merge_attention


class Hosts(Protocol):
    """What phase 1 and phase 2 ask of the processes that share a context."""

    rank: int
    size: int

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """Phase 2 attention [b, h, q, d] over the keys of all hosts."""
        ...

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Overwrite `tensor` on every host with that of `source`."""
        ...

    def any(self, flags: Tensor) -> Tensor:
        """Where any host has True, on every host; `flags` is bool of one shape."""
        ...

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Raise `ConfigError` on every host unless all describe the same."""
        ...


class ProcessHosts:
    """One process per host over an initialised torch.distributed group.

    The last host is the query host: it stores query and answer, and masks causally among them.
    `bytes_sent` counts the tensors this host gave to all collectives so far. Whatever is asked of
    the others raises `Unavailable` when one of them is gone or does not answer in the group's time.
    """

    def __init__(self, group: Any = None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise ConfigError(
                "",
                "no process group is open, so there are no hosts to share the context.\n"
                "  Start with torchrun --nproc-per-node N or accelerate launch, and call "
                "torch.distributed.init_process_group() first.",
            )
        self.group = group
        self.rank = dist.get_rank(group)
        self.size = dist.get_world_size(group)
        self.bytes_sent = 0

    @property
    def is_query_host(self) -> bool:
        """True on the host that stores query and answer."""
        return self.rank == self.size - 1

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """Attend to the local keys, then merge with every other host (one all_gather)."""
        own = attend(query, key, value, scale=scale, causal=self.is_query_host)
        kind = own.lse.dtype
        packed = torch.cat([own.output.to(kind), own.lse.unsqueeze(-1)], dim=-1).contiguous()
        self.bytes_sent += packed.numel() * packed.element_size()
        gathered = [torch.empty_like(packed) for _ in range(self.size)]
        with _others():
            dist.all_gather(gathered, packed, group=self.group)
        parts = [Part(each[..., :-1], each[..., -1]) for each in gathered]
        return merge_attention(parts).output.to(query.dtype)

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Overwrite `tensor` on every host with that of `source`."""
        # gloo and nccl write into the storage they are given, so a view needs a copy of its own.
        whole = tensor.contiguous()
        if self.rank == source:
            self.bytes_sent += whole.numel() * whole.element_size()
        with _others():
            dist.broadcast(whole, src=self._global(source), group=self.group)
        if whole.data_ptr() != tensor.data_ptr():
            tensor.copy_(whole)

    def any(self, flags: Tensor) -> Tensor:
        """Where any host has True, on every host; `flags` is bool of one shape."""
        count = flags.to(torch.uint8)
        self.bytes_sent += count.numel()
        with _others():
            dist.all_reduce(count, dist.ReduceOp.MAX, group=self.group)
        return count.bool()

    def exchange(self, value: Any) -> list[Any]:
        """What each host gave, a small picklable value, in the order of the hosts."""
        found: list[Any] = [None] * self.size
        with _others():
            dist.all_gather_object(found, value, group=self.group)
        return found

    def share(self, text: str) -> str:
        """The text that host 0 gave, on every host: for a choice that must not differ."""
        return self.exchange(text)[0]

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Raise `ConfigError` on every host unless all describe the same.

        Call it before the hosts do something together: tensors of another type or size would end
        the processes, or give wrong numbers.
        """
        everyone = self.exchange(dict(described))
        faults = []
        for name in dict.fromkeys(name for each in everyone for name in each):
            values = [each.get(name) for each in everyone]
            if any(value != values[0] for value in values):
                shown = ", ".join(f"{value!r} on host {host}" for host, value in enumerate(values))
                faults.append(f"{name} ({shown})")
        if faults:
            raise ConfigError(
                "hosts",
                f"the hosts were given different work; what differs is {'; '.join(faults)}.\n"
                "  Start every process with the same model, context and options.",
            )

    def send(self, tensor: Tensor, target: int) -> None:
        """Give a contiguous tensor to one host."""
        with _others():
            dist.send(tensor, dst=self._global(target), group=self.group)

    def receive(self, tensor: Tensor, source: int) -> None:
        """Overwrite a contiguous tensor with what `source` sends."""
        with _others():
            dist.recv(tensor, src=self._global(source), group=self.group)

    def _global(self, rank: int) -> int:
        return dist.get_global_rank(self.group, rank) if self.group is not None else rank


@contextlib.contextmanager
def _others() -> Generator[None]:
    """A host that is gone, or silent for too long, as the error it is for this one."""
    try:
        yield
    except RuntimeError as error:  # what gloo and nccl raise
        raise Unavailable(
            f"another host of this group is gone or does not answer: {str(error).splitlines()[0]}\n"
            "  What it met is in its own output. Mend that, and start all processes again."
        ) from error


class SimulatedHosts:
    """The hosts of a plan inside one process; the cache is whole and is cut for each call."""

    rank = 0

    def __init__(self, plan: Plan, size: int) -> None:
        self.size = size
        self.bounds = [0]
        for host in range(size):
            own = plan.of_host(host)
            self.bounds.append(own[-1].end if own else self.bounds[-1])

    def attend(self, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        """Each host attends to its slice of the keys; the last one also holds what was added."""
        parts = []
        for host in range(self.size):
            is_last = host == self.size - 1
            end = key.shape[2] if is_last else self.bounds[host + 1]
            keys, values = (t[:, :, self.bounds[host] : end] for t in (key, value))
            parts.append(attend(query, keys, values, scale=scale, causal=is_last))
        return merge_attention(parts).output

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Nothing to do: there is one copy."""

    def any(self, flags: Tensor) -> Tensor:
        """The flags themselves: nobody else has a say."""
        return flags

    def check_same(self, described: Mapping[str, Any]) -> None:
        """Nothing to do: there is one description."""
