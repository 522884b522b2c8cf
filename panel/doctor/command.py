"""From a command line to what it starts: engine, role, arguments, variables.

Pure. Finds the program behind what people put before it: assignments, docker run, nohup, srun, numactl. Called by
`arguments_of` for plans and by `pdpanel doctor --deployment` for pasted scripts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .shell import is_assignment, shell_commands
from .worker import Engine, Flag, WorkerArguments, WorkerRole, as_text, is_secret

__all__ = ["parse_command", "parse_script"]

# module or program: (engine, role); the role of a worker is in its arguments.
_PROGRAMS: Mapping[str, tuple[Engine, WorkerRole]] = {
    "sglang.launch_server": (Engine.SGLANG, WorkerRole.UNIFIED),
    "sglang serve": (Engine.SGLANG, WorkerRole.UNIFIED),
    "sglang.srt.disaggregation.mini_lb": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang.srt.disaggregation.launch_lb": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang_router.launch_router": (Engine.SGLANG, WorkerRole.ROUTER),
    "sglang-router": (Engine.SGLANG, WorkerRole.ROUTER),
    "smg launch": (Engine.SGLANG, WorkerRole.ROUTER),
    "amg launch": (Engine.SGLANG, WorkerRole.ROUTER),
    "vllm serve": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm.entrypoints.openai.api_server": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm.entrypoints.cli.main serve": (Engine.VLLM, WorkerRole.UNIFIED),
    "vllm-router": (Engine.VLLM, WorkerRole.ROUTER),
    "mooncake_connector_proxy.py": (Engine.VLLM, WorkerRole.ROUTER),
    "vllm_v1_proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "mooncake.vllm_v1_proxy_server": (Engine.VLLM, WorkerRole.ROUTER),
    "toy_proxy_server.py": (Engine.VLLM, WorkerRole.ROUTER),
    "pdpanel.engine.launch_server": (Engine.BUNDLED, WorkerRole.UNIFIED),
    "pdpanel.engine.launch_router": (Engine.BUNDLED, WorkerRole.ROUTER),
    "etcd": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake_http_metadata_server": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake.http_metadata_server": (Engine.OTHER, WorkerRole.METADATA),
    "mooncake_master": (Engine.OTHER, WorkerRole.STORE),
}
_IMAGES = (("vllm/vllm-openai", "vllm serve"), ("vllm/vllm-openai-rocm", "vllm serve"))
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*$")
_SHELL = re.compile(r"(?:.*/)?(?:ba|z|da)?sh$")
_IMAGE_VERSION = re.compile(r"(?:sglang|vllm)[\w./-]{0,80}:v?(\d{1,3}\.\d{1,3}[\w.]{0,30})")
_PINNED = re.compile(r"(?:sglang|vllm)(?:\[[\w,]{0,60}\])?==(\d{1,3}\.\d{1,3}[\w.]{0,30})")
_SWITCH = re.compile(r"(?:enable|disable|no|skip|use|trust|enforce|allow)-|enforce-eager$|mini-lb$|pd-disaggregation$")
_REMOTE = frozenset({"ssh", "pdsh", "clush", "sudo", "eval", "su", "kubectl"})
_NESTED = 3
_NAMING = frozenset({"-p", "--name", "pkill", "-f", "killall", "-x"})
_MOST_WORDS = 4096

# Other spellings of an argument, by engine.
_SGLANG_NAMES = {
    "model": "model_path",
    "tp": "tp_size",
    "tensor_parallel_size": "tp_size",
    "pp": "pp_size",
    "pipeline_parallel_size": "pp_size",
    "dp": "dp_size",
    "data_parallel_size": "dp_size",
    "attention_data_parallel_size": "attn_dp_size",
    "nccl_init_addr": "dist_init_addr",
    "mamba_ssm_cache_dtype": "mamba_ssm_dtype",
}
_VLLM_NAMES = {
    "model": "model_path",
    "model_tag": "model_path",
    "tp": "tp_size",
    "tensor_parallel_size": "tp_size",
    "pp": "pp_size",
    "pipeline_parallel_size": "pp_size",
    "dp": "dp_size",
    "data_parallel_size": "dp_size",
    "block_size": "page_size",
    "max_model_len": "context_length",
    "max_seq_len": "context_length",
    "mamba_ssm_cache_dtype": "mamba_ssm_dtype",
    "mamba_cache_dtype": "mamba_conv_dtype",
    "gpu_memory_utilization": "mem_fraction_static",
    "max_num_seqs": "max_running_requests",
}
_MODES = {"prefill": WorkerRole.PREFILL, "decode": WorkerRole.DECODE, "null": WorkerRole.UNIFIED}
_KV_ROLES = {"kv_producer": WorkerRole.PREFILL, "kv_consumer": WorkerRole.DECODE, "kv_both": WorkerRole.UNKNOWN}


def parse_command(command: Sequence[str] | str, name: str = "", source: str = "command") -> WorkerArguments | None:
    """Returns what a command starts, None when it starts no part of a deployment.

    Args:
        command: the words of the command, or shell text of which the first fitting command counts.
        name: what findings call it; its role when empty.
        source: where it was read.
    """
    if isinstance(command, str):
        found = parse_script(command, source)
        return replace(found[0], name=name or found[0].name) if found else None
    return _parse(list(command[:_MOST_WORDS]), {}, name, source, _NESTED)


def parse_script(text: str, source: str = "script") -> tuple[WorkerArguments, ...]:
    """Returns what the commands in a piece of shell script start, in order; other commands are left out."""
    found: list[WorkerArguments] = []
    for command in shell_commands(text):
        place = f"{source}:{command.line}"
        worker = _parse(list(command.words), command.env, "", place, _NESTED)
        if worker is not None:
            found.append(replace(worker, name=_free_name(worker.name, [other.name for other in found])))
    return tuple(found)


def _free_name(role: str, taken: Sequence[str]) -> str:
    number = sum(name.rpartition("-")[0] == role for name in taken)
    return f"{role}-{number}"


def _parse(words: list[str], env: Mapping[str, str], name: str, source: str, depth: int) -> WorkerArguments | None:
    start, program, arguments = _program(words)
    inner = dict(env) | _assigned(words[:start])
    if not program:
        nested = _nested_text(words)
        if nested and depth:
            for command in shell_commands(nested):
                found = _parse(list(command.words), inner | dict(command.env), name, source, depth - 1)
                if found is not None:
                    return found
        return None
    engine, role = _PROGRAMS[program]
    flags, loose = _flags(arguments)
    values = _values(engine, flags, loose if program.endswith("serve") else [])
    if engine is Engine.VLLM:
        _read_kv_config(values, inner)
    if role is WorkerRole.UNIFIED:
        role = role_of(engine, values)
    return WorkerArguments(
        name=name or role.value,
        source=source,
        engine=engine,
        role=role,
        values=values,
        program=program,
        flags=tuple(flags),
        env={key: "***" if is_secret(key) else value for key, value in inner.items()},
        node=node_of(values),
        version=_version(words[:start], inner),
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


def canonical(engine: Engine, name: str) -> str:
    """Returns the name under which an engine's argument is compared."""
    plain = name.lstrip("-").replace("-", "_")
    return (_VLLM_NAMES if engine is Engine.VLLM else _SGLANG_NAMES).get(plain, plain)


