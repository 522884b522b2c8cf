"""The arguments that a worker settled on, as its log tells them.

Pure. SGLang logs `server_args=`, as a call or as a mapping by version; vLLM logs what differs from its defaults and
then its configuration; the bundled engine logs its transport and that it is ready.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .command import canonical, flat_kv_config, node_of, role_of
from .log_line import line_parts
from .worker import Engine, WorkerArguments, as_text, is_secret

__all__ = ["arguments_in", "arguments_of_log"]

_SGLANG = re.compile(r"server_args=(ServerArgs\(|\{)")
_VLLM_ARGS = re.compile(r"non-default args: \{")
_VLLM_CONFIG = re.compile(r"Initializing a V\d LLM engine(?: \(v?(?P<version>[\w.+]{1,40})\))? with config: ")
_VLLM_VERSION = re.compile(r"vLLM API server version (?P<version>[\w.+]{1,40})")
_READY = re.compile(
    r'"event": "ready", "address": "(?P<address>[^"]{1,120})", "role": "(?P<role>\w{1,20})"'
    r', "model": "(?P<model>[^"]{1,200})"'
)
_TRANSPORT = re.compile(r'"event": "transport", "requested": "(?P<requested>\w{1,40})", "used": "(?P<used>\w{1,40})"')
_LONGEST_LITERAL = 4096


def arguments_of_log(lines: Iterable[str] | Iterable[bytes], source: str) -> tuple[WorkerArguments, ...]:
    """Returns the arguments that the worker of this log settled on at its last start; empty when it does not say.

    Args:
        lines: the log's lines.
        source: the log's name.
    """
    engine = Engine.OTHER
    values: dict[str, str] = {}
    version, place = "", source
    for number, line in enumerate(lines, 1):
        for text in line_parts(line):
            if match := _SGLANG.search(text):
                engine, place = Engine.SGLANG, f"{source}:{number}"
                values = _named(engine, _pairs(text, match.end(), "=" if match.group(1).endswith("(") else ":"))
            elif match := _VLLM_ARGS.search(text):
                engine, place = Engine.VLLM, f"{source}:{number}"
                values = _named(engine, _pairs(text, match.end(), ":"))
            elif match := _VLLM_CONFIG.search(text):
                engine, place = Engine.VLLM, f"{source}:{number}"
                version = match.group("version") or version
                values |= arguments_in(text[match.end() :])
            elif match := _VLLM_VERSION.search(text):
                version = match.group("version")
            elif match := _TRANSPORT.search(text):
                engine, place = Engine.BUNDLED, f"{source}:{number}"
                values["disaggregation_transfer_backend"] = match.group("requested")
                values["transport_used"] = match.group("used")
            elif match := _READY.search(text):
                engine, place = Engine.BUNDLED, f"{source}:{number}"
                values |= _ready(match)
    if engine is Engine.OTHER:
        return ()
    worker = WorkerArguments(
        name=source,
        source=place,
        engine=engine,
        role=role_of(engine, values),
        values=values,
        node=node_of(values),
        version=version,
        resolved=True,
    )
    return (worker,)


def arguments_in(config: str) -> dict[str, str]:
    """Returns the arguments in vLLM's configuration as text, such as `model='x', tensor_parallel_size=2, ...`."""
    return _named(Engine.VLLM, _pairs(config, 0, "="))


def _ready(match: re.Match[str]) -> dict[str, str]:
    host, _, port = match.group("address").rpartition(":")
    mode = match.group("role")
    return {
        "host": host,
        "port": port,
        "disaggregation_mode": "null" if mode == "unified" else mode,
        "served_model_name": match.group("model"),
    }


def _named(engine: Engine, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, raw in pairs:
        if is_secret(name):
            continue
        literal = _literal(raw)
        if engine is Engine.VLLM and name == "kv_transfer_config":
            values |= flat_kv_config(literal) or flat_kv_config(_call_fields(raw))
        elif (text := as_text(literal)) is not None:
            values[canonical(engine, name)] = text
    return values


def _call_fields(raw: str) -> dict[str, Any]:
    """Returns the fields of `KVTransferConfig(kv_connector='...', ...)`."""
    name, bracket, _ = raw.partition("(")
    if not bracket or not name.isidentifier():
        return {}
    return {key: _literal(value) for key, value in _pairs(raw, len(name) + 1, "=")}


def _literal(raw: str) -> Any:
    if len(raw) > _LONGEST_LITERAL:
        return raw[:_LONGEST_LITERAL]
    try:
        return ast.literal_eval(raw)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return raw


def _pairs(text: str, start: int, separator: str) -> Iterator[tuple[str, str]]:
    """Yields the names and values of `a=1, b='x')` or `'a': 1, 'b': {...}}` from `start` to the closing bracket."""
    depth, quote, name, begin = 0, "", "", start
    place = start
    while place < len(text):
        char = text[place]
        if quote:
            if char == "\\":
                place += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char in "([{<":
            depth += 1
        elif char in ")]}>" and depth:
            depth -= 1
        elif char in ")]}":
            break
        elif not depth and char == separator and not name:
            name, begin = text[begin:place].strip(" '\""), place + 1
        elif not depth and char == ",":
            if name:
                yield name, text[begin:place].strip()
            name, begin = "", place + 1
        place += 1
    if name:
        yield name, text[begin:place].strip()
