"""From briefs to rows: the work of the action, in a run that can be killed."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from modelgraft.core.files import dump_json, sha256_file, write_atomic, write_json
from modelgraft.core.processes import refuse_processes
from modelgraft.core.provenance import versions
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Row
from modelgraft.core.runs import Run
from modelgraft.core.settings import Settings
from modelgraft.evaluation.intervals import wilson
from modelgraft.language.endpoints.calls import LATER, Calls, call_numbers, still_open
from modelgraft.language.endpoints.exchange import Failure, Outcome, Reply, Request
from modelgraft.language.endpoints.store import CallStore
from modelgraft.language.verify import Pool
from modelgraft.methods.tulu3.config import SynthesiseConfig
from modelgraft.methods.tulu3.data import AnyRecord, Conversation, Prompt, record_row
from modelgraft.methods.tulu3.synthesis.briefs import Brief, make_briefs, read_personas
from modelgraft.methods.tulu3.synthesis.sifting import (
    Seen,
    Unfit,
    require_plan,
    untagged,
    whole_text,
)
from modelgraft.methods.tulu3.synthesis.stub import Stub
from modelgraft.methods.tulu3.verifying import verifier_pool, verify

STUB, JOURNAL = "stub", "outcomes.jsonl"
_PROMPT_TOKENS, _ANSWER_TOKENS = 256, 1024
_AT_ONCE = 512  # rows between two acknowledgements
Ask = Callable[[Sequence[Request]], list[Outcome]]


def synthesise(config: SynthesiseConfig, run: Run) -> Result:
    """Write `num` prompts with answers, and keep those that are sound.

    Artefacts: `sft.jsonl` (conversations), `rlvr.jsonl` (the same prompts with their truth) and
    `manifest.json`. Every other row stands in `rejects.jsonl` with its reason and the line of
    `outcomes.jsonl` that shows what was written. The outcome of a row is acknowledged once; a run
    that was stopped goes on with the others and asks nothing that was answered.
    """
    refuse_processes("synthesise", "only training shares it")
    personas = read_personas(config.personas)
    briefs = make_briefs(
        config.skill, config.num, personas, seed=run.seed, is_stub=config.writer == STUB
    )
    seen = Seen(config.duplicate)
    missing: list[Failure] = []
    with run.journal(JOURNAL) as journal:
        for row in journal.rows:
            _remember(row, seen)
        done = {row["id"] for row in journal.rows}
        todo = [brief for brief in briefs if brief.id not in done]
        with _open_writer(config, run, briefs) as ask, verifier_pool() as pool:
            for start in range(0, len(todo), _AT_ONCE):
                run.check()
                run.progress(len(journal.rows), len(briefs), "rows with an outcome")
                part = todo[start : start + _AT_ONCE]
                for outcome in _outcomes(part, ask, pool, seen, config):
                    if isinstance(outcome, Failure):
                        missing.append(outcome)
                    else:
                        journal.append(outcome)
                if any(failure.kind == "budget" for failure in missing):
                    break
        num_open = len(briefs) - len(journal.rows)
        return _write(config, run, briefs, journal.rows, still_open(num_open, "rows", missing))


def estimate_synthesise(config: SynthesiseConfig, settings: Settings) -> list[Number]:
    """What `synthesise` would ask: a prompt for each row and an answer to each; the stub nobody."""
    personas = read_personas(config.personas)
    num_asked = 0 if config.writer == STUB else config.num
    num_tokens = num_asked * (_PROMPT_TOKENS + _ANSWER_TOKENS)
    return [
        Number("asked for", config.num, unit="rows"),
        Number("personas", len(personas)),
        *call_numbers(Counter({config.writer: 2 * num_asked}), num_tokens),
    ]


@contextlib.contextmanager
def _open_writer(config: SynthesiseConfig, run: Run, briefs: Sequence[Brief]) -> Generator[Ask]:
    if config.writer == STUB:
        yield Stub(briefs, seed=run.seed).ask
        return
    with CallStore(run.folder / "calls.sqlite") as store:
        calls = Calls(config, run, store)
        yield lambda requests: calls.ask(config.writer, requests)


# -- one part of the rows --------------------------------------------------------------------------


@dataclass
class _Draft:
    """One row while it is written; `fault` and `told` say why it is not kept."""

    brief: Brief
    prompt: str = ""
    answer: str = ""
    fault: str = ""
    told: str = ""
    missing: Failure | None = None

    @property
    def is_open(self) -> bool:
        """Whether nothing speaks against it yet."""
        return not self.fault and self.missing is None

    def reject(self, fault: str, told: str) -> None:
        """Note why it is not kept."""
        self.fault, self.told = fault, told

    def row(self) -> Row:
        """All that is known, for the journal."""
        return {
            "id": self.brief.id,
            "persona": self.brief.persona,
            "prompt": self.prompt,
            "answer": self.answer,
            "fault": self.fault,
            "told": self.told,
        }


def _outcomes(
    briefs: Sequence[Brief], ask: Ask, pool: Pool, seen: Seen, config: SynthesiseConfig
) -> list[Row | Failure]:
    """The row of each brief, in their order, or why it must wait for another attempt."""
    drafts = [_Draft(brief) for brief in briefs]
    texts = [draft.brief.ask() for draft in drafts]
    for draft, outcome in zip(
        drafts, ask(_requests(config, drafts, texts, _PROMPT_TOKENS)), strict=True
    ):
        _take(draft, outcome, lambda draft, reply: _take_prompt(draft, reply, seen))
    going = [draft for draft in drafts if draft.is_open]
    texts = [draft.brief.ask_answer(draft.prompt) for draft in going]
    for draft, outcome in zip(
        going, ask(_requests(config, going, texts, _ANSWER_TOKENS)), strict=True
    ):
        _take(draft, outcome, _take_answer)
    if config.verify:
        _verify([draft for draft in going if draft.is_open], pool)
    return [draft.missing or draft.row() for draft in drafts]


def _requests(
    config: SynthesiseConfig, drafts: Sequence[_Draft], texts: Sequence[str], max_tokens: int
) -> list[Request]:
    return [
        Request(
            messages=({"role": "user", "content": text},),
            temperature=config.temperature,
            top_p=config.top_p,
            max_tokens=max_tokens,
            # Two briefs that read alike get draws of their own.
            sample=draft.brief.number,
        )
        for draft, text in zip(drafts, texts, strict=True)
    ]


def _take(draft: _Draft, outcome: Outcome, use: Callable[[_Draft, Reply], None]) -> None:
    if isinstance(outcome, Reply):
        try:
            use(draft, outcome)
        except Unfit as error:
            draft.reject(error.kind, str(error))
    elif outcome.kind in LATER:
        draft.missing = outcome
    else:
        draft.reject("no answer", f"{outcome.kind}: {outcome.message}")


def _take_prompt(draft: _Draft, reply: Reply, seen: Seen) -> None:
    draft.answer = reply.text
    prompt = untagged(draft.brief, reply)
    if twin := seen.find(prompt):
        raise Unfit("duplicate", f"it asks the same as {twin}")
    require_plan(draft.brief, prompt)
    seen.add(draft.brief.id, prompt)
    draft.prompt, draft.answer = prompt, ""


def _take_answer(draft: _Draft, reply: Reply) -> None:
    draft.answer = reply.text
    draft.answer = whole_text(reply)


def _verify(drafts: Sequence[_Draft], pool: Pool) -> None:
    prompts = [_prompt(draft.brief, draft.prompt) for draft in drafts]
    verdicts = verify(pool, prompts, [draft.answer for draft in drafts])
    for draft, verdict in zip(drafts, verdicts, strict=True):
        if not verdict.passed:
            fault = "not checked" if verdict.is_error else "fails its check"
            draft.reject(fault, f"{draft.brief.verifier}: {verdict.detail}")


def _remember(row: Row, seen: Seen) -> None:
    if row["prompt"]:
        seen.add(row["id"], row["prompt"])


# -- what is written -------------------------------------------------------------------------------


def _prompt(brief: Brief, text: str) -> Prompt:
    messages = ({"role": "user", "content": text},)
    return Prompt(brief.id, messages, brief.verifier, brief.truth, source=brief.source)


def _conversation(brief: Brief, row: Row) -> Conversation:
    turns = (
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["answer"]},
    )
    return Conversation(brief.id, turns, brief.source)


def _write(
    config: SynthesiseConfig, run: Run, briefs: Sequence[Brief], rows: Sequence[Row], partial: str
) -> Result:
    known = {brief.id: brief for brief in briefs}
    kept = [row for row in rows if not row["fault"]]
    # Failed calls are made up for in later attempts; the order must not show it.
    kept.sort(key=lambda row: known[row["id"]].number)
    for line, row in enumerate(rows, start=1):
        if row["fault"]:
            run.reject(run.folder / JOURNAL, line, row["id"], f"{row['fault']}: {row['told']}")
    chats = [_conversation(known[row["id"]], row) for row in kept]
    prompts = [_prompt(known[row["id"]], row["prompt"]) for row in kept]
    _save(run.add("text", "sft.jsonl", "Prompts with their answers."), chats)
    _save(run.add("text", "rlvr.jsonl", "The same prompts with their truth."), prompts)
    faults = Counter(row["fault"] for row in rows if row["fault"])
    counts = {"asked": len(briefs), "kept": len(kept), "rejected": dict(sorted(faults.items()))}
    manifest = {
        "format": 1,
        "seed": run.seed,
        "config": asdict(config) | {"personas": str(config.personas or "")},
        "personas_sha256": sha256_file(config.personas) if config.personas else "",
        "versions": versions(),
        "counts": counts,
    }
    write_json(run.add("text", "manifest.json", "What was asked for, and what was kept."), manifest)
    return _result(config, counts, chats, partial)


def _save(path: Path, records: Sequence[AnyRecord]) -> None:
    write_atomic(path, "".join(dump_json(record_row(record)) + "\n" for record in records))


def _result(
    config: SynthesiseConfig, counts: Row, chats: Sequence[Conversation], partial: str
) -> Result:
    asked, kept = counts["asked"], counts["kept"]
    numbers = [
        Number("asked for", asked, unit="rows"),
        Number("kept", kept, n=asked, unit="rows"),
        Number("kept of those asked for", *wilson(kept, asked)),
    ]
    for fault, num in counts["rejected"].items():
        numbers.append(Number(f"rejected: {fault}", num, n=asked, unit="rows", better="lower"))
    remarks = []
    if config.writer == STUB:
        remarks.append("The stub wrote all of it from the embedded world, faults included.")
    if not config.verify:
        remarks.append("No answer was checked: --verify was off.")
    if not kept and not partial:
        partial = f"none of the {asked:,} rows was sound; rejects.jsonl says why"
    example = chats[0].messages if chats else ()
    text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in example)
    return Result(numbers=tuple(numbers), text=text, remarks=tuple(remarks), partial=partial)
