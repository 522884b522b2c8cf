"""Changes one field in the text of a deployment file and leaves everything else as the person wrote it.

Pure. The text is the truth of the Plan tab: comments, order and spelling in it are the person's own. A change is cut
into the text; when the result does not read as the changed values, the whole is written anew. Called by `plan_preview`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from ...engine.errors import ConfigError
from ..deployment import parse_deployment_text
from ..deployment_yaml import DeploymentConstructor

__all__ = ["Document", "change", "changed_fields", "dump_fields", "read_document", "read_fields"]

_Loader = cast("type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
_Dumper = cast("type[yaml.SafeDumper]", getattr(yaml, "CSafeDumper", yaml.SafeDumper))
_WIDTH = 110
_MOST_NESTED = 40


class _FieldsLoader(DeploymentConstructor, _Loader):
    """Reads what a file reader reads, to the same values."""


def _loaded(text: str) -> tuple[yaml.Node | None, Any]:
    _refuse_traps(text)
    loader = _FieldsLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, None
        return node, loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_traps(text: str) -> None:
    """Looks at the text as a stream, before anything recurses into it.

    Raises:
        MarkedYAMLError: the text is no YAML; it is nested so deeply that libyaml would overrun its stack; or it has an
            alias, which could make a huge value of a small text and could not be cut.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_FieldsLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        trap = "an alias (*name) is not taken here" if isinstance(event, yaml.AliasEvent) else ""
        if trap or depth > _MOST_NESTED:
            raise yaml.constructor.ConstructorError(None, None, trap or "is nested too deeply", event.start_mark)


@dataclass(frozen=True, slots=True)
class Document:
    """A deployment file that can be read.

    Attributes:
        text: as it was written.
        fields: its values; nobody changes them.
        root: the same with its places in the text.
    """

    text: str
    fields: Mapping[str, Any]
    root: yaml.Node


def read_fields(text: str) -> dict[str, Any]:
    """Returns the mapping that `text` holds, whatever its values are.

    Raises:
        ConfigError: the text is no YAML, or no mapping.
    """
    return dict(read_document(text).fields)


def read_document(text: str) -> Document:
    """Returns the deployment file with this text.

    Raises:
        ConfigError: the text is no YAML, or no mapping.
    """
    node = None
    try:
        node, fields = _loaded(text)
    except yaml.MarkedYAMLError as error:
        # What misses its end is missed in a line that is not there.
        last = max(1, len(text.splitlines()))
        line = f" in line {min(error.problem_mark.line + 1, last)}" if error.problem_mark else ""
        raise ConfigError("deployment", "YAML", f"cannot be read{line}: {error.problem}", "correct it") from None
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        fields = None
    if node is None or not isinstance(fields, dict):
        # Its own words for it; a text that only this loader refuses is refused all the same.
        parse_deployment_text(text, "the YAML")
        raise ConfigError("deployment", "YAML", "cannot be read", "write a mapping of fields")
    return Document(text, {str(key): value for key, value in fields.items()}, node)


def dump_fields(fields: Mapping[str, Any]) -> str:
    """Returns the mapping as YAML, one field a line, innermost lists and mappings on one line."""
    return "".join(_dumped(name, value) for name, value in fields.items()) or "{}\n"


def _dumped(name: str, value: object) -> str:
    # Left to itself, PyYAML writes a mapping of scalars on one line, in braces.
    flow = None if isinstance(value, dict | list) else False
    return yaml.dump(
        {name: value}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=flow
    )


def changed_fields(
    fields: Mapping[str, Any], path: Sequence[str], value: object, remove: bool = False
) -> dict[str, Any]:
    """Returns a copy of `fields` with the value at `path` set or removed; a part that becomes empty goes, too.

    Something else than a mapping on the way is replaced by one.
    """
    result = dict(fields)
    parents: list[dict[str, Any]] = [result]
    for name in path[:-1]:
        below = parents[-1].get(name)
        if not isinstance(below, dict) and remove:
            return result
        # What lies beside the path is shared with `fields`.
        below = dict(below) if isinstance(below, dict) else {}
        parents[-1][name] = below
        parents.append(below)
    if not remove:
        parents[-1][path[-1]] = value
        return result
    if path[-1] not in parents[-1]:
        return result
    for parent, name in zip(reversed(parents), reversed(path), strict=True):
        del parent[name]
        if parent:
            break
    return result


