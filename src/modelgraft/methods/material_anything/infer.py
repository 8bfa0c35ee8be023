"""From a mesh to its material maps: ten views, one after the other, then one texture.

Sections 3.4 and 3.5 of the paper. Between views, bumps are held as normals in the world, so that
views of different cameras can be mixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modelgraft.core.errors import Unavailable
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.material_anything.denoising import Conditions, Denoiser, Frame
from modelgraft.methods.material_anything.estimators import Estimator
from modelgraft.methods.material_anything.keeping import Painting, keep_view, kept_view
from modelgraft.methods.material_anything.method.confidence import Light, confidence
from modelgraft.methods.material_anything.method.maps import Maps
from modelgraft.methods.material_anything.method.sampling import Hold
from modelgraft.methods.material_anything.method.views import (
    VIEWS,
    Regions,
    camera_of,
    held,
    regions,
    similarity,
)
from modelgraft.spatial import frames
from modelgraft.spatial.baking import Baked, bake
from modelgraft.spatial.cameras import Camera
from modelgraft.spatial.filling import gutter, laplace3d, nearest3d, voronoi2d
from modelgraft.spatial.gbuffer import GBuffer, camera_normals, gbuffer
from modelgraft.spatial.meshes import Mesh
from modelgraft.spatial.sampling import texture
from modelgraft.spatial.texels import Texels, find_texels

Fill = Literal["none", "voronoi2d", "nearest3d", "laplace3d"]
EXPONENTS = (1.0,) * 6 + (6.0,) * 3
"""Of the cosine, by which views are mixed: sharper for bumps (the published code)."""
_UPDATE_SHARE = 0.05
"""Smaller shares of a view are not worth another pass (the published code)."""
_GUTTER_PX = 4
COVERED = 0.5
"""Share of a pixel's lookup in the texture that must have been painted."""
_PIXELS_AT_ONCE = 1 << 18
"""Of views that are drawn together: more gain no time and cost memory."""


class Sight(NamedTuple):
    """What a view's picture is made for or of."""

    number: int
    """Of `VIEWS`."""
    surface: GBuffer
    """b = 1."""
    known: Tensor
    """Maps that earlier views have left [1, 9, H, W]."""
    is_known: Tensor
    """Where they are to stay [1, 1, H, W]; 1 beside the mesh."""


Model = TypeVar("Model")
Pictures = Callable[[Sight], Tensor]
"""The picture of a view [1, 3, H, W] in sRGB: of a texture that is there, or painted anew."""


@dataclass(frozen=True)
class Plan:
    """How a mesh is painted."""

    light: Light | Tensor = "trusted"
    """Or masks of one's own, [1, 1, h, w] for all views or [10, 1, h, w]."""
    view_px: int = 64
    texture_px: int = 256
    steps: int = 10
    eta: float = 0.0
    progressive: bool = True
    """One view after the other; else all at once, none knowing of the others."""
    hold: Literal["x0", "noisy"] | None = "x0"
    fill: Fill = "nearest3d"
    refine_steps: int | None = None
    """Of the refiner; None is as many as of the estimator."""


@dataclass
class Counts:
    """What was done, for the report."""

    estimator: int = 0
    """Views that went through the estimator."""
    estimator_calls: int = 0
    """Of its network, one for each step of a view or of views that are drawn together."""
    refiner: int = 0
    """Textures that went through the refiner."""
    refiner_calls: int = 0
    """Of its network."""
    rasters: int = 0
    """Pictures of a mesh or of its texture coordinates."""
    bakes: int = 0
    """Passes from pictures to the texture, of all maps together."""

    def counted(self, model: Model, name: Literal["estimator_calls", "refiner_calls"]) -> Model:
        """The same model, of whose network each call is counted under `name`.

        Of a `PerView` those of its function; a model of another make is given back as it is.
        """
        given_back: Any = model
        for place in ("network", "model"):
            call = getattr(model, place, None)
            if call is None or not is_dataclass(model):
                continue

            def noted(*given: Any, call: Any = call) -> Any:
                setattr(self, name, getattr(self, name) + 1)
                return call(*given)

            return replace(given_back, **{place: noted})
        return model


