"""Sends one request and reads its answer; a client that leaves closes its connection on the way."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from .answer import Answer, StreamReader, read_whole
from .cases import Case

__all__ = ["HUNG", "LIMIT_S", "ask", "open_session"]

# Who has no end after so long counts as hung; far above what any answer takes.
LIMIT_S = 120.0
HUNG = "there was no end within the time that any answer takes"


def open_session() -> ClientSession:
    """Returns a session with a connection of its own per request, as many at once as wanted."""
    connector = TCPConnector(limit=0, force_close=True)
    return ClientSession(connector=connector, timeout=ClientTimeout(total=None), trust_env=False)


async def ask(
    session: ClientSession, url: str, case: Case, leave_after: int = 0, limit_s: float = LIMIT_S
) -> Answer | None:
    """Returns the answer, None when the client left.

    Args:
        session: of `open_session`.
        url: of the router or of a worker.
        case: what to ask.
        leave_after: events after which the client leaves; 0 stays to the end.
        limit_s: who has no end after so long hangs.
    """
    reader: StreamReader | None = None
    body = {**case.body, **({"stream": True} if case.stream else {})}
    try:
        async with asyncio.timeout(limit_s), session.post(url + case.route, json=body) as response:
            if response.content_type != "text/event-stream":
                retry_after = response.headers.get("Retry-After", "")
                return read_whole(response.status, await response.read(), retry_after)
            reader = StreamReader()
            async for data in response.content.iter_any():
                reader.feed(data)
                if leave_after and reader.events >= leave_after:
                    return None
            return reader.close()
    except TimeoutError:
        problem = HUNG
    except (ClientError, OSError) as error:
        problem = f"the connection broke ({error or type(error).__name__})"
    return reader.close(problem) if reader is not None else Answer(0, faults=(problem,))
