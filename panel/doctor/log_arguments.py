"""The arguments that a worker settled on, as its log tells them.

Pure. SGLang logs `server_args=`, as a call or as a mapping by version; vLLM logs what differs from its defaults and
then its configuration; the bundled engine logs its transport and that it is ready.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .command import flat_kv_config, node_of, role_of
from .log_line import line_parts
from .programs import canonical
from .worker import Engine, WorkerArguments, as_text, is_secret

__all__ = ["ArgumentsReader", "arguments_in", "arguments_of_log"]

_SGLANG = re.compile(r"server_args=(ServerArgs\(|\{)")
_VLLM_ARGS = re.compile(r"non-default args: \{")
_VLLM_CONFIG = re.compile(r"Initializing a V\d LLM engine(?: \(v?(?P<version>[\w.+]{1,40})\))? with config: ")
_VLLM_VERSION = re.compile(r"vLLM API server version (?P<version>[\w.+]{1,40})")
_READY = re.compile(
    r'"event": "ready", "address": "(?P<address>[^"]{1,120})", "role": "(?P<role>\w{1,20})"'
    r', "model": "(?P<model>[^"]{1,200})"'
)
_TRANSPORT = re.compile(r'"event": "transport", "requested": "(?P<requested>\w{1,40})", "used": "(?P<used>\w{1,40})"')
_HINT = re.compile(r"server_args=|non-default args|LLM engine|API server version|\"event\": \"(?:ready|transport)\"")
_HINT_BYTES = re.compile(_HINT.pattern.encode())
_LONGEST_LITERAL = 4096


def arguments_of_log(lines: Iterable[str] | Iterable[bytes], source: str) -> tuple[WorkerArguments, ...]:
    """Returns the arguments that the worker of this log settled on at its last start; empty when it does not say.

    Args:
        lines: the log's lines.
        source: the log's name.
    """
    reader = ArgumentsReader(source)
    for line in lines:
        reader.read(line)
    return reader.workers()


class ArgumentsReader:
    """Collects a worker's arguments while somebody else reads its log: a pipe can be read once.

    Args:
        source: the log's name.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._place = source
        self._engine = Engine.OTHER
        self._values: dict[str, str] = {}
        self._version = ""
        self._lines = 0

    def watched(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the lines unchanged, each after it was read here."""
        for line in lines:
            self.read(line)
            yield line

    def read(self, line: str | bytes) -> None:
        """Reads the next line of the log."""
        self._lines += 1
        if not _may_tell(line):
            return
        for text in line_parts(line):
            self._read(text)

    def _read(self, text: str) -> None:
        if match := _SGLANG.search(text):
            separator = "=" if match.group(1).endswith("(") else ":"
            self._values = _named(self._told_by(Engine.SGLANG), _pairs(text, match.end(), separator))
        elif match := _VLLM_ARGS.search(text):
            self._values = _named(self._told_by(Engine.VLLM), _pairs(text, match.end(), ":"))
        elif match := _VLLM_CONFIG.search(text):
            self._told_by(Engine.VLLM)
            self._version = match.group("version") or self._version
            self._values |= arguments_in(text[match.end() :])
        elif match := _VLLM_VERSION.search(text):
            self._version = match.group("version")
        elif match := _TRANSPORT.search(text):
            self._told_by(Engine.BUNDLED)
            self._values["disaggregation_transfer_backend"] = match.group("requested")
            self._values["transport_used"] = match.group("used")
        elif match := _READY.search(text):
            self._told_by(Engine.BUNDLED)
            self._values |= _ready(match)

    def _told_by(self, engine: Engine) -> Engine:
        self._engine, self._place = engine, f"{self._source}:{self._lines}"
        return engine

    def workers(self) -> tuple[WorkerArguments, ...]:
        """Returns the worker of the lines so far; empty when they do not tell of one."""
        if self._engine is Engine.OTHER:
            return ()
        worker = WorkerArguments(
            name=self._source,
            source=self._place,
            engine=self._engine,
            role=role_of(self._engine, self._values),
            values=self._values,
            node=node_of(self._values),
            version=self._version,
            resolved=True,
        )
        return (worker,)


def _may_tell(line: str | bytes) -> bool:
    """Returns False for nearly every line, without decoding it; the NULs of UTF-16 would hide the words."""
    if isinstance(line, str):
        return _HINT.search(line) is not None
    return b"\0" in line or _HINT_BYTES.search(line) is not None


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
