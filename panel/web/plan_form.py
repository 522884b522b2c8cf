"""The form of the Plan tab: which fields a deployment has, of what kind, with what help, and which dialect knows them.

Made of the Deployment's own schema and docstrings, so the form never says something else than the file. Pure; the page
asks for it once and then shows and hides fields by itself. Called by `plan_routes`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

from pydantic import BaseModel

from ..deployment import Deployment
from ..deployment_parts import RunSpec, WorkerSpec
from ..dialects.dialect import Dialect
from ..dialects.routers import POLICIES
from ..planning.fields import fields_of

__all__ = ["FormField", "attributes_help", "form_document", "form_fields", "knows"]

_ROLES = ("prefill", "decode", "unified", "encoder")
_SHOWN_ROLES = ("workers", *_ROLES)
# Section, its title, and the fields or parts in it. What is in no section is left to the YAML.
_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("what", "What to serve", ("name", "model", "served_model_name", "modelscope")),
    ("engine", "Engine", ("engine", "engine_version", "dialect")),
    ("prefill", "Prefill workers", ("prefill",)),
    ("decode", "Decode workers", ("decode",)),
    ("unified", "Unified workers", ("unified",)),
    ("encoder", "Encoder workers", ("encoder",)),
    ("workers", "All workers", ("workers",)),
    ("hosts", "Hosts", ("hosts", "host")),
    ("transfer", "KV transfer", ("transport", "nics", "gpu_selection", "rpc_ports", "nvlink", "nixl", "ascend")),
    ("router", "Router", ("router",)),
    ("metadata", "Metadata server", ("metadata",)),
    ("store", "Mooncake Store", ("store",)),
    ("limits", "Limits and timeouts", ("limits",)),
    ("run", "How it is run", ("run", "env", "restart", "observe", "smoke_test")),
    ("slurm", "Slurm", ("slurm",)),
)
# Parts that share a section with other fields.
_PARTS = {"nixl": "NIXL", "ascend": "Ascend", "smoke_test": "Smoke test"}
_OPEN = frozenset({"what", "engine", "prefill", "decode", "transfer"})
_WORDS = {
    "kv": "KV", "tp": "TP", "pp": "PP", "dp": "DP", "ep": "EP", "nics": "RDMA NICs", "gpu": "GPU", "gpus": "GPUs",
    "npu": "NPU", "id": "id", "phy": "physical", "rpc": "RPC", "url": "URL", "attn": "attention", "mem": "memory",
    "s": "(s)", "moe": "MoE", "a2a": "all-to-all", "nvlink": "NVLink", "modelscope": "ModelScope", "hccl": "HCCL",
    "cx7": "CX7", "env": "variables", "dtype": "dtype", "max": "most", "venv": "virtual environment", "cwd": "folder",
    "mori": "MoRI", "args": "arguments",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormField:
    """One control of the form.

    Attributes:
        path: the field's dotted name in the deployment file.
        kind: text, long, int, number, bool, maybe (a bool that may be unset), choice, words, lines, ints, env, flags,
            nics, hosts, band (first and last port) or part (there or not, with defaults).
        section: the id of the section that it is in.
        own: True for what a role may set otherwise than all workers do.
        choices: of a choice.
        default: what holds when it is not set; None leaves it to others.
    """

    path: str
    kind: str
    label: str
    help: str
    section: str
    own: bool = False
    choices: tuple[str, ...] = ()
    default: str | bool | None = None


def attributes_help(model: type[BaseModel]) -> Mapping[str, str]:
    """Returns what the docstrings of `model` and its bases say of its attributes, by name."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not (isinstance(each, type) and issubclass(each, BaseModel)):
            continue
        _, _, listed = inspect.cleandoc(each.__doc__ or "").partition("Attributes:\n")
        for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE):
            found[match[1]] = re.sub(r"\s+", " ", match[2]).strip()
    return found


def form_fields(model: type[BaseModel] = Deployment) -> tuple[FormField, ...]:
    """Returns every field of the form, in the order in which it is shown."""
    schema = model.model_json_schema()
    fields: list[FormField] = []
    for section, _, heads in _SECTIONS:
        for head in heads:
            fields += _fields(model, head, schema["properties"][head], schema.get("$defs", {}), section, head)
    return tuple(fields)


