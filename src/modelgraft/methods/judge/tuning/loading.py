"""Tuned judges from their folders and into them; weights are those of peft and transformers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import make_folder, remove_folder
from modelgraft.core.lazy import need
from modelgraft.core.settings import Settings
from modelgraft.language.adapters import WEIGHTS, adapter_tensors, write_adapter
from modelgraft.language.endpoints.local import fingerprint
from modelgraft.language.endpoints.store import CallStore
from modelgraft.language.load import DType, Loaded, load_causal_lm
from modelgraft.language.score_heads import load_scores, save_scores
from modelgraft.methods.judge.config import JudgeOptions
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.local import ChoiceJudge
from modelgraft.methods.judge.judges.overflow import Overflow
from modelgraft.methods.judge.judges.probe import PairProbe, ProbeJudge, load_probe, save_probe
from modelgraft.methods.judge.judges.reward import RewardJudge, answer_ids
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.tuning.folders import (
    JudgeFile,
    Kind,
    read_judge,
    tokens_key,
    write_judge,
)
from modelgraft.methods.judge.tuning.written import written_judge

Report = Callable[[int, int], None]
_REFERENCE = Item(
    "reference",
    "What is 3 plus 4? \u00e9\u4e16",
    (Candidate("a", "It is 7."), Candidate("b", "I'd say\n```12```")),
    reference="7",
    context=("3, 4",),
)


def describe(loaded: Loaded, kind: Kind, asking: Asking) -> JudgeFile:
    """What `judge.yaml` says of a judge on this model, which has no adapter."""
    return JudgeFile(
        kind,
        loaded.name,
        fingerprint(loaded.model, loaded.tokenizer),
        str(loaded.model.dtype).removeprefix("torch."),
        _tokens(loaded.tokenizer, kind, asking),
        asking,
    )


def _tokens(tokenizer: Any, kind: Kind, asking: Asking) -> str:
    if kind == "head":
        text = _REFERENCE.candidates[1].text
        return tokens_key(answer_ids(tokenizer, _REFERENCE.instruction, text))
    reader = ChoiceJudge(None, tokenizer, name="")
    call = asking.call(_REFERENCE, 0, 1)
    ends = reader.trie(call.labels).ends
    return tokens_key([*reader.prompt_ids(call), *(token for one in ends for token in one)])


def save_tuned(folder: Path, found: JudgeFile, tuned: Any, tokenizer: Any) -> None:
    """Write the weights of a tuned judge and then `judge.yaml`; a folder there is replaced.

    `tuned` is a `PairProbe`, a peft model, or a classifier with or without an adapter, which is
    merged into a copy.
    """
    if found.kind == "probe":
        assert isinstance(tuned, PairProbe)
        save_probe(folder, tuned)
    elif found.kind in ("choice", "written"):
        if folder.exists():
            remove_folder(folder)
        make_folder(folder)
        tuned.peft_config["default"].base_model_name_or_path = found.model
        tensors = {name: one.detach().cpu() for name, one in adapter_tensors(tuned)}
        write_adapter(tuned, tensors, folder)
    else:
        save_scores(tuned, tokenizer, folder)
    write_judge(folder, found)


def open_tuned(
    config: JudgeOptions, settings: Settings, store: CallStore, report: Report | None = None
) -> Judge:
    """The judge in the folder `config.judge`, on the device that the run asks for.

    Raises `InputError` for weights that are not there or not whole, and `ConfigError` for a base
    model or a tokenizer that are not those it was tuned on.
    """
    folder, overflow = Path(config.judge).expanduser(), config.overflow
    found = read_judge(folder)
    dtype = cast("DType", found.dtype) if settings.dtype == "auto" else settings.dtype
    if found.kind == "head":
        return _open_head(folder, found, dtype, settings, overflow, report)
    loaded = load_causal_lm(
        found.model, device=settings.device, dtype=dtype, offline=settings.offline
    )
    check_base(folder, found, loaded.model, loaded.tokenizer)
    if found.kind == "probe":
        return ProbeJudge(
            loaded.model, loaded.tokenizer, load_probe(folder), name=str(folder), report=report
        )
    model = with_adapter(loaded.model, folder)
    if found.kind == "written":
        return written_judge(
            model,
            loaded.tokenizer,
            name=str(folder),
            store=lambda: contextlib.nullcontext(store),
            max_tokens=config.max_new_tokens,
            temperature=config.temperature,
            report=report,
        )
    return ChoiceJudge(model, loaded.tokenizer, name=str(folder), overflow=overflow, report=report)


def with_adapter(model: Any, folder: Path) -> Any:
    """The stock peft model of an adapter's folder around `model`; safetensors only."""
    peft = need("peft", extra="hf")
    if not (folder / WEIGHTS).is_file() or not (folder / "adapter_config.json").is_file():
        raise InputError(
            f"{folder}: {WEIGHTS} or adapter_config.json is not there, so this is no whole adapter."
        )
    try:
        wrapped = peft.PeftModel.from_pretrained(model, folder)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise InputError(f"{folder}: peft cannot load it: {str(error).strip()[:300]}") from None
    return wrapped.eval()


def check_base(folder: Path, found: JudgeFile, model: Any, tokenizer: Any) -> None:
    """Raise `ConfigError` unless this is the model and the tokenizer the judge was tuned on."""
    if (own := fingerprint(model, tokenizer)) != found.fingerprint:
        dtype = str(model.dtype).removeprefix("torch.")
        raise ConfigError(
            "judge",
            f"{folder}: this judge was tuned on {found.model} in {found.dtype} with the "
            f"fingerprint {found.fingerprint}; what loads under that name, in {dtype}, has {own}."
            "\n  Use the same weights and number type, or tune anew.",
        )
    _check_tokens(folder, found, tokenizer)


def _check_tokens(folder: Path, found: JudgeFile, tokenizer: Any) -> None:
    if _tokens(tokenizer, found.kind, found.asking) != found.tokens:
        raise ConfigError(
            "judge",
            f"{folder}: the tokenizer cuts the judge's prompt into other tokens than when it was "
            "tuned.\n  Use the tokenizer of then, or tune anew.",
        )


def _open_head(
    folder: Path,
    found: JudgeFile,
    dtype: str,
    settings: Settings,
    overflow: Overflow,
    report: Report | None,
) -> RewardJudge:
    transformers = need("transformers", extra="hf")
    model = load_scores(folder, dtype=getattr(torch, dtype))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    _check_tokens(folder, found, tokenizer)
    is_cpu = settings.device == "cpu" or not torch.cuda.is_available()
    model.to("cpu" if is_cpu else settings.device.replace("auto", "cuda"))
    return RewardJudge(model, tokenizer, name=str(folder), overflow=overflow, report=report)
