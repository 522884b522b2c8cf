"""From the options of one worker to the fields of a role: which option is which field, and what goes into flags.

Pure data and look-ups; knows no other worker. Called by `import_roles`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..dialects.sglang_flags import FIELD_OF_FLAG
from ..doctor.command import WrittenCommand, options_of, read_json
from ..doctor.worker import Engine, is_secret
from ..flags.table import Kind, Table, load_table

__all__ = ["Read", "flag_value", "option_names", "read_options", "worker_nics"]

# Names of its parser: a text's other spellings have been changed to them by now.
_SGLANG: Mapping[str, str] = FIELD_OF_FLAG | {
    "tp-size": "tp",
    "pp-size": "pp",
    "dp-size": "dp",
    "attn-dp-size": "attn_dp",
    "enable-dp-attention": "dp_attention",
    "base-gpu-id": "base_gpu_id",
}
_VLLM: Mapping[str, str] = {
    "tensor-parallel-size": "tp",
    "pipeline-parallel-size": "pp",
    "data-parallel-size": "dp",
    "max-model-len": "context_length",
    "gpu-memory-utilization": "mem_fraction",
    "block-size": "page_size",
    "max-num-batched-tokens": "chunked_prefill_size",
    "max-num-seqs": "max_running_requests",
    "kv-cache-dtype": "kv_cache_dtype",
    "trust-remote-code": "trust_remote_code",
}
_FLOATS = frozenset({"mem_fraction"})
_TEXTS = frozenset({"moe_a2a", "elastic_ep", "kv_cache_dtype", "encoder_transfer"})
_SWITCHES = frozenset({"dp_attention", "trust_remote_code"})
# What the plan writes: read elsewhere, by name.
_PLANNED = frozenset(
    {
        *("model-path", "model", "served-model-name", "host", "port", "disaggregation-mode", "nnodes", "node-rank"),
        *("disaggregation-bootstrap-port", "disaggregation-transfer-backend", "disaggregation-ib-device"),
        *("mooncake-ib-device", "dist-init-addr", "encoder-only", "language-only", "encoder-urls"),
        *("encoder-bootstrap-port", "kv-transfer-config", "headless", "master-addr", "master-port"),
        *("data-parallel-size-local", "data-parallel-start-rank", "data-parallel-address", "data-parallel-rpc-port"),
        *("enable-expert-parallel", "no-enable-chunked-prefill"),
    }
)
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z")


@dataclass(slots=True)
class Read:
    """What one worker's options say.

    Attributes:
        fields: of its role.
        flags: what no field says.
        planned: what the plan writes, by the option's name; a switch is an empty text.
        lost: options that cannot be kept, with the reason.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)
    planned: dict[str, str] = field(default_factory=dict)
    lost: list[tuple[str, str]] = field(default_factory=list)


def read_options(written: WrittenCommand, known_fields: frozenset[str]) -> Read:
    """Returns what the options of a worker say.

    Args:
        written: its command.
        known_fields: the fields of a worker that the dialect makes something of; an option of another stays a flag.
    """
    read = Read()
    engine = written.worker.engine
    by_name = {Engine.SGLANG: _SGLANG, Engine.VLLM: _VLLM}.get(engine, {})
    for name, values in option_names(written):
        text = " ".join(values)
        field_name = by_name.get(name)
        if name in _PLANNED:
            read.planned[name] = text
        elif is_secret(name):
            read.lost.append((f"--{name}", "a secret, which no deployment file should hold"))
        elif field_name in known_fields and (value := _value(field_name, values)) is not None:
            read.fields[field_name] = value
        elif not _NAME.match(name):
            read.lost.append((f"--{name} {text}".strip(), "no option of an engine has such a name"))
        else:
            read.flags[name] = flag_value(engine, name, values)
    return read


def option_names(written: WrittenCommand) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yields each option by its engine's own name for it, and its values; the model that stands alone is --model."""
    engine = written.worker.engine
    table = load_table({Engine.SGLANG: "sglang", Engine.VLLM: "vllm"}.get(engine, ""))
    words = written.command.words[written.first :]
    options, loose = options_of(words)
    if engine is Engine.VLLM and written.worker.program.endswith("serve") and loose:
        yield "model", (words[loose[0]],)
        loose = loose[1:]
    for option in options:
        name, values = _own_name(table, option.name, words[option.start]), option.values
        if not option.joined and _is_switch(table, name) and values:
            yield name, ()
            # What a switch does not take belongs to nothing, but for the model of vLLM.
            name = "model" if engine is Engine.VLLM else ""
        yield name, tuple(values)
    for place in loose:
        yield "", (words[place],)


def _own_name(table: Table | None, name: str, written: str) -> str:
    if table is None:
        return name
    for spelled in (written.partition("=")[0], f"--{name}"):
        known = table.options.get(spelled)
        if known is not None:
            return (known.alias_of or spelled).lstrip("-").replace("_", "-")
    longer = table.completions(f"--{name}", table.newest)
    return longer[0].lstrip("-") if len(longer) == 1 else name


def _is_switch(table: Table | None, name: str) -> bool:
    known = table.options.get(f"--{name}") if table is not None else None
    return known is not None and known.kind is Kind.SWITCH


def flag_value(engine: Engine, name: str, values: tuple[str, ...]) -> Any:
    """Returns an option's words as a deployment writes a flag: True, one value, or a list."""
    if len(values) == 0:
        return True
    table = load_table({Engine.SGLANG: "sglang", Engine.VLLM: "vllm"}.get(engine, ""))
    known = table.options.get(f"--{name}") if table is not None else None
    several = len(values) > 1 or (known is not None and known.kind is Kind.LIST)
    return [_scalar(value) for value in values] if several else _scalar(values[0])


def _scalar(text: str) -> Any:
    """Returns a number where its text is the one that it is written back as."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and abs(value) < 1 << 62:
            return value
    return text


def _value(field_name: str, values: tuple[str, ...]) -> Any:
    if field_name in _SWITCHES:
        return True if not values else None
    if len(values) != 1:
        return None
    text = values[0]
    try:
        if field_name in _FLOATS:
            return float(text)
        return text if field_name in _TEXTS else int(text)
    except ValueError:
        return None


def worker_nics(text: str) -> Any:
    """Returns SGLang's list or map of NICs as a deployment writes it; None for another form, such as a file."""
    if not text or text.endswith(".json") or "$" in text:
        return None
    if not text.startswith("{"):
        return [name for name in (part.strip() for part in text.split(",")) if name]
    mapping = read_json(text)
    if not isinstance(mapping, dict) or not all(isinstance(names, str) for names in mapping.values()):
        return None
    return {str(gpu): [name.strip() for name in names.split(",") if name.strip()] for gpu, names in mapping.items()}
