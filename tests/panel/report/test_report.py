from __future__ import annotations

import io
import zipfile

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.redact import Redactor
from pdpanel.panel.report.report import make_report

TEXTS = [
    ("a.json", '{"env": {"HF_TOKEN": "hf_0123456789abcdefghijklmnop"}}'),
    ("logs/anna.log", "/home/anna/x\nserver started --api-key s3cret-value\n"),
    ("b.txt", "nothing here"),
]


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_list_is_what_the_archive_holds_and_no_secret_is_in_it() -> None:
    report = make_report(TEXTS, Redactor("/home/anna", "anna"))
    held = unpacked(report.archive())
    assert [(file["name"], file["bytes"]) for file in report.listing] == [
        (name, len(data)) for name, data in held.items()
    ]
    assert [file["redacted"] for file in report.listing] == [{"secret": 1}, {"secret": 1, "home": 1}, {}]
    assert report.redacted == {"secret": 2, "home": 1}
    assert report.size_bytes == sum(len(data) for data in held.values())
    together = b"".join((*held.values(), *(name.encode() for name in held)))
    assert b"hf_0" not in together and b"s3cret" not in together and b"anna" not in together
    assert held["b.txt"] == b"nothing here"


@given(st.lists(st.text(st.characters()), max_size=3))
def test_whatever_a_log_holds_it_can_be_packed(texts: list[str]) -> None:
    """Half of a surrogate pair too."""
    report = make_report([(f"{n}.log", text) for n, text in enumerate(texts)], Redactor())
    assert len(unpacked(report.archive())) == len(texts)
