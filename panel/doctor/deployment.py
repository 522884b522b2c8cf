"""Whether a deployment will run on this host, before it is started: its plan, its commands, the host's devices.

A Deployment of ours is planned as it would be for a start, and its commands are judged; a script of launch commands
is read as it stands. `check_deployment_file` alone reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...engine.errors import CapacityError, ConfigError
from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from ...nic_probe.host import Host
from ...nic_probe.topology.survey import Topology
from ..deployment import Deployment, parse_deployment_text
from ..host_facts import HostFacts
from ..launch import LaunchPlan
from ..plan import RunIds, plan
from .agreement import check_agreement, sorted_findings
from .agreement_devices import gpu_count, gpus_of
from .arguments_of import arguments_of_plan
from .command import parse_script
from .group import Group, make_group, said, seen, split_deployments
from .source_file import open_source
from .worker import Engine, WorkerArguments

__all__ = ["RULES", "ModelSize", "check_commands", "check_deployment", "check_deployment_file", "check_plan"]

_MOST_BYTES = 1 << 20
_GIB = 1 << 30
_PRESET_NOTE = re.compile(r"^preset:[ \t]*\n(?:[ \t]+[^\n]*\n|\n)*", re.MULTILINE)

_PLAN = Rule(
    "deployment-plan",
    "A deployment that cannot be planned on this host",
    "The plan gives each process its ports. It fails when a wished port is taken or a band of ports is full.",
    ("docs/architecture.md",),
)
_NOTHING = Rule(
    "deployment-empty",
    "A file without anything that can be judged",
    "The file is neither a deployment of pdpanel nor a script with launch commands of SGLang, vLLM or pdpanel.",
)
_MEMORY = Rule(
    "deployment-memory",
    "Weights and KV do not fit into memory",
    "A worker that takes more than there is ends in an out-of-memory error, or the kernel kills it.",
    ("proc(5): /proc/meminfo",),
)
_TRANSPORT = Rule(
    "deployment-transport",
    "The host cannot carry the transport that is asked for",
    "Mooncake takes RDMA when there is a usable NIC and TCP when there is none, whatever it was told. KV over TCP "
    "costs several times more time and CPU.",
    ("measured with Mooncake 0.3.13", "llm-d/llm-d#2370", "kvcache-ai/Mooncake#1811"),
)
_UNTRUSTED = Rule(
    "deployment-runs-code",
    "A deployment that brings code of its own",
    "LD_PRELOAD, PYTHONPATH and their like load code from where they point into every process, and "
    "--trust-remote-code runs what the model's author wrote. In a file from elsewhere these deserve a look.",
    ("docs/architecture.md",),
)
_OPEN = Rule(
    "deployment-open",
    "Workers that anybody on the network may use",
    "A worker that listens on more than loopback without --api-key answers whoever reaches it, also requests that "
    "flush, abort and profile.",
    ("docs/architecture.md",),
)
RULES = (_PLAN, _NOTHING, _MEMORY, _TRANSPORT, _UNTRUSTED, _OPEN)

_LOADS_CODE = (
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "VLLM_PLUGINS",
    "HF_ENDPOINT",
)
_RUNS_CODE = ("trust_remote_code", "kv_connector_module_path", "custom_sigquit_handler", "middleware")


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What a model takes; 0 for what is not known.

    Attributes:
        weights_bytes: its weights, as they are loaded.
        kv_bytes_per_token: KV of one token over all layers.
    """

    weights_bytes: int = 0
    kv_bytes_per_token: int = 0


def check_deployment_file(path: Path, host: Host, topology: Topology) -> tuple[Finding, ...]:
    """Returns what is wrong with the deployment, or the script of launch commands, in a file.

    Raises:
        ConfigError: the file cannot be read, or is a deployment with a wrong field.
    """
    with open_source(path, "--deployment", "name a deployment or a script") as file:
        try:
            data = file.read(_MOST_BYTES + 1)
        except OSError as error:
            problem = error.strerror or "cannot be read"
            raise ConfigError("--deployment", str(path), problem, "name a readable file") from None
    if len(data) > _MOST_BYTES:
        raise ConfigError("--deployment", str(path), "is larger than 1 MiB", "name a deployment or a script")
    text = data.decode("utf-8", "replace")
    others = _other_kind(text, str(path))
    if others is not None:
        workers, findings = others
        return sorted_findings((*findings, *check_commands(workers, host, topology)))
    workers = parse_script(text, str(path))
    if not workers:
        # A script is no YAML mapping, and a deployment starts no process: what has no command is judged as YAML.
        if not _is_yaml(path, text):
            evidence = (Evidence(str(path), "no launch command"),)
            reason = "The file holds neither a deployment nor a launch command that is known."
            remedy = "Name a deployment (`pdpanel up --dry-run` prints one) or a script that starts workers."
            return (_NOTHING.finding(Severity.WARNING, str(path), evidence, reason, remedy),)
        return check_deployment(parse_deployment_text(_without_note(text), str(path)), host, topology)
    return check_commands(workers, host, topology)