def _program(words: list[str]) -> tuple[int, str, list[str]]:
    """Returns where the program begins, its name and its arguments."""
    for place, word in enumerate(words):
        rest = words[place + 1 :]
        if _PYTHON.match(word):
            module, after = _python_program(rest)
            for known in (module, f"{module} {after[0]}" if after else ""):
                if known in _PROGRAMS:
                    return place, known, after[len(known.split()) - 1 :]
        base = word.rpartition("/")[2]
        if rest and f"{base} {rest[0]}" in _PROGRAMS:
            return place, f"{base} {rest[0]}", rest[1:]
        # A word of prose, or the name that pkill or docker is given, has no option behind it.
        if base in _PROGRAMS and "." not in base and (not place or words[place - 1] not in _NAMING):
            if not rest or rest[0].startswith("-"):
                return place, base, rest
        if base.endswith(".py") and base in _PROGRAMS:
            return place, base, rest
        for image, program in _IMAGES:
            if word.split(":")[0].endswith(image) and rest and rest[0].startswith("-"):
                return place + 1, program, rest
    return len(words), "", []


def _python_program(rest: list[str]) -> tuple[str, list[str]]:
    place = 0
    while place < len(rest):
        word = rest[place]
        if word == "-m" and place + 1 < len(rest):
            return rest[place + 1], rest[place + 2 :]
        if word in {"-X", "-W"}:
            place += 2
        elif word.startswith("-") and word != "-":
            place += 1
        else:
            return word.rpartition("/")[2], rest[place + 1 :]
    return "", []


def _nested_text(words: list[str]) -> str:
    """Returns the script of `bash -c SCRIPT`, wherever it stands, or of `ssh HOST SCRIPT`."""
    for place, word in enumerate(words[:-2]):
        if _SHELL.match(word):
            for offset, option in enumerate(words[place + 1 : place + 4], place + 1):
                if re.fullmatch(r"-[a-z]*c", option) and offset + 1 < len(words):
                    return words[offset + 1]
    if words and words[0].rpartition("/")[2] in _REMOTE and " " in words[-1]:
        return words[-1]
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


def _flags(words: Sequence[str]) -> tuple[list[Flag], list[str]]:
    """Returns the options, and the words that belong to none."""
    flags: list[Flag] = []
    loose: list[str] = []
    takes_more = False
    for word in words:
        if word.startswith("-") and len(word) > 1 and not re.match(r"-\.?\d", word):
            name, equals, value = word.lstrip("-").partition("=")
            flags.append(Flag(name.replace("_", "-"), (value,) if equals else ()))
            takes_more = not equals and _SWITCH.match(flags[-1].name) is None
        elif takes_more:
            flags[-1] = Flag(flags[-1].name, (*flags[-1].values, word))
        else:
            loose.append(word)
    masked = [Flag(flag.name, ("***",)) if flag.values and is_secret(flag.name) else flag for flag in flags]
    return masked, loose


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
