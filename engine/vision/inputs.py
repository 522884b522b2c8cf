"""What a request may hold of images, and what becomes of them in its prompt.

Reads data URLs, plain base64 and, where they are allowed, addresses of other servers; checks headers on threads. Hangs
on the worker's `ModelCard`: a card without it is that of a model that takes text alone. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable, Sequence

from ..errors import RequestError
from .image import check_image
from .remote import RemoteImages
from .request_image import RequestImage

__all__ = ["ImageInputs", "ImagePlace"]

ImagePlace = tuple[str, str]
"""Where a request names an image, and what it says there: an URL or base64."""

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<options>(?:;[^;,]*)*),", re.IGNORECASE)
_REMOTE = re.compile(r"https?://", re.IGNORECASE)
_FORM = 'send "data:image/png;base64,..."'


class ImageInputs:
    """How one worker takes images.

    Args:
        token: the id that stands for an image in the encoded prompt.
        text: how that token is written.
        rows: tokens that an image takes in the prompt.
        most: images of one prompt.
        ids: returns the ids of an image's rows by its key.
        remote: gets images of other servers; None where they are not allowed.
    """

    def __init__(
        self,
        *,
        token: int,
        text: str,
        rows: int,
        most: int,
        ids: Callable[[bytes], tuple[int, ...]],
        remote: RemoteImages | None = None,
    ) -> None:
        self.token = token
        self.text = text
        self.rows = rows
        self.most = most
        self._ids = ids
        self._remote = remote

    def check_count(self, places: Sequence[ImagePlace]) -> None:
        """Refuses a prompt with too many images.

        Raises:
            RequestError: it names the first that is too many.
        """
        if len(places) > self.most:
            field, text = places[self.most]
            problem = f"the prompt has {len(places)} images where the worker takes {self.most}"
            remedy = f"send at most {self.most}, or start it with a higher --limit-mm-data-per-request"
            raise RequestError(field, _shown(text), problem, remedy)

    async def load(self, places: Sequence[ImagePlace], *, bare: bool) -> tuple[RequestImage, ...]:
        """Returns the images, whose headers were checked.

        Args:
            bare: whether base64 without `data:` in front is taken.

        Raises:
            RequestError: one is no image, too large, or not to be had.
        """
        # At once: several servers may be slow, each within its time.
        tasks = [asyncio.create_task(self._load(field, text, bare), name="image") for field, text in places]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _load(self, field: str, text: str, bare: bool) -> RequestImage:
        if _REMOTE.match(text):
            if self._remote is None:
                problem = "images of other servers are not fetched"
                raise RequestError(field, text, problem, f"{_FORM}, or start the worker with --allow-remote-images")
            data = await self._remote.get(text, field)
        else:
            data = await asyncio.to_thread(_decode, field, text, bare)
        return await asyncio.to_thread(_checked, data, field)

    def expand(self, prompt: Sequence[int], images: Sequence[RequestImage], field: str) -> tuple[int, ...]:
        """Returns the prompt with the ids of an image's rows in place of each image token.

        Raises:
            RequestError: there are not as many places as images.
        """
        places = prompt.count(self.token)
        if places != len(images):
            problem = f"the prompt has {_counted(places, 'place')} for {_counted(len(images), 'image')}"
            raise RequestError(field, f"{len(prompt)} tokens", problem, f"write {self.text!r} once for each image")
        left = iter(images)
        found: list[int] = []
        for token in prompt:
            found += self._ids(next(left).key) if token == self.token else (token,)
        return tuple(found)


def _decode(field: str, text: str, bare: bool) -> bytes:
    start = 0
    if match := _DATA_URL.match(text):
        if not match["type"].lower().startswith("image/"):
            kind = match["type"][:40] or "text/plain"
            raise RequestError(field, _shown(text), f"the data URL holds {kind}, no image", _FORM)
        if ";base64" not in match["options"].lower():
            raise RequestError(field, _shown(text), "the data URL is not base64", _FORM)
        start = match.end()
    elif not bare:
        raise RequestError(field, _shown(text), "not a data URL", _FORM)
    try:
        data = base64.b64decode("".join(text[start:].split()), validate=True)  # some programs break it into lines
    except (binascii.Error, ValueError) as error:
        raise RequestError(field, _shown(text), f"not base64 ({str(error).lower()})", _FORM) from None
    if not data:
        raise RequestError(field, _shown(text), "the image is empty", _FORM)
    return data


def _checked(data: bytes, field: str) -> RequestImage:
    check_image(data, field)
    return RequestImage.of(data, field)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"
