"""From the bytes of an image file to what a vision tower sees.

Sizes are read from the header and checked before anything is decoded. The steps behind are transformers' for Pillow
images (image_transforms.py: resize, center_crop, rescale, normalize), bit by bit. Runs on threads; knows no torch and
no HTTP.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import RequestError
from .shape import Processing

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMATS", "MOST_PIXELS", "Pixels", "check_image", "process_image"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 64_000_000
_LONGEST_SIDES = 200  # the longer edge, in shorter ones: scaling keeps the proportions (Qwen2-VL's limit, too)
_REMEDY = f"send a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"

Pixels = NDArray[np.float32]


def _open(data: bytes, field: str) -> Image:
    """Reads the header.

    Raises:
        RequestError: there is none, or it promises more pixels than are served.
    """
    from PIL import Image, UnidentifiedImageError

    bomb = Image.DecompressionBombError, Image.DecompressionBombWarning
    # Pillow warns above its own limit, which is higher than ours; as an error it is one of ours.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    # What else it warns of is the sender's business, and stands in no log.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except bomb as error:
        count = re.search(r"\d+ pixels", str(error))
        raise _too_large(field, count[0] if count else "more pixels than Pillow opens") from None
    except UnidentifiedImageError:
        raise RequestError(field, f"{len(data)} bytes", "not an image of a known format", _REMEDY) from None
    except Exception as error:  # a decoder of damaged headers fails in every way
        raise _broken(field, data, error) from None
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise _too_large(field, f"{width}x{height} pixels")
    if min(width, height) < 1 or max(width, height) > _LONGEST_SIDES * min(width, height):
        problem = f"one edge is more than {_LONGEST_SIDES} times the other"
        raise RequestError(field, f"{width}x{height} pixels", problem, "send an image that is less narrow")
    return image


def _too_large(field: str, value: str) -> RequestError:
    most = MOST_PIXELS // 1_000_000
    return RequestError(field, value, f"the image has more than {most} megapixels", "send it smaller")


def _broken(field: str, data: bytes, error: Exception) -> RequestError:
    reason = str(error).strip().splitlines()[0][:100].rstrip(".") if str(error).strip() else type(error).__name__
    problem = f"the image is broken ({reason})"
    return RequestError(field, f"{len(data)} bytes", problem, "send the whole file as it was saved")


def check_image(data: bytes, field: str) -> tuple[int, int]:
    """Returns (width, height) by the header alone; decodes nothing.

    Args:
        field: the image's name in the request, for errors.

    Raises:
        RequestError: it is no image, or too large.
    """
    return _open(data, field).size


def process_image(data: bytes, processing: Processing, field: str) -> Pixels:
    """Returns an image as the tower sees it, float32 [channels, height, width].

    Turned as its EXIF data say, without transparency, and the first picture of several.

    Raises:
        RequestError: it is no image, too large, or broken.
    """
    from PIL import ImageOps

    image = _open(data, field)
    try:
        ImageOps.exif_transpose(image, in_place=True)
        image = image if image.mode == "RGB" else image.convert("RGB")
        pixels = np.moveaxis(np.asarray(_resized(image, processing)), -1, 0)
    except Exception as error:  # decoders of damaged data fail in every way
        raise _broken(field, data, error) from None
    pixels = _cropped(pixels, processing.crop)
    scaled = (pixels.astype(np.float64) * processing.rescale).astype(np.float32)
    if not processing.mean:
        return scaled
    mean, std = np.array(processing.mean, np.float32), np.array(processing.std, np.float32)
    return np.ascontiguousarray(((scaled.T - mean) / std).T)


def _resized(image: Image, processing: Processing) -> Image:
    width, height = image.size
    if processing.shortest_edge:
        short, long = sorted((width, height))
        edge = processing.shortest_edge
        far = int(edge * long / short)
        size = (edge, far) if width <= height else (far, edge)
    elif processing.resize != (0, 0):
        size = processing.resize[1], processing.resize[0]
    else:
        return image
    return image.resize(size, resample=processing.resample)


def _cropped(pixels: NDArray[np.uint8], crop: tuple[int, int]) -> NDArray[np.uint8]:
    """Cuts the middle out; what is smaller gets black edges first."""
    if crop == (0, 0):
        return pixels
    wanted_height, wanted_width = crop
    height, width = pixels.shape[-2:]
    top, left = (height - wanted_height) // 2, (width - wanted_width) // 2
    if top < 0 or left < 0:
        around = max(wanted_height, height), max(wanted_width, width)
        above, before = math.ceil((around[0] - height) / 2), math.ceil((around[1] - width) / 2)
        padded = np.zeros((*pixels.shape[:-2], *around), pixels.dtype)
        padded[..., above : above + height, before : before + width] = pixels
        pixels, top, left = padded, top + above, left + before
    return pixels[..., top : top + wanted_height, left : left + wanted_width]
