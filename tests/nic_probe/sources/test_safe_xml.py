from __future__ import annotations

import builtins
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdpanel.nic_probe.sources.safe_xml import XmlError, XmlNode, parse_xml

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 30))


def test_reads_elements_and_attributes() -> None:
    root = parse_xml(b'<?xml version="1.0"?><!-- a --><a x=" 1 "><b/>text<c y="2"><d/></c><b z="3"/></a>')
    assert (root.tag, root.get("x"), root.get("none")) == ("a", "1", "")
    assert [node.tag for node in root.walk()] == ["a", "b", "c", "d", "b"]
    assert [node.get("z") for node in root.each("b")] == ["", "3"]
    (d,) = (node for node in root.walk() if node.tag == "d")
    assert [node.tag for node in d.above()] == ["c", "a"]


def test_a_document_type_without_declarations_is_harmless() -> None:
    assert parse_xml(b'<!DOCTYPE topology SYSTEM "hwloc2.dtd"><topology/>').tag == "topology"
    assert parse_xml(b'<!DOCTYPE a PUBLIC "-//X//Y" "http://127.0.0.1:1/x.dtd"><a/>').tag == "a"


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "lol">{LAUGHS}]><a>&l29;</a>',
        '<!DOCTYPE a [<!ENTITY x "y">]><a/>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1:1/">]><a b="&x;"/>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x.dtd"> %x;]><a/>',
        '<!DOCTYPE a [<!NOTATION g SYSTEM "x"><!ENTITY u SYSTEM "y" NDATA g>]><a/>',
    ],
)
def test_entities_are_refused(text: str) -> None:
    with pytest.raises(XmlError, match="declares XML entities"):
        parse_xml(text.encode())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is not proper XML"),
        (b"<a>", "is truncated"),
        (b'<a b="', "is truncated"),
        (b"<a", "is truncated"),
        (b"<!-- ", "is truncated"),
        (b"<a></b>", "is not proper XML"),
        (b"<a/><b/>", "is not proper XML"),
        (b"<a>&nothing;</a>", "is not proper XML"),
        (b"<a>\0</a>", "is not proper XML"),
        (b'<a b="\xff"/>', "is not proper XML"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "encoding"),
        (b'<?xml version="1.0" encoding="gb2312"?><a/>', "encoding"),
        (b"<a>" * 300, "deeper"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, problem: str) -> None:
    with pytest.raises(XmlError, match=problem):
        parse_xml(content)


def test_more_elements_than_any_topology_are_refused() -> None:
    with pytest.raises(XmlError, match="more or deeper"):
        parse_xml(b"<a>" + b"<b/>" * 100_001)


def test_attributes_are_one_short_line_that_can_be_printed() -> None:
    root = parse_xml('<a x="a&#10;b\u202e\u0085c" y="{}"/>'.format("z" * 9999).encode())
    assert root.get("x") == "a b c"
    assert root.get("y") == "z" * 256
    assert root.get("y", 1000) == "z" * 1000


def test_a_missing_reader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("defusedxml"):
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(XmlError, match="needs the Python package defusedxml"):
        parse_xml(b"<a/>")


PIECES = st.sampled_from(
    ['<a b="c">', "</a>", "<a/>", "<!DOCTYPE a [", "]>", "<!ENTITY x 'y'>", "&x;", "<![CDATA[", "]]>"]
)


@settings(deadline=None)
@given(st.lists(st.one_of(PIECES.map(str.encode), st.binary(max_size=4)), max_size=12).map(b"".join))
def test_nothing_else_is_raised(content: bytes) -> None:
    try:
        assert isinstance(parse_xml(content), XmlNode)
    except XmlError as error:
        assert error.problem and error.remedy
