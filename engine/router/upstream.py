"""What the router says to workers: requests that are relayed as bytes, small questions of its own, and aborts.

Questions and aborts go through aiohttp's client, what is relayed through `pool`. Neither has a limit of connections,
since 100 (aiohttp's default) would block 64 pairs; streams have no time limit of their own, the relay has one for the
whole request.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

from ..errors import LocalProtocolError
from .failure import Answer, unreachable
from .pool import Pool
from .workers import Worker

__all__ = ["Upstream", "header_lines", "post"]

_CONNECT_TIMEOUT_S = 5.0
_ABORT_TIMEOUT_S = 1.0
# One that is in doubt may not answer at all, and the next try waits for this.
_DOUBTFUL_ABORT_TIMEOUT_S = 0.1
_KEEPALIVE_S = 10.0
_BROKEN = (ClientError, OSError, TimeoutError)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error).strip().rstrip(".") or type(error).__name__


def header_lines(headers: Mapping[str, str]) -> str:
    """Returns headers as they go over the wire.

    Raises:
        LocalProtocolError: one cannot be sent.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers) or "\0" in lines:
        raise LocalProtocolError("A header for a worker has a line break or a null byte in it.")
    return lines


def post(worker: Worker, path: str, body: bytes, lines: str) -> bytes:
    """Returns a POST of JSON with these `header_lines` as bytes."""
    host = worker.url.partition("://")[2]
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nContent-Type: application/json\r\n"
        f"{lines}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("utf-8", "surrogateescape") + body


class Upstream:
    """HTTP to all workers.

    Args:
        api_key: shown to workers instead of the client's own key; empty passes that on.
        admin_api_key: shown for abort and flush; empty falls back to `api_key`.

    Attributes:
        pool: connections for requests that are relayed.
    """

    def __init__(self, api_key: str = "", admin_api_key: str = "") -> None:
        self._api_key = api_key
        self._admin_api_key = admin_api_key or api_key
        self._session: ClientSession | None = None
        self.pool = Pool()

    async def open(self) -> None:
        """Makes the client ready; connects to nobody yet."""
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            timeout=ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding", "User-Agent"),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes all connections."""
        self.pool.close()
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> ClientSession:
        """The pooled client, after `open`."""
        assert self._session is not None
        return self._session

    def authorization(self, clients_own: str, *, admin: bool = False) -> dict[str, str]:
        """Returns the header that shows a worker who asks; empty when nobody gave a key."""
        key = self._admin_api_key if admin else self._api_key
        value = f"Bearer {key}" if key else clients_own
        return {"Authorization": value} if value else {}

    async def read(self, worker: Worker, response: ClientResponse) -> Answer:
        """Returns the whole answer.

        Raises:
            WorkerError: the connection broke.
        """
        try:
            body = await response.read()
        except _BROKEN as error:
            raise unreachable(worker, _reason(error), began=True) from error
        kind = response.headers.get("Content-Type", "application/json")
        return Answer(response.status, body, kind, response.headers.get("Retry-After", ""))

    async def abort(self, workers: tuple[Worker, ...], rid: str, clients_own: str) -> None:
        """Asks `workers` to give up request `rid`; waits a second at most and ignores what they say."""
        headers = self.authorization(clients_own, admin=True)

        async def ask(worker: Worker) -> None:
            timeout = ClientTimeout(total=_ABORT_TIMEOUT_S if worker.is_healthy else _DOUBTFUL_ABORT_TIMEOUT_S)
            try:
                url = worker.url + "/abort_request"
                async with self.session.post(url, json={"rid": rid}, headers=headers, timeout=timeout):
                    pass
            except _BROKEN:
                return  # It is gone, or its heartbeat will tell it: nothing more can be done from here.

        await asyncio.gather(*(ask(worker) for worker in workers))

    async def ask(
        self,
        worker: Worker,
        method: str,
        path: str,
        *,
        limit_s: float,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Answer:
        """Returns the whole answer to a small request, whatever its status.

        Raises:
            WorkerError: no answer in time.
        """
        sent = {"Content-Type": "application/json", **headers} if method == "POST" else headers
        limit = ClientTimeout(total=limit_s, sock_connect=_CONNECT_TIMEOUT_S)
        try:
            async with self.session.request(
                method, worker.url + path, headers=sent, data=body, timeout=limit, allow_redirects=False
            ) as response:
                answer = await self.read(worker, response)
        except _BROKEN as error:
            raise unreachable(worker, _reason(error), began=False) from error
        self.pool.warm(worker.url)  # Health is asked in this way, so that a first request finds a connection.
        return answer
