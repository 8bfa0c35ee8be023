"""The embedded painter of meshes without colours: a prompt names a substance of the world."""

from __future__ import annotations

import re
from typing import Final

import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.infer import Pictures, Sight
from modelgraft.methods.material_anything.lighting import training_lights
from modelgraft.methods.material_anything.method.views import VIEWS, camera_of
from modelgraft.methods.material_anything.world import raised_from
from modelgraft.spatial.shading.brdf import TRAINING_FLOOR, Surface
from modelgraft.spatial.shading.colour import to_linear, to_srgb
from modelgraft.spatial.shading.render import shade
from modelgraft.worlds.substances import KINDS, Substance, bumped, substance

_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "gold": ("gold", "golden", "gilded", "brass"),
    "copper": ("copper", "bronze", "patina", "verdigris"),
    "brushed steel": ("steel", "iron", "aluminium", "aluminum", "silver", "chrome", "metal",
                      "metallic"),
    "rusty paint": ("rust", "rusty", "rusted", "corroded"),
    "glossy plastic": ("plastic", "acrylic", "vinyl", "lacquer", "lacquered"),
    "rubber": ("rubber", "tyre", "tire", "silicone"),
    "wood": ("wood", "wooden", "oak", "pine", "walnut", "timber"),
    "brick": ("brick", "masonry"),
    "marble": ("marble", "stone"),
    "woven fabric": ("fabric", "cloth", "woven", "cotton", "linen", "wool", "textile", "knitted"),
    "leather": ("leather", "hide"),
    "glazed ceramic": ("ceramic", "glazed", "porcelain", "pottery", "china", "enamel"),
    "metal and plastic": ("checkered", "chequered", "checkerboard"),
}  # fmt: skip


def kind_of(prompt: str) -> str:
    """The class of substances, one of `KINDS`, that a prompt speaks of.

    The full name of a class comes first, then the first word that belongs to one, so that "a rusty
    steel barrel" is rusty. `InputError` lists the classes when no word does.
    """
    words = re.findall(r"[a-z]+", prompt.lower())
    spaced = f" {' '.join(words)} "
    named = [kind for kind in KINDS if f" {kind} " in spaced]
    if named:
        return max(named, key=len)
    known = {word: kind for kind, own in _WORDS.items() for word in own}
    for word in words:
        kind = known.get(word) or known.get(word.removesuffix("s"))
        if kind is not None:
            return kind
    raise InputError(
        f'the prompt "{prompt}": no word of it names a material that the embedded painter knows.\n'
        f"  It knows {', '.join(KINDS)}. Name one of them, or give a model that paints any prompt "
        "with --painter."
    )


def world_pictures(prompt: str, *, seed: int) -> Pictures:
    """What paints the views of a mesh in its unit box by a prompt.

    It stands at our scale for Stable Diffusion under a depth ControlNet. The substance is a
    function of the point in space, so views agree on what is where; the light of each view is drawn
    apart, as such models paint plausible light that differs from view to view. What comes out are
    pictures alone: the estimator is not told the maps that they were made of. `InputError` for a
    prompt without a known material.
    """
    kind = kind_of(prompt)
    number = rng_seed("painted", seed) % 100_000
    matter = substance("validation", number, kind=kind)  # the estimator has not learnt it
    return lambda sight: _painted(sight, matter, seed)


def _painted(sight: Sight, matter: Substance, seed: int) -> Tensor:
    """A view [1, 3, H, W] in sRGB, on white."""
    surface, mask = sight.surface, sight.surface.mask
    position = surface.position[mask]
    found = matter.at(position.numpy())
    gradient = raised_from(surface, found.gradient)
    raised = torch.from_numpy(bumped(surface.normal[mask].numpy(), gradient)).float()
    albedo, roughness, metallic = (torch.from_numpy(one) for one in found[:3])
    eye = camera_of(VIEWS[sight.number], mask.shape[1]).position
    radiance = shade(
        Surface(raised, to_linear(albedo), roughness[:, None], metallic[:, None]),
        training_lights(eye, seed=rng_seed("painted light", seed, sight.number)),
        position=position,
        eye=torch.from_numpy(eye).float(),
        floor=TRAINING_FLOOR,
    )
    picture = torch.ones(*mask.shape, 3)
    picture[mask] = to_srgb(radiance).clamp(0, 1)
    return picture.movedim(-1, 1)