def _other_kind(text: str, source: str) -> tuple[tuple[WorkerArguments, ...], tuple[Finding, ...]] | None:
    """Returns the workers and findings of a file that is neither a script nor a deployment; None when it is one.

    A manifest's workers are judged as commands; a config has none, and is judged by its own rules.
    """
    # Lint itself asks this module about commands.
    from ..lint.kind import Kind, recognise
    from ..lint.lint import lint_text
    from ..lint.manifests import manifest_commands

    pasted = recognise(text)
    if pasted.kind in {Kind.COMPOSE, Kind.MANIFEST}:
        found = tuple(one.worker for one in manifest_commands(pasted, source))
        return (found, ()) if found else None
    if pasted.kind in {Kind.MOONCAKE, Kind.IB_MAP, Kind.KV_CONFIG, Kind.BROKEN_JSON}:
        return (), lint_text(text, source).findings
    return None


def check_deployment(
    deployment: Deployment,
    host: Host,
    topology: Topology,
    facts: HostFacts | None = None,
    model: ModelSize | None = None,
) -> tuple[Finding, ...]:
    """Returns what would go wrong with `deployment` on `host`, the gravest first.

    Args:
        deployment: what a person wants.
        host: where it would run.
        topology: what follows from the host's devices.
        facts: the host as the planner sees it; made from `host` when None.
        model: how large the model is, as far as it is known.
    """
    try:
        planned = plan(deployment, facts or _facts(host), RunIds("doctor", "/nowhere", "/nowhere"))
    except (ConfigError, CapacityError) as error:
        field = error.field if isinstance(error, ConfigError) else "ports"
        evidence = (Evidence("plan", str(error)),)
        reason = "No plan can be made for this deployment."
        remedy = error.remedy if isinstance(error, ConfigError) else "Stop a run."
        return (_PLAN.finding(Severity.ERROR, field, evidence, reason, remedy[:1].upper() + remedy[1:]),)
    # All of it runs on the host that is looked at, whatever that host calls itself.
    here = [replace(worker, node="") for worker in arguments_of_plan(planned)]
    return _check(here, host, topology, model or ModelSize())


def check_commands(
    workers: Sequence[WorkerArguments],
    host: Host | None = None,
    topology: Topology | None = None,
    model: ModelSize | None = None,
) -> tuple[Finding, ...]:
    """Returns what would go wrong with launch commands; several deployments are judged one by one.

    Args:
        workers: in the order of their text.
        host: where they would run; None looks at the commands alone.
        topology: what follows from the host's devices.
        model: how large the model is, as far as it is known.
    """
    found: list[Finding] = []
    for deployment in split_deployments(workers):
        found += _check(deployment, host, topology, model or ModelSize())
    return sorted_findings(found)


def check_plan(planned: LaunchPlan) -> tuple[Finding, ...]:
    """Returns what does not fit together in a plan, wherever it will run, with what the plan itself noticed."""
    return sorted_findings((*planned.findings, *_check(arguments_of_plan(planned), None, None, ModelSize())))


def _check(
    workers: Sequence[WorkerArguments], host: Host | None, topology: Topology | None, model: ModelSize
) -> tuple[Finding, ...]:
    group = make_group(workers, host, topology)
    return sorted_findings(
        (
            *check_agreement(workers, host, topology),
            *_memory(group, model),
            *_transport(group),
            *_untrusted(group),
            *_open(group),
        )
    )


def _is_yaml(path: Path, text: str) -> bool:
    first = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    return path.suffix in {".yaml", ".yml"} or (":" in first and not first.startswith("#!"))


def _without_note(text: str) -> str:
    """Returns a preset without its block `preset:`, which says what it is for; another text as it is."""
    return _PRESET_NOTE.sub("", text, count=1)


def _facts(host: Host) -> HostFacts:
    network = host.state.network
    taken = {listener.port for listener in network.listeners.otherwise(())}
    return HostFacts(
        node=host.name.otherwise("this host"),
        cores=host.cpu.threads.otherwise(1),
        python="python3",
        taken=frozenset(taken),
        ephemeral=network.ephemeral_ports.otherwise((32768, 60999)),
    )


