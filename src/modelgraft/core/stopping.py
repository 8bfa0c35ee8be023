"""Stopping a run from outside: the first signal asks, the second ends what is being done.

Python runs the handler of a signal between two instructions of the main thread, which may be
inside one call of a library for minutes. So a thread hears the signals too, through the pipe that
the interpreter writes to at once, and ends the process when the main thread does not.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# A terminated process is gone after the sum of the three; Ctrl-C may wait for its step to end.
HEED_S = 7.0
UNWIND_S = 2.0
RECORD_S = 1.0
_NO_SIGNAL = b"\0"
_TEXT = b"stopping after this step; press Ctrl-C again to quit at once\n"


class Stopping:
    """Hears the signals that ask a run to stop, from `watch` to `close`.

    `record` is called from another thread, as the last thing before the process ends, when the
    main thread has not ended by itself `UNWIND_S` after the second signal. `HEED_S` after a SIGTERM
    or a SIGHUP (not a Ctrl-C) the second signal comes by itself.
    """

    def __init__(self, record: Callable[[], None]) -> None:
        self.is_wanted = False
        self._record = record
        self._pid, self._main = os.getpid(), threading.get_ident()
        self._count = 0
        self._handlers: dict[int, Any] = {}
        self._timers: list[threading.Timer] = []
        self._writer: int | None = None
        self._thread: threading.Thread | None = None

    def watch(self) -> None:
        """Begin to hear; does nothing outside the main thread, which alone gets signals."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            # Under nohup a closed terminal is no reason to stop.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._on_signal)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        others = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if others != -1:  # an event loop, or a run around this one, needs it
            signal.set_wakeup_fd(others)
            os.close(reader)
            os.close(writer)
            return
        _mute_forks()
        self._writer = writer
        self._thread = threading.Thread(target=self._hear, args=(reader,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop hearing, and give the signals back to whom they belonged."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()
        if self._writer is not None and self._thread is not None:
            signal.set_wakeup_fd(-1)
            os.write(self._writer, _NO_SIGNAL)  # a forked child may keep the pipe open
            self._thread.join()
            os.close(self._writer)
            self._writer = None
        for timer in self._timers:
            timer.cancel()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a forked child: Ctrl-C is left to its parent
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        self._count += 1
        self.is_wanted = True
        if self._count == 1:
            with contextlib.suppress(OSError):  # print is not safe in a signal handler
                os.write(2, _TEXT)
        elif self._count == 2:
            raise KeyboardInterrupt

    def _hear(self, reader: int) -> None:
        heard = 0
        while not (numbers := os.read(reader, 64)).endswith(_NO_SIGNAL):
            for number in numbers:
                heard += number in SIGNALS
                if heard == 1 and number in (signal.SIGTERM, signal.SIGHUP):
                    self._later(HEED_S, signal.pthread_kill, self._main, number)
                elif heard == 2 and number in SIGNALS:
                    self._later(UNWIND_S, self._end)
        os.close(reader)

    def _later(self, seconds: float, function: Callable[..., Any], *arguments: Any) -> None:
        timer = threading.Timer(seconds, function, arguments)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _end(self) -> None:
        self._later(RECORD_S, os._exit, 130)  # a disk that hangs must not hold the process
        with contextlib.suppress(Exception):  # nobody is left to be told
            self._record()
        os._exit(130)


@functools.cache
def _mute_forks() -> None:
    """A forked child has the same pipe, and what it hears is not meant for its parent."""
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
