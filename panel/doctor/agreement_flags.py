"""Rules on the options of one process: written twice, gone, ignored, or of another version."""

from __future__ import annotations

import json

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .agreement_values import V0_KEYS
from .command import read_json
from .flag_history import changes, version_of
from .group import Group, said, seen
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS"]

_TWICE = Rule(
    "flag-twice",
    "An option is written twice with different values",
    "argparse takes the last one without a word. A recipe that appends its own --port or --host undoes what was set "
    "before, and the other processes look for the worker where it is not.",
    ("NVIDIA/srt-slurm#155",),
)
_GONE = Rule(
    "flag-gone",
    "An option that this version of the engine does not have",
    "Options of SGLang come and go. A gone one ends the server at once, a deprecated one will; the shortened form of "
    "several options is refused as ambiguous.",
    ("SGLang release wheels 0.4.5 to 0.5.23",),
)
_MINI_LB = Rule(
    "mini-lb-gone",
    "sglang.srt.disaggregation.mini_lb is no more",
    "The load balancer of SGLang 0.4.5 is a stub in 0.5.2 and gone today; the router took its place.",
    ("SGLang release wheels 0.4.5 to 0.5.23",),
)
_V0_CONFIG = Rule(
    "vllm-v0-kv-config",
    "A KV transfer configuration of vLLM V0",
    "kv_rank, kv_parallel_size, kv_buffer_size and kv_ip are refused by today's vLLM, whose configuration forbids "
    "unknown keys.",
    ("vLLM source: KVTransferConfig", "Mooncake documentation: vLLM V0 integration"),
)
_CONFIG_IGNORED = Rule(
    "config-path-ignored",
    "SGLang ignores MOONCAKE_CONFIG_PATH",
    "Only SGLang 0.4.5.post1 read a mooncake.json for PD. Since then metadata are exchanged directly "
    "(P2PHANDSHAKE), and NICs and ports are options; what stands in the file has no effect.",
    ("sgl-project/sglang#5460", "sgl-project/sglang#5729", "SGLang release wheels 0.4.5 to 0.5.23"),
)
_METADATA = Rule(
    "metadata-server-kind",
    "A metadata server that the wheel may not speak to",
    "etcd and redis are options of Mooncake's build; the wheel lacks redis and aborts the process on such a URL. For "
    "PD none is needed.",
    ("kvcache-ai/Mooncake#375", "kvcache-ai/Mooncake#386", "measured with Mooncake 0.3.13"),
)
_PRESENCE = Rule(
    "variable-presence",
    "A variable that counts as soon as it is set",
    "Mooncake tests some variables by their presence: MC_FORCE_TCP=0 forces TCP. SGLang, in turn, drops the NIC list "
    "only for MC_FORCE_TCP=1.",
    ("Mooncake source: transfer_engine_impl.cpp",),
)
_DECODE_CACHE = Rule(
    "decode-radix-cache",
    "Options of a prefix cache that decode does not have",
    "A decode worker switches its radix cache off unless --disaggregation-decode-enable-radix-cache is given, and "
    "that option excludes others.",
    ("SGLang documentation: PD disaggregation",),
)
_METRICS_OFF = Rule(
    "engine-metrics-off",
    "A worker's KV transfer cannot be seen",
    "SGLang serves /metrics only with --enable-metrics, and vLLM's connector statistics are not in Prometheus in all "
    "versions. The counters of the NICs then are the only source.",
    ("vllm-project/vllm#56939", "vllm-project/vllm#50374", "sgl-project/sglang#32147"),
)
_FAKE = Rule(
    "transfer-backend-unusable",
    "A transport that this role or version does not have",
    "`fake` is for decode alone and makes prefill fail; `mooncake_tcp` came with 0.5.14.",
    ("SGLang documentation: PD disaggregation",),
)


_PRESENCE_TESTED = (
    "MC_FORCE_TCP",
    "MC_FORCE_HCA",
    "MC_FORCE_MNNVL",
    "MC_INTRANODE_NVLINK",
    "MC_CUSTOM_TOPO_JSON",
    "MC_USE_IPV6",
    "MC_ENABLE_DEST_DEVICE_AFFINITY",
    "MC_LEGACY_RPC_PORT_BINDING",
    "MC_USE_TENT",
    "MC_USE_TEV1",
)
_NEGATIVE = frozenset({"0", "false", "no", "off", ""})
_MAY_REPEAT = frozenset(
    {"prefill", "decode", "worker-urls", "lora-paths", "e", "env", "middleware", "served-model-name"}
)
_SPECULATIVE = frozenset({"EAGLE", "EAGLE3", "DSPARK"})


