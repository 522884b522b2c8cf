"""What a request says of images: as many as there are places, files in base64 however it is broken into lines."""

from __future__ import annotations

import asyncio
import base64

import pytest
from pdpanel.engine.errors import RequestError
from pdpanel.engine.vision.inputs import ImageInputs
from pdpanel.engine.vision.remote import RemoteImages
from tiny_llava import picture, png

FILE = png(picture(1, 300, 300))
TEXT = base64.b64encode(FILE).decode()


def inputs(remote: RemoteImages | None = None) -> ImageInputs:
    ids = (100, 101)
    return ImageInputs(token=9, text="<image>", rows=2, most=3, ids=lambda key: ids, remote=remote)


@pytest.mark.parametrize(
    "text", [f"data:image/png;base64,{TEXT}", f"data:image/png;base64,{base64.encodebytes(FILE).decode()}", TEXT]
)
def test_a_file_comes_in_base64(text: str) -> None:
    [found] = asyncio.run(inputs().load([("image", text)], bare=True))
    assert found.data == FILE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("data:image/png;base64,@", "only base64 data"),
        ("data:image/png;base64,AAAAA", "not base64"),
        (f"data:image/png;base64,{TEXT[:-1]}", "padding"),
        ("data:image/png;base64,", "empty"),
        ("data:image/png;base64, \n", "empty"),
        ("data:,", "text/plain"),
        ("data:", "not a data URL"),
        ("file:///etc/passwd", "not a data URL"),
        ("", "not a data URL"),
        ("https://example.org/x.png", "--allow-remote-images"),
    ],
)
def test_what_is_no_file_is_refused_by_its_field(text: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        asyncio.run(inputs().load([("image_data[3]", text)], bare=False))
    assert caught.value.field == "image_data[3]"
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("prompt", "images", "says"),
    [
        ([1, 9, 2, 9], 1, "2 places for 1 image;"),
        ([1], 1, "0 places for 1 image;"),
        ([1, 9], 2, "1 place for 2 images;"),
        ([1, 9], 0, "1 place for 0 images;"),
    ],
)
def test_places_and_images_are_as_many(prompt: list[int], images: int, says: str) -> None:
    made = inputs()
    found = asyncio.run(made.load([("image", TEXT)] * images, bare=True))
    with pytest.raises(RequestError, match=says):
        made.expand(prompt, found, "text")
    assert made.expand([1, 2], (), "text") == (1, 2)
    assert made.expand([1, 9, 9], found[:1] * 2, "text") == (1, 100, 101, 100, 101) if found else True


def test_servers_are_asked_at_once_and_a_bad_image_ends_all() -> None:
    class Slow(RemoteImages):
        """Answers once everybody was asked."""

        def __init__(self, wanted: int) -> None:
            super().__init__()
            self.waiting: set[str] = set()
            self.wanted = wanted
            self.all_here = asyncio.Event()

        async def get(self, url: str, field: str) -> bytes:
            self.waiting.add(url)
            if len(self.waiting) == self.wanted:
                self.all_here.set()
            try:
                await self.all_here.wait()
                return FILE
            finally:
                self.waiting.remove(url)

    async def run() -> None:
        remote = Slow(3)
        places = [(f"image_data[{place}]", f"http://example.org/{place}") for place in range(3)]
        async with asyncio.timeout(20):
            assert len(await inputs(remote).load(places, bare=False)) == 3
            remote = Slow(9)
            with pytest.raises(RequestError, match=r"^bad = "):
                await inputs(remote).load([*places, ("bad", "ftp://x")], bare=False)
            while remote.waiting:  # noqa: ASYNC110 (they are cancelled)
                await asyncio.sleep(0)

    asyncio.run(run())
