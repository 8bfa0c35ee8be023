"""What can still be read of a damaged store of calls."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.language.endpoints.exchange import sha256_text
from modelgraft.language.endpoints.store import INSERT, CallStore, transaction

# No row is shorter: two hashes and two JSON texts.
_LEAST_ROW_BYTES = 256


def salvage(damaged: Path, fresh: Path) -> int:
    """Copy every whole answer of a damaged store into a new one; how many there were.

    Each row is read by itself, and kept only if request and answer have the hashes that were
    stored with them. The damaged file is opened read-only. `InputError` if `fresh` exists.
    """
    if fresh.exists():
        raise InputError(f"{fresh}: this exists; a salvaged store needs a new file.")
    CallStore(fresh).close()
    source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True)
    target = sqlite3.connect(fresh, isolation_level=None)
    num = 0
    with contextlib.closing(source), contextlib.closing(target), transaction(target):
        for place in range(1, damaged.stat().st_size // _LEAST_ROW_BYTES + 2):
            row = _read(source, place)
            if row is not None:
                num += 1
                target.execute(INSERT, row)
    return num


def _read(source: sqlite3.Connection, place: int) -> tuple | None:
    try:
        row = source.execute("SELECT * FROM calls WHERE rowid = ?", (place,)).fetchone()
    except sqlite3.DatabaseError:
        return None
    if row is None or not all(isinstance(text, str) for text in row[:4]):
        return None
    key, request, reply, reply_sha256 = row[:4]
    is_whole = sha256_text(request) == key and sha256_text(reply) == reply_sha256
    return row if is_whole else None
