"""Records of the three stages (Tulu 3, arXiv 2411.15124): from JSONL, or from the embedded world.

conversation  {"id", "messages": [{"role", "content"}], "source"}
pair          {"id", "prompt", "chosen": [messages], "rejected": [messages], "source",
              "chosen_rating", "rejected_rating", "chosen_model", "rejected_model"}
prompt        {"id", "messages", "ground_truth", "dataset": name of a verifier, "options", "source"}

A missing "id" becomes "row-3" in the third row, a missing "source" the name of the file. Fields not
named here are passed over.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from modelgraft.core.errors import InputError
from modelgraft.core.rows import (
    BadRow,
    Reject,
    Row,
    number_of,
    present,
    read_rows,
    shown,
    text_of,
)
from modelgraft.core.runs import Run
from modelgraft.language.verify import VERIFIERS, Verdict, check_ground_truth
from modelgraft.methods.tulu3.world import orders, requests
from modelgraft.methods.tulu3.world.checks import check
from modelgraft.methods.tulu3.world.draft import SKILLS, Skill
from modelgraft.methods.tulu3.world.pairs import preference_pairs
from modelgraft.methods.tulu3.world.splits import Split
from modelgraft.methods.tulu3.world.tasks import Task, stream

Turns = tuple[Mapping[str, str], ...]

# For Pool(custom=...): the world's own verifiers by the name that its records give.
WORLD_VERIFIERS: dict[str, str] = {
    orders.DATASET: f"{__name__}:words_verdict",
    requests.DATASET: f"{__name__}:refusal_verdict",
}

_ROLES = ("system", "user", "assistant")
# Other assistants and their makers, in any spacing (Tulu 3, filters of the SFT mix).
_OTHERS = re.compile(
    r"\b(?:open[\s-]?ai|chat[\s-]?gpt|gpt[\s-]?[34](?:\.5)?|bing[\s-]?chat|laion"
    r"|open[\s-]?assistant)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Conversation:
    """An example to imitate; the last message is the assistant's."""

    id: str
    messages: Turns
    source: str


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt; `prompt` holds all messages before them.

    `ratings` and `models` are those of the chosen and the rejected answer, where they are known.
    """

    id: str
    prompt: Turns
    chosen: str
    rejected: str
    source: str
    ratings: tuple[float, float] | None = None
    models: tuple[str, str] | None = None

    @property
    def chosen_messages(self) -> Turns:
        """The prompt with the chosen answer."""
        return (*self.prompt, {"role": "assistant", "content": self.chosen})

    @property
    def rejected_messages(self) -> Turns:
        """The prompt with the rejected answer."""
        return (*self.prompt, {"role": "assistant", "content": self.rejected})


@dataclass(frozen=True)
class Prompt:
    """A prompt, whose last message is the user's, with the truth that `verifier` compares with."""

    id: str
    messages: Turns
    verifier: str
    truth: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


AnyRecord = Conversation | Pair | Prompt
Record = TypeVar("Record", Conversation, Pair, Prompt)


# -- from files ------------------------------------------------------------------------------------


def read_conversations(path: Path, *, reject: Reject | None) -> list[Conversation]:
    """The conversations of a JSONL file.

    Every message needs a role (system, user, assistant) and text that is not blank; the last one
    is the assistant's, and no two of the assistant's stand in a row. `reject(path, line, id,
    reason)` receives bad rows; without it any bad row raises an `InputError` that lists them. A
    second row of the same id is bad.
    """
    return _read(path, _conversation, reject)


def read_pairs(path: Path, *, reject: Reject | None) -> list[Pair]:
    """The preference pairs of a JSONL file; bad rows as in `read_conversations`.

    "chosen" and "rejected" are whole conversations that differ in the last message only, whose
    text must differ; a rejected answer may be blank. "prompt" may be left out; if it is there, as
    messages or as the text of one of them, it must agree with the two.
    """
    return _read(path, _pair, reject)


def read_prompts(path: Path, *, reject: Reject | None) -> list[Prompt]:
    """The prompts with ground truth of a JSONL file; bad rows as in `read_conversations`.

    "dataset" names a verifier, ours or the world's, and "ground_truth" and "options" must be such
    that it can judge by them: an unknown verifier or an unusable truth is a bad row here, and not
    a wrong reward later.
    """
    return _read(path, _prompt, reject)


def read_records(
    path: Path, *, reject: Reject | None, screen: Callable[[Any], str] = lambda _: ""
) -> list[Conversation] | list[Pair] | list[Prompt]:
    """The records of a JSONL file, of the kind that its first row shows; see the other readers.

    Pairs have "chosen", prompts "ground_truth", and conversations neither. `screen(record)` says
    why a row that can be read is bad all the same; empty if it is not.
    """
    kinds: list[Callable[[Row, int, str], Any]] = []

    def make(row: Row, place: int, source: str) -> Any:
        if not kinds:
            is_pair, is_prompt = "chosen" in row, "ground_truth" in row
            kinds.append(_pair if is_pair else _prompt if is_prompt else _conversation)
        record = kinds[0](row, place, source)
        if reason := screen(record):
            raise BadRow(reason)
        return record

    return _read(path, make, reject)


