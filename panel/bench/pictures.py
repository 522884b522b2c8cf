"""Small images of noise for benchmarks: what they show costs nothing to make, and no two of them are alike. Pure."""

from __future__ import annotations

import base64
import random
import struct
import zlib

__all__ = ["noise_url"]

_SIDE = 32


def noise_url(choice: random.Random) -> str:
    """Returns a PNG of 32 x 32 random pixels as a data URL."""
    rows = b"".join(b"\0" + choice.randbytes(3 * _SIDE) for _ in range(_SIDE))
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()
