"""OminiControl: a Flux-type model obeys an image, through tokens and one small adapter.

    control = OminiControl(pipe)
    name = control.load("edges.safetensors")
    with control.use(Condition(picture=edges, adapter=name)):
        image = pipe("a house by the sea").images[0]

The pipeline stays the stock object: outside of `use` its output is bit-identical. One pipeline
serves one thread at a time.
"""

from modelgraft.core.lazy import public_names

_HERE = "modelgraft.methods.ominicontrol"
_NAMES = {
    "AdapterInfo": f"{_HERE}.adapter.info",
    "Condition": f"{_HERE}.adapter.control",
    "FileSource": f"{_HERE}.data.files",
    "Learning": f"{_HERE}.train",
    "OminiControl": f"{_HERE}.adapter.control",
    "Sampling": f"{_HERE}.infer",
    "generate": f"{_HERE}.infer",
    "read_pairs": f"{_HERE}.data.files",
    "train": f"{_HERE}.train",
}
__all__ = sorted(_NAMES)
__getattr__ = public_names(__name__, _NAMES)
