"""How the form writes a field: text that a person types, and the value that the deployment file has for it.

Pure. The page knows no types: it sends what is in a control, and this turns it into a value by the field's kind. What
cannot be read that way stays text, so that the deployment's own check says what is wrong. Called by `plan_preview`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["REMOVED", "from_shown", "host_lines", "read_host_lines", "to_shown"]

REMOVED = object()
"""What an empty control means: the field is not set."""

_HOST_KEYS = {
    "gpus": "gpus",
    "gpu": "gpu",
    "memory": "gpu_memory_gib",
    "nics": "nics",
    "gbps": "nic_gbps",
    "dump": "dump",
}
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?")
# A comma within brackets belongs to a list of hosts such as node[1-4,7].
_BETWEEN_WORDS = re.compile(r"(?:\s|,(?![^\[\]]*\]))+")


def from_shown(kind: str, shown: object, default: object = None) -> object:
    """Returns the value for what a control holds, or `REMOVED`.

    Args:
        kind: the field's kind, see `plan_form.FormField`.
        shown: a text; for a checkbox a bool, for NICs a mapping of mode and text.
        default: the field's value when it is not set.
    """
    if isinstance(shown, bool):
        return REMOVED if shown == default else shown
    if kind == "nics" and isinstance(shown, Mapping):
        return _nics(str(shown.get("mode", "")), str(shown.get("text", "")))
    text = shown if isinstance(shown, str) else str(shown)
    if not text.strip():
        return REMOVED
    return _READERS.get(kind, str)(text if kind == "long" else text.strip())


def to_shown(kind: str, value: object) -> object:
    """Returns what a control of this kind shows for the value in a deployment file, however wrong it is."""
    if kind == "nics":
        return _shown_nics(value)
    if kind == "bool":
        return value if isinstance(value, bool) else False
    if kind == "maybe":
        return {True: "yes", False: "no"}.get(value, _plain(value)) if isinstance(value, bool) else _plain(value)
    if kind == "hosts":
        return host_lines(value)
    if kind == "band":
        return "none" if value is None else "-".join(map(_plain, value)) if isinstance(value, list) else _plain(value)
    if kind in ("env", "flags") and isinstance(value, Mapping):
        return "\n".join(_pair(kind, str(name), each) for name, each in value.items())
    if isinstance(value, list):
        return ("\n" if kind == "lines" else " ").join(map(_plain, value))
    return _plain(value)


def _plain(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else f"({type(value).__name__}, see the YAML)"


def _scalar(text: str) -> object:
    if text.startswith("["):
        try:
            values = json.loads(text)
        except ValueError:
            return text
        return values if isinstance(values, list) else text
    if text in ("true", "false"):
        return text == "true"
    return _number(text)


def _number(text: str) -> str | int | float:
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def _whole(text: str) -> str | int:
    return int(text) if _WHOLE.fullmatch(text) else text


def _words(text: str) -> list[str]:
    return [word for word in _BETWEEN_WORDS.split(text) if word]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _band(text: str) -> object:
    if text == "none":
        return None
    first, dash, last = text.partition("-")
    return [_whole(first.strip()), _whole(last.strip())] if dash else text


def _env(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in _lines(text))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _flags(text: str) -> dict[str, object]:
    """Reads lines such as `page-size 64`, `--page-size=64`, `enable-metrics`, which is true, or `ids ["a", "b"]`."""
    found: dict[str, object] = {}
    for line in _lines(text):
        match = re.match(r"(?:--)?([^\s=]+)(?:\s*=\s*|\s+|$)(.*)", line)
        if match:
            found[match[1]] = _scalar(match[2]) if match[2] else True
    return found


def _pair(kind: str, name: str, value: object) -> str:
    if kind == "flags" and value is True:
        return name
    text = json.dumps(value) if isinstance(value, list) else _plain(value)
    return f"{name}={text}" if kind == "env" else f"{name} {text}"


def _nics(mode: str, text: str) -> object:
    if mode == "list":
        return _words(text)
    if mode == "map":
        pairs = (line.partition(":") for line in _lines(text))
        return {gpu.strip(): _words(names) for gpu, _, names in pairs}
    return mode or REMOVED


def _shown_nics(value: object) -> dict[str, str]:
    if isinstance(value, list):
        return {"mode": "list", "text": " ".join(map(_plain, value))}
    if isinstance(value, Mapping):
        rows = ((gpu, names if isinstance(names, list) else [names]) for gpu, names in value.items())
        return {"mode": "map", "text": "\n".join(f"{gpu}: {' '.join(map(_plain, names))}" for gpu, names in rows)}
    return {"mode": _plain(value), "text": ""}


def _maybe(text: str) -> object:
    return {"yes": True, "no": False}.get(text, text)


_READERS: Mapping[str, Callable[[str], object]] = {
    "int": _whole,
    "number": _number,
    "maybe": _maybe,
    "words": _words,
    "lines": _lines,
    "ints": lambda text: [_whole(word) for word in _words(text)],
    "env": _env,
    "flags": _flags,
    "band": _band,
}


def host_lines(hosts: object) -> str:
    """Returns hosts as lines such as `node01 10.0.0.1 gpus=8 nics=mlx5_0,mlx5_1 gbps=400`."""
    if not isinstance(hosts, Mapping):
        return _plain(hosts)
    return "\n".join(_host_line(str(name), spec) for name, spec in hosts.items())


def _host_line(name: str, spec: object) -> str:
    if not isinstance(spec, Mapping):
        return name
    words = [name, _plain(spec.get("address"))]
    for word, key in _HOST_KEYS.items():
        value = spec.get(key)
        if value is not None:
            text = ",".join(map(_plain, value)) if isinstance(value, list) else _plain(value)
            words.append(f"{word}={shlex.quote(text)}")
    return " ".join(word for word in words if word)


def read_host_lines(text: str, present: object = None) -> dict[str, Any]:
    """Returns the hosts of such lines.

    Args:
        text: one host per line: its name, its address if that is another, and what is known of it.
        present: the hosts as they are now; what lines cannot say of them (`run`, `env`) is kept.
    """
    known = present if isinstance(present, Mapping) else {}
    return {words[0]: _host(words[1:], known.get(words[0])) for line in _lines(text) if (words := _split(line))}


def _host(words: Sequence[str], present: object) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            spec["address"] = word
            continue
        key = _HOST_KEYS.get(name, name)
        spec[key] = _words(value) if key == "nics" else value if key in ("gpu", "dump") else _number(value)
    said = {"address", *_HOST_KEYS.values()}
    kept = {key: each for key, each in present.items() if key not in said} if isinstance(present, Mapping) else {}
    return spec | kept


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        # A quote that is not closed yet: somebody is still typing.
        return line.split()
