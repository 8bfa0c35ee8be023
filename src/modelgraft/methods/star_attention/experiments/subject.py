"""What the experiments share: the model under study, and journaled predictions."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from modelgraft.core.runs import Run
from modelgraft.language.chat import chat_frame, encode
from modelgraft.language.load import Loaded, load_causal_lm
from modelgraft.methods.star_attention.config import StarConfig
from modelgraft.methods.star_attention.data import Sample
from modelgraft.methods.star_attention.evaluate.ruler import (
    Prediction,
    make_samples,
    predict,
    predict_all,
)
from modelgraft.methods.star_attention.evaluate.scores import score
from modelgraft.methods.star_attention.world.fitting import Target
from modelgraft.methods.star_attention.world.needles import needle_across

DENSE = StarConfig(pattern="dense")
REPLY_TOKENS = 14  # A seven-digit number takes eight tokens; the rest is room to go wrong in.


@functools.cache
def _load(device: str, dtype: str) -> Loaded:
    return load_causal_lm("tiny:smollm", device=device, dtype=dtype)  # ty: ignore


def subject(run: Run) -> Loaded:
    """SmolLM2-135M-Instruct in float32, unless the run asks for another number type."""
    dtype = run.settings.dtype
    return _load(run.settings.device, "float32" if dtype == "auto" else dtype)


def samples_of(run: Run, task: str, length: int, num: int, *, spread: bool = False) -> list[Sample]:
    """`num` generated samples of one task that fill `length` tokens; `spread` evens the depths."""
    tokenizer = subject(run).tokenizer
    return make_samples(tokenizer, [task], length=length, num=num, seed=run.seed, spread=spread)


def boundary_samples(run: Run, length: int, block: int, num: int) -> list[Sample]:
    """`num` essays whose needle a block boundary cuts between key and value, each in turn."""
    tokenizer = subject(run).tokenizer
    frame = chat_frame(tokenizer)
    prefix, suffix = (len(encode(tokenizer, t, markup=True)) for t in (frame.prefix, frame.suffix))
    target = Target(
        length=length,
        count_tokens=lambda text: len(encode(tokenizer, text)),
        seed=run.seed,
        reserve=prefix + suffix,
    )
    # The last block is short by the answer's budget, so its boundary is left out.
    inner = max(1, length // block - 2)
    return [
        needle_across(index, target, boundary=block * (1 + index % inner) - prefix)
        for index in range(num)
    ]


def described(run: Run) -> dict[str, str]:
    """What the numbers of an experiment belong to: model, weights, number type, device."""
    loaded = subject(run)
    return {
        "model": loaded.name,
        "weights": loaded.revision,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": loaded.model.device.type,
    }


def predictions(
    run: Run, name: str, samples: Sequence[Sample], arms: Mapping[str, StarConfig]
) -> list[Prediction]:
    """Every sample under every arm; a killed run goes on behind the last finished one."""
    loaded = subject(run)

    def predict_one(sample: Sample, config: StarConfig, arm: str) -> Prediction:
        return predict(
            loaded.model,
            loaded.tokenizer,
            sample,
            config,
            arm=arm,
            score=score,
            budget=REPLY_TOKENS,
        )

    def between(done: int, total: int) -> None:
        run.check()
        run.progress(done, total, name)

    with run.journal(f"{name}.jsonl") as journal:
        return predict_all(samples, arms, journal, predict_one, between=between)


def of_arm(found: Sequence[Prediction], arm: str, task: str = "") -> list[Prediction]:
    """The predictions of one arm, and of one task when named."""
    return [one for one in found if one.arm == arm and task in ("", one.task)]
