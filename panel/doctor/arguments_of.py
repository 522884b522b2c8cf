"""The resolved arguments of workers: from their logs, from a LaunchPlan, from what /server_info answers.

Pure. SGLang logs `server_args=`, as a call or as a mapping by version; vLLM logs what differs from its defaults and
then its configuration; the bundled engine logs its transport and that it is ready.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..launch import LaunchPlan, Role
from .command import canonical, flat_kv_config, node_of, parse_command, role_of
from .log_line import line_parts
from .worker import Engine, WorkerArguments, WorkerRole, as_text, is_secret

__all__ = ["arguments_from_log", "arguments_from_plan", "arguments_from_server_info"]

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
# Names of the mapping that say where a worker runs, not how.
_ROLES = {Role.PREFILL: WorkerRole.PREFILL, Role.DECODE: WorkerRole.DECODE, Role.UNIFIED: WorkerRole.UNIFIED}


def arguments_from_log(lines: Iterable[str] | Iterable[bytes], source: str) -> WorkerArguments | None:
    """Returns the arguments that the worker of this log settled on at its last start, None when it does not say.

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
                values |= _named(engine, _pairs(text, match.end(), "="))
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
        return None
    return WorkerArguments(
        name=source,
        source=place,
        engine=engine,
        role=role_of(engine, values),
        values=values,
        node=node_of(values),
        version=version,
        resolved=True,
    )


def arguments_from_plan(plan: LaunchPlan) -> tuple[WorkerArguments, ...]:
    """Returns what the commands of a plan ask for, one for each process."""
    found: list[WorkerArguments] = []
    for spec in plan.processes:
        worker = parse_command(spec.argv, spec.name, f"plan: {spec.name}")
        if worker is None:
            role = _ROLES.get(spec.role, WorkerRole.ROUTER)
            worker = WorkerArguments(spec.name, f"plan: {spec.name}", Engine.OTHER, role, {})
        found.append(
            WorkerArguments(
                name=spec.name,
                source=worker.source,
                engine=worker.engine,
                role=worker.role,
                values=worker.values,
                program=worker.program,
                flags=worker.flags,
                env={**worker.env, **spec.env},
                node=spec.node,
                version=worker.version,
            )
        )
    return tuple(found)


def arguments_from_server_info(info: Mapping[str, Any], name: str, source: str = "/server_info") -> WorkerArguments:
    """Returns what a running worker says of itself.

    Args:
        info: the JSON object of GET /server_info: SGLang's and the bundled engine's flat arguments, or vLLM's
            with its configuration under `vllm_config`.
        name: what findings call the worker.
        source: the URL that was asked.
    """
    config = info.get("vllm_config")
    if config is not None:
        values = _named(Engine.VLLM, _pairs(config, 0, "=")) if isinstance(config, str) else _flat(Engine.VLLM, config)
        engine = Engine.VLLM
    else:
        bundled = "pages" in info and "startup" in info
        engine = Engine.BUNDLED if bundled else Engine.SGLANG
        nested = info.get("server_args")
        values = _flat(engine, nested if isinstance(nested, Mapping) else info)
    version = as_text(info.get("version")) or ""
    return WorkerArguments(
        name=name,
        source=source,
        engine=engine,
        role=role_of(engine, values),
        values=values,
        node=node_of(values),
        version="" if version == "unknown" else version,
        resolved=True,
    )


def _ready(match: re.Match[str]) -> dict[str, str]:
    host, _, port = match.group("address").rpartition(":")
    mode = match.group("role")
    return {
        "host": host,
        "port": port,
        "disaggregation_mode": "null" if mode == "unified" else mode,
        "served_model_name": match.group("model"),
    }


def _flat(engine: Engine, mapping: Any) -> dict[str, str]:
    if not isinstance(mapping, Mapping):
        return {}
    pairs = ((str(key), value) for key, value in mapping.items() if not isinstance(value, Mapping | list))
    values = {canonical(engine, key): text for key, value in pairs if (text := as_text(value)) is not None}
    values |= flat_kv_config(mapping.get("kv_transfer_config")) if engine is Engine.VLLM else {}
    return {key: value for key, value in values.items() if not is_secret(key)}


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
