"""From a command line to what it starts: engine, role, arguments, variables.

Pure. Finds the program behind what people put before it: assignments, docker run, nohup, srun, numactl. Called by
`arguments_of` for plans and by `pdpanel doctor --deployment` for pasted scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .programs import PROGRAMS, canonical, find_program, fragment_program
from .shell import ShellCommand, is_assignment, shell_commands, shell_statements
from .worker import Engine, Flag, WorkerArguments, WorkerRole, as_text, is_secret

__all__ = [
    "Option",
    "WrittenCommand",
    "flat_kv_config",
    "node_of",
    "options_of",
    "parse_command",
    "parse_script",
    "read_json",
    "role_of",
    "written_command",
    "written_commands",
    "written_fragments",
]

_IMAGE_VERSION = re.compile(r"(?:sglang|vllm)[\w./-]{0,80}:v?(\d{1,3}\.\d{1,3}[\w.]{0,30})")
_PINNED = re.compile(r"(?:sglang|vllm)(?:\[[\w,]{0,60}\])?==(\d{1,3}\.\d{1,3}[\w.]{0,30})")
_SWITCH = re.compile(
    r"(?:enable|disable|no|skip|use|trust|enforce|allow)-|enforce-eager$|mini-lb$|(?:vllm-)?pd-disaggregation$"
    r"|(?:encoder|language)-only$"
)
_SHELL = re.compile(r"(?:.*/)?(?:ba|z|da)?sh$")
_REMOTE = frozenset({"ssh", "pdsh", "clush", "sudo", "eval", "su", "kubectl"})
_NESTED = 3
_SSH_VALUES = frozenset({"-p", "-i", "-l", "-o", "-F", "-J", "-L", "-R", "-D", "-b", "-c", "-E", "-m", "-S", "-W"})
_MOST_WORDS = 4096
_TUNED = re.compile(r"MC_|MOONCAKE_|SGLANG_|VLLM_|ASCEND_|NCCL_|UCX_|LD_PRELOAD\Z|PYTHONPATH\Z")
_MODES = {"prefill": WorkerRole.PREFILL, "decode": WorkerRole.DECODE, "null": WorkerRole.UNIFIED}
_KV_ROLES = {"kv_producer": WorkerRole.PREFILL, "kv_consumer": WorkerRole.DECODE, "kv_both": WorkerRole.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a command: `words[start:end]` are its name and its values.

    Attributes:
        name: without dashes, with `-` for `_`.
        joined: True for --name=value, which is one word.
    """

    name: str
    values: tuple[str, ...]
    start: int
    end: int
    joined: bool = False


@dataclass(frozen=True, slots=True)
class WrittenCommand:
    """A command that starts a process of a deployment, and where it is written.

    Attributes:
        worker: what it starts.
        command: its words with their places in `text`.
        first: the place of the first argument behind the program among the command's words.
        text: the script that the places count in: the whole, or the script of `bash -c`.
        inside: for such a script: the command that runs it, and which of its words it is.
        fragment: True for options without a program.
    """

    worker: WorkerArguments
    command: ShellCommand
    first: int
    text: str
    inside: tuple[ShellCommand, int] | None = None
    fragment: bool = False


def parse_command(
    command: Sequence[str] | str,
    name: str = "",
    source: str = "command",
    env: Mapping[str, str] | None = None,
) -> WorkerArguments | None:
    """Returns what a command starts, None when it starts no part of a deployment.

    Args:
        command: the words of the command, or shell text of which the first fitting command counts.
        name: what findings call it; its role when empty.
        source: where it was read.
        env: variables that are set for the words of a command.
    """
    if isinstance(command, str):
        found = parse_script(command, source)
        return replace(found[0], name=name or found[0].name) if found else None
    words = tuple(command[:_MOST_WORDS])
    written = next(_written(ShellCommand(1, words, env or {}), {}, source, "", None, "", _NESTED), None)
    return written and replace(written.worker, name=name or written.worker.name)


def parse_script(text: str, source: str = "script") -> tuple[WorkerArguments, ...]:
    """Returns what the commands in a piece of shell script start, in order; other commands are left out."""
    return tuple(written.worker for written in written_commands(text, source))


