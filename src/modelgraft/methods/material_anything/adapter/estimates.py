"""What a real estimator or refiner takes in memory, from its configs alone.

Nothing is computed: the networks run on tensors without storage, and the most bytes that are alive
at once are counted, attention as one fused operation. A GPU's own workspace and its fragments come
on top; `ROOM` allows for them.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter.folders import find
from modelgraft.methods.material_anything.adapter.latents import CHANNELS, Role
from modelgraft.methods.material_anything.adapter.published import network_of
from modelgraft.nn.devices import find_device, find_dtype
from modelgraft.nn.memory import check_memory

ROOM: Final = 1.15
"""By which estimates exceed what is counted."""
_TEXT = 77


@dataclass(frozen=True)
class Memory:
    """Bytes that a model takes while it draws one picture."""

    unet: int
    """Weights of the U-Net."""
    vae: int
    """Weights of the VAE, in float32."""
    denoising: int
    """Most that one call of the U-Net takes beside the weights."""
    decoding: int
    """Most that decoding one map takes beside the weights."""

    @property
    def peak(self) -> int:
        """Most that all of it takes at once, with `ROOM`."""
        return int(ROOM * (self.unet + self.vae + max(self.denoising, self.decoding)))

    @property
    def offloaded_peak(self) -> int:
        """The same when the model that is not at work waits in the computer's memory."""
        return int(ROOM * max(self.unet + self.denoising, self.vae + self.decoding))


def memory_of(
    name: str | Path, role: Role, settings: Settings, *, size_px: int, report: Report = to_stderr
) -> Memory:
    """The memory that an estimator or refiner, a folder or hub id, takes for pictures of `size_px`.

    Only configs are read, and fetched. Each further picture that is drawn at the same time takes
    `denoising` once more. Raises what `published.load_estimator` raises of configs.
    """
    folder = find(name, settings, report, weights=False).folder
    dtype = find_dtype(settings.dtype, find_device(settings.device), lambda: "float32")
    network = network_of(folder, role)
    vae = need("diffusers", extra="hf").AutoencoderKL.load_config(
        folder / "vae", local_files_only=True
    )
    width = network.config.get("unet", network.config)["cross_attention_dim"]
    return estimate(network, vae, role, width, size_px=size_px, dtype=dtype)


def estimate(
    network: Any, vae: dict[str, Any], role: Role, text: int, *, size_px: int, dtype: torch.dtype
) -> Memory:
    """The same of a network on the meta device, a VAE's config and the width of the text."""
    shared, own = CHANNELS[role]
    side = size_px // 2 ** (len(vae["block_out_channels"]) - 1)
    kind = need("diffusers", extra="hf").AutoencoderKL
    with torch.device("meta"):
        codec = kind.from_config(vae)
        unet = nn.Module.to(network, dtype).eval()  # without the remarks of diffusers
        sample = torch.empty(1, 3 * (4 + own) + shared, side, side, dtype=dtype)
        states = torch.empty(1, _TEXT, text, dtype=dtype)
        latents = torch.empty(1, vae["latent_channels"], side, side)
        step = torch.zeros(1)
        with torch.no_grad(), _FusedAttention():
            with _Alive() as denoising:
                unet(sample, step, states)
            with _Alive() as decoding:
                codec.decode(latents)
    return Memory(_bytes(unet), _bytes(codec), denoising.most, decoding.most)


def require_memory(memory: Memory, smaller: Memory, device: torch.device, *, what: str) -> None:
    """Raise `ConfigError` when it is not free; `smaller` is the memory at half the side."""
    gigabytes = smaller.peak / 1e9
    check_memory(
        memory.peak, device, what=what,
        advice=f"Half the size takes about {gigabytes:.1f} GB; bfloat16 halves the weights; with "
        f"the idle model in the computer's memory it is {memory.offloaded_peak / 1e9:.1f} GB.",
    )  # fmt: skip


def _bytes(model: Any) -> int:
    return sum(one.numel() * one.element_size() for one in model.parameters())


class _FusedAttention(TorchFunctionMode):
    """Lets attention make its result alone, as fused kernels do; without storage it would not."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call one function of torch."""
        if func is torch.nn.functional.scaled_dot_product_attention:
            return torch.empty_like(args[0] if args else kwargs["query"])
        return func(*args, **(kwargs or {}))


class _Alive(TorchDispatchMode):
    """Counts the bytes of what operations inside the block make, while it is alive."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count what it returns."""
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if
                 isinstance(one, Tensor)}  # fmt: skip
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, Tensor):
                self._count(one, given)
        return found

    def _count(self, tensor: Tensor, given: set[int]) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in given or key in self.known:
            return
        self.known.add(key)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size
