from __future__ import annotations

import io
import tarfile

import pytest
from archives import make_tar, sampled_cuts
from pdpanel.nic_probe.sources.archive import ArchiveError, Limits, Unpacking
from pdpanel.nic_probe.sources.compressed import PlainStream
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.sources.tar import looks_like_tar, read_tar


def unpack(content: bytes, limits: Limits | None = None) -> MemoryTree:
    unpacking = Unpacking(limits or Limits())
    read_tar(PlainStream(io.BytesIO(content), 1 << 26), unpacking)
    return unpacking.tree


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_reads_every_dialect(format_: int) -> None:
    name = "sys/" + "d" * 90 + "/" + "n" * 90
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w", format=format_) as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    content = into.getvalue()
    assert looks_like_tar(content[:1024])
    assert unpack(content).read(name, 9) == b"abc"


def test_what_is_no_tar_does_not_look_like_one() -> None:
    assert looks_like_tar(bytes(512))
    assert not looks_like_tar(b"")
    assert not looks_like_tar(b"x" * 1024)
    assert not looks_like_tar(make_tar([("a", b"")])[:511])


def test_every_truncation_is_found() -> None:
    whole = make_tar([(f"sys/{n}", bytes(range(256)) * 5) for n in range(40)], finish=False)
    for content in sampled_cuts(whole + bytes(511), 600):
        with pytest.raises(ArchiveError, match="is truncated"):
            unpack(content)
    assert len(unpack(whole + bytes(512)).entries("sys")) == 40


def test_a_broken_header_in_the_middle_is_not_the_end() -> None:
    content = bytearray(make_tar([(f"sys/{n}", b"x") for n in range(4)]))
    content[2 * 1024 : 2 * 1024 + 100] = b"!" * 100
    with pytest.raises(ArchiveError, match="is no proper tar archive after the member 'sys/1'"):
        unpack(bytes(content))


def test_a_header_may_not_be_bigger_than_any_name() -> None:
    with pytest.raises(ArchiveError, match="more than 1 MiB"):
        unpack(make_tar([("sys/" + "x" * (2 << 20), b"")]))


def header(**fields: bytes) -> bytes:
    """Returns the header of a member with fields of it overwritten."""
    places = {"size": 124, "sparse": 386, "real_size": 483}
    member = tarfile.TarInfo("sys/x")
    member.type = tarfile.GNUTYPE_SPARSE if "sparse" in fields else tarfile.REGTYPE
    member.size = 512
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    for name, value in fields.items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ArchiveError, match="negative"):
        unpack(header(size=b"\xff" * 12) + bytes(2048))


def test_a_size_beyond_all_bounds_is_a_truncation() -> None:
    with pytest.raises(ArchiveError, match="is truncated"):
        unpack(header(size=b"\x80" + (1 << 50).to_bytes(11, "big")) + bytes(2048))


def test_sparse_files_do_not_swell() -> None:
    """A file of 1 TiB of which the archive holds one block."""
    sparse = b"00000000000\0" + b"00000001000\0"
    block = header(sparse=sparse, real_size=b"\x80" + (1 << 40).to_bytes(11, "big"))
    tree = unpack(block + b"x" * 512 + bytes(1024), Limits(file_bytes=1000))
    assert tree.read("sys/x", 1 << 30) == b"x" * 512 + bytes(488)
