"""Loading and saving by other libraries, without their bars on the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from modelgraft.core.lazy import need


@contextlib.contextmanager
def no_progress_bars(*libraries: str, remarks: bool = True) -> Generator[None]:
    """Keep the bars of some libraries, by default transformers, off the terminal inside the block.

    Without `remarks` what they log below errors is kept off too.
    """
    with contextlib.ExitStack() as undo:
        for library in libraries or ("transformers",):
            logging = need(f"{library}.utils.logging", extra="hf")
            if not remarks:
                undo.callback(logging.set_verbosity, logging.get_verbosity())
                logging.set_verbosity_error()
            if logging.is_progress_bar_enabled():
                undo.callback(logging.enable_progress_bar)
                logging.disable_progress_bar()
        yield
