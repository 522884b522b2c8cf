"""JSON schemas of request bodies, made by the readers themselves.

`SchemaReader` stands in for a `Reader`: a function that reads fields through it leaves behind what it accepts. With
a field table, which names what else is known, that is the schema of an object, with nothing written twice. Called by
`engine.http.openapi`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .fields import FieldTable, allowed_values
from .values import JsonObject, Reader

__all__ = ["Schema", "SchemaReader", "object_schema", "token_ids_schema"]

Schema = dict[str, Any]
_D = TypeVar("_D")


def token_ids_schema(vocab_size: int) -> Schema:
    """Returns the schema of a list of token ids."""
    return {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": vocab_size - 1}}


class SchemaReader(Reader):
    """Notes what is read; every field seems absent.

    Attributes:
        found: schema by field.
    """

    def __init__(self) -> None:
        super().__init__({})
        self.found: dict[str, Schema] = {}
        self._names: dict[str, tuple[str, ...]] = {}

    def first(self, *fields: str) -> str:
        """Notes that several names mean the same."""
        self._names[fields[-1]] = fields
        return fields[-1]

    def boolean(self, field: str, default: bool) -> bool:
        """Notes a boolean."""
        return self._note(field, {"type": "boolean"}, default)

    def text(self, field: str, default: str, *, longest: int | None = None) -> str:
        """Notes a string."""
        return self._note(field, {"type": "string"} | ({"maxLength": longest} if longest else {}), default)

    def object(self, field: str) -> JsonObject:
        """Notes an object of which nothing more is known."""
        return self._note(field, {"type": "object"}, {})

    def whole(self, field: str, default: _D, low: int, high: int) -> int | _D:
        """Notes a whole number."""
        return self._note(field, {"type": "integer", "minimum": low, "maximum": high}, default)

    def number(self, field: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """Notes a number."""
        schema: Schema = {"type": "number", "exclusiveMinimum" if above else "minimum": low}
        return self._note(field, schema | ({"maximum": high} if high < math.inf else {}), default)

    def strings(self, field: str, *, most: int, longest: int) -> tuple[str, ...]:
        """Notes a string or a list of strings."""
        one: Schema = {"type": "string", "minLength": 1, "maxLength": longest}
        return self._note(field, {"anyOf": [one, {"type": "array", "items": one, "maxItems": most}]}, ())

    def as_token_ids(self, field: str, value: object, vocab_size: int) -> tuple[int, ...]:
        """Notes a list of token ids."""
        return self._note(field, token_ids_schema(vocab_size), ())

    def _note(self, field: str, schema: Schema, default: _D) -> _D:
        for name in self._names.get(field, (field,)):
            self.found[name] = schema
        return default


def object_schema(
    table: FieldTable,
    *readers: Callable[[Reader], object],
    given: Mapping[str, Schema] | None = None,
    needed: tuple[str, ...] = (),
    omit: frozenset[str] = frozenset(),
) -> Schema:
    """Returns the schema of an object with the fields of `table`.

    Args:
        readers: what reads its fields.
        given: schemas of the fields that are read in ways of their own.
        needed: fields that must be there; all others may be left out or null.
        omit: fields that whoever answers does not take.
    """
    reader = SchemaReader()
    for read in readers:
        read(reader)
    known = {**reader.found, **(given or {})}
    properties = {name: known[name] if name in needed else _or_null(known[name]) for name in table.implemented - omit}
    for name in table.neutral.keys() - omit:
        values = allowed_values(table, name)
        properties[name] = {} if values is None else {"enum": [*values, *([] if None in values else [None])]}
    return {
        "type": "object",
        "properties": dict(sorted(properties.items())),
        "required": list(needed),
        "additionalProperties": False,
    }


def _or_null(schema: Schema) -> Schema:
    if schema.get("type") == "null":
        return schema
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
