"""From the options of a run to its items, its judge, and how the judge is asked."""

from __future__ import annotations

from modelgraft.core.errors import ConfigError
from modelgraft.core.runs import Run
from modelgraft.language.endpoints.calls import Calls
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.judge.config import JudgeOptions
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging import Asking
from modelgraft.methods.judge.prompts import Mode, read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.world.pairs import CATEGORIES, world_pairs

_OF_WORLD = 20
# The template of a mode, by whether the verdict is read from a label or from a text.
_TEMPLATES: dict[tuple[Mode, bool], str] = {
    ("point", False): "point",
    ("point", True): "point_written",
    ("pair", False): "pair",
    ("pair", True): "pair_written",
    ("list", False): "list",
    ("list", True): "list",
}


def items_of(config: JudgeOptions, run: Run, *, at_least: int) -> list[Item]:
    """The items of the file, each with `at_least` so many candidates, or those of the world."""
    if config.items is None:
        num = config.num or _OF_WORLD * len(CATEGORIES)
        return world_pairs(max(1, num // len(CATEGORIES)), seed=run.seed)
    reject = run.reject if config.on_error == "skip" else None
    return read_items(config.items, reject=reject, at_least=at_least)[: config.num]


def asking_of(config: JudgeOptions, mode: Mode) -> Asking:
    """How the judge is asked. Raises `ConfigError` for a template of another mode."""
    template = read_template(config.template or _TEMPLATES[mode, config.how == "written"])
    if template.mode != mode:
        raise ConfigError(
            "template",
            f"--template {template.name}: it shows a {template.mode}, and a {mode} is judged here.",
        )
    return Asking(template, read_rubric(config.rubric), config.hardening, config.samples)


def open_judge(config: JudgeOptions, run: Run, store: CallStore) -> Judge:
    """The judge: read from probabilities on this machine, or asked through the store."""
    how = config.how
    if how in ("written", "logprobs"):
        calls = Calls(config, run, store)
        return ChatJudge(
            lambda requests: calls.ask(config.judge, requests),
            name=config.judge,
            reader="logprobs" if how == "logprobs" else "written",
            temperature=config.temperature,
            max_tokens=config.max_new_tokens,
        )
    # They bring torch, which a run behind a URL does without.
    from modelgraft.language.load import load_causal_lm
    from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge

    settings = run.settings
    dtype = "float32" if settings.dtype == "auto" and settings.device == "cpu" else settings.dtype
    loaded = load_causal_lm(
        config.judge, device=settings.device, dtype=dtype, offline=settings.offline
    )
    kind = ChoiceJudge if how == "choice" else LikelihoodJudge

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, f"{loaded.name}: {how}")

    return kind(loaded.model, loaded.tokenizer, name=loaded.name, report=report)