@dataclass(frozen=True)
class Canvas:
    """A mesh, its texture's places, and what ten cameras see of it."""

    mesh: Mesh
    texels: Texels
    cameras: tuple[Camera, ...]
    surface: GBuffer
    plan: Plan
    counts: Counts = field(default_factory=Counts)

    def axes(self, views: range, frame: Frame) -> Tensor:
        """Axes [b, H, W, 3, 3] of the bumps of some views."""
        surface = self.seen_by(views)
        if frame == "uv":
            assert surface.tangent is not None
            return frames.uv_axes(surface.normal, surface.tangent)
        right = torch.stack(
            [torch.from_numpy(self.cameras[view].c2w[:3, 0]).float() for view in views]
        )
        return frames.view_axes(surface.normal, right[:, None, None].expand_as(surface.normal))

    def seen_by(self, views: range) -> GBuffer:
        """What some of the cameras see."""
        part = slice(views.start, views.stop)
        return self.surface._make(None if one is None else one[part] for one in self.surface)

    def seen(self, values: Tensor, view: int) -> Tensor:
        """A texture [C, H, W] as a view shows it [1, C, h, w]; zeros beside the mesh."""
        surface = self.surface.view(view)
        assert surface.uv is not None
        shown = texture(values[None], surface.uv).movedim(-1, 1)
        return shown * surface.mask[:, None]

    def seen_where(self, values: Tensor, painted: Tensor, view: int) -> Tensor:
        """The same of a texture that is painted in part; zeros where it is not.

        Of a place beside what is painted, the painted texels alone count.
        """
        marked = torch.cat([values * painted, painted[None].to(values)])
        shown = self.seen(marked, view)
        share = shown[:, -1:]
        return torch.where(share > COVERED, shown[:, :-1] / share.clamp_min(COVERED), 0.0)


def canvas(mesh: Mesh, plan: Plan) -> Canvas:
    """Prepare a mesh with UVs, normals and tangents, of which the longest side is 1."""
    assert mesh.tangents is not None
    tangents = torch.from_numpy(mesh.tangents)
    cameras = tuple(camera_of(view, plan.view_px) for view in VIEWS)
    counts = Counts()
    surface = gbuffer(mesh, cameras, tangents=tangents)
    counts.rasters += len(surface.mask)
    texels = find_texels(mesh, (plan.texture_px, plan.texture_px), tangents=tangents)
    counts.rasters += 1
    return Canvas(mesh, texels, cameras, surface, plan, counts)


# -- views -----------------------------------------------------------------------------------------


@dataclass
class _State:
    """The texture while views are added to it."""

    values: Tensor
    """[9, H, W]; bumps are normals in the world, encoded."""
    painted: Tensor
    """[H, W], boolean."""
    best: Tensor
    """The view that sees a texel most squarely [H, W]; -1 where none does."""


def paint(
    canvas: Canvas,
    estimator: Estimator,
    pictures: Pictures,
    *,
    seed: int,
    folder: Path | None = None,
) -> Tensor:
    """Maps of all views [10, 9, h, w], bumps as normals in the world, encoded.

    In `folder` finished views are kept, and a painting that was stopped goes on from them.
    """
    estimator = canvas.counts.counted(estimator, "estimator_calls")
    if not canvas.plan.progressive:
        return _all_at_once(canvas, estimator, pictures, seed)
    size = canvas.texels.size
    state = _State(torch.zeros(9, *size), torch.zeros(size, dtype=torch.bool), _best(canvas))
    views = []
    for view in range(len(VIEWS)):
        kept = None if folder is None else kept_view(folder, view)
        if kept is None:
            maps = _add_view(canvas, state, estimator, pictures, view, _noise(seed, view))
            kept = Painting(maps, state.values, state.painted)
            if folder is not None:
                keep_view(folder, view, kept)
        views.append(kept.maps)
        state.values, state.painted = kept.values, kept.painted
    return torch.cat(views)