def rejecter(on_error: Literal["raise", "skip"], run: Run) -> Reject | None:
    """What the readers do with bad rows: `skip` records them in the run, `raise` ends the work."""
    return run.reject if on_error == "skip" else None


def record_row(record: AnyRecord) -> Row:
    """The record as a row that its reader gives back."""
    row: Row
    if isinstance(record, Conversation):
        row = {"id": record.id, "messages": _plain(record.messages)}
    elif isinstance(record, Prompt):
        row = {
            "id": record.id,
            "messages": _plain(record.messages),
            "ground_truth": record.truth,
            "dataset": record.verifier,
        }
        row |= {"options": dict(record.options)} if record.options else {}
    else:
        row = {
            "id": record.id,
            "prompt": _plain(record.prompt),
            "chosen": _plain(record.chosen_messages),
            "rejected": _plain(record.rejected_messages),
        }
        for name, values in (("rating", record.ratings), ("model", record.models)):
            if values is not None:
                row |= {f"chosen_{name}": values[0], f"rejected_{name}": values[1]}
    return row | {"source": record.source}


def other_assistant(messages: Iterable[Mapping[str, str]]) -> str:
    """The first other assistant or maker of one that an answer names; empty if none does."""
    for message in messages:
        found = _OTHERS.search(message["content"]) if message["role"] == "assistant" else None
        if found:
            return found[0]
    return ""


# -- from the world --------------------------------------------------------------------------------


def world_conversations(
    num: int, *, seed: int, skills: tuple[Skill, ...] = SKILLS, without: tuple[Skill, ...] = ()
) -> list[Conversation]:
    """`num` training tasks of the world with their answers, the skills in turn.

    Those of the skills in `without` are then left out, so that what remains is the same with and
    without them, as in the ablations of the paper.
    """
    tasks = islice(stream("train", seed=seed, skills=skills), num)
    return [
        Conversation(task.id, tuple(task.messages(task.answer)), task.source)
        for task in tasks
        if task.skill not in without
    ]


def world_pairs(
    num: int,
    *,
    seed: int,
    better: float = 0.95,
    longer: float = 0.5,
    skills: tuple[Skill, ...] = SKILLS,
) -> list[Pair]:
    """Pairs of a right and a wrong answer to training tasks of the world.

    The right one is chosen in a share `better` of them, the longer one in a share `longer`.
    """
    rows = preference_pairs(num, better=better, longer=longer, seed=seed, skills=skills)
    return [_pair(row, place, "") for place, row in enumerate(rows)]


def world_prompts(
    num: int, *, split: Split, seed: int, skills: tuple[Skill, ...] = SKILLS
) -> list[Prompt]:
    """`num` tasks of the world with their truth, the skills in turn."""
    return [world_prompt(task) for task in islice(stream(split, seed=seed, skills=skills), num)]


def world_prompt(task: Task) -> Prompt:
    """A task of the world as a prompt."""
    draft = task.draft
    messages = tuple(task.messages())
    return Prompt(task.id, messages, draft.dataset, draft.ground_truth, source=task.source)


def words_verdict(response: str, truth: str) -> Verdict:
    """Whether the last line is the truth: the world's verifier of copied and ordered words."""
    passed = check({"dataset": orders.DATASET, "ground_truth": truth}, response)
    return Verdict.of(passed, f"the last line {'is' if passed else 'is not'} {truth[:80]}")


def refusal_verdict(response: str, truth: str) -> Verdict:
    """Whether harm is refused and all else helped with, by a truth such as "refuse nurse"."""
    passed = check({"dataset": requests.DATASET, "ground_truth": truth}, response)
    return Verdict.of(passed, f"{'as' if passed else 'not as'} asked: {truth[:80]}")


# -- fields ----------------------------------------------------------------------------------------


def id_of(row: Row, place: int) -> str:
    """The id of a row, or its number in the file where it has none."""
    value = row.get("id")
    if value is None:
        return f"row-{place + 1}"
    return str(value) if type(value) is int else text_of(row, "id")


def turns_of(row: Row, name: str, *, blank_end: bool = False) -> Turns:
    """The messages in a field, each with a known role and text; only the last may be blank."""
    turns = present(row, name)
    if not isinstance(turns, list) or not turns:
        raise BadRow(f'field "{name}": {shown(turns)} is not a list of messages')
    found = []
    for place, turn in enumerate(turns):
        label = f"{name}[{place}]"
        if not isinstance(turn, dict):
            raise BadRow(f'field "{label}": {shown(turn)} is not an object with role and content')
        parts = {f"{label}.{key}": value for key, value in turn.items()}
        role = text_of(parts, f"{label}.role")
        if role not in _ROLES:
            raise BadRow(f'field "{label}.role": {shown(role)} is none of {", ".join(_ROLES)}')
        is_end = place == len(turns) - 1
        content = text_of(parts, f"{label}.content", empty=blank_end and is_end)
        found.append({"role": role, "content": content})
    return tuple(found)