def change(document: Document, path: Sequence[str], value: object, remove: bool = False) -> Document:
    """Returns `document` with the field at `path` set to `value`, or removed."""
    wanted = changed_fields(document.fields, path, value, remove)
    if _same_values(wanted, document.fields):
        return document
    cut = _cut(document, wanted, path)
    if cut is not None:
        try:
            after = read_document(cut)
        except ConfigError:
            pass
        else:
            if _same_values(after.fields, wanted):
                return after
    return read_document(dump_fields(wanted))


def _same_values(one: object, other: object) -> bool:
    """Tells 1 from true and 1.0, which are equal in Python."""
    return one == other and repr(one) == repr(other)


def _cut(document: Document, wanted: Mapping[str, Any], path: Sequence[str]) -> str | None:
    text, before = document.text, document.fields
    if not isinstance(document.root, yaml.MappingNode):
        return None
    node, depth = document.root, 0
    # The deepest mapping that stays: what differs is one of its entries.
    while True:
        entry = _entry(node, path[depth])
        below = wanted.get(path[depth])
        if entry is None or depth + 1 == len(path) or not isinstance(entry[1], yaml.MappingNode):
            break
        if not isinstance(below, dict) or not isinstance(before.get(path[depth]), dict):
            break
        node, depth, wanted, before = entry[1], depth + 1, below, before[path[depth]]
    name = path[depth]
    if node.flow_style:
        return _replaced(text, node, _inline(wanted)) if len(_inline(wanted)) < _WIDTH else None
    entry = _entry(node, name)
    indent = node.value[0][0].start_mark.column if node.value else 0
    if name not in wanted:
        return _without(text, entry) if entry else None
    if entry is None:
        at = _line_after(text, node.value[-1][1]) if node.value else len(text)
        lines = _block({name: wanted[name]}, indent)
        return text[:at] + ("" if at == 0 or text[at - 1] == "\n" else "\n") + lines + text[at:]
    old = entry[1]
    if isinstance(old, yaml.ScalarNode) and old.style not in ("|", ">") and _is_short(wanted[name]):
        new = _inline(wanted[name])
        glue = " " if old.start_mark.index and text[old.start_mark.index - 1] == ":" else ""
        return text[: old.start_mark.index] + glue + new + text[old.end_mark.index :]
    if getattr(old, "flow_style", False) and _is_short(wanted[name]):
        return _replaced(text, old, _inline(wanted[name]))
    start, end = _lines_of(text, entry)
    return text[:start] + _block({name: wanted[name]}, indent) + text[end:]


def _entry(node: yaml.MappingNode, name: str) -> tuple[yaml.Node, yaml.Node] | None:
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value == name:
            return key, value
    return None


def _is_short(value: object) -> bool:
    return len(_inline(value)) < _WIDTH - 20 and not (
        isinstance(value, dict) and any(isinstance(each, dict | list) for each in value.values())
    )


def _inline(value: object) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, width=1 << 30, sort_keys=False)
    return text.removesuffix("...\n").rstrip("\n")


def _block(fields: Mapping[str, Any], indent: int) -> str:
    return "".join(f"{' ' * indent}{line}\n" for line in dump_fields(fields).splitlines())


def _replaced(text: str, node: yaml.Node, new: str) -> str:
    return text[: node.start_mark.index] + new + text[node.end_mark.index :]


def _last_leaf(node: yaml.Node) -> yaml.Node:
    """The last node that ends where its text ends: a block mapping's own end lies behind the comments after it."""
    while isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    return node


def _line_after(text: str, node: yaml.Node) -> int:
    end = _last_leaf(node).end_mark.index
    if end and text[end - 1] == "\n":
        return end
    found = text.find("\n", end)
    return len(text) if found < 0 else found + 1


def _lines_of(text: str, entry: tuple[yaml.Node, yaml.Node]) -> tuple[int, int]:
    start = text.rfind("\n", 0, entry[0].start_mark.index) + 1
    return start, _line_after(text, entry[1])


def _without(text: str, entry: tuple[yaml.Node, yaml.Node]) -> str:
    start, end = _lines_of(text, entry)
    return text[:start] + text[end:]
