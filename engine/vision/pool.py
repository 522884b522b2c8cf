"""The encoders that a language worker asks: the least busy first, another one when an answer does not come.

An encoder is lost when its connection breaks or when it leaves two health checks in a row unanswered; what it owed is
asked of another one until the deadline, and so is what an encoder fails at while it goes on. A request is refused only
for what its images are.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from ..errors import CapacityError, PeerError, RemoteProtocolError, RequestError
from ..log import record
from ..statistics import EncoderState
from .embeddings import Rows
from .metrics import LanguageMetrics
from .request_image import RequestImage
from .ways import MEMORY, Receiver

__all__ = ["EncoderPool"]

_MOST_BYTES = 32 << 20  # of the files in one call; an encoder refuses bodies above twice that
_CHECK_S = 0.5
_CHECK_TIMEOUT_S = 1.5  # so that one that stands still is left within 4 s
_MOST_MISSED = 2
_NONE_LEFT_S = 15.0  # for an encoder that is started again
_PAUSE_S = 0.1
_ARRIVAL_S = 30.0
_MOST_ANSWER = 1 << 20
_MOST_SHOWN = 200


@dataclass(slots=True, eq=False)
class _Encoder:
    url: str
    problem: str = ""
    images: int = 0
    missed: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        return not self.problem

    def lose(self, problem: str) -> None:
        if self.alive:
            record("encoder_lost", url=self.url, problem=problem)
        self.problem = problem
        self.lost.set()

    def found(self) -> None:
        if not self.alive:
            record("encoder_back", url=self.url)
        self.problem, self.missed, self.lost = "", 0, asyncio.Event()


class _LostError(Exception):
    """Raised when an encoder gives no answer that helps; another one may."""


class _RefusedError(Exception):
    """Raised when an encoder fails at these images, while it goes on."""


class EncoderPool:
    """Asks encoders for embeddings.

    Args:
        urls: of the encoders.
        receiver: where embeddings arrive.
        api_key: sent as bearer token; empty sends none.
        model_sha: of the model, which must be the encoders', too.
        timeout_s: for one image, whichever encoders are asked.
    """

    def __init__(
        self,
        urls: Sequence[str],
        receiver: Receiver,
        metrics: LanguageMetrics,
        *,
        api_key: str,
        model_sha: str,
        timeout_s: float,
    ) -> None:
        self._encoders = tuple(_Encoder(url.rstrip("/")) for url in urls)
        self._receiver = receiver
        self._metrics = metrics
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._model_sha = model_sha
        self._timeout_s = timeout_s
        # Without a limit of connections: waiting for one would look like an encoder that does not answer.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._checks = [asyncio.create_task(self._watch(one), name="encoder-health") for one in self._encoders]

    def state(self) -> tuple[EncoderState, ...]:
        """Returns what is known of each encoder."""
        return tuple(EncoderState(one.url, one.alive, one.images, one.problem) for one in self._encoders)

    async def fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        """Returns the embeddings of each image.

        Raises:
            RequestError: an encoder says that an image is broken.
            PeerError: no encoder gave them in time.
        """
        tasks = [asyncio.create_task(self._fetch(group), name="embeddings") for group in self._groups(images)]
        try:
            return [rows for found in await asyncio.gather(*tasks) for rows in found]
        finally:
            for task in tasks:
                task.cancel()

    def _groups(self, images: Sequence[RequestImage]) -> list[list[RequestImage]]:
        groups: list[list[RequestImage]] = []
        size = 0
        for image in images:
            if not groups or len(groups[-1]) == self._receiver.most_images or size + len(image.data) > _MOST_BYTES:
                groups.append([])
                size = 0
            groups[-1].append(image)
            size += len(image.data)
        return groups

    async def _fetch(self, images: Sequence[RequestImage]) -> list[Rows]:
        deadline = time.monotonic() + self._timeout_s
        alone_since: float | None = None
        refused: dict[_Encoder, str] = {}
        self._metrics.asked(len(images))
        while (now := time.monotonic()) < deadline:
            encoder = self._least_busy(refused)
            if encoder is None and refused:
                break
            if encoder is None:
                alone_since = now if alone_since is None else alone_since
                if now - alone_since > _NONE_LEFT_S:
                    break
                await asyncio.sleep(_PAUSE_S)
                continue
            alone_since = None
            encoder.images += len(images)
            try:
                async with asyncio.timeout(deadline - now):
                    return await self._ask(encoder, images)
            except (_LostError, _RefusedError, CapacityError, TimeoutError) as error:
                self._metrics.retried(len(images))
                if isinstance(error, CapacityError):
                    await asyncio.sleep(_PAUSE_S)
                elif isinstance(error, _RefusedError):
                    refused[encoder] = str(error)
                elif isinstance(error, _LostError):
                    encoder.lose(str(error))
            finally:
                encoder.images -= len(images)
        problems = ", ".join(f"{one.url} ({refused.get(one) or one.problem or 'too slow'})" for one in self._encoders)
        count = f"{len(images)} images" if len(images) != 1 else "an image"
        remedy = "see to it that one of these runs, with --encoder-only and this worker's model"
        raise PeerError(f"No encoder of --encoder-urls gave the embeddings of {count} in time: {problems}; {remedy}.")

    def _least_busy(self, refused: Collection[_Encoder]) -> _Encoder | None:
        alive = [one for one in self._encoders if one.alive and one not in refused]
        return min(alive, key=lambda one: one.images, default=None)

    async def _ask(self, encoder: _Encoder, images: Sequence[RequestImage]) -> list[Rows]:
        """Asks one encoder, for as long as it lives."""
        slip = await self._receiver.expect(len(images))
        asking = asyncio.ensure_future(self._post(encoder, images, slip.target))
        taking = asyncio.ensure_future(slip.take()) if slip.target["backend"] != MEMORY else None
        lost = asyncio.ensure_future(encoder.lost.wait())
        try:
            await asyncio.wait((asking, lost), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise _LostError(encoder.problem)
            asking.result()
            if taking is None:
                return await slip.take()
            # It has sent them: what does not come soon was lost on the way.
            await asyncio.wait((taking, lost), return_when=asyncio.FIRST_COMPLETED, timeout=_ARRIVAL_S)
            if not taking.done():
                raise _LostError(encoder.problem or "what it sent did not arrive")
            return taking.result()
        except RemoteProtocolError as error:
            raise _RefusedError(str(error)) from None
        finally:
            open_tasks: list[asyncio.Future[Any]] = [task for task in (asking, lost, taking) if task is not None]
            for task in open_tasks:
                task.cancel()
            slip.abandon()
            await asyncio.gather(*open_tasks, return_exceptions=True)

    async def _post(self, encoder: _Encoder, images: Sequence[RequestImage], target: object) -> None:
        body = await asyncio.to_thread(self._body, images, target)
        headers = {"Content-Type": "application/json", **self._headers}
        try:
            async with self._session.post(f"{encoder.url}/encode", data=body, headers=headers) as answer:
                status, found = answer.status, await _read(answer)
        except (aiohttp.ClientError, OSError) as error:
            raise _LostError(f"no answer: {type(error).__name__}") from None
        if status == 200 and found.get("images") == len(images):
            return
        if status == 200:  # whatever it is, nothing was sent
            raise _RefusedError("what it answers to /encode is no encoder's answer")
        detail, message = found.get("detail"), _message_of(found)
        if status == 400 and isinstance(detail, dict) and detail.get("about") == "image":
            raise RequestError(*(str(detail.get(name, "")) for name in ("field", "value", "problem", "remedy")))
        if status == 503:
            raise CapacityError(message)
        raise _RefusedError(f"it answers {status}{': ' if message else ''}{message.removesuffix('.')}")

    def _body(self, images: Sequence[RequestImage], target: object) -> bytes:
        entries = [{"field": one.field, "data": base64.b64encode(one.data).decode()} for one in images]
        return json.dumps({"model_sha": self._model_sha, "transfer": target, "images": entries}).encode()

    async def _watch(self, encoder: _Encoder) -> None:
        timeout = aiohttp.ClientTimeout(total=_CHECK_TIMEOUT_S)
        while True:
            await asyncio.sleep(_CHECK_S)
            problem = ""
            try:
                url = f"{encoder.url}/server_info"
                async with self._session.get(url, timeout=timeout, headers=self._headers) as got:
                    problem = self._unfit(got.status, await _read(got))
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                encoder.missed += 1
                if encoder.missed >= _MOST_MISSED:
                    encoder.lose(encoder.problem or f"no answer: {type(error).__name__}")
                continue
            if problem:
                encoder.lose(problem)
            else:
                encoder.missed = 0
                if not encoder.alive:
                    encoder.found()

    def _unfit(self, status: int, found: Mapping[str, Any]) -> str:
        if status == 401:
            return "it answers 401 to /server_info: it was started with another --api-key"
        if status != 200:
            return f"it answers {status} to /server_info"
        if not found.get("encoder_only"):
            return "it is no encoder; start it with --encoder-only"
        if found.get("model_sha") != self._model_sha:
            return f"it serves another model, {found.get('served_model_name')}"
        return ""

    async def stop(self) -> None:
        """Ends; open calls fail."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)
        await self._session.close()
        await self._receiver.stop()


async def _read(answer: aiohttp.ClientResponse) -> Mapping[str, Any]:
    """Returns the JSON object of an answer; an empty one for what is none, or longer than an encoder's."""
    body = bytearray()
    async for piece in answer.content.iter_chunked(_MOST_ANSWER):
        body += piece
        if len(body) > _MOST_ANSWER:
            return {}
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _message_of(found: Mapping[str, Any]) -> str:
    """Returns what an answer says went wrong, whoever's answer it is."""
    error = found.get("error", "")
    return str(error.get("message", "") if isinstance(error, dict) else error)[:_MOST_SHOWN]
