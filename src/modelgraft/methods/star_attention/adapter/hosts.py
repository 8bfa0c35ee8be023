"""Hosts: who holds which part of the context, and how their attention is merged.

`ProcessHosts` are the processes of torch.distributed (gloo or nccl, under torchrun or accelerate
launch); `SimulatedHosts` split one process's cache the same way, for tests and plans. Every host
runs the whole network on the query tokens; per layer the hosts exchange one output and one
log-sum-exp per query token and head.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from modelgraft.core.errors import ConfigError
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


class ProcessHosts:
    """One process per host over an initialised torch.distributed group.

    The last host is the query host: it stores query and answer, and masks causally among them.
    `bytes_sent` counts what this host gave to all collectives so far.
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
        dist.all_gather(gathered, packed, group=self.group)
        parts = [Part(each[..., :-1], each[..., -1]) for each in gathered]
        return merge_attention(parts).output.to(query.dtype)

    def broadcast(self, tensor: Tensor, source: int) -> None:
        """Overwrite `tensor` on every host with that of `source`."""
        # gloo and nccl write into the storage they are given, so a view needs a copy of its own.
        whole = tensor.contiguous()
        if self.rank == source:
            self.bytes_sent += whole.numel() * whole.element_size()
        dist.broadcast(whole, src=self._global(source), group=self.group)
        if whole.data_ptr() != tensor.data_ptr():
            tensor.copy_(whole)

    def send(self, tensor: Tensor, target: int) -> None:
        """Give a contiguous tensor to one host."""
        dist.send(tensor, dst=self._global(target), group=self.group)

    def receive(self, tensor: Tensor, source: int) -> None:
        """Overwrite a contiguous tensor with what `source` sends."""
        dist.recv(tensor, src=self._global(source), group=self.group)

    def _global(self, rank: int) -> int:
        return dist.get_global_rank(self.group, rank) if self.group is not None else rank


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
