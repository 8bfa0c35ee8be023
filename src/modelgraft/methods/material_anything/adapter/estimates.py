"""What real estimators, refiners and painters take in memory, from their configs alone.

Nothing is computed: the networks run on tensors without storage, and the most bytes that are alive
at once are counted, attention as one fused operation. A GPU's own workspace and its fragments come
on top; `ROOM` allows for them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter.folders import find, find_controlnet
from modelgraft.methods.material_anything.adapter.grafting import Heads, skeleton
from modelgraft.methods.material_anything.adapter.latents import CHANNELS, Role
from modelgraft.methods.material_anything.adapter.light import header_of, num_lora, num_trained
from modelgraft.methods.material_anything.adapter.published import network_of
from modelgraft.methods.material_anything.adapter.supermat import SuperMatUNet
from modelgraft.nn.devices import find_device, find_dtype
from modelgraft.nn.memory import check_memory

ROOM: Final = 1.15
"""By which estimates exceed what is counted."""
TRAINED_BYTES: Final = 16
"""Of a weight that is trained, beside itself: its gradient, two moments and its average."""
_TEXT = 77
_GUIDED = 2
"""Pictures that guidance draws for one."""


@dataclass(frozen=True)
class Memory:
    """What a model takes while it draws; its VAE counts as part of it."""

    parameters: int
    """Numbers in its weights."""
    weights: int
    """Their bytes."""
    denoising: int
    """Most bytes that one call of the network takes beside the weights."""
    decoding: int
    """Most that decoding one map takes beside the weights."""

    @property
    def peak(self) -> int:
        """Most that all of it takes at once, with `ROOM`."""
        return int(ROOM * (self.weights + self.working))

    @property
    def working(self) -> int:
        """Most that it takes beside the weights."""
        return max(self.denoising, self.decoding)


class Drawing(NamedTuple):
    """Pictures that a model draws."""

    size_px: int
    at_once: int = 1


def published_memory(
    name: str | Path,
    role: Role,
    settings: Settings,
    drawing: Drawing,
    *,
    report: Report = to_stderr,
) -> Memory:
    """The memory of a published estimator or refiner, a folder or hub id.

    Only configs are read, and fetched. Raises what `published.load_estimator` raises of configs.
    """
    folder = find(name, settings, report, weights=False).folder
    # Without the remarks of diffusers, which its own `to` makes.
    network = nn.Module.to(network_of(folder, role), _dtype(settings, "bfloat16"))
    return _of_network(network, folder, _inputs(role), drawing)


def light_memory(
    path: Path,
    role: Role,
    settings: Settings,
    drawing: Drawing,
    *,
    report: Report = to_stderr,
) -> Memory:
    """The same of a light file on the base that it names; raises what `light.header_of` raises."""
    base = header_of(path, role)["base"]
    folder = find(base, settings, report, weights=False).folder
    network = nn.Module.to(skeleton(folder, role=role), _dtype(settings, "float32"))
    found = _of_network(network, folder, _inputs(role), drawing)
    added = num_lora(path)
    return Memory(
        found.parameters + added, found.weights + 4 * added, found.denoising, found.decoding
    )


def supermat_memory(
    base: str | Path,
    settings: Settings,
    drawing: Drawing,
    *,
    report: Report = to_stderr,
) -> Memory:
    """The same of SuperMat on the Stable Diffusion that it was trained on."""
    folder = find(base, settings, report, weights=False).folder
    stock = need("diffusers", extra="hf").UNet2DConditionModel
    with torch.device("meta"):
        config = stock.load_config(folder / "unet", local_files_only=True)
        network = SuperMatUNet(stock.from_config(config))
    network = network.to(_dtype(settings, "bfloat16"))
    return _of_network(network, folder, network.config["in_channels"], drawing)


def painter_memory(
    base: str | Path,
    controlnet: str | Path,
    settings: Settings,
    *,
    size_px: int,
    report: Report = to_stderr,
) -> Memory:
    """The same of a painter: a Stable Diffusion with its text encoder, and a ControlNet."""
    diffusers, transformers = (need(one, extra="hf") for one in ("diffusers", "transformers"))
    control_folder = find_controlnet(controlnet, settings, report, weights=False).folder
    folder = find(base, settings, report, weights=False).folder
    dtype = _dtype(settings, "bfloat16")

    def part(kind: Any, place: Path) -> Any:
        return kind.from_config(kind.load_config(place, local_files_only=True))

    told = transformers.CLIPTextConfig.from_pretrained(
        folder / "text_encoder", local_files_only=True
    )
    with torch.device("meta"):
        unet = part(diffusers.UNet2DConditionModel, folder / "unet")
        control = part(diffusers.ControlNetModel, control_folder)
        vae = part(diffusers.AutoencoderKL, folder / "vae")
        text = transformers.CLIPTextModel(told)
        models = [nn.Module.to(one, dtype).eval() for one in (unet, control, vae, text)]
        side = size_px // _shrinking(vae.config)
        sample = torch.empty(_GUIDED, unet.config["in_channels"], side, side, dtype=dtype)
        states = torch.empty(_GUIDED, _TEXT, unet.config["cross_attention_dim"], dtype=dtype)
        depth = torch.empty(_GUIDED, 3, size_px, size_px, dtype=dtype)

        def draw() -> None:
            step = torch.zeros(1)
            down, middle = control(sample[:, :4], step, states, depth, return_dict=False)
            unet(sample, step, states, down_block_additional_residuals=down,
                 mid_block_additional_residual=middle)  # fmt: skip

        denoising, decoding = most_alive(draw), _decoding(vae, side, dtype)
    numbers, weights = (sum(one) for one in zip(*map(size_of, models), strict=True))
    return Memory(numbers, weights, denoising, decoding)


class Training(NamedTuple):
    """What is held to train a network, without what its steps take."""

    parameters: int
    trained: int
    weights: int
    """Bytes of the weights, of what is trained and of what is frozen."""
    beside: int
    """Bytes of gradients, moments of the optimiser and averages."""


def training_of(
    base: str | Path,
    role: Role,
    settings: Settings,
    *,
    heads: Heads = 3,
    lora: int | None = None,
    is_started: bool = False,
    report: Report = to_stderr,
) -> Training:
    """What training a graft on `base` holds, or one that goes on from there if `is_started`."""
    folder = find(base, settings, report, weights=False).folder
    if is_started:
        network, dtype = network_of(folder, role), _dtype(settings, "bfloat16")
    else:
        network = skeleton(folder, heads=heads, role=role)
        dtype = _dtype(settings, "float32")
    numbers, weights = size_of(nn.Module.to(network, dtype))
    trained, added = numbers, 0
    if lora is not None:
        added, outer = num_trained(network, lora)
        trained = added + outer
        weights += 4 * added + dtype.itemsize * outer  # the outer blocks are also kept as they were
    vae = size_of(_vae(folder))
    parameters = numbers + added + vae[0]
    return Training(parameters, trained, weights + vae[1], TRAINED_BYTES * trained)


def require_memory(
    at: Callable[[int], Memory], size_px: int, device: torch.device, *, what: str
) -> None:
    """Raise `ConfigError` when the memory that `at` tells of a size in pixels is not free."""
    half = at(size_px // 2).peak / 1e9
    check_memory(
        at(size_px).peak, device, what=f"{what} at {size_px} pixels",
        advice=f"At half the size it takes about {half:.1f} GB; --dtype bfloat16 halves the "
        "weights, and another --device may have more.",
    )  # fmt: skip


def _dtype(settings: Settings, auto_on_gpu: str) -> torch.dtype:
    """As the loaders choose it."""
    place = find_device(settings.device)
    named = settings.dtype
    if named == "auto":
        named = "float32" if place.type == "cpu" else auto_on_gpu
    return find_dtype(named, place, str)


def _inputs(role: Role) -> int:
    shared, own = CHANNELS[role]
    return 3 * (4 + own) + shared


def _of_network(network: Any, folder: Path, inputs: int, drawing: Drawing) -> Memory:
    """Of a network on the meta device with the VAE in a folder, which is in float32."""
    vae = _vae(folder)
    side = drawing.size_px // _shrinking(vae.config)
    dtype = next(network.parameters()).dtype
    with torch.device("meta"):
        unet = network.eval()
        width = network.config.get("unet", network.config)["cross_attention_dim"]
        sample = torch.empty(drawing.at_once, inputs, side, side, dtype=dtype)
        states = torch.empty(drawing.at_once, _TEXT, width, dtype=dtype)
        step = torch.zeros(drawing.at_once)
        denoising = most_alive(lambda: unet(sample, step, states))
        decoding = _decoding(vae, side, torch.float32)
    numbers, weights = (sum(one) for one in zip(size_of(unet), size_of(vae), strict=True))
    return Memory(numbers, weights, denoising, decoding)


def _vae(folder: Path) -> Any:
    kind = need("diffusers", extra="hf").AutoencoderKL
    with torch.device("meta"):
        return kind.from_config(kind.load_config(folder / "vae", local_files_only=True))


def _shrinking(vae: Any) -> int:
    """Pixels along a side of what one latent stands for."""
    return 2 ** (len(vae["block_out_channels"]) - 1)


def _decoding(vae: Any, side: int, dtype: torch.dtype) -> int:
    latents = torch.empty(1, vae.config["latent_channels"], side, side, dtype=dtype)
    return most_alive(lambda: vae.decode(latents))


def size_of(model: nn.Module) -> tuple[int, int]:
    """Numbers and bytes of a model's weights."""
    weights = list(model.parameters())
    return sum(one.numel() for one in weights), sum(
        one.numel() * one.element_size() for one in weights
    )


def most_alive(call: Callable[[], Any]) -> int:
    """The most bytes that are alive at once in a call, beside what it was given."""
    with torch.no_grad(), _FusedAttention(), _Alive() as alive:
        call()
    return alive.most


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
