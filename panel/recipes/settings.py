"""Settings of a recipe: `key=value` texts read by the kinds of its parameters.

Owns what a good value of each kind is. Defaults pass through the same reading as what a person gave. Every bad value
is a ConfigError with the parameter's name, the value and what to write instead; the recipes check only what
depends on several parameters.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from ...engine.errors import ConfigError
from .recipe import Kind, Parameter, Recipe

__all__ = ["Settings", "read_settings", "url_host"]

Value = str | int | float | bool | tuple[str, ...]

_MOST_CHARACTERS = 64 * 1024
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.(?!-)[A-Za-z0-9_-]{1,63}){0,20}")
# A comma between brackets belongs to the item: a Slurm host list such as node[1,3-5].
_ITEM = re.compile(r"(?:\[[^\[\]]*\]|[^,])*")


@dataclass(frozen=True, slots=True)
class Settings:
    """The values of a recipe's parameters.

    Attributes:
        given: the names that a person set; the others have their default or nothing.
    """

    values: Mapping[str, Value | None]
    given: frozenset[str]

    def has(self, name: str) -> bool:
        """Returns True when the parameter has a value, given or by default."""
        return self.values[name] is not None

    def text(self, name: str) -> str:
        """Returns the value of a text, choice, path or host."""
        value = self.values[name]
        assert isinstance(value, str), name
        return value

    def count(self, name: str) -> int:
        """Returns the value of a count or port."""
        value = self.values[name]
        assert isinstance(value, int) and not isinstance(value, bool), name
        return value

    def number(self, name: str) -> int | float:
        """Returns the value of a number: an int when it was written as one."""
        value = self.values[name]
        assert isinstance(value, int | float) and not isinstance(value, bool), name
        return value

    def flag(self, name: str) -> bool:
        """Returns the value of a flag."""
        value = self.values[name]
        assert isinstance(value, bool), name
        return value

    def items(self, name: str) -> tuple[str, ...]:
        """Returns the value of a list; empty when there is none."""
        value = self.values[name]
        assert value is None or isinstance(value, tuple), name
        return value or ()

    def shown(self, name: str) -> str:
        """Returns the value as programs take it: 0 or 1 for a flag, commas in a list, digits for a number."""
        value = self.values[name]
        assert value is not None, name
        if isinstance(value, bool):
            return "1" if value else "0"
        return ",".join(value) if isinstance(value, tuple) else str(value)


def read_settings(recipe: Recipe, texts: Sequence[str]) -> Settings:
    """Reads what a person set, as `key=value` texts.

    Raises:
        ConfigError: a text is no `key=value`, a key is unknown, given twice or missing, or a value is bad.
    """
    known = {parameter.name: parameter for parameter in recipe.parameters}
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError("--set", text, "is not key=value", f"write one of {', '.join(known)} with = and a value")
        if name not in known:
            raise _unknown(recipe, name, known)
        if name in given:
            raise ConfigError(name, value, f"is set a second time, after {given[name]!r}", "set it once")
        given[name] = value
    values: dict[str, Value | None] = {}
    for name, parameter in known.items():
        text = given.get(name, parameter.default)
        if text is None and parameter.required:
            raise ConfigError(name, "", f"is missing; recipe {recipe.name} needs it", f"add --set {name}=VALUE")
        values[name] = None if text is None else _read(parameter, text)
    return Settings(values, frozenset(given))


def url_host(host: str) -> str:
    """Returns a host as it stands in a URL or before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _unknown(recipe: Recipe, name: str, known: Iterable[str]) -> ConfigError:
    by_lower = {key.lower(): key for key in known}
    near = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    remedy = f"perhaps {by_lower[near[0]]}" if near else f"it takes {', '.join(known)}"
    return ConfigError("--set", name, f"recipe {recipe.name} has no such parameter", remedy)


def _read(parameter: Parameter, text: str) -> Value:
    name = parameter.name
    if not text:
        raise ConfigError(name, text, "is empty", "leave it out or give it a value")
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(name, text, "is too long", f"write at most {_MOST_CHARACTERS} characters")
    if "\0" in text or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ConfigError(name, text, "cannot be passed to a program", "write it as UTF-8 text without NUL")
    match parameter.kind:
        case Kind.TEXT:
            return _ruled(parameter, text)
        case Kind.LIST:
            return _list(parameter, text)
        case Kind.COUNT:
            return _count(name, text)
        case Kind.PORT:
            return _port(name, text)
        case Kind.NUMBER:
            return _number(name, text)
        case Kind.FLAG:
            if text.lower() not in _WORDS:
                raise ConfigError(name, text, "is neither yes nor no", "write 1 or 0")
            return _WORDS[text.lower()]
        case Kind.CHOICE:
            if text not in parameter.choices:
                raise ConfigError(name, text, "is none of the choices", f"write {_either(parameter.choices)}")
            return text
        case Kind.PATH:
            return _path(name, text)
        case Kind.HOST:
            return _host(name, text)
        case Kind.ADDRESS:
            return _address(name, text)


def _ruled(parameter: Parameter, text: str) -> str:
    rule = parameter.rule
    if rule is not None and not rule.pattern.fullmatch(text):
        raise ConfigError(parameter.name, text, rule.problem, rule.remedy)
    return text


def _list(parameter: Parameter, text: str) -> tuple[str, ...]:
    items: list[str] = []
    place = 0
    while place <= len(text):
        match = _ITEM.match(text, place)
        assert match is not None, "the pattern matches nothing, too"
        item = match[0]
        items.append(item)
        place = match.end() + 1
        if not item:
            raise ConfigError(parameter.name, text, "has an empty item", "write items with single commas, no spaces")
        _ruled(parameter, item)
    return tuple(items)


def _count(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < 1:
        raise ConfigError(name, text, "is not a count", "write a whole number from 1 up, in digits")
    return int(text)


def _port(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ConfigError(name, text, "is not a port", "write a number from 1 to 65535")
    return int(text)


def _number(name: str, text: str) -> int | float:
    if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", text) or not math.isfinite(float(text)):
        raise ConfigError(name, text, "is not a number from 0 up", "write digits, such as 0.3")
    return float(text) if "." in text else int(text)


def _path(name: str, text: str) -> str:
    if text.startswith("-"):
        raise ConfigError(name, text, "starts with a dash, like a flag", "write ./ in front of it")
    if not text.isprintable():
        raise ConfigError(name, text, "contains line breaks or control characters", "rename it or write it without")
    return text


def _host(name: str, text: str) -> str:
    address = _parsed(text)
    if address is not None:
        if address.is_unspecified:
            raise ConfigError(name, text, "is no host's address", "write the address of one host")
        return str(address)
    if not _HOST_NAME.fullmatch(text) or re.fullmatch(r"[0-9.]+", text):
        raise ConfigError(name, text, "is not a host name or an address", "write a name such as node1 or an address")
    return text


def _address(name: str, text: str) -> str:
    address = _parsed(text)
    if address is None and text != "localhost":
        raise ConfigError(name, text, "is not an address to listen on", "write 127.0.0.1, or an address of the host")
    return text if address is None else str(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    except ValueError:
        return None
    # A zone may be any text, and no URL carries it as it stands.
    return None if "%" in text else address


def _either(choices: Sequence[str]) -> str:
    return " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}"
