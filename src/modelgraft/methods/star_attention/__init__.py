"""Star Attention: ask many questions of one long document, encoded once and block by block.

    cache = encode_context(model, context_ids, StarConfig(block=4096))
    model.generate(context_and_question_ids, past_key_values=cache, ...)

The model stays the stock object: with the method unused its output is bit-identical. A cache that
hosts share, one of the streaming pattern and one of a model with dynamic or longrope RoPE serve
only inside `with use_cache(model, cache):`; `ask` and `infer.generate` do that, and keep hosts in
step. One model serves one thread at a time.
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.methods.star_attention"
_NAMES = {
    "ProcessHosts": f"{_HERE}.adapter.hosts",
    "StarCache": f"{_HERE}.adapter.cache",
    "StarConfig": f"{_HERE}.config",
    "append_context": f"{_HERE}.adapter.encode",
    "ask": f"{_HERE}.infer",
    "encode_context": f"{_HERE}.adapter.encode",
    "gather_cache": f"{_HERE}.adapter.gather",
    "load_cache": f"{_HERE}.adapter.files",
    "plan_blocks": f"{_HERE}.method",
    "save_cache": f"{_HERE}.adapter.files",
    "star_generate": f"{_HERE}.infer",
    "use_cache": f"{_HERE}.adapter.encode",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
