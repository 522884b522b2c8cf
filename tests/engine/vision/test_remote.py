"""Images of other servers: what is fetched, and what must not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web
from pdpanel.engine.errors import RequestError
from pdpanel.engine.vision import remote
from pdpanel.engine.vision.inputs import ImageInputs
from pdpanel.engine.vision.remote import RemoteImages, is_public
from tiny_llava import picture, png

FILE = png(picture(1))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) is public


def fetched(path: str, may: Callable[[str], bool], host: str = "127.0.0.1", timeout_s: float = 5.0) -> bytes:
    async def run() -> bytes:
        async def answer(request: web.Request) -> web.StreamResponse:
            name = request.path
            if name.startswith("/again"):
                raise web.HTTPFound(f"/again{int(name.removeprefix('/again')) - 1}" if name != "/again0" else "/image")
            if name == "/away":
                raise web.HTTPFound("http://10.0.0.1/image")
            if name == "/other":
                raise web.HTTPFound("file:///etc/passwd")
            if name == "/large":
                return web.Response(body=b"x" * (remote.MOST_BYTES + 1))
            if name == "/slow":
                await asyncio.sleep(30)
            if name == "/none":
                raise web.HTTPNotFound
            return web.Response(body=FILE)

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            url = f"http://{host}:{runner.addresses[0][1]}{path}"
            return await RemoteImages(may, timeout_s).get(url, "image_data[0]")
        finally:
            await runner.cleanup()

    return asyncio.run(run())


def is_loopback(address: str) -> bool:
    return address.startswith("127.") or is_public(address)


@pytest.mark.parametrize("path", ["/image", "/again0", "/again2"])
def test_a_file_is_fetched_over_some_redirects(path: str) -> None:
    assert fetched(path, is_loopback) == FILE


def test_a_name_is_resolved_and_its_addresses_are_checked() -> None:
    assert fetched("/image", is_loopback, "localhost") == FILE
    with pytest.raises(RequestError, match="no public address"):
        fetched("/image", is_public, "localhost")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/again3", "redirected more than 3 times"),
        ("/away", "no public address"),
        ("/other", "not an http or https address"),
        ("/large", "more than 10485760 bytes"),
        ("/none", "answers 404"),
    ],
)
def test_what_is_out_of_bounds_is_refused(path: str, says: str) -> None:
    with pytest.raises(RequestError, match=rf"^image_data\[0\] = .*{says}"):
        fetched(path, is_loopback)


def test_time_is_bounded() -> None:
    with pytest.raises(RequestError, match=r"did not arrive within 0\.2 s"):
        fetched("/slow", is_loopback, timeout_s=0.2)


def test_nothing_is_fetched_unless_it_is_allowed() -> None:
    inputs = ImageInputs(token=1, text="<image>", rows=1, most=1, ids=lambda key: (9,))
    with pytest.raises(RequestError, match="--allow-remote-images"):
        asyncio.run(inputs.load([("image_data", "http://8.8.8.8/x.png")], bare=True))
