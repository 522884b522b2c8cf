from __future__ import annotations

import io

import pytest
from archives import sampled_cuts
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.archive import ArchiveError, Limits, Unpacking
from pdpanel.nic_probe.sources.compressed import PlainStream
from pdpanel.nic_probe.sources.memory import MemoryTree
from pdpanel.nic_probe.sources.ttar import looks_like_ttar, read_ttar

ARCHIVE = rb"""# Archive created by ttar -c -f x.ttar host
Directory: host
Mode: 755
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/state
Lines: 2
4: ACTIVE

Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/no newline
Lines: 1
0a7f:bc12:45ef:d23bEOF
Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/command
Lines: 1
vimNULLBYTENULLBYTE+10NULLBYTEEOF
Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/literal
Lines: 2
an \EOF and a \NULLBYTE
\EOF
Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/looks like a record
Lines: 1
Path: elsewhere
Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/empty
Lines: 0
Mode: 644
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
Path: host/link
SymlinkTo: ../../state
# ttar - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - -
"""


def unpack(content: bytes, limits: Limits | None = None) -> MemoryTree:
    unpacking = Unpacking(limits or Limits())
    read_ttar(PlainStream(io.BytesIO(content), 1 << 26), unpacking)
    return unpacking.tree


def test_reads_every_kind_of_record() -> None:
    assert looks_like_ttar(ARCHIVE[:1024])
    tree = unpack(ARCHIVE)
    files = {name: tree.read(f"host/{name}", 100) for name, _ in tree.entries("host") if name != "link"}
    assert files == {
        "state": b"4: ACTIVE\n\n",
        "no newline": b"0a7f:bc12:45ef:d23b",
        "command": b"vim\0\0+10\0",
        "literal": b"an EOF and a NULLBYTE\nEOF\n",
        "looks like a record": b"Path: elsewhere\n",
        "empty": b"",
    }
    assert tree.link("host/link") == "../../state"


def test_every_truncation_within_a_record_is_found() -> None:
    ends = [place for place in range(len(ARCHIVE)) if ARCHIVE[:place].endswith(b"\n")]
    for content in sampled_cuts(ARCHIVE, 2000):
        if len(content) in ends or not content:
            continue
        with pytest.raises(ArchiveError):
            unpack(content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"Path: a\n", "is truncated"),
        (b"Path: a\nLines: 3\nx\n", "is truncated"),
        (b"Path: a\nPath: b\nLines: 0\n", "is truncated"),
        (b"Path: a\nLines: many\n", "line 2"),
        (b"Path: a\nLines: -1\n", "line 2"),
        (b"Lines: 1\nx\n", "line 1"),
        (b"Directory: a\nSymlinkTo: b\n", "line 2"),
        (b"Directory: a\nOwner: root\n", "line 2"),
        (b"Path: ../evil\nLines: 0\n", "'../evil'"),
        (b"Path: /evil\nSymlinkTo: x\n", "'/evil'"),
        (b"Path: a\nLines: 1\n" + b"x" * 2000 + b"\n", "more than 0 MiB"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, problem: str) -> None:
    with pytest.raises(ArchiveError, match=problem):
        unpack(content, Limits(text_bytes=1000))


def test_what_is_no_ttar_does_not_look_like_one() -> None:
    assert looks_like_ttar(b"\n# comment\nDirectory: sys\n")
    assert not looks_like_ttar(b"")
    assert not looks_like_ttar(b"# a comment\n")
    assert not looks_like_ttar(b"Lines: 1\n")


LINES = st.one_of(
    st.sampled_from([b"Path: sys/a", b"Directory: sys", b"SymlinkTo: /", b"Lines: 1", b"Mode: 644", b"xEOF", b"#"]),
    st.binary(max_size=8),
)


@settings(deadline=None)
@given(st.lists(LINES, max_size=12).map(b"\n".join))
def test_nothing_else_is_raised(content: bytes) -> None:
    try:
        unpack(content + b"\n")
    except ArchiveError as error:
        assert error.problem and error.remedy