def flag_twice(group: Group) -> list[Finding]:
    """Finds options that are written twice."""
    found: list[Finding] = []
    for worker in group.processes:
        written: dict[str, list[str]] = {}
        for flag in worker.flags:
            if flag.name not in _MAY_REPEAT:
                written.setdefault(flag.name, []).append(",".join(flag.values))
        for name, values in written.items():
            if len(values) < 2 or len(set(values)) == 1:
                continue
            evidence = [Evidence(worker.source, f"--{name} {value}") for value in values]
            reason = f"The last --{name} wins: {values[-1]} in place of {values[0]}."
            remedy = f"Keep one --{name}; others may count on the first value."
            found.append(_TWICE.finding(Severity.ERROR, f"{worker.name}: --{name}", evidence, reason, remedy))
    return found


def flag_gone(group: Group) -> list[Finding]:
    """Finds options that the worker's version, or today's when it is not known, does not have."""
    found: list[Finding] = []
    for worker in group.servers:
        if worker.engine is not Engine.SGLANG:
            continue
        version = version_of(worker)
        for name in dict.fromkeys(flag.name for flag in worker.flags):
            change = changes().get(name)
            if change is None:
                continue
            evidence = (Evidence(worker.source, f"{worker.name}: --{name}"),)
            subject = f"{worker.name}: --{name}"
            remedy = f"Use {change.instead}."
            gone = change.is_gone(version)
            if gone or change.is_early(version):
                what = f"is gone since {change.until}" if gone else f"came with {change.since}"
                if change.never:
                    what = "exists in no version"
                known = f" and this is {worker.version}" if version else ""
                reason = f"--{name} {what}{known}; the server refuses it."
                severity = Severity.ERROR if version or change.never else Severity.WARNING
                found.append(_GONE.finding(severity, subject, evidence, reason, remedy))
            elif change.is_deprecated(version):
                reason = f"--{name} is deprecated since {change.deprecated}."
                found.append(_GONE.finding(Severity.INFO, subject, evidence, reason, remedy))
    return found


def mini_lb_gone(group: Group) -> list[Finding]:
    """Finds the load balancer that is no more."""
    found: list[Finding] = []
    for router in group.of_role(WorkerRole.ROUTER):
        old = version_of(router) or next((found_ for worker in group.servers if (found_ := version_of(worker))), ())
        if ("mini_lb" in router.program or "launch_lb" in router.program) and not (old and old < (0, 5)):
            evidence = (Evidence(router.source, f"python -m {router.program}"),)
            options = " ".join(
                f"--{target.role.value} {target.url}" for target in group.targets if target.router is router
            )
            corrected = f"python -m sglang_router.launch_router --pd-disaggregation {options}".strip()
            reason = "This module is a stub since SGLang 0.5.2 and missing today."
            remedy = "Start the router (pip install sglang-router); --mini-lb gives the old behaviour for debugging."
            found.append(_MINI_LB.finding(Severity.ERROR, router.name, evidence, reason, remedy, corrected))
    return found


def vllm_v0_kv_config(group: Group) -> list[Finding]:
    """Finds keys of vLLM V0 in --kv-transfer-config."""
    found: list[Finding] = []
    for worker in group.servers:
        version = version_of(worker)
        keys = [key for key in V0_KEYS if worker.engine is Engine.VLLM and worker.get(key)]
        # A worker that tells these in its log has started with them: older versions print every default.
        if not keys or worker.resolved or (version and version < (0, 9)):
            continue
        evidence = [seen(worker, key) for key in keys]
        corrected = _today_config(worker)
        reason = f"Today's vLLM refuses {', '.join(keys)}."
        remedy = f"Write --kv-transfer-config '{corrected}'."
        found.append(_V0_CONFIG.finding(Severity.ERROR, worker.name, evidence, reason, remedy, corrected))
    return found


