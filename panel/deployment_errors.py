"""Turns pydantic's report about a Deployment into the one sentence that a person reads.

Knows the shape of pydantic's errors and nothing of files; `panel.deployment` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..engine.errors import ConfigError

__all__ = ["nearest", "to_config_error"]

Path = tuple[int | str, ...]
_FLAG_TAGS = frozenset({"str", "int", "float", "bool"})
_UNION_TAGS = _FLAG_TAGS | {"[key]"}
_PROBLEMS = {
    "string_type": ("is not text", "write text, in quotes if YAML takes it for something else"),
    "int_type": ("is not a whole number", "write a whole number"),
    "int_parsing": ("is not a whole number", "write a whole number"),
    "int_from_float": ("is not a whole number", "write a whole number"),
    "int_parsing_size": ("is too large", "write a smaller whole number"),
    "float_type": ("is not a number", "write a number"),
    "float_parsing": ("is not a number", "write a number"),
    "finite_number": ("is not a finite number", "write a number"),
    "bool_type": ("is neither true nor false", "write true or false"),
    "bool_parsing": ("is neither true nor false", "write true or false"),
    "list_type": ("is not a list", "write a list, such as [a, b]"),
    "dict_type": ("is not a mapping", "write a mapping of names and values"),
    "model_type": ("is not a mapping", "write a mapping of fields"),
    "model_attributes_type": ("is not a mapping", "write a mapping of fields"),
    "missing": ("is missing", "add it"),
    "too_long": ("has more than 1000 entries", "write fewer"),
}
# Fields that take several shapes: pydantic reports each of them; a person wants to know what may stand there.
_SHAPES = {
    "nics": (
        "is no choice of NICs",
        "write auto, affinity, a list such as [mlx5_0, mlx5_1], or a map of lists by GPU such as {'0': [mlx5_0]}",
    ),
    "rpc_ports": ("is no band of ports", "write auto, null, or the first and the last port, such as [15000, 15063]"),
}
_RENAMED = {
    "tensor_parallel": "tp",
    "tensor_parallel_size": "tp",
    "tp_size": "tp",
    "pipeline_parallel_size": "pp",
    "pp_size": "pp",
    "data_parallel_size": "dp",
    "dp_size": "dp",
    "attn_dp_size": "attn_dp",
    "ep_size": "ep",
    "ib_device": "nics",
    "ib_devices": "nics",
    "mem_fraction_static": "mem_fraction",
    "gpu_memory_utilization": "mem_fraction",
    "max_model_len": "context_length",
    "backend": "transport",
    "model_path": "model",
    "replicas": "count",
    "version": "engine_version",
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


def _printable(text: str) -> str:
    """Returns `text` with its control characters written out, so that a key cannot steer a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Returns the one of `known` that was most likely meant by `name`, None when none is near."""
    plain = name.lower().replace("-", "_")
    renamed = _RENAMED.get(plain)
    if renamed in known:
        return renamed
    near = get_close_matches(plain, known, n=1, cutoff=0.6)
    return near[0] if near else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yields the models in an annotation: itself, the members of a union, or the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _known_fields(model: type[BaseModel], path: Path) -> tuple[str, ...]:
    here: type[BaseModel] = model
    in_mapping = False
    for part in path:
        if in_mapping:  # The key of a mapping of models, such as the name of a host.
            in_mapping = False
            continue
        field = here.model_fields.get(str(part))
        inner = next(_models(field.annotation), None) if field else None
        if field is None or inner is None:
            return ()
        here, in_mapping = inner, _is_mapping(field.annotation)
    return tuple(here.model_fields)


def _is_mapping(annotation: Any) -> bool:
    origin = getattr(annotation, "__origin__", None)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _limits(model: type[BaseModel], path: Path) -> str:
    """Returns the range of the field at `path` in words, empty when it has none."""
    here, found = model, None
    for part in path:
        field = here.model_fields.get(str(part))
        if field is None:
            continue
        found = field
        here = next(_models(field.annotation), here)
    bounds: dict[str, Any] = {}
    if found is not None:
        for constraint in (*found.metadata, *_constraints(found.annotation)):
            for name in ("ge", "gt", "le", "lt"):
                if getattr(constraint, name, None) is not None:
                    bounds.setdefault(name, getattr(constraint, name))
    low = str(bounds["ge"]) if "ge" in bounds else f"more than {bounds['gt']}" if "gt" in bounds else ""
    high = bounds.get("le", bounds.get("lt"))
    if low and high is not None:
        return f"from {low} to {_number(high)}" if "ge" in bounds else f"of {low} and at most {_number(high)}"
    return f"of {low}" + (" or more" if "ge" in bounds else "") if low else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _constraints(annotation: Any) -> Iterator[Any]:
    for metadata in getattr(annotation, "__metadata__", ()):
        yield metadata
        yield from getattr(metadata, "metadata", ())
    for inner in get_args(annotation):
        yield from _constraints(inner)


def to_config_error(error: ValidationError, model: type[BaseModel]) -> ConfigError:
    """Returns the first of pydantic's errors as a ConfigError with the field's path, value and fix."""
    first = _telling(error)
    kind, loc, value = first["type"], first["loc"], first["input"]
    context = first.get("ctx", {})
    path = tuple(part for part in loc if not _is_tag(part))
    field = ".".join(_printable(str(part)[:80]) for part in path) or "deployment"
    if kind == "pdpanel":
        field = str(context.get("field", field))
        value = context.get("value", value)
        return ConfigError(field, _shown(value), str(context["problem"]), str(context["remedy"]))
    if kind == "extra_forbidden":
        known = _known_fields(model, path[:-1])
        near = nearest(str(path[-1]), known)
        remedy = f"did you mean {near}? " if near else ""
        remedy += f"{'Remove' if near else 'remove'} it or use one of {', '.join(known)}"
        return ConfigError(field, _shown(value), "is not a field of a deployment", remedy)
    for name, (problem, remedy) in _SHAPES.items():
        # A wrong item of a list or map has a sentence of its own, unless it is no text at all.
        if name in path and (path[-1] == name or kind not in {"greater_than_equal", "less_than_equal"}):
            return ConfigError(field, _shown(value), problem, remedy)
    if kind == "literal_error":
        near = get_close_matches(str(value), _words(str(context["expected"])), n=1)
        meant = f"did you mean {near[0]}? It can be" if near else "write"
        return ConfigError(field, _shown(value), "is not known here", f"{meant} {context['expected']}")
    if kind in {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}:
        limit = context.get("ge", context.get("gt", context.get("le", context.get("lt"))))
        side = {"greater_than_equal": "is less than", "less_than_equal": "is more than"}.get(kind, "is not")
        side += {"greater_than": " more than", "less_than": " less than"}.get(kind, "")
        what = "port" if str(path[-1]).endswith("port") or "rpc_ports" in path else "number"
        remedy = f"write a {what} {_limits(model, path)}".rstrip()
        return ConfigError(field, _shown(value), f"{side} {limit}", remedy)
    if "[key]" in loc:
        return ConfigError(field, _shown(value), "is not text", "write the name as text")
    if set(loc) & _FLAG_TAGS:
        return ConfigError(
            field, _shown(value), "is not a flag's value", "write text, a number, true or false, or a list of them"
        )
    if kind in _PROBLEMS:
        return ConfigError(field, None if kind == "missing" else _shown(value), *_PROBLEMS[kind])
    return ConfigError(field, _shown(value), first["msg"][:1].lower() + first["msg"][1:], "correct it")


def _telling(error: ValidationError) -> Any:
    """Returns the error to tell: of a union's branches the one that got furthest into the value.

    A branch of the wrong type fails at the union itself; the branch that was meant fails deeper, or with a rule's own
    words.
    """
    errors = error.errors(include_url=False)
    first = errors[0]
    stem = _stem(first["loc"])
    branches = [each for each in errors if _stem(each["loc"]) == stem] if stem != first["loc"] else [first]
    return max(branches, key=lambda each: (each["type"] == "pdpanel", _depth(each["loc"])))


def _stem(loc: Path) -> Path:
    """Returns the path up to the first name of a union's branch."""
    for position, part in enumerate(loc):
        if _is_tag(part) and part != "[key]":
            return loc[:position]
    return loc


def _depth(loc: Path) -> int:
    return sum(not _is_tag(part) for part in loc)


def _is_tag(part: int | str) -> bool:
    """Returns True for what names a union's branch or a mapping's key in pydantic's path, and no field."""
    return isinstance(part, str) and (part in _UNION_TAGS or (part.endswith("]") and "[" in part[1:]))


def _words(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
