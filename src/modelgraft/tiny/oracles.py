"""Judges of toy scenes: networks trained on renders alone, never seen by what they judge.

Pictures are [b, 3, 32, 32] from 0 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import torch
from einops import rearrange
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from modelgraft.worlds.palettes import COLOURS
from modelgraft.worlds.shapes import SHAPES
from modelgraft.worlds.toys import (
    BACKGROUNDS,
    DISTRACTORS,
    MARKS,
    POSITIONS,
    SIZES,
    TEXTURES,
    TILTS,
)

# Factors with one right value, and how many values there are.
FACTORS: Final = {
    "shape": len(SHAPES),
    "texture": len(TEXTURES),
    "size": len(SIZES),
    "tilt": len(TILTS),
    "mark": len(MARKS),
    "distractor": len(DISTRACTORS),
    "background": len(BACKGROUNDS),
    "position": len(POSITIONS),
}
_OF_PLACE: Final = ("background", "position", "distractor")
IDENTITY_WIDTH: Final = 64


def _trunk(width: int) -> nn.Sequential:
    """Features [b, 2 width, 8, 8] of a picture."""
    layers: list[nn.Module] = []
    previous = 3
    for channels, stride in (
        (width // 2, 1),
        (width, 2),
        (width, 1),
        (2 * width, 2),
        (2 * width, 1),
    ):
        layers += [
            nn.Conv2d(previous, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
        previous = channels
    return nn.Sequential(*layers)


class AttributeNet(nn.Module):
    """Reads every factor of a scene from its picture."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.trunk = _trunk(width)
        pooled, spread = 4 * width, 2 * width * 16
        self.hidden = nn.Sequential(nn.Linear(pooled, 256), nn.ReLU())
        self.heads = nn.ModuleDict(
            {
                name: nn.Linear(spread if name in _OF_PLACE else 256, number)
                for name, number in FACTORS.items()
            }
        )
        self.colours = nn.Linear(256, len(COLOURS))

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """Scores [b, values] of each factor, and `colours` [b, 10]: log-odds that one is there."""
        features = self.trunk(pictures * 2 - 1)
        pooled = torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)
        hidden = self.hidden(pooled)
        spread = rearrange(nn.functional.avg_pool2d(features, 2), "b c h w -> b (c h w)")
        found = {
            name: head(spread if name in _OF_PLACE else hidden) for name, head in self.heads.items()
        }
        return {**found, "colours": self.colours(hidden)}


class DepthNet(nn.Module):
    """Depth of every pixel, and how much of it a toy covers."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.trunk = _trunk(width)
        self.rise = nn.Sequential(
            nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()
        )
        self.fine = nn.Sequential(
            nn.Conv2d(width + width, 4 * width, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()
        )
        self.out = nn.Conv2d(width + width // 2, 2, 3, padding=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Depth [b, 32, 32] from 0 to 1, and cover [b, 32, 32] from 0 to 1."""
        x = pictures * 2 - 1
        stages = []
        for layer in self.trunk:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                stages.append(x)
        middle = torch.cat([self.rise(stages[-1]), stages[2]], dim=1)
        depth, cover = self.out(torch.cat([self.fine(middle), stages[0]], dim=1)).unbind(1)
        return depth.sigmoid(), cover.sigmoid()


class SubjectEncoder(nn.Module):
    """A toy's identity as a unit vector, wherever it stands."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.trunk = _trunk(width)
        self.project = nn.Sequential(
            nn.Linear(4 * width, 256), nn.ReLU(), nn.Linear(256, IDENTITY_WIDTH)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """[b, 64], of length 1."""
        features = self.trunk(pictures * 2 - 1)
        pooled = torch.cat([features.amax(dim=(2, 3)), features.mean(dim=(2, 3))], dim=1)
        return normalize(self.project(pooled), dim=-1)


WEIGHTS: Final = Path(__file__).parent / "weights" / "judges"


class Judges(NamedTuple):
    """The three networks, ready to read pictures."""

    attributes: AttributeNet
    depth: DepthNet
    subjects: SubjectEncoder

    @torch.no_grad()
    def estimate(self, pictures: Tensor) -> Tensor:
        """Depth [b, 1, H, W] from 0 to 1."""
        return self.depth(pictures)[0][:, None]


def save_halves(net: nn.Module, path: Path) -> None:
    """Write a network's weights in float16, counters as they are."""
    halves = {
        key: one.half() if one.is_floating_point() else one for key, one in net.state_dict().items()
    }
    save_file(halves, path)


def load_judges(folder: Path = WEIGHTS) -> Judges:
    """The shipped networks, in float32 and evaluation mode."""
    nets = (AttributeNet(), DepthNet(), SubjectEncoder())
    for name, net in zip(Judges._fields, nets, strict=True):
        weights = load_file(folder / f"{name}.safetensors")
        net.load_state_dict({key: one.float() if one.is_floating_point() else one
                             for key, one in weights.items()})  # fmt: skip
        net.eval().requires_grad_(False)
    return Judges(*nets)
