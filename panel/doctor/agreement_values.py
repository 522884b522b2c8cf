"""Rules on the values of one process's options and variables: shortened names, JSON, lists, what excludes what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ..flags.table import load_table
from ..flags.version import version_of as numbers_of
from .agreement_devices import gpu_count
from .command import read_json
from .flag_history import version_of
from .group import Group, seen
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS", "V0_KEYS", "kv_keys"]

_ABBREVIATED = Rule(
    "flag-abbreviated",
    "An option by the beginning of its name",
    "argparse takes the beginning of a name as long as no other option begins so. A later version may have one, and "
    "then the server refuses the option as ambiguous.",
    ("SGLang release wheels 0.4.5 to 0.5.23",),
)
_JSON = Rule(
    "option-json",
    "An option's value should be JSON and is none",
    "A shell takes quotes away that are not quoted themselves, and cuts unquoted JSON at its spaces and commas. The "
    "program gets words that it cannot read.",
    ("vLLM documentation: KV transfer configuration", "bash(1): QUOTING, Brace Expansion"),
)
_KV_CONFIG = Rule(
    "vllm-kv-config",
    "A KV transfer configuration that vLLM refuses",
    "vLLM's configuration forbids keys that it does not know, and a connector without a role starts nothing.",
    ("vLLM source: KVTransferConfig",),
)
_IB_MAP = Rule(
    "ib-device-map",
    "A map of GPUs to NICs that does not fit the worker's GPUs",
    "Keys are the GPUs as the process sees them, counted from 0 after CUDA_VISIBLE_DEVICES. Every GPU that the worker "
    "uses must be a key, else SGLang ends with a ValueError.",
    ("SGLang source: validation_hook.py",),
)
_ENCODER = Rule(
    "encoder-exclusive",
    "Options of an encoder that exclude each other",
    "--encoder-only, --language-only and --disaggregation-mode make different processes: an encoder alone has no "
    "language model and no KV cache to send.",
    ("SGLang documentation: EPD disaggregation",),
)
_ENCODER_URLS = Rule(
    "encoder-urls-joined",
    "--encoder-urls takes its URLs as separate words",
    "The option takes several words and does not split at commas, so two URLs with a comma between them are one "
    "wrong address.",
    ("SGLang documentation: EPD disaggregation",),
)
_POOL = Rule(
    "thread-pool-queue",
    "More queues than threads that serve them",
    "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE must be at least SGLANG_DISAGGREGATION_QUEUE_SIZE (4 unless set); the "
    "prefill server asserts it. The pool is between 4 and 12 unless set, by the number of CPUs.",
    ("SGLang documentation: PD disaggregation",),
)
_UNREAD = Rule(
    "variable-unread",
    "A variable that nobody reads under this name",
    "Mooncake chooses NVLink within a node by MC_INTRANODE_NVLINK; its documentation names MC_INTRA_NVLINK, which is "
    "read but decides nothing. The RPC ports were once misspelt.",
    ("Mooncake source: transfer_engine_impl.cpp",),
)

V0_KEYS = ("kv_rank", "kv_parallel_size", "kv_buffer_size", "kv_ip")
_KV_ROLES = ("kv_producer", "kv_consumer", "kv_both")
_JSON_OPTIONS = (
    "kv_transfer_config",
    "ec_transfer_config",
    "hicache_storage_backend_extra_config",
    "json_model_override_args",
)
_INSTEAD: Mapping[str, str] = {
    "MC_INTRA_NVLINK": "MC_INTRANODE_NVLINK",
    "MC_MIN_PRC_PORT": "MC_MIN_RPC_PORT",
    "MC_MAX_PRC_PORT": "MC_MAX_RPC_PORT",
}
_LEAST_POOL, _MOST_POOL, _QUEUES = 4, 12, 4


def flag_abbreviated(group: Group) -> list[Finding]:
    """Finds options of SGLang that are written by the beginning of their name."""
    found: list[Finding] = []
    table = load_table("sglang")
    for worker in group.processes:
        if table is None or worker.engine is not Engine.SGLANG or worker.role is WorkerRole.ROUTER or worker.resolved:
            continue
        version = table.nearest(version_of(worker))
        for flag in worker.flags:
            if f"--{flag.name}" in table.options:
                continue
            longer = table.completions(f"--{flag.name}", version)
            if len(longer) != 1:
                continue
            whole = longer[0].removeprefix("--")
            evidence = (Evidence(worker.source, f"{worker.name}: --{flag.name} {' '.join(flag.values)}".rstrip()),)
            reason = f"--{flag.name} is short for --{whole}, as long as no other option begins so."
            subject = f"{worker.name}: --{flag.name}"
            found.append(
                _ABBREVIATED.finding(Severity.INFO, subject, evidence, reason, f"Write --{whole}.", f"--{whole}")
            )
    return found


def option_json(group: Group) -> list[Finding]:
    """Finds values that should be JSON and are none."""
    found: list[Finding] = []
    for worker in group.processes:
        for name in (*_JSON_OPTIONS, *_MAPS):
            value = worker.get(name)
            written = value.lstrip("'\"").startswith("{")
            needs = name in {"kv_transfer_config", "ec_transfer_config"} and value not in {"", "true"}
            if worker.resolved or "$" in value or not (written or needs) or read_json(value) is not None:
                continue
            option = f"--{name.replace('_', '-')}"
            evidence = (Evidence(worker.source, f"{worker.name}: {option} {value}"[:200]),)
            reason = f"What {worker.name} gets for {option} is no JSON: the shell took its quotes, or there are none."
            remedy = f'Put the JSON between single quotes: {option} \'{{"key": "value"}}\'.'
            found.append(_JSON.finding(Severity.ERROR, f"{worker.name}: {option}", evidence, reason, remedy))
    return found


def vllm_kv_config(group: Group) -> list[Finding]:
    """Finds keys and roles that vLLM's KV transfer configuration does not have."""
    found: list[Finding] = []
    for worker in group.servers:
        config = read_json(worker.get("kv_transfer_config"))
        version = version_of(worker)
        # Before KVTransferConfig was closed, keys came and went unseen.
        if worker.engine is not Engine.VLLM or worker.resolved or (version and version < (0, 9)):
            continue
        if config is not None and not isinstance(config, dict):
            evidence = (Evidence(worker.source, worker.get("kv_transfer_config")[:200]),)
            reason = "The configuration is no JSON object."
            found.append(_KV_CONFIG.finding(Severity.ERROR, worker.name, evidence, reason, "Write an object."))
        if not isinstance(config, dict):
            continue
        known = kv_keys(worker.version)
        for key in config:
            if key in known or key in V0_KEYS:
                continue
            near = get_close_matches(str(key), known, n=1, cutoff=0.7)
            remedy = f"Write {near[0]}." if near else f"Remove it; the keys are {', '.join(known)}."
            evidence = (Evidence(worker.source, f"{worker.name}: {key}"[:200]),)
            reason = f"vLLM has no key {str(key)[:60]} in its KV transfer configuration."
            corrected = near[0] if near else None
            subject = f"{worker.name}: {str(key)[:60]}"
            found.append(_KV_CONFIG.finding(Severity.ERROR, subject, evidence, reason, remedy, corrected))
        role = config.get("kv_role")
        if role not in _KV_ROLES and (role is not None or "kv_connector" in config):
            near = get_close_matches(str(role), _KV_ROLES, n=1, cutoff=0.5)
            remedy = f"Write {near[0] if near else 'kv_producer, kv_consumer or kv_both'}."
            reason = f"vLLM has no kv_role {str(role)[:40]!r}." if role is not None else "A connector needs a kv_role."
            evidence = (seen(worker, "kv_role"),)
            corrected = near[0] if near else None
            subject = f"{worker.name}: kv_role"
            found.append(_KV_CONFIG.finding(Severity.ERROR, subject, evidence, reason, remedy, corrected))
    return found