def _memory(group: Group, model: ModelSize) -> list[Finding]:
    host = group.host
    if host is None or not (model.weights_bytes or model.kv_bytes_per_token):
        return []
    local = [worker for worker in group.servers if group.here(worker)]
    on_cpu = [worker for worker in local if not gpu_count(worker)]
    found: list[Finding] = []
    # The bundled workers of one host map the same file of weights.
    kv = sum(worker.number("max_total_tokens", 8192) for worker in on_cpu) * model.kv_bytes_per_token
    needed = (model.weights_bytes if on_cpu else 0) + kv
    available = host.memory.available_bytes.value
    if available is not None and needed > available:
        evidence = (
            Evidence("weights and KV", _gib(needed)),
            Evidence(host.memory.available_bytes.source, f"{_gib(available)} available"),
        )
        reason = f"The workers need {_gib(needed)} and the host has {_gib(available)} left."
        remedy = "Lower --max-total-tokens, use fewer workers or a smaller model."
        found.append(_MEMORY.finding(Severity.ERROR, "memory", evidence, reason, remedy))
    sizes = {str(gpu.cuda_index): gpu.memory_total_bytes.value for gpu in host.gpus.devices}
    for worker in local:
        names = gpus_of(worker)
        smallest = min((size for name in names if (size := sizes.get(name)) is not None), default=None)
        share = model.weights_bytes // max(1, worker.number("tp_size", 1) * worker.number("pp_size", 1))
        if smallest is not None and names and share > smallest:
            evidence = (seen(worker, "tp_size"), Evidence("GPU memory", _gib(smallest)))
            reason = f"Each GPU of {worker.name} would hold {_gib(share)} of weights, and has {_gib(smallest)}."
            remedy = "Raise --tp-size, or use a quantised model."
            found.append(_MEMORY.finding(Severity.ERROR, worker.name, evidence, reason, remedy))
    return found


def _transport(group: Group) -> list[Finding]:
    host = group.host
    if host is None or not host.rdma.known:
        return []
    usable = [nic.name for nic in host.rdma.otherwise(()) if nic.usable]
    wants = [
        worker
        for worker in group.pair
        if group.here(worker)
        and said(worker, "disaggregation_transfer_backend").lower() in {"mooncake", "mooncakeconnector", "nixl"}
        and "MC_FORCE_TCP" not in worker.env
        and worker.get("mooncake_protocol", "rdma") != "tcp"
    ]
    if usable or not wants:
        return []
    named = [worker for worker in wants if worker.get("disaggregation_ib_device")]
    doubtful = [nic for nic in host.rdma.otherwise(()) if nic.usable is None]
    if doubtful and not named:
        return []
    why = [Evidence(nic.name, nic.why_not) for nic in host.rdma.otherwise(())][:8]
    evidence = [seen(worker, "disaggregation_transfer_backend") for worker in wants[:2]]
    evidence += why or [Evidence(host.rdma.source, "lists no device")]
    serves_gpus = bool(host.gpus.devices) and any(worker.engine is not Engine.BUNDLED for worker in wants)
    severity = Severity.WARNING if serves_gpus or host.rdma.value else Severity.INFO
    reason = "This host has no usable RDMA NIC, so the KV cache will travel over TCP."
    remedy = "Say that it is meant: transport mooncake_tcp. Else see what `pdpanel doctor` says of the NICs."
    names = ", ".join(worker.name for worker in wants)
    return [_TRANSPORT.finding(severity, names, evidence, reason, remedy, "mooncake_tcp")]


def _untrusted(group: Group) -> list[Finding]:
    found: list[Finding] = []
    by_cause: dict[tuple[str, str], list[WorkerArguments]] = {}
    for worker in group.processes:
        for name in _LOADS_CODE:
            if worker.env.get(name):
                by_cause.setdefault((name, worker.env[name]), []).append(worker)
        for name in _RUNS_CODE:
            if worker.is_on(name):
                by_cause.setdefault((f"--{name.replace('_', '-')}", worker.get(name)), []).append(worker)
    for (name, value), workers in by_cause.items():
        evidence = [Evidence(worker.source, f"{worker.name}: {name} {value}") for worker in workers[:4]]
        reason = f"{name} lets code from elsewhere run in {', '.join(worker.name for worker in workers)}."
        remedy = "Keep it only if you know where that code comes from."
        found.append(_UNTRUSTED.finding(Severity.WARNING, name, evidence, reason, remedy))
    return found


def _open(group: Group) -> list[Finding]:
    reachable = [
        worker
        for worker in group.servers
        if worker.engine is Engine.BUNDLED and not worker.get("api_key") and not _is_loopback(said(worker, "host"))
    ]
    if not reachable:
        return []
    evidence = [seen(worker, "host") for worker in reachable]
    reason = "Whoever reaches this address may use the workers."
    remedy = "Give prefill, decode and router --api-key (and --admin-api-key), or listen on 127.0.0.1."
    names = ", ".join(worker.name for worker in reachable)
    return [_OPEN.finding(Severity.WARNING, names, evidence, reason, remedy)]


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1", ""} or host.startswith("127.")


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