def _noise(seed: int, view: int) -> torch.Generator:
    """A stream for each view, so that none depends on what was drawn before it."""
    return torch.Generator().manual_seed(rng_seed("material", seed, view))


def _best(canvas: Canvas) -> Tensor:
    """The view that sees a texel most squarely [H, W]."""
    nothing = canvas.surface.position.new_zeros(len(VIEWS), 1, *canvas.surface.mask.shape[1:])
    found = bake(canvas.texels, canvas.surface, canvas.cameras, nothing, exponents=(1,))
    canvas.counts.bakes += 1
    return found.view


def together(view_px: int) -> int:
    """How many views of `view_px` are drawn at once where none waits for another."""
    return min(len(VIEWS), max(1, _PIXELS_AT_ONCE // view_px**2))


def _all_at_once(canvas: Canvas, estimator: Estimator, pictures: Pictures, seed: int) -> Tensor:
    """Views that know nothing of each other, as many together as memory suggests."""
    number = together(canvas.plan.view_px)
    found = []
    for start in range(0, len(VIEWS), number):
        views = range(start, min(start + number, len(VIEWS)))
        picture = unknown_pictures(canvas, pictures, views)
        maps = _denoised(canvas, estimator, picture, views, _noise(seed, start))
        found.append(maps.in_world(canvas.axes(views, estimator.frame)).joined())
    return torch.cat(found)


def unknown_pictures(canvas: Canvas, pictures: Pictures, views: range) -> Tensor:
    """Pictures [b, 3, H, W] of views before anything is painted."""
    size = canvas.plan.view_px
    nothing = torch.zeros(1, 9, size, size)
    return torch.cat([
        pictures(Sight(view, canvas.surface.view(view), nothing, nothing[:, :1])) for view in views
    ])  # fmt: skip


def told(
    canvas: Canvas,
    estimator: Estimator,
    picture: Tensor,
    views: range,
    is_known: Tensor | None = None,
) -> Conditions:
    """What the estimator is told of pictures [b, 3, H, W]; where light is known [b, 1, H, W]."""
    surface, plan, part = canvas.seen_by(views), canvas.plan, slice(views.start, views.stop)
    mask = surface.mask[:, None].float()
    light = plan.light
    if isinstance(light, Tensor) and len(light) == len(VIEWS):
        light = light[part]
    believed = confidence(light, mask, torch.zeros_like(mask) if is_known is None else is_known)
    normal = frames.encode(camera_normals(surface, canvas.cameras[part])).movedim(-1, 1)
    white = 1 - mask
    return estimator.of_view(picture * mask + white, normal * mask + white, believed)


def _add_view(
    canvas: Canvas,
    state: _State,
    estimator: Estimator,
    pictures: Pictures,
    view: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw what a view sees anew, then what it sees better than those before it."""
    known, is_painted, split = _regions(canvas, state, view)
    visible = canvas.surface.mask[view].numpy()
    is_repainted = split.update.sum() > _UPDATE_SHARE * visible.sum()
    if not split.new.any() and not is_repainted and is_painted.any():
        # Slanted places that no view has painted go on from what is beside them.
        return voronoi2d(known[0], torch.from_numpy(is_painted))[None]
    if split.new.any():
        given = _sight(canvas, view, known, is_painted | ~visible)
        known = _drawn(canvas, estimator, pictures(given), given, generator)
        _project(canvas, state, known, view, _tensor(split.new), share=1.0)
    if is_repainted:
        given = _sight(canvas, view, known, (is_painted | split.new | ~visible) & ~split.update)
        known = _drawn(canvas, estimator, pictures(given), given, generator)
        _project(canvas, state, known, view, _tensor(split.update), share=0.5)
    return known


def _sight(canvas: Canvas, view: int, known: Tensor, is_known: np.ndarray) -> Sight:
    return Sight(view, canvas.surface.view(view), known, _tensor(is_known))


def _regions(canvas: Canvas, state: _State, view: int) -> tuple[Tensor, np.ndarray, Regions]:
    """What a view shows of the texture [1, 9, H, W], where it is painted, and what to paint."""
    surface, camera = canvas.surface.view(view), canvas.cameras[view]
    eye = torch.from_numpy(camera.position).float()
    to_eye = functional.normalize(eye - surface.position, dim=-1)
    cosine = (to_eye * surface.normal).sum(-1)[0].numpy()
    seen = similarity(cosine, surface.is_front[0].numpy())
    marks = torch.stack([state.painted, state.best == view]).float()
    painted, best = (canvas.seen(marks, view)[0] > 0.5).numpy()
    known = canvas.seen_where(state.values, state.painted, view)
    return known, painted, regions(seen, painted, best)


def _tensor(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask).float()[None, None]


def _drawn(
    canvas: Canvas,
    estimator: Estimator,
    picture: Tensor,
    sight: Sight,
    generator: torch.Generator,
) -> Tensor:
    """Maps of a view [1, 9, H, W]; what is known is held."""
    views = range(sight.number, sight.number + 1)
    axes = canvas.axes(views, estimator.frame)
    mask = sight.surface.mask[:, None].float()
    is_known = sight.is_known * mask
    hold = None
    if canvas.plan.hold is not None and is_known.any():
        # On white, as the estimator learnt it.
        known = Maps.split(sight.known).along(axes).joined() * mask + 1 - mask
        latents = estimator.encode(Maps.split(known))
        hold = Hold(latents, _held_latents(sight.is_known, latents.shape[2:]), canvas.plan.hold)
    maps = _denoised(canvas, estimator, picture, views, generator, is_known=is_known, hold=hold)
    return maps.in_world(axes).joined()


def _held_latents(is_known: Tensor, size: Sequence[int]) -> Tensor:
    """Which latents [1, 1, h, w] are held: those whose pixels are all known, away from others.

    The distance of the paper sees to that at its own size alone.
    """
    new = is_known == 0
    away = functional.interpolate(_tensor(held(new[0, 0].numpy())), size=tuple(size))
    return away * (1 - functional.adaptive_max_pool2d(new.float(), tuple(size)))


def _denoised(
    canvas: Canvas,
    estimator: Estimator,
    picture: Tensor,
    views: range,
    generator: torch.Generator,
    *,
    is_known: Tensor | None = None,
    hold: Hold | None = None,
) -> Maps:
    """Maps of pictures [b, 3, H, W] of some views, bumps in the estimator's frame."""
    plan = canvas.plan
    given = told(canvas, estimator, picture, views, is_known)
    maps = estimator.denoise(given, steps=plan.steps, generator=generator, hold=hold, eta=plan.eta)
    canvas.counts.estimator += len(views)
    require_finite(maps, views)
    return maps


def require_finite(maps: Maps, views: range) -> None:
    """`Unavailable` with the views' names for maps that hold no numbers."""
    if not maps.joined().isfinite().all():
        names = ", ".join(VIEWS[one].sector for one in views)
        raise Unavailable(
            f"view {views.start} ({names}): the estimator drew values that are not finite.\n"
            "  Often a number type is too small for the model; try --dtype float32."
        )


def _project(
    canvas: Canvas, state: _State, maps: Tensor, view: int, where: Tensor, *, share: float
) -> None:
    """Put a view's maps into the texture `where` [1, 1, H, W] is 1.

    Of an albedo that was there `1 - share` stays, of other maps nothing.
    """
    camera = canvas.cameras[view : view + 1]
    # As one more map: if the surface ended there, its border would be left to other views.
    marked = torch.cat([maps, where], 1)
    found = bake(canvas.texels, canvas.surface.view(view), camera, marked,
                 exponents=(*EXPONENTS, 1.0))  # fmt: skip
    canvas.counts.bakes += 1
    is_chosen = found.seen & (found.values[-1] > 0.5)
    shares = torch.tensor([share] * 3 + [1.0] * 6).view(-1, 1, 1)
    shares = torch.where(state.painted, shares, 1.0)
    mixed = torch.lerp(state.values, found.values[:-1], shares)
    state.values = torch.where(is_chosen, mixed, state.values)
    state.painted |= is_chosen


# -- texture ---------------------------------------------------------------------------------------


class Painted(NamedTuple):
    """The maps of a mesh as textures, and how they came about."""

    maps: Maps
    """[1, 3, H, W] each; bumps in the tangent frame of the UVs."""
    baked: Baked
    """Before holes were filled; bumps as normals in the world."""
    counts: Counts


def assemble(canvas: Canvas, views: Tensor, refiner: Denoiser | None, *, seed: int) -> Painted:
    """One texture of the maps of all views [10, 9, h, w], with holes filled and refined.

    The refiner is called once; what it draws is kept where no view has seen the mesh, and the
    filled texture elsewhere.
    """
    plan, texels = canvas.plan, canvas.texels
    found = bake(texels, canvas.surface, canvas.cameras, views, exponents=EXPONENTS)
    canvas.counts.bakes += 1
    # Along the surface before it is filled: what is copied from elsewhere are bumps, not normals.
    values = _in_texture(found.values, found.seen, texels).joined()[0]
    maps = Maps.split(_filled(values, found.seen, texels, plan.fill)[None])
    if refiner is not None:
        refiner = canvas.counts.counted(refiner, "refiner_calls")
        generator = torch.Generator().manual_seed(rng_seed("refine", seed))
        given = refiner.of_texture(_with_holes(maps, found.seen), positions(canvas))
        drawn = refiner.denoise(
            given, steps=plan.refine_steps or plan.steps, generator=generator, eta=plan.eta
        )
        canvas.counts.refiner += 1
        maps = Maps(*(
            torch.where(found.seen, own, new) for own, new in zip(maps, drawn, strict=True)
        ))  # fmt: skip
    padded = gutter(maps.joined()[0], texels.mask, _GUTTER_PX)
    return Painted(Maps.split(padded[None]).sound(), found, canvas.counts)


def _filled(values: Tensor, seen: Tensor, texels: Texels, fill: Fill) -> Tensor:
    if fill == "none" or bool((seen | ~texels.mask).all()):
        return values
    if fill == "voronoi2d":
        return voronoi2d(values, seen)
    return (nearest3d if fill == "nearest3d" else laplace3d)(values, seen, texels)


def _in_texture(values: Tensor, seen: Tensor, texels: Texels) -> Maps:
    """Maps with bumps turned from the world into the tangent frame; flat where none is seen."""
    maps = Maps.split(values[None])
    assert texels.tangent is not None
    axes = frames.uv_axes(texels.normal, texels.tangent)
    normal = frames.raised(frames.from_world(frames.decode(texels.values(maps.bump[0])), axes))
    flat = torch.tensor([0.5, 0.5, 1.0]).view(3, 1, 1)
    bump = torch.where(texels.mask & seen, texels.image(frames.encode(normal)), flat)
    return maps._replace(bump=bump[None])


def _with_holes(maps: Maps, seen: Tensor) -> Maps:
    """White where no view has seen the mesh, as the refiner learnt it."""
    return Maps(*(torch.where(seen, one, 1.0) for one in maps))


def positions(canvas: Canvas) -> Tensor:
    """Where each texel lies in space, from 0 to 1, as a picture [1, 3, H, W] on white."""
    texels = canvas.texels
    found = texels.image(texels.position + 0.5)
    return torch.where(texels.mask, found, 1.0)[None]