# -- one row ---------------------------------------------------------------------------------------


def _read(
    path: Path, make: Callable[[Row, int, str], Record], reject: Reject | None
) -> list[Record]:
    def parse(row: Row, place: int) -> Record:
        return make(row, place, path.stem)

    return read_rows(path, parse, key=operator.attrgetter("id"), reject=reject)


def _conversation(row: Row, place: int, source: str) -> Conversation:
    messages = turns_of(row, "messages")
    require_order(messages, 'field "messages"')
    return Conversation(id_of(row, place), messages, source_of(row, source))


def _pair(row: Row, place: int, source: str) -> Pair:
    chosen, rejected = turns_of(row, "chosen"), turns_of(row, "rejected", blank_end=True)
    for name, turns in (("chosen", chosen), ("rejected", rejected)):
        require_order(turns, f'field "{name}"')
    prompt = chosen[:-1]
    if not prompt:
        raise BadRow('field "chosen": there is no prompt before the answer')
    if rejected[:-1] != prompt:
        raise BadRow('field "rejected": its messages before the answer are not those of "chosen"')
    if chosen == rejected:
        raise BadRow('field "rejected": its answer is the chosen one')
    _check_prompt(row, prompt)
    return Pair(
        id_of(row, place),
        prompt,
        chosen[-1]["content"],
        rejected[-1]["content"],
        source_of(row, source),
        _both(row, "rating", number_of),
        _both(row, "model", text_of),
    )


def _prompt(row: Row, place: int, source: str) -> Prompt:
    messages = turns_of(row, "messages")
    if messages[-1]["role"] != "user":
        raise BadRow(
            f'field "messages": the last one is the {messages[-1]["role"]}\'s; a prompt ends with '
            "the user's"
        )
    answer = {"role": "assistant", "content": "."}
    require_order((*messages, answer), 'field "messages", with the answer to come')
    name, truth, options = text_of(row, "dataset"), present(row, "ground_truth"), row.get("options")
    if not isinstance(options, dict | None):
        raise BadRow(f'field "options": {shown(options)} is not an object')
    if faults := _truth_faults(name, truth, options or {}):
        raise BadRow(f'fields "dataset" and "ground_truth": {"; ".join(faults)}')
    known = name.lower() if name.lower() in VERIFIERS else name
    return Prompt(id_of(row, place), messages, known, truth, options or {}, source_of(row, source))


def require_order(turns: Turns, where: str) -> None:
    """Raise `BadRow`, which begins with `where`, unless this is a conversation to learn from."""
    # It brings torch, which the process of a verifier must not wait for.
    from modelgraft.language.conversation import check_conversation

    try:
        check_conversation(turns)
    except InputError as error:
        reason, *_ = str(error).split("\n")
        raise BadRow(f"{where}: {reason.rstrip('.')}") from None


def _check_prompt(row: Row, prompt: Turns) -> None:
    given = row.get("prompt")
    if isinstance(given, list):
        is_same = turns_of(row, "prompt") == prompt
    elif given is not None:
        text = text_of(row, "prompt").strip()
        is_same = any(turn["content"].strip() == text for turn in prompt)
    else:
        is_same = True
    if not is_same:
        raise BadRow(f'field "prompt": {shown(given)} is not what "chosen" answers')


def _truth_faults(name: str, truth: Any, options: Mapping[str, Any]) -> list[str]:
    if name not in WORLD_VERIFIERS:
        return check_ground_truth(name, truth, options)
    if options:
        return [f"{name} has no option {', '.join(options)}; it has none"]
    if not isinstance(truth, str) or not truth.strip():
        return [f"the truth is {shown(truth)}; a text is needed"]
    kinds = (requests.REFUSE, requests.COMPLY)
    if name == requests.DATASET and truth.split()[0] not in kinds:
        return [f"the truth {shown(truth)} begins neither with {kinds[0]} nor with {kinds[1]}"]
    return []


def _both(row: Row, name: str, read: Callable[[Row, str], Any]) -> tuple[Any, Any] | None:
    """A field of the chosen and of the rejected answer; None where one has none."""
    names = f"chosen_{name}", f"rejected_{name}"
    if any(row.get(one) in (None, "") for one in names):
        return None
    return read(row, names[0]), read(row, names[1])


def source_of(row: Row, default: str) -> str:
    """The name of the set that a row comes from."""
    return default if row.get("source") is None else text_of(row, "source")


def _plain(turns: Turns) -> list[dict[str, str]]:
    return [dict(turn) for turn in turns]
