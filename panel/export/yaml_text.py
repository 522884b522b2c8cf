"""Values as YAML for people to read, in a fraction of PyYAML's time, which hundreds of nodes need. Pure.

Only what exports need: mappings, lists, text, whole numbers and booleans, in block style. Text that YAML could take for
anything else is in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["yaml_text"]

_PLAIN = re.compile(r"[A-Za-z/.][A-Za-z0-9_./@+-]*(:[A-Za-z0-9_./@+-]+)*")
# YAML 1.1 takes these for booleans and nothing, and what begins with a point may be a number.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ESCAPED = re.compile(r'["\\]|[^\x20-\x7e\u00a1-\u1fff\u2030-\ud7ff\uf900-\ufefe]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def yaml_text(value: Mapping[str, object]) -> str:
    """Returns a document, ending in a newline."""
    return "\n".join(_mapping(value, "")) + "\n"


def _mapping(value: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, each in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", each, indent)


def _entry(head: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, f"{indent}  ")
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield head
        for each in value:
            yield from _item(each, f"{indent}  ")
    else:
        yield f"{head} {_scalar(value)}"


def _item(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        lines = list(_mapping(value, f"{indent}  "))
        yield f"{indent}- {lines[0][len(indent) + 2 :]}"
        yield from lines[1:]
    else:
        yield f"{indent}- {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and value[0] != "."
        return value if plain or value == "." else f'"{_ESCAPED.sub(_escape, value)}"'
    if isinstance(value, int):
        return str(value)
    assert value in ({}, [], ()), "exports hold mappings, flat lists, text, numbers and booleans"
    return "{}" if isinstance(value, Mapping) else "[]"


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