def _today_config(worker: WorkerArguments) -> str:
    """Returns a worker's KV transfer configuration without the keys of V0."""
    config = read_json(worker.get("kv_transfer_config"))
    known = config if isinstance(config, dict) else {}
    role = worker.get("kv_role") or "kv_both"
    start = {"kv_connector": worker.get("kv_connector") or "MooncakeConnector", "kv_role": role}
    rest = {key: value for key, value in known.items() if key not in V0_KEYS and key not in start}
    return json.dumps(start | rest, separators=(",", ":"))


_VLLM_V1 = (0, 8, 5)
"""The first vLLM whose MooncakeConnector is the V1 engine's."""


def mooncake_config_ignored(group: Group) -> list[Finding]:
    """Finds MOONCAKE_CONFIG_PATH where nobody reads it."""
    found: list[Finding] = []
    for worker in group.servers:
        path = worker.env.get("MOONCAKE_CONFIG_PATH")
        if path is None or worker.version == "0.4.5.post1":
            continue
        evidence = (Evidence(worker.source, f"MOONCAKE_CONFIG_PATH={path}"),)
        if worker.engine is Engine.SGLANG and worker.role in {WorkerRole.PREFILL, WorkerRole.DECODE}:
            reason = (
                "SGLang reads no mooncake.json for PD, so its metadata server, protocol and devices have no effect."
            )
            remedy = "Remove it; use --disaggregation-ib-device and --disaggregation-bootstrap-port."
        elif worker.engine is Engine.VLLM and worker.get("kv_connector") == "MooncakeConnector":
            if worker.get("kv_rank") or () < version_of(worker) < _VLLM_V1:
                continue  # The V0 engine's connector read the file, and its JSON alone had ranks.
            reason = "vLLM's MooncakeConnector reads no file; MOONCAKE_CONFIG_PATH is for its store alone."
            remedy = "Remove it; use kv_connector_extra_config for protocol and devices."
        else:
            continue
        found.append(_CONFIG_IGNORED.finding(Severity.WARNING, worker.name, evidence, reason, remedy))
    return found


def metadata_server_kind(group: Group) -> list[Finding]:
    """Finds redis:// and etcd:// where Mooncake's metadata server is named."""
    found: list[Finding] = []
    for worker in group.processes:
        places = [
            (f"--{name.replace('_', '-')}", worker.get(name)) for name in ("metadata_server", "metadata_server_url")
        ]
        places += [(name, worker.env.get(name, "")) for name in ("MOONCAKE_TE_META_DATA_SERVER", "MC_METADATA_SERVER")]
        for place, value in places:
            kind = value.partition("://")[0].lower()
            if kind not in {"redis", "etcd"}:
                continue
            evidence = (Evidence(worker.source, f"{place} {value}"),)
            reason = f"Mooncake's wheel {'aborts on' if kind == 'redis' else 'may lack support for'} {kind}://."
            severity = Severity.ERROR if kind == "redis" else Severity.WARNING
            found.append(
                _METADATA.finding(severity, worker.name, evidence, reason, "Use P2PHANDSHAKE.", "P2PHANDSHAKE")
            )
    return found


def variable_presence(group: Group) -> list[Finding]:
    """Finds variables that are meant to be off and are on."""
    found: list[Finding] = []
    for worker in group.servers:
        for name in _PRESENCE_TESTED:
            value = worker.env.get(name)
            if value is None:
                continue
            evidence = (Evidence(worker.source, f"{name}={value}"),)
            if value.strip().lower() in _NEGATIVE:
                reason = f"{name}={value} switches it on: Mooncake only looks whether it is set."
                found.append(_PRESENCE.finding(Severity.ERROR, worker.name, evidence, reason, f"Unset {name}."))
            elif name == "MC_FORCE_TCP" and value != "1" and worker.engine is Engine.SGLANG:
                reason = "Mooncake uses TCP, but SGLang keeps the NIC list unless the value is 1."
                remedy = "Set MC_FORCE_TCP=1, or use --disaggregation-transfer-backend mooncake_tcp."
                found.append(_PRESENCE.finding(Severity.WARNING, worker.name, evidence, reason, remedy, "1"))
    return found


