"""Log-probabilities of the labels of a batch, without the logits of all its tokens at once.

Letters: b rows, t tokens of a row, n labels of the batch, s samples, d hidden size, v vocabulary.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from modelgraft.core.errors import UnsupportedModel
from modelgraft.language.packing import IGNORED, Batch

Project = Callable[[Tensor], Tensor]

# Logits at a time: 64 MB in float32. Much smaller tensors would fragment a C library's heap, whose
# high-water mark then exceeds that of fewer and larger ones.
_CHUNK_LOGITS = 2**24
# What stock models multiply or divide their logits by, after the vocabulary head.
_FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")


@dataclass(frozen=True)
class LogProbs:
    """Log-probabilities of the labels, `values` [n] in nats, row by row.

    `samples` [n] is the sample each belongs to, `num_samples` s how many the batch has, and `mask`
    [b, t] where in the batch the labels stand.
    """

    values: Tensor
    samples: Tensor
    mask: Tensor
    num_samples: int

    @property
    def sums(self) -> Tensor:
        """Sum for each sample [s]: the log-probability of its whole answer."""
        return self.values.new_zeros(self.num_samples).index_add(0, self.samples, self.values)

    @property
    def lengths(self) -> Tensor:
        """Number of labels of each sample [s], int64; 0 for a sample without any."""
        return torch.bincount(self.samples, minlength=self.num_samples)

    @property
    def grid(self) -> Tensor:
        """The values at their places [b, t], 0 elsewhere."""
        return self.values.new_zeros(self.mask.shape).masked_scatter(self.mask, self.values)


def token_logprobs(
    model: Any, batch: Batch, *, temperature: float = 1.0, chunk_logits: int = _CHUNK_LOGITS
) -> LogProbs:
    """log p(label | tokens before it) for every label of the batch, with the model's gradients.

    Logits are divided by `temperature`. The vocabulary head sees the hidden states of label
    positions only, as many at a time as give `chunk_logits` logits, and these are computed again in
    the backward pass: the memory does not grow with t x v. Computed in float32 (float64 stays
    float64). The forward pass is the model's own, so wrappers for several processes see it.

    Raises `UnsupportedModel` when the stock logits are not those of the head, up to the known
    factors and soft caps.
    """
    hidden, logits = _forward(model, batch)
    project = _projection(model, hidden[:1, -1:].detach(), logits[:1, -1:].detach())
    mask = torch.zeros_like(batch.labels, dtype=torch.bool)
    mask[:, 1:] = batch.labels[:, 1:] != IGNORED
    # The state at one token says the next one.
    states = hidden[:, :-1][mask[:, 1:]]
    values = chunked_logprobs(
        states,
        batch.labels[mask],
        project if temperature == 1.0 else lambda chunk: project(chunk) / temperature,
        chunk_tokens=max(1, chunk_logits // logits.shape[-1]),
    )
    num_samples = int(batch.samples.max()) + 1
    return LogProbs(values, batch.samples[mask], mask, num_samples)


def chunked_logprobs(
    states: Tensor, targets: Tensor, project: Project, *, chunk_tokens: int
) -> Tensor:
    """log softmax(project(states))[targets] as [n], for `states` [n, d] and `targets` [n].

    `project` gives the logits [chunk, v] of a chunk of states; they live only while their chunk
    is worked on, in the forward and in the backward pass.
    """

    def logprobs(chunk: Tensor, chosen: Tensor) -> Tensor:
        logits = project(chunk)
        wide = logits if logits.dtype == torch.float64 else logits.float()
        return -cross_entropy(wide, chosen, reduction="none")

    chunks = zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True)
    return torch.cat(
        [checkpoint(logprobs, *c, use_reentrant=False, preserve_rng_state=False) for c in chunks]
    )


def _forward(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Last hidden states [b, t, d] and the stock logits of the last token of each row."""
    found: list[Tensor] = []
    hook = (
        causal_lm(model)
        .get_decoder()
        .register_forward_hook(
            lambda module, arguments, output: found.append(output.last_hidden_state)
        )
    )
    try:
        logits = model(**batch.inputs, logits_to_keep=1).logits
    finally:
        hook.remove()
    return found[0], logits


def causal_lm(model: Any) -> Any:
    """The transformers model inside the wrappers of peft and of data-parallel training."""
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        model = model.module
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _projection(model: Any, hidden: Tensor, stock: Tensor) -> Project:
    """From hidden states to logits as the stock model goes, checked on one of its tokens.

    `hidden` [1, 1, d] and `stock` [1, 1, v] are the model's own.
    """
    inner = causal_lm(model)
    config = inner.config.get_text_config()
    head, cap = inner.get_output_embeddings(), getattr(config, "final_logit_softcapping", None)
    known = [getattr(config, name) for name in _FACTORS if getattr(config, name, None)]
    within = 1e-2 * float(stock.abs().nan_to_num().max())
    with torch.no_grad():
        for factor in (1.0, *known, *(1 / value for value in known)):
            project = functools.partial(_logits, head, factor, cap)
            # Some models give their logits in float32 whatever their own type is.
            mine = project(hidden).to(stock.dtype)
            if torch.allclose(mine, stock, atol=within, equal_nan=True):
                return project
    raise UnsupportedModel(
        f"{type(inner).__name__}: its logits are not its vocabulary head's output, so they cannot "
        "be computed in chunks.\n  Use a model whose forward ends in the head, a factor or a soft "
        "cap, such as Llama, Qwen3, Gemma 2, Granite or SmolLM2."
    )


def _logits(head: Any, factor: float, cap: float | None, states: Tensor) -> Tensor:
    logits = head(states)
    logits = logits if factor == 1.0 else logits * factor
    return logits if cap is None else cap * torch.tanh(logits / cap)
