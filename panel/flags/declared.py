"""The options that an engine's source declares, read from its syntax tree: nothing of the engine is imported.

Knows argparse calls, SGLang's annotated fields and vLLM's dataclasses. Called by `extract` and `installed`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .choices import Lists, constant_lists, values_of
from .sources import Sources
from .table import Kind

__all__ = ["Declared", "declared_keys", "declared_options"]

_ANNOTATED = frozenset({"A", "Annotated"})
_SWITCHES = frozenset({"store_true", "store_false", "count", "help", "version", "BooleanOptionalAction"})
# SGLang's own actions for what it retires: these take no word unless nargs says so.
_RETIRED = frozenset({"DeprecatedAction", "DeprecatedStoreTrueAction", "DeprecatedStoreConstAction"})
_OBSOLETE = re.compile(r"(?:note:[^.]{0,80}|[\[(])?(?:deprecated|removed)\b", re.IGNORECASE)
_INSTEAD = re.compile(r"use '?(--[a-z0-9{},=-]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Declared:
    """One option of one release: its names, the first being its own, its values, and what it says about its end.

    No `choices` means that any value goes, or that the source computes them.
    """

    names: tuple[str, ...]
    kind: Kind
    deprecated: bool = False
    instead: str = ""
    choices: tuple[str, ...] = ()


def declared_options(sources: Sources) -> tuple[Declared, ...]:
    """Returns every option of a release, in the order of the source; later declarations of a name win."""
    found: dict[str, Declared] = {}
    types = _types(sources) if sources.engine == "vllm" else {}
    trees = [ast.parse(text) for inner, text in sources.files.items() if not inner.startswith("config")]
    lists = constant_lists(trees)
    for tree in trees:
        for option in (*_annotated(tree, lists), *_calls(tree, types, lists), *_frontend(tree)):
            for name in option.names:
                found[name] = option
    unique = {id(option): option for option in found.values()}
    return tuple(
        replace(option, names=tuple(name for name in option.names if found[name] is option))
        for option in unique.values()
    )


def declared_keys(sources: Sources, config: str = "KVTransferConfig") -> tuple[Declared, ...]:
    """Returns the keys of a configuration class of vLLM, as options without dashes."""
    for inner, text in sources.files.items():
        if not inner.startswith("config"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name == config:
                return tuple(
                    Declared((name,), Kind.VALUE) for name, annotation in _fields(node) if "ClassVar" not in annotation
                )
    return ()


def _annotated(tree: ast.Module, lists: Lists) -> Iterator[Declared]:
    """SGLang's `field: A[T, "help"]` and `field: A[T, Arg(...)]`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        annotation = node.annotation
        if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) not in _ANNOTATED:
            continue
        if not isinstance(annotation.slice, ast.Tuple):
            continue
        kept, *metadata = annotation.slice.elts
        for entry in metadata:
            if isinstance(entry, ast.Call) and ast.unparse(entry.func) == "Arg":
                words = {word.arg or "": word.value for word in entry.keywords}
                option = _of_field(node.target.id, kept, words)
                if option:
                    yield replace(option, choices=values_of(words.get("choices", kept), lists))
                break
            if (help_text := _text(entry)) is not None:
                option = _of_help((_dashed(node.target.id),), _kind_of_type(ast.unparse(kept)), help_text)
                yield replace(option, choices=values_of(kept, lists))
                break


def _of_field(name: str, kept: ast.expr, words: Mapping[str, ast.expr]) -> Declared | None:
    if _is_true(words.get("no_cli")):
        return None
    aliases = words.get("aliases")
    others = [text for item in aliases.elts if (text := _text(item))] if isinstance(aliases, ast.List) else []
    names = (_text(words.get("cli_name")) or _dashed(name), *others)
    kind = _kind_of_type(ast.unparse(kept))
    if kind is Kind.LIST and "type_parser" in words:
        kind = Kind.VALUE
    inner = words.get("action_kwargs")
    if isinstance(inner, ast.Dict):
        words = {_text(key) or "": value for key, value in zip(inner.keys, inner.values, strict=True)} | dict(words)
    return _extended(_of_help(names, _kind_of_call(words, kind), _text(words.get("help")) or ""), words)


