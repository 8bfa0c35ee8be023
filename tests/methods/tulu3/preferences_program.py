"""Makes preference pairs of 8 prompts of the world with models behind a URL, until it is killed.

Arguments: the run folder, and the address without a model.
"""

from __future__ import annotations

import sys

from modelgraft.core.runs import open_run
from modelgraft.methods.tulu3.config import PreferencesConfig
from modelgraft.methods.tulu3.preferences import pairing, preferences


def main(folder: str, url: str) -> None:
    # Small parts, so that kills fall between any two stages.
    pairing._AT_ONCE = 3
    config = PreferencesConfig(
        num=8,
        pool=tuple(f"{url}#m{number}" for number in range(6)),
        judge=f"{url}#judge",
        in_flight=4,
    )
    with open_run(folder, seed=5) as run:
        run.finish(preferences(config, run))


if __name__ == "__main__":
    main(*sys.argv[1:])
