"""No socket leads outside: an audit hook for the test process and every Python it starts.

Python imports a module of this name at start-up when its folder is on PYTHONPATH, where
`tests/conftest.py` puts it. Each attempt is refused and written to the file named by
MODELGRAFT_TEST_ATTEMPTS, so that a test fails even when the code under test lives with the refusal.
"""

import os
import sys

_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


def _refuse_outside(event: str, arguments: tuple) -> None:
    place = _EVENTS.get(event)
    if place is None or _is_inside(arguments[place]):
        return
    attempt = f"{event} {arguments[place]!r}"
    if log := os.environ.get("MODELGRAFT_TEST_ATTEMPTS"):
        with open(log, "a") as file:
            file.write(attempt + "\n")
    raise OSError(f"the tests use no network: {attempt}")


def _is_inside(address: object) -> bool:
    """True for this machine: Unix sockets, loopback addresses and the names for them."""
    if isinstance(address, tuple):
        address = address[0]
    elif isinstance(address, str | bytes) and _is_path(os.fsdecode(address)):
        return True
    if isinstance(address, bytes):
        address = address.decode(errors="replace")
    if not isinstance(address, str) or address in ("", "localhost"):
        return True
    import ipaddress
    import socket

    if address == socket.gethostname():
        return True
    try:
        place = ipaddress.ip_address(address)
    except ValueError:
        return False
    return place.is_loopback or place.is_unspecified


def _is_path(address: str) -> bool:
    """A Unix socket is addressed by a path, or by an abstract name that begins with a NUL."""
    return address.startswith("\0") or "/" in address


sys.addaudithook(_refuse_outside)