def _calls(tree: ast.Module, types: Mapping[str, str], lists: Lists) -> Iterator[Declared]:
    """`parser.add_argument("--name", ...)`; of an f-string, its constant parts."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if node.func.attr != "add_argument":
            continue
        names = tuple(text for argument in node.args if (text := _text(argument)) and re.match(r"--?\w", text))
        if not names:
            continue
        words = {word.arg: word.value for word in node.keywords if word.arg}
        if "error_message" in words:  # it is there to say that it is gone
            continue
        kind = Kind.VALUE
        if any(word.arg is None for word in node.keywords):
            kind = _kind_of_type(types.get(names[0].lstrip("-").replace("-", "_"), ""))
        option = _of_help(names, _kind_of_call(words, kind), _text(words.get("help")) or "")
        option = replace(option, choices=values_of(words.get("choices"), lists))
        yield _extended(option, words, boolean=kind is Kind.SWITCH and "action" not in words)


def _frontend(tree: ast.Module) -> Iterator[Declared]:
    """The fields of vLLM's FrontendArgs, each of which becomes an option of its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name in {"FrontendArgs", "BaseFrontendArgs"}:
            for name, annotation in _fields(node):
                kind = _kind_of_type(annotation)
                names = (_dashed(name), f"--no-{_dashed(name)[2:]}") if kind is Kind.SWITCH else (_dashed(name),)
                yield Declared(names, kind)


def _extended(option: Declared, words: Mapping[str, ast.expr], *, boolean: bool = False) -> Declared:
    """Returns the option with what its action says: an end, a successor, a --no- form."""
    action = _action(words)
    if boolean or action == "BooleanOptionalAction":
        option = replace(
            option, names=(*option.names, *(f"--no-{name[2:]}" for name in option.names if name.startswith("--")))
        )
    if action.startswith("Deprecated"):
        instead = _text(words.get("new_flag")) or option.instead
        option = replace(option, deprecated=True, instead=instead)
    return option


def _of_help(names: tuple[str, ...], kind: Kind, help_text: str) -> Declared:
    if not _OBSOLETE.match(help_text):
        return Declared(names, kind)
    instead = _INSTEAD.search(help_text)
    return Declared(names, kind, deprecated=True, instead=instead[1].rstrip(".,") if instead else "")


def _kind_of_call(words: Mapping[str, ast.expr], otherwise: Kind) -> Kind:
    action = _action(words)
    if action in _SWITCHES:
        return Kind.SWITCH
    nargs = words.get("nargs")
    if isinstance(nargs, ast.Constant) and nargs.value is not None:
        named = {"?": Kind.OPTIONAL, 0: Kind.SWITCH, 1: Kind.VALUE}
        return named.get(nargs.value, Kind.LIST)
    if action in _RETIRED and nargs is None:
        return Kind.SWITCH
    if not action and "type" in words:
        return Kind.VALUE
    return otherwise


def _kind_of_type(annotation: str) -> Kind:
    """Returns how many words a field of this type takes; an optional type is what it may be."""
    plain = re.sub(r"^Optional\[(.*)\]$", r"\1", annotation).removesuffix(" | None")
    if plain == "bool":
        return Kind.SWITCH
    return Kind.LIST if re.match(r"(?:typing\.)?(?:List|list|tuple|set)\[", plain) else Kind.VALUE


def _types(sources: Sources) -> dict[str, str]:
    """Returns the annotations of the fields of vLLM's argument classes."""
    found: dict[str, str] = {}
    for text in sources.files.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef) and node.name in {"EngineArgs", "AsyncEngineArgs"}:
                found.update(_fields(node))
    return found


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for entry in node.body:
        if isinstance(entry, ast.AnnAssign) and isinstance(entry.target, ast.Name):
            yield entry.target.id, ast.unparse(entry.annotation)


def _action(words: Mapping[str, ast.expr]) -> str:
    action = words.get("action")
    if action is None:
        return ""
    return _text(action) or ast.unparse(action).rpartition(".")[2]


def _text(node: ast.expr | None) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text for part in node.values if (text := _text(part)))
    return None


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _dashed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
