"""Painting meshes that have no texture: pictures of their views, one after the other.

What is painted is the unknown part of a view; what earlier views have left is shown to the painter
as their albedo, and stays. Sizes are those of the published code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.core.store import Report, to_stderr
from modelgraft.methods.material_anything.adapter import folders, parts
from modelgraft.methods.material_anything.method.views import VIEWS, prompt_of
from modelgraft.nn.devices import find_device, find_dtype, move

if TYPE_CHECKING:
    from modelgraft.methods.material_anything.infer import Sight

SUFFIX: Final = "best quality, high quality, extremely detailed, good geometry"
"""What the published code adds to every prompt."""
STRENGTHS: Final = (1.0, 0.5)
"""Of what has never been painted, and of what is painted again."""
_NEAR, _FAR, _NOTHING = 255 / 255, 50 / 255, 10 / 255
_GREY = 0.5

Paint = Callable[[Tensor, Tensor, Tensor, str], Any]
"""From (depth, mask, image, prompt) to a picture.

depth [1, 1, H, W] is bright where the mesh is near; mask [1, 1, H, W] is 1 where the image is to
stay; image [1, 3, H, W] in sRGB holds what is known. The picture is a tensor [3, H, W] or [1, 3, H,
W] from 0 to 1, or an image of Pillow.
"""


class Asked(NamedTuple):
    """What a painter is given of a view."""

    depth: Tensor
    """[1, 1, H, W]"""
    mask: Tensor
    """[1, 1, H, W]: 1 where the image is to stay."""
    image: Tensor
    """[1, 3, H, W]"""
    prompt: str
    is_new: bool
    """Whether most of what is to be painted has never been."""

    @property
    def is_whole(self) -> bool:
        """Whether all of the image is to stay, so that there is nothing to paint."""
        return bool((self.mask == 1).all())

    def kept(self, picture: Tensor) -> Tensor:
        """The painted picture with what was to stay put back."""
        return torch.lerp(picture, self.image, self.mask)


def ask(sight: Sight, prompt: str) -> Asked:
    """A view as painters see it; `prompt` says what the mesh is."""
    surface = sight.surface
    mesh = surface.mask[:, None].float()
    has_maps = (sight.known[:, 3:4] > 0.5).float()  # red of roughness and metallic is 1 in them
    unknown = (1 - sight.is_known) * mesh
    image = torch.lerp(torch.full_like(sight.known[:, :3], _GREY), sight.known[:, :3], has_maps)
    again = (unknown * has_maps).sum() > unknown.sum() / 2
    return Asked(
        depth_picture(surface.depth[:, None], mesh),
        1 - _grown(unknown),
        image * mesh + 1 - mesh,
        prompt_of(VIEWS[sight.number], prompt),
        not bool(again),
    )


def depth_picture(depth: Tensor, mask: Tensor) -> Tensor:
    """Depths [1, 1, H, W] as grey: 1 for the nearest point, 50 / 255 for the farthest.

    10 / 255 is beside the mesh, where `mask` [1, 1, H, W] is 0.
    """
    seen = depth[mask > 0]
    if not len(seen):
        return torch.full_like(depth, _NOTHING)
    near, far = seen.min(), seen.max()
    share = (far - depth) / (far - near) if far > near else torch.ones_like(depth)
    return torch.where(mask > 0, _FAR + (_NEAR - _FAR) * share, _NOTHING)


def _grown(unknown: Tensor) -> Tensor:
    """By two dilations of 5 x 5 pixels."""
    for _ in range(2):
        unknown = functional.max_pool2d(unknown, 5, 1, 2)
    return unknown


@dataclass(frozen=True)
class CallablePainter:
    """`infer.Pictures` by any function that paints.

    >>> painter = CallablePainter(lambda depth, mask, image, prompt: 0 * image, "a chair")
    """

    paint: Paint
    prompt: str

    def __call__(self, sight: Sight) -> Tensor:
        """The picture of a view [1, 3, H, W]; raises `InputError` for one of another size."""
        asked = ask(sight, self.prompt)
        if asked.is_whole:
            return asked.image
        return asked.kept(_picture(self.paint(*asked[:4]), asked.image))


@dataclass(frozen=True)
class ControlNetPainter:
    """`infer.Pictures` by a Stable Diffusion that a ControlNet of depths guides.

    `pipe` is a `StableDiffusionControlNetInpaintPipeline`, with the scheduler that it has. It
    noises known pixels and puts them back at every step. Each view draws from a seed of its own.
    """

    pipe: Any
    prompt: str
    seed: int = 0
    steps: int = 50
    guidance: float = 10.0

    def __call__(self, sight: Sight) -> Tensor:
        """The picture of a view [1, 3, H, W]."""
        asked = ask(sight, self.prompt)
        if asked.is_whole:
            return asked.image
        seed = rng_seed("picture", self.seed, sight.number, int(asked.is_new))
        found = self.pipe(
            prompt=f"{asked.prompt}, {SUFFIX}",
            image=asked.image,
            mask_image=1 - asked.mask,
            control_image=asked.depth.expand(-1, 3, -1, -1),
            height=asked.image.shape[2],
            width=asked.image.shape[3],
            strength=STRENGTHS[0] if asked.is_new else STRENGTHS[1],
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            controlnet_conditioning_scale=1.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).images
        return asked.kept(_picture(found, asked.image))


def load_painter(
    base: str | Path,
    controlnet: str | Path,
    settings: Settings,
    *,
    prompt: str,
    report: Report = to_stderr,
) -> ControlNetPainter:
    """The painter of the published code: a Stable Diffusion, a ControlNet of depths, and DDIM.

    Both are folders or hub ids; the safety checker is not loaded. Raises what
    `published.load_estimator` raises.
    """
    place = find_device(settings.device)
    dtype = find_dtype(settings.dtype, place, lambda: "float32")
    diffusers = need("diffusers", extra="hf")
    transformers = need("transformers", extra="hf")
    control = folders.find_controlnet(controlnet, settings, report)
    folder = folders.find(base, settings, report).folder
    encoder = folders.stock_part(
        transformers.CLIPTextModel, folder / "text_encoder", dtype, "model"
    )
    with folders.one_clear_error(folder):
        scheduler = diffusers.DDIMScheduler.load_config(folder / "scheduler", local_files_only=True)
        pipe = diffusers.StableDiffusionControlNetInpaintPipeline(
            unet=folders.stock_part(diffusers.UNet2DConditionModel, folder / "unet", dtype),
            vae=folders.stock_part(diffusers.AutoencoderKL, folder / "vae", dtype),
            text_encoder=encoder, tokenizer=parts.load_tokenizer(folder, encoder),
            controlnet=folders.stock_part(diffusers.ControlNetModel, control.folder, dtype),
            scheduler=diffusers.DDIMScheduler.from_config(scheduler),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipe.set_progress_bar_config(disable=True)
    move(pipe, place, name=base)
    return ControlNetPainter(pipe, prompt, settings.seed)


def _picture(found: Any, like: Tensor) -> Tensor:
    """What a painter returned, as a picture [1, 3, H, W] like another one."""
    if not isinstance(found, Tensor):
        values = torch.from_numpy(np.array(found, dtype=np.float32))
        found = values.movedim(-1, 0) / 255 if values.dim() == 3 else values
    picture = found.detach().to(like)
    picture = picture[None] if picture.dim() == 3 else picture
    if picture.shape != like.shape:
        raise InputError(
            f"the painter returned a picture of shape {list(picture.shape)}, and the view is "
            f"{list(like.shape)}.\n  It must be in colour and as large as the image it was given."
        )
    if not picture.isfinite().all() or picture.min() < -0.01 or picture.max() > 1.01:
        raise InputError(
            "the painter returned a picture with values outside 0 to 1.\n  Divide 8 bits by 255."
        )
    return picture.clamp(0, 1)