def _fields(
    owner: type[BaseModel], name: str, schema: Mapping[str, Any], parts: Mapping[str, Any], section: str, path: str
) -> Iterator[FormField]:
    options, nullable = _options(schema)
    part = None if path == "hosts" else _part_of(owner, name)
    if part is not None:
        nested = "." in path
        if nested and part is not RunSpec:
            return
        # A part that may be absent and has no field that must be set, such as a store, is turned on as a whole.
        if nullable and not nested and not any(field.is_required() for field in part.model_fields.values()):
            yield FormField(
                path, "part", f"Use a {_label(path).lower()}", _first_sentence(part), section, default=False
            )
        for each in _in_order(part):
            yield from _fields(part, each, parts[part.__name__]["properties"][each], parts, section, f"{path}.{each}")
        return
    kind = _kind(path, options, nullable)
    field = owner.model_fields[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    role, _, rest = path.partition(".")
    yield FormField(
        path=path,
        kind=kind,
        label=_label(path),
        help=_help(owner, name),
        section=section,
        own=role in _ROLES and rest.partition(".")[0] in WorkerSpec.model_fields,
        choices=tuple(str(value) for option in options for value in option.get("enum", ())),
        default=default if isinstance(default, bool) else None if default in (None, "", {}, []) else str(default),
    )


def _in_order(part: type[BaseModel]) -> Iterator[str]:
    own = [name for name in part.model_fields if name in part.__annotations__]
    yield from own
    yield from (name for name in part.model_fields if name not in own)


def _options(schema: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], bool]:
    options = list(schema.get("anyOf", [schema]))
    rest = [option for option in options if option.get("type") != "null"]
    return rest, len(rest) < len(options)


def _part_of(owner: type[BaseModel], name: str) -> type[BaseModel] | None:
    annotation = owner.model_fields[name].annotation
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _kind(path: str, options: list[Mapping[str, Any]], nullable: bool) -> str:
    name = path.rpartition(".")[2]
    if name in ("hosts", "nics") and any(option.get("type") == "object" for option in options):
        return name
    if name == "rpc_ports":
        return "band"
    if path == "router.policy":
        return "choice"
    first = options[0]
    if "enum" in first:
        return "choice"
    kind = first.get("type")
    if kind == "array":
        items = first.get("items", {}).get("type")
        return "ints" if items == "integer" else "lines" if name == "args" else "words"
    if kind == "object":
        return "flags" if name == "flags" else "env"
    if kind == "boolean":
        return "maybe" if nullable else "bool"
    return {"integer": "int", "number": "number"}.get(str(kind), "long" if name == "prompt" else "text")


def _label(path: str) -> str:
    head = _PARTS.get(path.partition(".")[0]) if "." in path else None
    label = _words(path)
    if head is None:
        return label
    return f"{head} {label if label[1:2].isupper() else label[:1].lower() + label[1:]}"


def _words(path: str) -> str:
    words = [_WORDS.get(word, word) for word in path.rpartition(".")[2].split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _help(owner: type[BaseModel], name: str) -> str:
    text = attributes_help(owner).get(name, "")
    if text.startswith("see `"):
        text = attributes_help(Deployment).get(name, "")
    # The file says None and True where the form has an empty control and a tick.
    text = re.sub(r"\bNone\b", "empty", re.sub(r"^True (?=[a-z])", "", text))
    return re.sub(r"(?:^|(?<=\. ))[a-z](?=[a-z]* )", lambda match: match[0].upper(), text)


def _first_sentence(part: type[BaseModel]) -> str:
    return inspect.cleandoc(part.__doc__ or "").partition("\n")[0]


def knows(dialect: Dialect, path: str) -> bool:
    """Returns True when the dialect has a use for the field, as `planning.fields.check_fields` judges it."""
    head, _, rest = path.partition(".")
    # Of a part within a part, such as `prefill.run`, a dialect knows all or nothing.
    name = rest.partition(".")[0]
    names = {path, head, f"{head}.{name}"}
    names |= {f"workers.{name}"} if head in _ROLES and name in WorkerSpec.model_fields else set()
    known = fields_of(dialect)
    if head in _ROLES and f"{head}.count" not in known:
        # Of a role that it does not have there is nothing to say.
        return False
    if head == "workers":
        # Of all workers there is something to say when a role may say it.
        names |= {f"{role}.{name}" for role in _ROLES}
    if "." not in path and any(each.startswith(f"{path}.") for each in known):
        return True
    return bool(names & known)


def form_document(dialects: Mapping[str, Dialect]) -> dict[str, Any]:
    """Returns sections, fields, routers' policies and, for each dialect, what it is and which fields it knows."""
    fields = form_fields()
    return {
        "sections": [{"id": section, "title": title, "open": section in _OPEN} for section, title, _ in _SECTIONS],
        "fields": [asdict(field) for field in fields],
        "dialects": [
            {
                "name": dialect.name,
                "title": dialect.title,
                "engine": dialect.engine,
                "about": dialect.about,
                "transports": list(dialect.transports),
                "routers": list(dialect.routers),
                "fields": [field.path for field in fields if knows(dialect, field.path)],
            }
            for dialect in dialects.values()
        ],
        "policies": {kind: list(policies) for kind, policies in POLICIES.items()},
    }
