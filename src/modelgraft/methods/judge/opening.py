"""From the options of a run to its items, its judge, and how the judge is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelgraft.core.errors import ConfigError
from modelgraft.core.lazy import need
from modelgraft.core.runs import Run
from modelgraft.language.endpoints.calls import Calls, model_label
from modelgraft.language.endpoints.store import CallStore
from modelgraft.methods.judge.config import AskingOptions, JudgeOptions, JudgesOptions, ScoreConfig
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging.drafts import AnswersFirst, Ask, with_own_answers
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.prompts import Mode, read_template
from modelgraft.methods.judge.rubric import read_rubric
from modelgraft.methods.judge.tuning.folders import is_tuned, tuned_asking
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


STORE = "calls.sqlite"


def store_of(config: AskingOptions, run: Run) -> CallStore:
    """The answers of models: those in the file that runs share, or those of this run."""
    return CallStore(config.store or run.folder / STORE)


def items_of(
    config: AskingOptions, run: Run, *, at_least: int, at_most: int | None = None
) -> list[Item]:
    """The items of the file with so many candidates and what the rubric needs, or the world's."""
    if config.items is None:
        return world_of(config, seed=run.seed)
    reject = run.reject if config.on_error == "skip" else None
    found = read_items(
        config.items, reject=reject, at_least=at_least, at_most=at_most, needs=_needs(config)
    )
    return found[: config.num]


def _needs(config: AskingOptions) -> list[str]:
    """What items have to have for the rubrics; the judge may write a reference itself."""
    names = [config.rubric, *(config.criteria if isinstance(config, ScoreConfig) else ())]
    needs = {need for name in names for need in read_rubric(name).needs}
    if isinstance(config, JudgeOptions) and config.reference == "own":
        needs.discard("reference")
    return sorted(needs)


def world_of(config: AskingOptions, *, seed: int) -> list[Item]:
    """The embedded world's pairs, `config.num` of them or 20 of each category."""
    num = config.num or _OF_WORLD * len(CATEGORIES)
    each = math.ceil(num / len(CATEGORIES))
    items = world_pairs(each, seed=seed)
    # The first of every category, then the second of every one, until there are so many.
    kept = sorted(range(len(items)), key=lambda place: place % each)[:num]
    return [items[place] for place in sorted(kept)]


def asking_of(config: JudgeOptions, mode: Mode) -> Asking:
    """How the judge is asked; a tuned one as it was tuned.

    Raises `ConfigError` for a template of another mode.
    """
    if is_tuned(config.judge) and (tuned := tuned_asking(config, mode)) is not None:
        return tuned
    template = read_template(config.template or _TEMPLATES[mode, config.how == "written"])
    if template.mode != mode:
        raise ConfigError(
            "template",
            f"--template {template.name}: it shows a {template.mode}, and a {mode} is judged here.",
        )
    if mode == "pair" and not template.labels:
        raise ConfigError(
            "template", f"--template {template.name}: it has no labels to choose the better one by."
        )
    return Asking(template, read_rubric(config.rubric), config.hardening, config.samples)


def asker_of(config: JudgeOptions, calls: Calls) -> Ask:
    """Asks the judging model for texts; nothing is loaded before it is asked."""
    return lambda requests: calls.ask(config.judge, requests)


def with_references(
    config: JudgeOptions, run: Run, items: Sequence[Item], calls: Calls
) -> list[Item]:
    """The items, with the judge's own answers as references where the options ask for it.

    An item without an answer is not judged: its verdicts say why (`AnswersFirst`).
    """
    if config.reference == "given":
        return list(items)
    found, num_failed = with_own_answers(items, asker_of(config, calls))
    if num_failed:
        run.log("no answer of the judge's own", items=num_failed)
    return found


def open_judge(
    config: JudgeOptions, run: Run, store: CallStore, *, calls: Calls | None = None
) -> Judge:
    """The judge: read from probabilities on this machine, or asked through the store.

    `calls` are those that share its budget.
    """
    judge = _opened(config, run, store, calls)
    return AnswersFirst(judge) if config.reference == "own" else judge


def _opened(config: JudgeOptions, run: Run, store: CallStore, calls: Calls | None) -> Judge:
    how = config.how

    def report(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, f"{config.judge}: {how}")

    # What reads on this machine brings torch, which a run behind a URL does without.
    settings = run.settings
    if is_tuned(config.judge):
        need("transformers", extra="hf")
        from modelgraft.methods.judge.tuning.loading import open_tuned

        return open_tuned(config, settings, store, report)
    if how in ("written", "logprobs"):
        calls = calls or Calls(config, run, store)
        return ChatJudge(
            lambda requests: calls.ask(config.judge, requests),
            name=config.judge,
            reader="logprobs" if how == "logprobs" else "written",
            temperature=config.temperature,
            max_tokens=config.max_new_tokens,
        )
    need("transformers", extra="hf")
    from modelgraft.language.load import load_causal_lm
    from modelgraft.methods.judge.judges.local import ChoiceJudge, LikelihoodJudge

    dtype = "float32" if settings.dtype == "auto" and settings.device == "cpu" else settings.dtype
    loaded = load_causal_lm(
        config.judge, device=settings.device, dtype=dtype, offline=settings.offline
    )
    kind = ChoiceJudge if how == "choice" else LikelihoodJudge
    return kind(
        loaded.model,
        loaded.tokenizer,
        name=loaded.name,
        overflow=config.overflow,
        report=report,
    )


def label_of(config: JudgeOptions, judge: Judge) -> str:
    """What reports call a judge: its name, of a URL only the model."""
    return judge.name.replace(config.judge, model_label(config.judge))


def open_judges(config: JudgesOptions, run: Run, store: CallStore) -> tuple[list[Judge], list[str]]:
    """The judges of a panel, within one budget, and what reports call them.

    That are their labels, or where two have the same, their whole names.
    """
    calls = Calls(config, run, store)
    judges = [open_judge(one, run, store, calls=calls) for one in config.members]
    names = [label_of(*one) for one in zip(config.members, judges, strict=True)]
    return judges, names if len(set(names)) == len(names) else [one.name for one in judges]