def written_commands(text: str, source: str = "script") -> list[WrittenCommand]:
    """Returns the commands in a piece of shell script that start something, in order; each has a source of its own."""
    found: list[WrittenCommand] = []
    names: dict[str, int] = {}
    sources: dict[str, int] = {}
    for command in shell_commands(text):
        place = f"{source}:{command.line}"
        for written in _written(command, {}, place, text, None, "", _NESTED):
            role = written.worker.name
            number, again = names.get(role, 0), sources.get(place, 0)
            names[role], sources[place] = number + 1, again + 1
            own = f"{place}.{again + 1}" if again else place
            found.append(replace(written, worker=replace(written.worker, name=f"{role}-{number}", source=own)))
    return found


def written_command(command: ShellCommand, source: str, node: str = "") -> list[WrittenCommand]:
    """Returns what one command starts, such as that of a container; several when it runs a script."""
    return list(_written(command, {}, source, "", None, node, _NESTED))


def written_fragments(text: str, source: str = "script") -> list[WrittenCommand]:
    """Returns options and assignments of a text that names no program, as pieces of commands."""
    found: list[WrittenCommand] = []
    for statement in shell_statements(text):
        if statement.sets:
            words, program, first = (), "sglang.launch_server", len(statement.words)
            if not any(_TUNED.match(name) for name, _, _ in statement.assigned):
                continue
        elif statement.words[0].startswith("--"):
            words, first = statement.words, 0
            program = fragment_program([option.name for option in options_of(words)[0]])
        else:
            continue
        place = f"{source}:{statement.line}"
        env = {**statement.env, **{name: value for name, value, _ in statement.assigned}}
        worker = _worker(program, list(words), env, place, _version((), env))
        if statement.sets:
            worker = replace(worker, role=WorkerRole.UNKNOWN, name="variables")
        partial = replace(worker, name=f"{worker.name}-{len(found)}", partial=True)
        found.append(WrittenCommand(partial, statement, first, text, fragment=True))
    return found


def _written(
    command: ShellCommand,
    env: Mapping[str, str],
    source: str,
    text: str,
    inside: tuple[ShellCommand, int] | None,
    node: str,
    depth: int,
) -> Iterator[WrittenCommand]:
    """Yields what one command starts: itself, or the commands of the script that it runs."""
    words = list(command.words[:_MOST_WORDS])
    start, program, arguments = find_program(words)
    inner = {**env, **command.env, **_assigned(words[:start])}
    node = _remote_node(words[:start]) or node
    if program:
        worker = _worker(program, arguments, inner, source, _version(words[:start], inner))
        if node and not worker.node:
            worker = replace(worker, node=node)
        yield WrittenCommand(worker, command, len(words) - len(arguments), text, inside)
        return
    place = _nested_place(words)
    if place is None or not depth:
        return
    nested = words[place]
    for one in shell_commands(nested):
        yield from _written(one, inner, source, nested, (command, place), node, depth - 1)


def _worker(program: str, arguments: list[str], env: Mapping[str, str], source: str, version: str) -> WorkerArguments:
    engine, role = PROGRAMS[program]
    flags, loose = _flags(arguments)
    values = _values(engine, flags, loose if program.endswith("serve") else [])
    if engine is Engine.VLLM:
        _read_kv_config(values, env)
    if role is WorkerRole.UNIFIED:
        role = role_of(engine, values)
    return WorkerArguments(
        name=role.value,
        source=source,
        engine=engine,
        role=role,
        values=values,
        program=program,
        flags=tuple(flags),
        env={key: "***" if is_secret(key) else value for key, value in env.items()},
        node=node_of(values),
        version=version,
    )


def role_of(engine: Engine, values: Mapping[str, str]) -> WorkerRole:
    """Returns the role that a worker's arguments give it."""
    if engine is Engine.VLLM:
        role = values.get("kv_role")
        return WorkerRole.UNIFIED if role is None else _KV_ROLES.get(role, WorkerRole.UNKNOWN)
    if values.get("encoder_only", "false") == "true":
        return WorkerRole.ENCODER
    return _MODES.get(values.get("disaggregation_mode", "null"), WorkerRole.UNKNOWN)


def node_of(values: Mapping[str, str]) -> str:
    """Returns the host that a worker's --host names; empty for loopback and for all addresses."""
    host = values.get("host", "").strip("[]")
    return "" if host in {"", "0.0.0.0", "::", "localhost"} or host.startswith(("127.", "$")) or host == "::1" else host