def kv_keys(version: str) -> tuple[str, ...]:
    """Returns the keys that vLLM's KV transfer configuration has in a version; today's for an empty one."""
    table = load_table("vllm-kv-transfer")
    return tuple(sorted(table.names_at(table.nearest(numbers_of(version))))) if table else ()


_MAPS = ("disaggregation_ib_device", "mooncake_ib_device")


def ib_device_map(group: Group) -> list[Finding]:
    """Finds maps of GPUs to NICs that miss a GPU, or have keys or values that are none."""
    found: list[Finding] = []
    for worker in group.servers:
        text = worker.get("disaggregation_ib_device")
        mapping = read_json(text) if text.startswith("{") else None
        if worker.get("mooncake_ib_device").startswith("{"):
            evidence = (seen(worker, "mooncake_ib_device"),)
            reason = "--mooncake-ib-device takes a list with commas and no map."
            remedy = "Write the names with commas."
            found.append(_IB_MAP.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
        if not isinstance(mapping, dict):
            continue
        wrong = [key for key in mapping if not re.fullmatch(r"\d{1,4}", str(key))]
        empty = [key for key, names in mapping.items() if not isinstance(names, str) or not names.strip(" ,")]
        evidence = (seen(worker, "disaggregation_ib_device"),)
        if wrong or empty:
            what = f"{', '.join(map(str, wrong[:4]))} is no GPU" if wrong else f"GPU {empty[0]} has no NIC's name"
            reason = f"In the map of {worker.name} {what}."
            remedy = 'Write GPU numbers and names: {"0": "mlx5_0,mlx5_1", "1": "mlx5_2"}.'
            found.append(_IB_MAP.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
        lacking = [gpu for gpu in _visible_gpus(worker) if gpu not in mapping]
        if lacking:
            reason = f"{worker.name} uses GPU {', '.join(lacking)}, and the map has no NIC for it."
            remedy = f"Add {', '.join(lacking)} to the map."
            found.append(_IB_MAP.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
    return found


def _visible_gpus(worker: WorkerArguments) -> list[str]:
    """Returns the GPUs of a SGLang worker as the process counts them."""
    if worker.engine is not Engine.SGLANG or worker.partial:
        return []
    base, step = worker.number("base_gpu_id", 0), worker.number("gpu_id_step", 1)
    return [str(base + place * step) for place in range(gpu_count(worker))]


def encoder_exclusive(group: Group) -> list[Finding]:
    """Finds an encoder that is also something else."""
    found: list[Finding] = []
    for worker in group.processes:
        if worker.engine is not Engine.SGLANG or not worker.is_on("encoder_only"):
            continue
        others = [name for name in ("language_only",) if worker.is_on(name)]
        if worker.get("disaggregation_mode", "null") != "null":
            others.append("disaggregation_mode")
        if others:
            options = " and ".join(f"--{name.replace('_', '-')}" for name in others)
            evidence = [seen(worker, name) for name in ("encoder_only", *others)]
            reason = f"--encoder-only does not go together with {options}."
            remedy = f"Remove {options} from the encoder, or --encoder-only from the worker that has a role."
            found.append(_ENCODER.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
    return found


def encoder_urls(group: Group) -> list[Finding]:
    """Finds URLs of encoders that are joined by commas."""
    found: list[Finding] = []
    for worker in group.processes:
        for name in ("encoder-urls", "encoder-register-urls"):
            for flag in worker.all_of(name):
                if not any("," in value for value in flag.values):
                    continue
                urls = [url for value in flag.values for url in value.split(",") if url]
                corrected = f"--{name} {' '.join(urls)}"
                evidence = (Evidence(worker.source, f"{worker.name}: --{name} {' '.join(flag.values)}"),)
                reason = f"--{name} takes {flag.values[0]} for one URL."
                found.append(
                    _ENCODER_URLS.finding(
                        Severity.ERROR, worker.name, evidence, reason, f"Write {corrected}.", corrected
                    )
                )
    return found


def thread_pool_queue(group: Group) -> list[Finding]:
    """Finds more queues than threads that serve them."""
    found: list[Finding] = []
    pool_name, queue_name = "SGLANG_DISAGGREGATION_THREAD_POOL_SIZE", "SGLANG_DISAGGREGATION_QUEUE_SIZE"
    for worker in group.servers:
        pool, queue = (_count(worker.env.get(name)) for name in (pool_name, queue_name))
        if worker.engine is not Engine.SGLANG or worker.role is WorkerRole.DECODE or (pool is None and queue is None):
            continue
        wanted = queue if queue is not None else _QUEUES
        if pool is not None and pool < wanted:
            severity, reason = (
                Severity.ERROR,
                f"{pool} threads cannot serve {wanted} queues, and the server asserts it.",
            )
        elif pool is None and wanted > _MOST_POOL:
            severity, reason = Severity.ERROR, f"Without a pool size there are at most {_MOST_POOL} threads."
        elif pool is None and wanted > _LEAST_POOL:
            severity, reason = Severity.WARNING, f"On a host with few CPUs there are {_LEAST_POOL} threads."
        else:
            continue
        evidence = [
            Evidence(worker.source, f"{name}={worker.env[name]}" if name in worker.env else f"{name} not set")
            for name in (pool_name, queue_name)
        ]
        remedy = f"Set {pool_name} to {wanted} or more."
        found.append(_POOL.finding(severity, worker.name, evidence, reason, remedy, str(wanted)))
    return found


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\s*\d{1,6}\s*", text) else None


def variable_unread(group: Group) -> list[Finding]:
    """Finds variables under names that decide nothing."""
    found: list[Finding] = []
    for worker in group.processes:
        for name, instead in _INSTEAD.items():
            if name not in worker.env or instead in worker.env:
                continue
            evidence = (Evidence(worker.source, f"{name}={worker.env[name]}"),)
            old = name.endswith("_PORT")
            reason = f"{name} is an old spelling." if old else f"{name} decides nothing; Mooncake looks at {instead}."
            severity = Severity.INFO if old else Severity.WARNING
            found.append(_UNREAD.finding(severity, worker.name, evidence, reason, f"Set {instead}.", instead))
    return found


CHECKS: tuple[Check[Group], ...] = (
    Check(_JSON, option_json),
    Check(_KV_CONFIG, vllm_kv_config),
    Check(_IB_MAP, ib_device_map),
    Check(_ENCODER, encoder_exclusive),
    Check(_ENCODER_URLS, encoder_urls),
    Check(_POOL, thread_pool_queue),
    Check(_UNREAD, variable_unread),
    Check(_ABBREVIATED, flag_abbreviated),
)
