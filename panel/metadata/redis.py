"""A redis that a metadata server's address names: does it answer a PING.

No more than that, since no published Mooncake wheel can use it (`builds`). Called by `survey`.
"""

from __future__ import annotations

import time

from .address import Endpoint
from .exchange import ExchangeError, connect
from .state import EndpointState, Reach

__all__ = ["check_redis"]

_SECONDS = 3.0
_MOST_BYTES = 4096
# Errors of a redis that is there and does not serve everybody.
_REDIS_ERRORS = (b"-NOAUTH", b"-ERR", b"-LOADING", b"-DENIED", b"-NOPERM", b"-MASTERDOWN", b"-BUSY", b"-WRONGPASS")


def check_redis(endpoint: Endpoint) -> EndpointState:
    """Returns what is at the endpoint; takes a few seconds at most."""
    try:
        line = _ping(endpoint)
    except ExchangeError as error:
        return EndpointState(endpoint, Reach.UNREACHABLE, str(error))
    except TimeoutError:
        return EndpointState(endpoint, Reach.UNREACHABLE, f"did not answer a PING within {_SECONDS:g} s")
    except OSError as error:
        detail = f"closed the connection without an answer ({error.strerror or 'lost'})"
        return EndpointState(endpoint, Reach.FOREIGN, detail)
    if line == b"+PONG\r\n":
        return EndpointState(endpoint, Reach.ANSWERS, "answers", healthy=True)
    if line.startswith(_REDIS_ERRORS):
        said = line[1:100].decode("ascii", "replace").strip()
        return EndpointState(endpoint, Reach.ANSWERS, f"answers: {said}", healthy=False)
    return EndpointState(endpoint, Reach.FOREIGN, f"answers, but not as redis does: {line[:60]!r}")


def _ping(endpoint: Endpoint) -> bytes:
    deadline = time.monotonic() + _SECONDS
    with connect(endpoint, _SECONDS) as connection:
        connection.sendall(b"PING\r\n")
        line = b""
        while not line.endswith(b"\r\n") and len(line) < _MOST_BYTES:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
            part = connection.recv(_MOST_BYTES)
            if not part:
                raise ConnectionResetError(0, "end of file")
            line += part
        return line