def decode_radix_cache(group: Group) -> list[Finding]:
    """Finds options of a prefix cache that contradict each other or have no effect."""
    found: list[Finding] = []
    for worker in group.servers:
        if worker.engine is not Engine.SGLANG or worker.resolved:
            continue
        wanted = worker.is_on("disaggregation_decode_enable_radix_cache")
        if wanted:
            algorithm = worker.get("speculative_algorithm").upper()
            against = [
                name
                for name, holds in (
                    ("disable_radix_cache", worker.is_on("disable_radix_cache")),
                    ("enable_hisparse", worker.is_on("enable_hisparse")),
                    ("disaggregation_transfer_backend", said(worker, "disaggregation_transfer_backend") == "fake"),
                    ("speculative_algorithm", bool(algorithm) and algorithm not in _SPECULATIVE),
                    (
                        "disaggregation_decode_allocation_policy",
                        worker.get("disaggregation_decode_allocation_policy") == "prefill_complete",
                    ),
                )
                if holds
            ]
            if against:
                evidence = [seen(worker, name) for name in ("disaggregation_decode_enable_radix_cache", *against)]
                reason = f"A radix cache on decode does not go together with {', '.join(against)}."
                remedy = "Remove one of them."
                found.append(_DECODE_CACHE.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
            elif worker.role is WorkerRole.PREFILL:
                evidence = [seen(worker, "disaggregation_decode_enable_radix_cache")]
                reason = "The option is for decode workers; prefill has its radix cache anyway."
                found.append(_DECODE_CACHE.finding(Severity.INFO, worker.name, evidence, reason, "Remove it."))
        elif worker.role is WorkerRole.DECODE and worker.is_on("enable_hierarchical_cache"):
            evidence = [seen(worker, "enable_hierarchical_cache")]
            reason = "Decode switches its radix cache off, so the hierarchical cache has nothing to keep."
            remedy = "Add --disaggregation-decode-enable-radix-cache, or remove --enable-hierarchical-cache."
            found.append(_DECODE_CACHE.finding(Severity.WARNING, worker.name, evidence, reason, remedy))
    return found


def engine_metrics_off(group: Group) -> list[Finding]:
    """Finds workers whose transfers no metric shows."""
    silent = [worker for worker in group.pair if worker.engine is Engine.SGLANG and not worker.is_on("enable_metrics")]
    mooncake = [worker for worker in group.pair if "Mooncake" in worker.get("kv_connector")]
    found: list[Finding] = []
    if silent:
        evidence = [seen(worker, "enable_metrics") for worker in silent]
        reason = "These workers serve no /metrics, so neither queues nor KV transfers can be plotted."
        names = ", ".join(worker.name for worker in silent)
        found.append(_METRICS_OFF.finding(Severity.INFO, names, evidence, reason, "Add --enable-metrics."))
    if mooncake:
        evidence = [seen(worker, "kv_connector") for worker in mooncake]
        reason = "vLLM's connector counts transfers on prefill alone, and older versions not in Prometheus."
        remedy = "Watch the counters of the NICs first; MC_TE_METRIC=1 lets Mooncake log its throughput."
        found.append(_METRICS_OFF.finding(Severity.INFO, "vLLM", evidence, reason, remedy))
    return found


def transfer_backend_unusable(group: Group) -> list[Finding]:
    """Finds transports that a role or version does not have."""
    found: list[Finding] = []
    for worker in group.servers:
        backend = said(worker, "disaggregation_transfer_backend")
        version = version_of(worker)
        reason = ""
        if worker.engine is Engine.SGLANG and backend == "fake" and worker.role is WorkerRole.PREFILL:
            reason = "The backend `fake` is for decode alone."
        elif worker.engine is Engine.SGLANG and backend == "mooncake_tcp" and version and version < (0, 5, 14):
            reason = f"mooncake_tcp came with 0.5.14, and this is {worker.version}."
        if reason:
            evidence = (seen(worker, "disaggregation_transfer_backend"),)
            remedy = "Use mooncake; with MC_FORCE_TCP=1 it takes TCP."
            found.append(_FAKE.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
    return found


CHECKS: tuple[Check[Group], ...] = (
    Check(_TWICE, flag_twice),
    Check(_GONE, flag_gone),
    Check(_MINI_LB, mini_lb_gone),
    Check(_V0_CONFIG, vllm_v0_kv_config),
    Check(_CONFIG_IGNORED, mooncake_config_ignored),
    Check(_METADATA, metadata_server_kind),
    Check(_PRESENCE, variable_presence),
    Check(_DECODE_CACHE, decode_radix_cache),
    Check(_FAKE, transfer_backend_unusable),
    Check(_METRICS_OFF, engine_metrics_off),
)
