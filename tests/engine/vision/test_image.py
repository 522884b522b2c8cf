"""What is refused before it is decoded, and what while it is."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from pdpanel.engine.errors import RequestError
from pdpanel.engine.vision.image import MOST_PIXELS, check_image, process_image
from pdpanel.engine.vision.shape import VisionShape
from PIL import Image
from tiny_llava import picture, png


def header_of(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and has none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 10_000), (8_001, 8_000), (14_000, 14_000), (60_000, 60_000)])
def test_too_many_pixels_are_seen_in_the_header(size: tuple[int, int]) -> None:
    assert size[0] * size[1] > MOST_PIXELS
    with pytest.raises(RequestError, match=r"^messages = .*64 megapixels; send it smaller"):
        check_image(header_of(*size), "messages")


def test_as_many_as_are_served_pass_the_header() -> None:
    assert check_image(header_of(8_000, 8_000), "image") == (8_000, 8_000)


@pytest.mark.parametrize("size", [(30_000, 100), (1, 201)])
def test_a_narrow_image_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match="200 times"):
        check_image(header_of(*size), "image")


@pytest.mark.parametrize(
    "data", [b"", b"no image", b"GIF89a", b"%PDF-1.4\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(RequestError, match=r"not an image|broken"):
        check_image(data, "image")


def test_a_file_that_ends_early_is_broken(vision: VisionShape) -> None:
    data = png(picture(1, 300, 300))
    check_image(data, "image_data[0]")
    with pytest.raises(RequestError, match=r"^image_data\[0\] = .*broken.*; send the whole file"):
        process_image(data[: len(data) // 2], vision.processing, "image_data[0]")


def test_an_image_of_100_megapixels_is_named_so() -> None:
    with pytest.raises(RequestError, match=r"^image = '100000000 pixels': the image has more than 64 megapixels"):
        check_image(header_of(10_000, 10_000), "image")


def file_of(image: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    return {"exif": exif}


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "P", {"transparency": bytes(range(200))}),  # Pillow warns, which is an error here
        ("PNG", "LA", {}),
        ("PNG", "1", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff"}),
        ("GIF", "RGB", {"save_all": True, "append_images": [picture(2)]}),
        ("WEBP", "RGB", {"save_all": True, "append_images": [picture(2)]}),
    ],
)
def test_unusual_files_are_taken_without_a_word(
    vision: VisionShape, kind: str, mode: str, options: dict[str, Any]
) -> None:
    found = process_image(file_of(picture(1).convert(mode), kind, **options), vision.processing, "image")
    assert found.shape == (3, vision.image_size, vision.image_size)


def test_an_image_is_turned_as_its_exif_says(vision: VisionShape) -> None:
    lying, upright = picture(1, 60, 30), picture(1, 60, 30).transpose(Image.Transpose.ROTATE_270)
    found = process_image(file_of(lying, "PNG", **turned()), vision.processing, "image")
    assert np.array_equal(found, process_image(png(upright), vision.processing, "image"))
    assert not np.array_equal(found, process_image(png(lying), vision.processing, "image"))
