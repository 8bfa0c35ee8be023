"""A picture that obeys the edges of another one, by an adapter on a stock Flux pipeline.

    python examples/04_obey_edges.py [MODEL ADAPTER PICTURE]

MODEL is tiny:flux (the embedded TinyFlux), a folder, or an id on the hub.
"""

import sys
from importlib.resources import files
from pathlib import Path

from modelgraft.diffusion.conditions import edges
from modelgraft.diffusion.load import load_flux
from modelgraft.diffusion.pictures import fit_to, read_picture, write_picture
from modelgraft.methods.ominicontrol import Condition, OminiControl, Sampling, generate

METHOD = files("modelgraft.methods.ominicontrol")
PROMPT = "a blue plain crescent toy, on grass"


def main(
    model: str = "tiny:flux",
    adapter: str = str(METHOD / "weights" / "edges.safetensors"),
    picture: str = str(METHOD / "pictures" / "crescent.png"),
) -> None:
    """Draw with and without the condition, and say how far apart both are."""
    pipe = load_flux(model).pipe
    control = OminiControl(pipe)
    name = control.load(adapter)
    side = pipe.default_sample_size * pipe.vae_scale_factor
    shown = fit_to(read_picture(picture), (side, side), multiple=side // 2, how="cover")
    condition = Condition(picture=edges(shown[None])[0], adapter=name)
    sampling = Sampling(height=side, width=side, steps=16, guidance=2.5)
    for file, given in {"without.png": [], "with.png": [condition]}.items():
        (image,) = generate(control, [PROMPT], given, sampling, seeds=[0])
        write_picture(Path(file), image)
    print("with.png follows the edges of the picture, without.png the prompt alone")


if __name__ == "__main__":
    main(*sys.argv[1:])
