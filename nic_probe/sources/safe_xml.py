"""Reads an XML file that nobody vouches for into plain nodes.

Refuses entities, external references, deep nesting and huge files, and fetches nothing; a document type
without declarations, as hwloc writes it, is harmless and accepted. Knows no format. Called by `topology_file`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers.expat import ExpatError

__all__ = ["XmlError", "XmlNode", "parse_xml"]

_MAX_DEPTH = 256
_MAX_NODES = 100_000
_CHECK = "write the topology file again and copy it whole"


class XmlError(Exception):
    """A file that cannot be read as XML.

    Attributes:
        problem: what is wrong, as the end of a sentence that begins with the file.
        remedy: what to do, as an instruction.
    """

    def __init__(self, problem: str, remedy: str = _CHECK) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


@dataclass(slots=True, eq=False, repr=False)
class XmlNode:
    """One element; text between elements is dropped.

    Attributes:
        parent: the element around it; None for the root.
    """

    tag: str
    attributes: dict[str, str]
    parent: XmlNode | None = None
    children: list[XmlNode] = field(default_factory=list)

    def get(self, name: str, longest: int = 256) -> str:
        """Returns an attribute in one line of printable characters; empty when there is none."""
        text = " ".join(self.attributes.get(name, "")[: longest * 2].split())[:longest]
        return text if text.isprintable() else "".join(char for char in text if char.isprintable())

    def each(self, *tags: str) -> Iterator[XmlNode]:
        """Yields the children with one of these tags."""
        return (child for child in self.children if child.tag in tags)

    def walk(self) -> Iterator[XmlNode]:
        """Yields the node and all below it, in the order of the file."""
        waiting: list[XmlNode] = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting.extend(reversed(node.children))

    def above(self) -> Iterator[XmlNode]:
        """Yields the parent, its parent and so on."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent


def parse_xml(content: bytes) -> XmlNode:
    """Returns the root of an XML document; raises XmlError."""
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, XMLParser
    except ImportError:
        raise XmlError("needs the Python package defusedxml", "install it with `pip install defusedxml`") from None
    if not content.strip():
        raise XmlError("is empty")
    builder = _Builder()
    ended = False
    try:
        parser = XMLParser(target=builder, forbid_dtd=False, forbid_entities=True, forbid_external=True)
        parser.feed(content)
        ended = b"<" in content[:256]
        parser.close()
    except DefusedXmlException:
        raise XmlError("declares XML entities, which no topology file needs", _CHECK) from None
    except (ParseError, ExpatError) as error:
        what = "is truncated" if ended else "is not proper XML"
        raise XmlError(f"{what} ({error})") from None
    except (ValueError, LookupError) as error:
        raise XmlError(f"has an encoding that is not read ({error})", "write it in UTF-8") from None
    if builder.root is None:
        raise XmlError("holds no element")
    return builder.root


class _Builder:
    """Takes the parser's events; the names of its methods are the parser's."""

    def __init__(self) -> None:
        self.root: XmlNode | None = None
        self._open: list[XmlNode] = []
        self._nodes = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._nodes += 1
        if len(self._open) >= _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise XmlError("has more or deeper elements than any topology", _CHECK)
        parent = self._open[-1] if self._open else None
        node = XmlNode(tag, dict(attributes), parent)
        if parent is None:
            self.root = node
        else:
            parent.children.append(node)
        self._open.append(node)

    def end(self, tag: str) -> None:
        self._open.pop()

    def data(self, data: str) -> None:
        """Text between elements means nothing in a topology."""

    def close(self) -> Any:
        return self.root
