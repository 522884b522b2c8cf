"""A process that serves Mooncake's metadata on the bootstrap port while the prefill worker loads.

The worker can register with its own bootstrap server only because of it: Mooncake's `initialize` and
`register_memory` wait for the server's answers with Python's lock held, so no thread of the worker could give them.
Both processes hold the same listening socket; clients that come between the two wait in its backlog, and `take_over`
hands on what was registered. `serve` opens it before the transport starts. The program half imports little.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

from aiohttp import web

from ..errors import PdpanelError
from ..http.guard import AllowedHosts
from ..http.patience import patient_runner
from .metadata_routes import add_metadata, refuse_pages
from .metadata_store import MetadataStore

__all__ = ["StandIn", "main", "standing_in"]

_BACKLOG = 128
_END_TIMEOUT_S = 10.0


class StandIn:
    """The running process.

    Args:
        listening: the bound bootstrap socket.
        names: names beside its address under which the server may be addressed.
    """

    def __init__(self, listening: socket.socket, names: Sequence[str]) -> None:
        listening.listen(_BACKLOG)  # from now on Mooncake's requests wait, whoever answers first
        descriptor = listening.fileno()
        command = [sys.executable, "-m", __name__, str(descriptor), *names]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[descriptor])

    def take_over(self) -> MetadataStore:
        """Ends the process; returns what it held.

        Raises:
            PdpanelError: it ended by itself.
        """
        try:
            kept, _ = self._process.communicate(timeout=_END_TIMEOUT_S)
            return MetadataStore(json.loads(kept))
        except (ValueError, subprocess.TimeoutExpired) as error:
            code = self._process.poll()
            raise PdpanelError(
                f"The process that serves /metadata while loading failed ({error}; code {code})."
            ) from None
        finally:
            self.end()

    def end(self) -> None:
        """Ends the process if it still runs."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def standing_in(listening: socket.socket, names: Sequence[str]) -> Iterator[StandIn]:
    """Has metadata served until `take_over`, and not longer than the block."""
    stand_in = StandIn(listening, names)
    try:
        yield stand_in
    finally:
        stand_in.end()


async def _serve(listening: socket.socket, names: Sequence[str]) -> MetadataStore:
    """Serves until stdin ends, which it also does with the worker."""
    host, port = listening.getsockname()[:2]
    store = MetadataStore()
    app = web.Application(middlewares=[refuse_pages(AllowedHosts.of(host, port, names))])
    add_metadata(app, store)

    async def starting(_: web.Request) -> web.Response:
        return web.Response(status=503, text="The worker is starting.", headers={"Retry-After": "1"})

    app.router.add_route("*", "/{path:.*}", starting)
    runner = patient_runner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=_BACKLOG).start()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()
    return store


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves on an inherited descriptor, the first argument; prints what it holds at the end."""
    descriptor, *names = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ends with the worker, not with the terminal
    with socket.socket(fileno=int(descriptor)) as listening:
        store = asyncio.run(_serve(listening, names))
    print(json.dumps(store.entries()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
