"""Asks a run's runner something over its Unix socket. Blocking; the panel, the CLI and a notebook use it.

Knows the wire only. That nobody answers is a PeerError; what the runner refuses is a ConflictError with its
sentence.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec

from ...engine.errors import ConflictError, PeerError
from ..rundir import RunDir
from .protocol import Line, Progress, Reply, Request

__all__ = ["ask"]

_MAX_REPLY_BYTES = 64 << 20
_DECODER = msgspec.json.Decoder(Line)


def ask(
    rundir: RunDir,
    request: Request,
    timeout_s: float = 5.0,
    progress: Callable[[str], None] = lambda text: None,
) -> Reply:
    """Returns the runner's reply to `request`.

    Args:
        rundir: the run.
        request: what to ask.
        timeout_s: the longest silence of the runner.
        progress: takes what the runner says in between.

    Raises:
        PeerError: no runner answers.
        ConflictError: the runner answers that it cannot do that.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with rundir.socket_address() as address:
                connection.connect(address)
            connection.sendall(msgspec.json.encode(request) + b"\n")
            with connection.makefile("rb") as lines:
                while text := lines.readline(_MAX_REPLY_BYTES):
                    match _DECODER.decode(text):
                        case Progress(text=said):
                            progress(said)
                        case Reply(error="") as reply:
                            return reply
                        case Reply(error=sentence):
                            raise ConflictError("run", rundir.run_id, sentence.rstrip("."), "look at its log")
    except (OSError, msgspec.MsgspecError) as error:
        raise PeerError(f"The runner of {rundir.run_id} does not answer: {error}.") from None
    raise PeerError(f"The runner of {rundir.run_id} ended before it answered.")