def _nested_place(words: Sequence[str]) -> int | None:
    """Returns which word is the script of `bash -c SCRIPT`, wherever it stands, or of `ssh HOST SCRIPT`."""
    for place, word in enumerate(words[:-2]):
        if _SHELL.match(word):
            for offset, option in enumerate(words[place + 1 : place + 4], place + 1):
                if re.fullmatch(r"-[a-z]*c", option) and offset + 1 < len(words):
                    return offset + 1
    if words and words[0].rpartition("/")[2] in _REMOTE and re.search(r"\s", words[-1]):
        return len(words) - 1
    return None


def _remote_node(words: Sequence[str]) -> str:
    """Returns the host that `ssh HOST` or `srun -w HOST` names in front of a program."""
    name = words[0].rpartition("/")[2] if words else ""
    if name not in {"ssh", "srun", "pdsh", "clush"}:
        return ""
    place = 1
    while place < len(words):
        word = words[place]
        if name != "ssh":
            option, equals, value = word.partition("=")
            if option in {"-w", "--nodelist"}:
                return value if equals else words[place + 1] if place + 1 < len(words) else ""
            place += 1
        elif word in _SSH_VALUES:
            place += 2
        elif word.startswith("-"):
            place += 1
        else:
            return word.rpartition("@")[2]
    return ""


def _assigned(words: Sequence[str]) -> dict[str, str]:
    """Returns the assignments before a program, also those of `env` and `docker run -e`."""
    assigned: dict[str, str] = {}
    for word in words:
        text = word.removeprefix("--env=").removeprefix("-e=") if word.startswith("-") else word
        if is_assignment(text):
            name, _, value = text.partition("=")
            assigned[name] = value
    return assigned


def _version(words: Sequence[str], env: Mapping[str, str]) -> str:
    for word in words:
        if match := _IMAGE_VERSION.search(word) or _PINNED.search(word):
            return match.group(1)
    return env.get("SGLANG_VERSION", env.get("VLLM_VERSION", "")).removeprefix("v")


def options_of(words: Sequence[str]) -> tuple[list[Option], list[int]]:
    """Returns the options among the arguments of a command, and the places of the words that belong to none."""
    options: list[Option] = []
    loose: list[int] = []
    takes_more = False
    for place, word in enumerate(words):
        if word.startswith("-") and len(word) > 1 and not re.match(r"-\.?\d", word):
            name, equals, value = word.lstrip("-").partition("=")
            options.append(Option(name.replace("_", "-"), (value,) if equals else (), place, place + 1, bool(equals)))
            takes_more = not equals and _SWITCH.match(options[-1].name) is None
        elif takes_more:
            last = options[-1]
            options[-1] = Option(last.name, (*last.values, word), last.start, place + 1)
        else:
            loose.append(place)
    return options, loose


def _flags(words: Sequence[str]) -> tuple[list[Flag], list[str]]:
    """Returns the options, and the words that belong to none."""
    options, loose = options_of(words)
    flags = [
        Flag(option.name, ("***",) if option.values and is_secret(option.name) else option.values) for option in options
    ]
    return flags, [words[place] for place in loose]


def _values(engine: Engine, flags: Sequence[Flag], loose: Sequence[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    if loose:
        values["model_path"] = loose[0]
    for flag in flags:
        name = canonical(engine, flag.name)
        if flag.name.startswith("no-") and not flag.values:
            values[canonical(engine, flag.name[3:])] = "false"
        else:
            # The last one wins, as in argparse.
            values[name] = ",".join(flag.values) if flag.values else "true"
    return values


def _read_kv_config(values: dict[str, str], env: Mapping[str, str]) -> None:
    """Takes the connector and the role out of vLLM's JSON."""
    config = read_json(values.get("kv_transfer_config", ""))
    values |= flat_kv_config(config)
    if "VLLM_MOONCAKE_BOOTSTRAP_PORT" in env:
        values["disaggregation_bootstrap_port"] = env["VLLM_MOONCAKE_BOOTSTRAP_PORT"]


def flat_kv_config(config: Any) -> dict[str, str]:
    """Returns vLLM's KV transfer configuration as arguments: every key as it is, and the connector as the backend."""
    if not isinstance(config, dict):
        return {}
    found = {str(key): text for key, value in config.items() if (text := as_text(value)) is not None}
    if "kv_connector" in found:
        found["disaggregation_transfer_backend"] = found["kv_connector"]
    extra = config.get("kv_connector_extra_config")
    if isinstance(extra, dict) and isinstance(extra.get("device_name"), str):
        found["disaggregation_ib_device"] = extra["device_name"]
    return found


def read_json(text: str) -> Any:
    """Returns the value that `text` is as JSON, None when it is none."""
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
