"""What a picture becomes when it is a condition: edges, depth, grey, blur, fill, low resolution.

The makers are those of OminiControl (arXiv 2411.15098) with the settings of its code. They take
pictures [b, 3, H, W] from 0 to 1; filters work at 8 bits, so that a picture and its PNG make the
same condition. What is drawn at random comes from `seed` and the numbers `items` [b] of the
pictures (0, 1, ... unless given), so it depends neither on the order nor on the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageFilter
from scipy import ndimage
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.diffusion.pictures import Size, from_bytes, resize, to_bytes
from modelgraft.diffusion.vision import USUAL, load_vision_model
from modelgraft.worlds.draws import pick, uniforms

Bytes = NDArray[np.uint8]
Marks = NDArray[np.bool_]
Estimator = Callable[[Tensor], Tensor]
"""Depth [b, 1, H, W] of pictures [b, 3, H, W]: 1 is near, 0 far."""

DEPTH_MODEL: Final = USUAL["depth"]
# The tangent of 22.5 degrees in 15 binary places, as OpenCV rounds it.
_SHIFT: Final = 15
_TAN_22: Final = round(0.41421356237309505 * 2**_SHIFT)
# 8-neighbours within one picture of a batch.
_AROUND: Final = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))]).astype(bool)


# -- edges -----------------------------------------------------------------------------------------


def edges(pictures: Tensor, *, low: float = 100, high: float = 200, sigma: float = 0.0) -> Tensor:
    """White Canny edges on black [b, 3, H, W]; see `canny`."""
    marks = canny(to_bytes(pictures), low=low, high=high, sigma=sigma)
    return _repeated(torch.from_numpy(marks), pictures)


def canny(pixels: Bytes, *, low: float = 100, high: float = 200, sigma: float = 0.0) -> Marks:
    """The edges [b, H, W] of pixels [b, H, W, 3] (J. Canny, 1986).

    Pixel for pixel what OpenCV's `Canny(picture, low, high)` gives: the largest L1 gradient of the
    three channels, the thresholds in units of a 3 x 3 Sobel filter. With `sigma` the pictures are
    blurred first, a Gaussian of so many pixels.
    """
    if sigma:
        spread = (0, sigma, sigma, 0)
        blurred = ndimage.gaussian_filter(pixels.astype(np.float32), spread, mode="nearest")
        pixels = blurred.round().astype(np.uint8)
    low, high = sorted((low, high))
    across, down = _gradients(pixels)
    size = np.abs(across) + np.abs(down)
    ridges = _ridges(across, down, size)
    strong, weak = ridges & (size > high), ridges & (size > low)
    return ndimage.binary_propagation(strong, _AROUND, mask=weak)


def _gradients(pixels: Bytes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Sobel gradients to the right and down [b, H, W] of the channel where they are largest."""
    wide = np.pad(pixels.astype(np.int32), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    tall = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    broad = wide[:, :, :-2] + 2 * wide[:, :, 1:-1] + wide[:, :, 2:]
    across = tall[:, :, 2:] - tall[:, :, :-2]
    down = broad[:, 2:] - broad[:, :-2]
    # argmax takes the first of equals, as OpenCV does.
    channel = (np.abs(across) + np.abs(down)).argmax(axis=-1)[..., None]
    across, down = (np.take_along_axis(one, channel, axis=-1)[..., 0] for one in (across, down))
    return across, down


def _ridges(across: NDArray[np.int32], down: NDArray[np.int32], size: NDArray[np.int32]) -> Marks:
    """Where the gradient is largest along its own direction, one of four [b, H, W].

    Of two equal neighbours the left or upper one is the ridge; on diagonals neither is.
    """
    height, width = size.shape[1:]
    wide = np.pad(size, ((0, 0), (1, 1), (1, 1)))

    def beside(row: int, column: int) -> NDArray[np.int32]:
        return wide[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    # tan 67.5 = tan 22.5 + 2
    x, y = np.abs(across), np.abs(down) << _SHIFT
    is_level = y < x * _TAN_22
    is_upright = y > x * _TAN_22 + (x << (_SHIFT + 1))
    falls = (across ^ down) >= 0
    return np.select(
        [is_level, is_upright, falls],
        [
            (size > beside(0, -1)) & (size >= beside(0, 1)),
            (size > beside(-1, 0)) & (size >= beside(1, 0)),
            (size > beside(-1, -1)) & (size > beside(1, 1)),
        ],
        (size > beside(-1, 1)) & (size > beside(1, -1)),
    )


# -- grey, blur, low resolution --------------------------------------------------------------------


def grey(pictures: Tensor) -> Tensor:
    """Luma [b, 3, H, W] of ITU-R 601-2, rounded as Pillow's mode L is."""
    red, green, blue = np.moveaxis(to_bytes(pictures).astype(np.int32), -1, 0)
    # 0.299, 0.587 and 0.114 in 16 binary places.
    luma = (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16
    return _repeated(torch.from_numpy(luma.astype(np.float32) / 255), pictures)


def blur(
    pictures: Tensor,
    *,
    radii_px: Sequence[float] = (5.0,),
    seed: int = 0,
    items: ArrayLike | None = None,
) -> Tensor:
    """Pictures blurred by Pillow's Gaussian, each with one of the radii, all as likely."""
    drawn = uniforms("blur", seed, _items(pictures, items), 1)[:, 0]
    radii = np.asarray(radii_px, dtype=np.float64)[pick(drawn, len(radii_px))]
    found = [
        np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(float(radius))))
        for one, radius in zip(to_bytes(pictures), radii, strict=True)
    ]
    return from_bytes(np.stack(found)).to(pictures.device)


def shrink(pictures: Tensor, *, factor: int = 2) -> Tensor:
    """Pictures at a lower resolution, bicubic [b, 3, H / factor, W / factor]."""
    height, width = pictures.shape[-2:]
    if height % factor or width % factor:
        raise InputError(
            f"the picture: {width} x {height} pixels cannot be divided by the factor {factor}.\n"
            "  Resize it first, or take another factor."
        )
    return resize(pictures, (height // factor, width // factor))


def same(pictures: Tensor) -> Tensor:
    """The pictures themselves: a subject, or a style."""
    return pictures


# -- fill ------------------------------------------------------------------------------------------


def fill(pictures: Tensor, *, seed: int = 0, items: ArrayLike | None = None) -> Tensor:
    """Pictures of which one rectangle is kept, or all but one, the rest black [b, 3, H, W]."""
    height, width = pictures.shape[-2:]
    known = rectangles(_items(pictures, items), height, width, seed=seed)
    return pictures * known.to(pictures)


def rectangles(items: ArrayLike, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Random masks [n, 1, H, W]: 1 inside one rectangle, or, half of the time, outside it.

    Two corners are drawn uniformly among the corners of pixels and the pixels that begin at them
    belong to the rectangle, so a mask may be empty or full (the law of the official code).
    """
    drawn = uniforms("rectangles", seed, items, 5)
    columns = np.sort(pick(drawn[:, :2], width + 1), axis=1)[:, :, None, None]
    rows = np.sort(pick(drawn[:, 2:4], height + 1), axis=1)[:, :, None, None]
    x, y = np.arange(width), np.arange(height)[:, None]
    inside = (x >= columns[:, 0]) & (x <= columns[:, 1]) & (y >= rows[:, 0]) & (y <= rows[:, 1])
    is_inverted = drawn[:, 4, None, None] < 0.5
    return torch.from_numpy(inside != is_inverted)[:, None].float()


# -- depth -----------------------------------------------------------------------------------------


def depth(pictures: Tensor, *, estimate: Estimator | None = None) -> Tensor:
    """Depth as grey [b, 3, H, W], near white; of `depth_anything()` unless another is given."""
    found = (estimate or depth_anything())(pictures)
    is_shaped = found.shape == (len(pictures), 1, *pictures.shape[-2:])
    if not (is_shaped and bool(((found >= 0) & (found <= 1)).all())):
        raise InputError(
            f"depth: the estimator gave {tuple(found.shape)} from {found.min():.3g} to "
            f"{found.max():.3g} for pictures {tuple(pictures.shape)}.\n"
            "  It must give [b, 1, H, W] from 0 to 1, near is 1."
        )
    return _repeated(found[:, 0], pictures)


@functools.cache
def depth_anything(model: str = DEPTH_MODEL) -> Estimator:
    """The depth estimator called `model`: a folder, or `owner/name` or `owner/name@revision`.

    Each picture's depth is stretched to reach from 0 to 1 and cut to 8 bits, as the
    depth-estimation pipeline of transformers does (Depth Anything, arXiv 2401.10891). Loaded once;
    it works where the pictures are. Raises what `load_vision_model` raises.
    """
    processor, network = load_vision_model(model, "depth")

    @torch.no_grad()
    def estimate(pictures: Tensor) -> Tensor:
        images = list(to_bytes(pictures))
        inputs = processor(images=images, return_tensors="pt", input_data_format="channels_last")
        found = network.to(pictures.device)(**inputs.to(pictures.device))
        maps = processor.post_process_depth_estimation(found, [one.shape[:2] for one in images])
        raw = torch.stack([one["predicted_depth"] for one in maps])[:, None].float()
        least, most = (end(raw, dim=(1, 2, 3), keepdim=True) for end in (torch.amin, torch.amax))
        # A picture without any depth is black.
        return ((raw - least) / (most - least).clamp(min=1e-12) * 255).floor() / 255

    return estimate


# -- tasks -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """How pictures become conditions, where those stand, and how obedience is measured."""

    make: Callable[..., Tensor]
    """From pictures [b, 3, H, W] to conditions; takes `seed` and `items` if it draws."""
    metric: str
    """The function of `evaluation.images` that compares what `make` gives of the output with what
    it gave of the input: for `fill` the original's hidden region, if exchanged the output itself.
    Empty where a judge of identity is needed."""
    is_aligned: bool = True
    """Whether a condition's pixels stand for the target's at the same place; if not, its tokens lie
    directly left of the target's."""
    is_drawn: bool = False
    is_exchanged: bool = False
    """Whether the picture is the condition, and what `make` gives of it the target."""
    training: Callable[..., Tensor] | None = None
    """What to train with, where that varies more than `make`."""

    def condition(
        self,
        pictures: Tensor,
        *,
        seed: int = 0,
        items: ArrayLike | None = None,
        is_training: bool = False,
    ) -> Tensor:
        """What `make`, or in training `training`, gives of pictures with the numbers `items`."""
        make = (self.training if is_training else None) or self.make
        return make(pictures, seed=seed, items=items) if self.is_drawn else make(pictures)

    def pair(
        self, pictures: Tensor, *, seed: int = 0, items: ArrayLike | None = None
    ) -> tuple[Tensor, Tensor]:
        """Conditions and targets to train on."""
        made = self.condition(pictures, seed=seed, items=items, is_training=True)
        return (pictures, made) if self.is_exchanged else (made, pictures)

    def delta(self, width_tokens: int) -> tuple[int, int]:
        """Rows and columns by which the tokens of a condition so many tokens wide are moved."""
        return (0, 0) if self.is_aligned else (0, -width_tokens)


TaskName = Literal["edges", "depth", "grey", "blur", "fill", "depth_pred", "sr", "subject"]
TASKS: Final[dict[TaskName, Task]] = {
    "edges": Task(edges, "edge_f1"),
    "depth": Task(depth, "mse"),
    "grey": Task(grey, "mse"),
    "blur": Task(blur, "mse", is_drawn=True, training=partial(blur, radii_px=range(1, 11))),
    "fill": Task(fill, "mse", is_drawn=True),
    "depth_pred": Task(depth, "mse", is_exchanged=True),
    "sr": Task(shrink, "mse", is_aligned=False),
    "subject": Task(same, "", is_aligned=False),
}
"""For pictures of about 512 pixels; in the official code edges are canny, grey coloring, blur
deblurring. The factor of `sr` is ours: the code takes its configured condition size."""
SMALL_TASKS: Final[dict[TaskName, Task]] = {
    **TASKS,
    # As low as the grain of grass and sand allows: pale outlines are found whole.
    "edges": Task(partial(edges, low=50, high=100, sigma=0.8), "edge_f1"),
    "blur": Task(
        partial(blur, radii_px=(1.5,)),
        "mse",
        is_drawn=True,
        training=partial(blur, radii_px=tuple(step / 10 for step in range(6, 26))),
    ),
}
"""For pictures of about 32 pixels, such as the toy world's."""
SMALL_PX: Final = 128
"""Sides below which a picture counts as small."""


def tasks_for(side_px: int) -> dict[TaskName, Task]:
    """The table for pictures of which the longer side has so many pixels."""
    return SMALL_TASKS if side_px < SMALL_PX else TASKS


def derived(
    task: TaskName,
    pictures: Tensor,
    size: Size | None = None,
    *,
    seed: int = 0,
    items: ArrayLike | None = None,
    is_training: bool = False,
) -> Tensor:
    """Conditions [b, 3, h, w] of pictures [b, 3, H, W], which have the output's size.

    They are found there, by the table for it, and then brought to their own `size`: the edges of a
    picture that was shrunk first would be others.
    """
    maker = tasks_for(max(pictures.shape[-2:]))[task]
    made = maker.condition(pictures, seed=seed, items=items, is_training=is_training)
    return resize(made, size or (made.shape[-2], made.shape[-1])).clamp(0, 1)


def is_empty(conditions: Tensor) -> Tensor:
    """Which conditions [b] are all black, and so the same as a dropped one."""
    return (conditions == 0).flatten(1).all(dim=1)


def has_same_aspect(one: Size, other: Size) -> bool:
    """Whether one size is the other scaled, but for a pixel of rounding in the smaller one."""
    apart = abs(one[0] * other[1] - one[1] * other[0])
    return apart <= max(sum(one), sum(other))


def check_aspect(condition: Size, target: Size, *, name: str) -> None:
    """`InputError` unless the sizes of an aligned condition and its target have one aspect.

    `name` is the file, row or task that they came by.
    """
    if not has_same_aspect(condition, target):
        raise InputError(
            f"{name}: the condition is {condition[1]} x {condition[0]} pixels and the target "
            f"{target[1]} x {target[0]}; an aligned condition needs the aspect of its target.\n"
            "  Fit one to the other: resize (stretches it), cover (cuts off what sticks out) or "
            "pad (adds a margin)."
        )


def _items(pictures: Tensor, items: ArrayLike | None) -> ArrayLike:
    return np.arange(len(pictures)) if items is None else items


def _repeated(values: Tensor, pictures: Tensor) -> Tensor:
    """One channel [b, H, W] three times [b, 3, H, W], where the pictures are."""
    return values[:, None].float().repeat(1, 3, 1, 1).to(pictures.device)
