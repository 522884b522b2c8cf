"""Turns pydantic's report about a Deployment into the one sentence that a person reads.

Knows the shape of pydantic's errors and nothing of files; `panel.deployment` calls it.
"""

from __future__ import annotations

from pydantic import BaseModel, ValidationError

from ..engine.errors import ConfigError

__all__ = ["to_config_error"]

_UNION_TAGS = frozenset({"str", "int", "float", "bool", "[key]"})
_REMEDIES = {
    "string_type": "write text, in quotes if YAML takes it for something else",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "write a smaller whole number",
    "dict_type": "write a mapping of names and values",
    "model_type": "write a mapping of fields",
    "model_attributes_type": "write a mapping of fields",
    "missing": "add it",
}
_PROBLEMS = {
    "string_type": "is not text",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing_size": "is too large",
    "dict_type": "is not a mapping",
    "model_type": "is not a mapping",
    "model_attributes_type": "is not a mapping",
    "missing": "is missing",
}


class _Shown:
    """Shows a nested value by its kind: its repr could be as large as its author wishes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _shown(value: object) -> object:
    if isinstance(value, str):
        return value[:200]
    if isinstance(value, int) and value.bit_length() > 200:
        return _Shown("a number of more than 60 digits")
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return _Shown(f"a mapping of {len(value)} entries")
    if isinstance(value, list | tuple | set):
        return _Shown(f"a list of {len(value)} entries")
    return _Shown(f"a {type(value).__name__}")


def _known_fields(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    here: type[BaseModel] = model
    for part in path:
        annotation = here.model_fields[str(part)].annotation if str(part) in here.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        here = annotation
    return ", ".join(here.model_fields)


def to_config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """Returns the first of pydantic's errors as a ConfigError with the field's path, value and fix."""
    first = error.errors(include_url=False)[0]
    kind, loc, value = first["type"], first["loc"], first["input"]
    context = first.get("ctx", {})
    wanted_key = "[key]" in loc
    path = tuple(part for part in loc if part not in _UNION_TAGS)
    field = ".".join(str(part)[:80] for part in path) or "deployment"
    if kind == "pdpanel":
        field = str(context.get("field", field))
        value = context.get("value", value)
        return ConfigError(field, _shown(value), str(context["problem"]), str(context["remedy"]))
    if kind == "missing":
        return ConfigError(field, None, "is missing", "add it")
    if kind == "extra_forbidden":
        known = _known_fields(model, path[:-1])
        return ConfigError(field, _shown(value), "is not a field of a deployment", f"remove it or use one of {known}")
    if kind == "literal_error":
        return ConfigError(field, _shown(value), "is not known here", f"write {context['expected']}")
    if kind in {"greater_than_equal", "less_than_equal"}:
        low = context.get("ge")
        problem = f"is less than {low}" if low is not None else f"is more than {context.get('le')}"
        return ConfigError(field, _shown(value), problem, _range_remedy(path))
    if wanted_key:
        return ConfigError(field, _shown(value), "is not text", "write the name as text")
    if kind in _PROBLEMS and not (set(loc) & (_UNION_TAGS - {"[key]"})):
        return ConfigError(field, _shown(value), _PROBLEMS[kind], _REMEDIES[kind])
    if set(loc) & _UNION_TAGS:
        return ConfigError(field, _shown(value), "is not a flag's value", "write text, a number, true or false")
    return ConfigError(field, _shown(value), first["msg"][:1].lower() + first["msg"][1:], "correct it")


def _range_remedy(path: tuple[int | str, ...]) -> str:
    return "write a port from 1 to 65535" if path and path[-1] == "port" else "write a number from 0 to 4096"
