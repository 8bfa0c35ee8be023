"""Conditions on a Flux pipeline: attach or load adapters, use them, detach."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.store import Report, to_stderr
from modelgraft.diffusion.latents import encode, token_px
from modelgraft.diffusion.lora_files import read_lora, write_lora
from modelgraft.diffusion.pictures import Size
from modelgraft.methods.ominicontrol.adapter.caching import (
    CachedForward,
    check_processors,
    conditioned_processors,
    restore_adapters,
)
from modelgraft.methods.ominicontrol.adapter.info import (
    HEADER,
    PUBLISHED,
    AdapterInfo,
    info_of,
    published,
)
from modelgraft.methods.ominicontrol.adapter.lora import (
    add_lora,
    load_lora,
    lora_matrices,
    lora_parameters,
)
from modelgraft.methods.ominicontrol.adapter.placing import check_places, output_grid
from modelgraft.methods.ominicontrol.method.attention import Scope
from modelgraft.methods.ominicontrol.method.branches import (
    ConditionTokens,
    FluxInputs,
    Wiring,
    branch_velocity,
)
from modelgraft.methods.ominicontrol.method.positions import condition_ids

Executor = Literal["auto", "branch", "cached"]


class HiddenTextWarning(UserWarning):
    """A cache hides text and image from a condition whose adapter learnt to see them."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A picture that the output shall obey, through one adapter.

    `picture` [3, H, W] or [b, 3, H, W] from 0 to 1 is what the adapter was trained to see: edges,
    not the photograph they are to be found in. `start` and `end` are shares of the sampling steps.
    """

    picture: Tensor
    adapter: str
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    delta: tuple[float, ...] | None = None
    """None is the adapter's own."""
    scale: float | None = None
    """None is the adapter's own."""
    kept: Tensor | None = None
    """Tokens [H/16, W/16] that are used, True; None is all."""
    integrates: bool = False
    """The tokens that are used are those of the output, which are not drawn again (filling)."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength < math.inf:
            raise ConfigError(
                "strength", f"strength {self.strength}: 0 removes a condition, 1 is as trained."
            )
        if self.scale is not None and not 0 < self.scale < math.inf:
            raise ConfigError(
                "scale", f"scale {self.scale}: target size over condition size, above 0."
            )
        if self.delta is not None and not all(math.isfinite(one) for one in self.delta):
            raise ConfigError("delta", f"delta {self.delta}: finite numbers of tokens are needed.")
        if self.picture.dim() not in (3, 4) or self.picture.shape[-3] != 3:
            raise InputError(
                f"A condition of shape {tuple(self.picture.shape)}: [3, H, W] or [b, 3, H, W] is "
                "needed, in RGB from 0 to 1."
            )
        if not 0 <= self.start <= self.end <= 1:
            raise ConfigError(
                "start", f"start {self.start}, end {self.end}: shares of the steps from 0 to 1."
            )


class OminiControl:
    """Adapters of OminiControl on a stock `FluxPipeline`, which is unchanged outside of `use`.

    Inside `with control.use(condition): pipe(prompt)` the pipeline's own call obeys the conditions.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        self.transformer: Any = pipe.transformer
        self.infos: dict[str, AdapterInfo] = {}
        check_processors(self.transformer)

    # -- adapters ----------------------------------------------------------------------------------

    def attach(
        self,
        name: str,
        info: AdapterInfo,
        *,
        rank: int = 4,
        alpha: float | None = None,
        modules: str = "full",
        seed: int = 0,
    ) -> None:
        """Put a fresh adapter on the transformer; it changes nothing before it is trained.

        `alpha` None is the rank, as in the official code.
        """
        self._check_new(name)
        with self._at_rest():
            add_lora(
                self.transformer,
                name,
                modules=modules,
                rank=rank,
                alpha=rank if alpha is None else alpha,
                seed=seed,
            )
        self.infos[name] = info

    def load(self, path: str | Path, name: str | None = None, *, report: Report = to_stderr) -> str:
        """Put the adapter in a safetensors file on the transformer, and return its name.

        Without a `name` it is made from the file's, so that no other adapter has it. A file without
        our header is looked up among the published ones. `report` is told what the file does not
        say itself, and that it was trained on a model of another name. Raises `InputError` for a
        file that is broken or was made for another base model.
        """
        path = Path(path)
        file = read_lora(path, header=HEADER)
        if file.header:
            return self.load_as(path, info_of(str(path), file.header), name, report=report)
        known = published(path)
        if known is None:
            raise InputError(
                f"{path}: its header does not say what its condition is, and no published adapter "
                "has this name.\n  Attach it by hand: control.load_as(path, AdapterInfo(task=...))."
            )
        info = PUBLISHED[known]
        report(f"{path}: by its name the published {known}: {info.task}, delta {info.delta}")
        return self.load_as(path, info, name, report=report)

    def load_as(
        self,
        path: str | Path,
        info: AdapterInfo,
        name: str | None = None,
        *,
        report: Report = to_stderr,
    ) -> str:
        """As `load`, with what is known of the adapter given."""
        path = Path(path)
        name = name or self._free_name(path.stem)
        self._check_new(name)
        file = read_lora(path, header=HEADER)
        if file.alpha is None:
            report(f"{path}: it does not say its alpha, which is taken to be its rank {file.rank}")
        model = self.pipe.name_or_path
        if model and info.base and _short(model) != _short(info.base):
            report(f"{path}: it was trained on {info.base}, and this model is {model}")
        with self._at_rest():
            load_lora(self.transformer, name, file, source=str(path))
        self.infos[name] = info
        return name

    def save(self, name: str, path: str | Path) -> None:
        """Write an adapter to a file that diffusers loads too."""
        down, up = lora_matrices(self.transformer, name)
        config = self.transformer.peft_config[name].to_dict()
        write_lora(Path(path), down, up, config=config,
                   header={HEADER: self.infos[name].as_header()})  # fmt: skip

    def parameters(self, name: str) -> list[nn.Parameter]:
        """The matrices of one adapter."""
        return [one for _, one in lora_parameters(self.transformer, name)]

    def detach(self) -> None:
        """Take every adapter of ours off again."""
        for name in self.infos:
            self.transformer.delete_adapters(name)
        self.infos.clear()
        if not getattr(self.transformer, "peft_config", {}):
            self.transformer.unload_lora()

    def _check_new(self, name: str) -> None:
        if name in getattr(self.transformer, "peft_config", {}):
            raise ConfigError("name", f"the transformer has an adapter {name!r} already.")
        if not name.replace("_", "").replace("-", "").isalnum():
            raise ConfigError("name", f"{name!r}: a name has letters, digits, - and _ only.")

    def _free_name(self, stem: str) -> str:
        """The name of a file as that of an adapter, with a number if there is one of it already."""
        safe = re.sub(r"[^\w-]+", "_", stem).strip("_") or "adapter"
        taken = getattr(self.transformer, "peft_config", {})
        numbered = (f"{safe}_{number}" for number in itertools.count(2))
        return next(one for one in itertools.chain([safe], numbered) if one not in taken)

    @contextlib.contextmanager
    def _at_rest(self) -> Generator[None]:
        """Adapters added inside the block are silent after it; others stay as they were."""
        before = {
            one: (list(one.active_adapters), one.disable_adapters)
            for one in self.transformer.modules()
            if isinstance(one, BaseTunerLayer)
        }
        trained = [one for one in self.transformer.parameters() if one.requires_grad]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            yield
        fresh = [one for one in self.transformer.parameters() if one.requires_grad]
        layers = [one for one in self.transformer.modules() if isinstance(one, BaseTunerLayer)]
        # A layer without adapters before says what the others say, so that the user's stay on.
        active = next((state[0] for state in before.values()), [])
        restore_adapters([(one, *before.get(one, (active, False))) for one in layers])
        self.transformer.requires_grad_(False)
        for one in (*trained, *fresh):
            one.requires_grad_(True)

    # -- use ---------------------------------------------------------------------------------------

    def tokens(self, condition: Condition) -> ConditionTokens:
        """A condition as the transformer sees it."""
        info = self._info(condition.adapter)
        picture = condition.picture
        pictures = picture[None] if picture.dim() == 3 else picture
        height, width = (side // token_px(self.pipe) for side in pictures.shape[-2:])
        tokens = encode(self.pipe, check_size(pictures, token_px(self.pipe)))
        ids = condition_ids(
            height,
            width,
            delta=info.delta if condition.delta is None else condition.delta,
            scale=info.scale if condition.scale is None else condition.scale,
        )
        if condition.kept is not None:
            kept = check_kept(condition.kept, (height, width)).flatten()
            tokens, ids = tokens[:, kept], ids[kept]
        return ConditionTokens(
            tokens=tokens,
            ids=ids.to(tokens.device),
            adapter=condition.adapter,
            strength=condition.strength,
            mode=info.mode,
        )

    def _info(self, name: str) -> AdapterInfo:
        if name not in self.infos:
            known = ", ".join(self.infos) or "none"
            raise ConfigError("adapter", f"adapter {name!r} is not loaded; loaded are: {known}.")
        if name not in getattr(self.transformer, "peft_config", {}):
            raise ConfigError(
                "adapter", f"adapter {name!r} was taken off the pipeline; load it again."
            )
        return self.infos[name]

    @contextlib.contextmanager
    def use(
        self,
        *conditions: Condition,
        executor: Executor = "auto",
        scope: Scope = "main",
        blocks: range | None = None,
        image_guidance: float = 1.0,
        reuse: bool = False,
    ) -> Generator[None]:
        """The pipeline's own call obeys `conditions` inside the block, and is as before after it.

        `cached` reads independent conditions from keys computed once; `branch` runs every
        condition at every step, which joint adapters need; `auto` takes the first where all
        adapters allow. With `image_guidance` w the velocity is v(black) + w (v(condition) -
        v(black)), black being what a dropped condition was in training. `blocks` None are those in
        which the adapters were seen in training.

        The pooled prompt enters every block, so each prompt has keys of its own. With `reuse` those
        made under the first prompt serve the others of its batch, the negative ones, and later
        calls with as many prompts: less time and memory, but approximate for all prompts but that
        one. Pictures given one each are computed under their own prompts of the first call.
        Raises `ConfigError` where nothing is cached. The pipeline's call raises `InputError` for an
        output of another size than an aligned condition's, unless the condition has places of its
        own.
        """
        if blocks is None:
            blocks = self.blocks_of(one.adapter for one in conditions)
        chosen = self._executor(conditions, executor)
        if reuse and chosen == "branch":
            raise ConfigError(
                "reuse",
                "reuse: conditions are computed at every step here, so there are no keys to use "
                "again.\n  Leave it out; it needs independent adapters, and not executor='branch'.",
            )
        work = _Work(self, conditions, chosen, scope, blocks, image_guidance, reuse=reuse)
        # Offloading replaces `forward` by its own, which calls the old one.
        place = "_old_forward" if hasattr(self.transformer, "_hf_hook") else "forward"
        before = getattr(self.transformer, place)
        outer = getattr(before, "__self__", None)
        stock = outer.stock if isinstance(outer, _Work) else before
        had_own = place in vars(self.transformer)
        with contextlib.ExitStack() as stack:
            work.open(stack, stock)
            setattr(self.transformer, place, work.forward)
            try:
                yield
            finally:
                if had_own:
                    setattr(self.transformer, place, before)
                else:
                    delattr(self.transformer, place)

    def blocks_of(self, adapters: Iterable[str]) -> range | None:
        """The blocks in which adapters are seen, None being all; `ConfigError` if they differ."""
        found = {self._info(name).blocks for name in adapters}
        if len(found) > 1:
            raise ConfigError(
                "blocks",
                f"the adapters were trained to be seen in different blocks: {found}.\n"
                "  Say in which all are: control.use(..., blocks=range(...)).",
            )
        own = next(iter(found), None)
        return None if own is None else range(*own)

    def _executor(self, conditions: Sequence[Condition], executor: Executor) -> Executor:
        adapters = [one.adapter for one in conditions]
        if text := self.hidden_text(executor, adapters):
            warnings.warn(f"{text}.", HiddenTextWarning, stacklevel=4)
        if executor == "auto":
            return "branch" if self._joint(adapters) else "cached"
        return executor

    def hidden_text(self, executor: Executor, adapters: Iterable[str]) -> str:
        """What is lost when an executor caches joint adapters; empty where nothing is."""
        joint = self._joint(adapters)
        if executor != "cached" or not joint:
            return ""
        return (
            f"adapter {joint[0]!r} was trained to see text and image; a cache hides them from it, "
            "so that its condition will be followed less well"
        )

    def _joint(self, adapters: Iterable[str]) -> list[str]:
        return [name for name in adapters if self._info(name).mode == "joint"]


class _Work:
    """What stands in for the transformer's forward pass while conditions are in use."""

    def __init__(
        self,
        control: OminiControl,
        conditions: Sequence[Condition],
        executor: Executor,
        scope: Scope,
        blocks: range | None,
        image_guidance: float,
        *,
        reuse: bool,
    ) -> None:
        self._control, self._conditions = control, conditions
        self._executor, self._scope, self._blocks = executor, scope, blocks
        self._image_guidance, self._reuse = image_guidance, reuse
        self._branches: list[Callable[[FluxInputs, Sequence[float | None]], Tensor]] = []
        self._known: _Known | None = None

    def open(self, stack: contextlib.ExitStack, stock: Callable[..., Any]) -> None:
        """Encode the conditions and, for image guidance, black pictures in their place."""
        check_processors(self._control.transformer)
        self.stock = stock
        sets = [self._conditions]
        if self._image_guidance != 1:
            sets.append([black(one) for one in self._conditions])
        tokens = [[self._control.tokens(one) for one in found] for found in sets]
        self._known = _known(self._conditions, tokens[0])
        if self._executor == "branch":
            self._branches = [self._branch(found) for found in tokens]
            return
        phase = stack.enter_context(conditioned_processors(self._control.transformer))
        self._branches = [
            CachedForward(
                self._control.transformer,
                stock,
                found,
                phase,
                self._scope,
                self._blocks,
                self._reuse,
            ).velocity
            for found in tokens
        ]

    def _branch(self, tokens: Sequence[ConditionTokens]) -> Callable[..., Tensor]:
        wiring = Wiring(scope=self._scope, blocks=self._blocks)

        def velocity(inputs: FluxInputs, strengths: Sequence[float | None]) -> Tensor:
            pairs = zip(tokens, strengths, strict=True)
            now = [with_strength(one, by) for one, by in pairs if by is not None]
            return branch_velocity(self._control.transformer, inputs, now, wiring)

        return velocity

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The stock signature; what comes back is the guided velocity."""
        kwargs |= dict(zip(FluxInputs.__dataclass_fields__, args, strict=False))
        return_dict = kwargs.pop("return_dict", True)
        names = FluxInputs.__dataclass_fields__
        inputs = FluxInputs(**{key: value for key, value in kwargs.items() if key in names})
        extra = {
            key: value
            for key, value in kwargs.items()
            if key not in names and (isinstance(value, Tensor) or value)
        }
        if extra:
            raise ConfigError(
                "conditions", f"{', '.join(extra)} cannot be used together with conditions."
            )
        output = self._velocity(inputs)
        if not return_dict:
            return (output,)
        return Transformer2DModelOutput(sample=output)

    def _velocity(self, inputs: FluxInputs) -> Tensor:
        if not inputs.img_ids.is_meta:  # a pass over shapes alone has no places
            self._check_places(output_grid(inputs.img_ids))
        known = self._known
        drawn = inputs if known is None else known.without(inputs)
        strengths = self._strengths()
        found = [branch(drawn, strengths) for branch in self._branches]
        output = found[0]
        if len(found) == 2:
            output = found[1] + self._image_guidance * (found[0] - found[1])
        return output if known is None else known.velocity(inputs, output)

    def _check_places(self, output: Size) -> None:
        """Raise `InputError` when a condition with its adapter's places misses the output's."""
        token = token_px(self._control.pipe)
        for one in self._conditions:
            if one.delta is None and one.scale is None:
                info = self._control.infos[one.adapter]
                height, width = one.picture.shape[-2:]
                grid = (height // token, width // token)
                check_places(one.adapter, info, grid, output, token_px=token)

    def _strengths(self) -> list[float | None]:
        """Strengths at this step: None outside of a condition's part of the schedule.

        There it is not seen at all; a strength of 0 still is in scope `image`, through the text.

        The pipeline's scheduler counts the steps; times tell neighbours apart only in float32.
        """
        if all(one.start == 0 and one.end == 1 for one in self._conditions):
            return [one.strength for one in self._conditions]
        scheduler = self._control.pipe.scheduler
        step = scheduler.step_index or scheduler.begin_index or 0
        share = step / len(scheduler.timesteps)
        return [one.strength if one.start <= share < one.end else None for one in self._conditions]


@dataclass(frozen=True)
class _Known:
    """Tokens of the output that are given (token integration, OminiControl2, section 3.1)."""

    places: Tensor
    """Which of the output's tokens [n]."""
    clean: Tensor
    """What they are [b or 1, known, c]."""
    ids: Tensor
    """Where they stand [known, 3]."""
    grid: tuple[int, int]

    def without(self, inputs: FluxInputs) -> FluxInputs:
        """The same step over the other tokens alone; `InputError` for an output of another grid."""
        is_same = len(self.places) == len(inputs.img_ids) and torch.equal(
            self.ids, inputs.img_ids[self.places].to(self.ids)
        )
        if not is_same:
            height, width = self.grid
            raise InputError(
                f"The condition that integrates has {height} x {width} tokens, and its places are "
                "not those of the output.\n  Draw a picture of the condition's own size: "
                f"{height} tokens high, {width} wide."
            )
        return replace(
            inputs,
            hidden_states=inputs.hidden_states[:, ~self.places],
            img_ids=inputs.img_ids[~self.places],
        )

    def velocity(self, inputs: FluxInputs, drawn: Tensor) -> Tensor:
        """Over all tokens; that of the known ones leads straight to what they are."""
        x = inputs.hidden_states
        found = torch.empty_like(x)
        found[:, ~self.places] = drawn
        time = inputs.timestep.view(-1, 1, 1).to(x.dtype)
        found[:, self.places] = (x[:, self.places] - self.clean.to(x)) / time
        return found


def _known(conditions: Sequence[Condition], tokens: Sequence[ConditionTokens]) -> _Known | None:
    """The given tokens, if one condition integrates; raises `ConfigError` if several do."""
    found = [pair for pair in zip(conditions, tokens, strict=True) if pair[0].integrates]
    if not found:
        return None
    (condition, own), *others = found
    if others or condition.kept is None:
        raise ConfigError(
            "integrates", "one condition alone can stand for tokens, and `kept` says for which."
        )
    if condition.kept.all():
        raise ConfigError("kept", "kept leaves no token to draw.")
    grid = (condition.kept.shape[0], condition.kept.shape[1])
    return _Known(condition.kept.bool().flatten(), own.tokens, own.ids, grid)


def _short(model: str) -> str:
    """A model's name without its owner or folder, and without its revision."""
    return PurePath(model.partition("@")[0]).name


def black(condition: Condition) -> Condition:
    """A condition's place taken by the black picture that stood for a dropped one in training."""
    return replace(condition, picture=torch.zeros_like(condition.picture))


def with_strength(tokens: ConditionTokens, strength: float) -> ConditionTokens:
    """The same tokens counting more or less."""
    return replace(tokens, strength=strength)


def check_size(pictures: Tensor, multiple: int) -> Tensor:
    """Pictures whose sides are multiples of a token; raises `InputError` otherwise."""
    height, width = pictures.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        raise InputError(
            f"A condition of {width} x {height} pixels: both sides must be multiples of {multiple}."
            "\n  Resize it first, for example with modelgraft.diffusion.pictures.fit_to."
        )
    return pictures


def check_kept(kept: Tensor, grid: tuple[int, int]) -> Tensor:
    """A choice of tokens of the grid that keeps some."""
    if tuple(kept.shape) != grid:
        raise ConfigError("kept", f"kept has {tuple(kept.shape)} tokens, the condition {grid}.")
    if not kept.any():
        raise ConfigError("kept", "kept leaves no token of the condition.")
    return kept.bool()
