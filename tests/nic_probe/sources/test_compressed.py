from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
from archives import sampled_cuts
from pdpanel.nic_probe.sources import compressed
from pdpanel.nic_probe.sources.archive import ArchiveError
from pdpanel.nic_probe.sources.compressed import PlainStream

CONTENT = bytes(range(256)) * 2000
PACKERS = [bytes, gzip.compress, bz2.compress, lzma.compress]
COMPRESSORS = PACKERS[1:]


def stream(content: bytes, limit: int = 1 << 20) -> PlainStream:
    return PlainStream(io.BytesIO(content), limit)


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("size", [1, 511, 65536, -1])
def test_gives_the_plain_bytes(pack: Callable[[bytes], bytes], size: int) -> None:
    content = CONTENT[:20_000] if size == 1 else CONTENT
    plain = stream(pack(content))
    assert plain.peek() == content[:1024]
    parts = list(iter(lambda: plain.read(size), b""))
    assert b"".join(parts) == content
    assert {len(part) for part in parts[:-1]} <= {size}


@pytest.mark.parametrize("pack", COMPRESSORS)
def test_several_pieces_are_one_stream(pack: Callable[[bytes], bytes]) -> None:
    assert stream(pack(CONTENT[:700]) + pack(CONTENT[700:])).read() == CONTENT


def test_xz_pieces_may_be_padded() -> None:
    assert stream(lzma.compress(b"one") + bytes(8) + lzma.compress(b"two") + bytes(4)).read() == b"onetwo"


@pytest.mark.parametrize("pack", COMPRESSORS)
def test_what_ends_too_early_is_truncated(pack: Callable[[bytes], bytes]) -> None:
    for content in sampled_cuts(pack(CONTENT)):
        if len(content) < 8:
            continue  # Not even the magic number is whole.
        plain = stream(content)
        with pytest.raises(ArchiveError, match="is truncated"):
            plain.drain()


def test_a_wrong_checksum_at_the_end_is_found() -> None:
    content = bytearray(gzip.compress(CONTENT))
    content[-6] ^= 1
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        stream(bytes(content)).drain()


@pytest.mark.parametrize("pack", PACKERS)
def test_what_swells_beyond_the_limit_is_refused(pack: Callable[[bytes], bytes]) -> None:
    plain = stream(pack(bytes(20 << 20)), 4 << 20)
    with pytest.raises(ArchiveError, match="more than 4 MiB"):
        plain.read()


def test_an_xz_file_may_not_ask_for_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is lowered, since a file that breaks the real one takes gigabytes to make."""
    monkeypatch.setattr(compressed, "_XZ_MEMORY", 1 << 20)
    with pytest.raises(ArchiveError, match="memory"):
        stream(lzma.compress(CONTENT)).read()
