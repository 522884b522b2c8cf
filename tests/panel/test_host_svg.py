"""The picture as an SVG file: well-formed, needs nothing else, and text from outside stays text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring
from pdpanel.panel.host_picture import picture_of
from pdpanel.panel.host_shapes import SIGNS, State
from pdpanel.panel.host_svg import to_svg
from sample_devices import gpu, host_document, nic, port
from sample_hosts import HOSTS, findings_of

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("make", HOSTS.values(), ids=HOSTS)
def test_it_is_one_document_with_title_and_description(make: Callable[[], dict[str, Any]]) -> None:
    document = make()
    picture = picture_of(document, findings_of(document))
    svg = to_svg(picture)
    root = fromstring(svg)
    assert root.findtext(f"{SVG}title") == picture.title
    assert root.findtext(f"{SVG}desc") == picture.description
    assert float(root.attrib["width"]) > picture.width
    for box in picture.boxes:
        assert {text.text for text in box.texts} <= set(texts(svg))


def test_it_asks_for_nothing_else_and_runs_nothing() -> None:
    svg = to_svg(picture_of(HOSTS["eight_pairs"]()))
    root = fromstring(svg)
    assert not any("href" in name or name.startswith("on") for node in root.iter() for name in node.attrib)
    assert not {f"{SVG}script", f"{SVG}image", f"{SVG}foreignObject"} & {node.tag for node in root.iter()}
    assert "url(" not in svg
    assert "@import" not in svg


def test_it_is_light_and_dark() -> None:
    svg = to_svg(picture_of({}))
    light, _, dark = svg.partition("@media (prefers-color-scheme: dark)")
    assert ".ground{fill:#ffffff}" in light
    assert ".ground{fill:#0b0f17}" in dark


def test_text_from_outside_stays_text() -> None:
    """A dump may name its devices as it likes."""
    evil = "</text><script>alert(1)</script>&\"'\x00\x1b]0;\u202e"
    document = host_document(
        evil, gpus=[gpu(0, evil, 0, name=evil)], nics=[nic(evil + "n", evil, 0, port(netdev=evil, link_layer=evil))]
    )
    document["numa_nodes"][0]["cpus"] = evil
    document["switches"] = [{"pci": evil, "gpus": [evil], "nics": []}]
    svg = to_svg(picture_of(document))
    root = fromstring(svg)
    assert f"{SVG}script" not in {node.tag for node in root.iter()}
    assert "</text><script>" in "".join(root.itertext())
    assert not {"\x00", "\x1b", "\u202e"} & set(svg)


def test_states_differ_in_form_and_not_only_in_colour() -> None:
    assert len(set(SIGNS.values())) == len(SIGNS) == len(set(State) - {State.PLAIN})
    insides = [inside for _, inside in SIGNS.values()]
    assert len(set(insides)) == len(insides)
