"""Rules on ports: two servers on one, the kernel's own range, and what a router says about its workers' ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from ...nic_probe.checks.check import Check, Rule
from ...nic_probe.finding import Evidence, Finding, Severity
from .group import Group, Target, said
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = ["CHECKS"]

_BOOTSTRAP_CLASH = Rule(
    "bootstrap-port-clash",
    "Two prefill workers of one host have the same bootstrap port",
    "Each prefill instance runs a bootstrap server, on port 8998 unless told otherwise. The second one on a host "
    "does not start, or registers at the first one's server.",
    ("sgl-project/sglang#21268", "sgl-project/sglang#20952", "ray-project/ray#63741", "vLLM documentation"),
)
_BOOTSTRAP_MISMATCH = Rule(
    "bootstrap-port-mismatch",
    "The router names another bootstrap port than prefill has",
    "The router tells decode where prefill's bootstrap server is. When it names no port, decode takes its own "
    "--disaggregation-bootstrap-port, which must then equal prefill's.",
    ("SGLang documentation: PD disaggregation",),
)
_PORT_CLASH = Rule(
    "port-clash",
    "Two processes of one host want the same port",
    "The second one ends with Address already in use. A router and a SGLang server share the default 30000, and "
    "--dist-init-addr takes some ports behind its own.",
    ("vllm-project/vllm-ascend#4725", "kvcache-ai/Mooncake#383", "SGLang documentation: PD disaggregation"),
)
_EPHEMERAL = Rule(
    "port-ephemeral",
    "A port lies in the range that the kernel gives to connections",
    "Between choosing such a port and listening on it, an outgoing connection of any process may take it. The start "
    "then fails now and then with Address already in use.",
    ("sgl-project/sglang#37215", "sgl-project/sglang#7418", "SemiAnalysisAI/InferenceX#3000"),
)
_PORT_TAKEN = Rule(
    "port-taken",
    "Somebody listens already on a port that a worker wants",
    "The worker will end with Address already in use.",
    ("sgl-project/sglang#21268", "Mooncake documentation: troubleshooting"),
)
_ROUTER_WORKERS = Rule(
    "router-workers",
    "The router names workers that are not there, or in the wrong role",
    "A request goes to a URL that nobody serves, or prompts go to a decode worker. The router retries, and clients "
    "see time-outs.",
    ("sgl-project/sglang#8557",),
)

# SGLang takes this many ports from --dist-init-addr on.
_DIST_PORTS = 6


@dataclass(frozen=True, slots=True)
class _Use:
    worker: WorkerArguments
    port: int
    purpose: str


def _uses(group: Group) -> Iterator[_Use]:
    """Yields every port that a process of the group listens on, as far as its command says."""
    for worker in group.processes:
        if worker.role in {WorkerRole.METADATA, WorkerRole.STORE} and not worker.get("port"):
            continue
        leads = worker.number("node_rank", 0) == 0
        for name, purpose in (("port", "HTTP"), ("prometheus_port", "metrics"), ("encoder_bootstrap_port", "encoders")):
            port = said(worker, name)
            if port.isdigit() and int(port) and (leads or name != "port"):
                yield _Use(worker, int(port), purpose)
        if worker.role is WorkerRole.PREFILL and leads:
            port = said(worker, "disaggregation_bootstrap_port")
            if port.isdigit():
                yield _Use(worker, int(port), "bootstrap")
        if leads and (address := worker.get("dist_init_addr")):
            port = address.rpartition(":")[2]
            if port.isdigit():
                yield from (_Use(worker, int(port) + offset, "dist-init") for offset in range(_DIST_PORTS))
        if worker.engine is Engine.VLLM and "nixl" in worker.get("kv_connector").lower():
            port = worker.env.get("VLLM_NIXL_SIDE_CHANNEL_PORT", "5600")
            if port.isdigit():
                yield _Use(worker, int(port), "NIXL side channel")


def _meeting(uses: Sequence[_Use]) -> list[tuple[_Use, _Use]]:
    """Returns the pairs of uses of one port, without those on two named hosts: thousands of hosts may use one port."""
    by_port: dict[int, dict[str, list[int]]] = {}
    for index, use in enumerate(uses):
        by_port.setdefault(use.port, {}).setdefault(use.worker.node, []).append(index)
    pairs: list[tuple[int, int]] = []
    for by_node in by_port.values():
        unnamed = by_node.get("", [])
        for node, same in by_node.items():
            pairs += combinations(same, 2)
            if node:
                pairs += ((min(one, other), max(one, other)) for one in unnamed for other in same)
    return [(uses[one], uses[other]) for one, other in sorted(pairs)]


def bootstrap_port_clash(group: Group) -> list[Finding]:
    """Finds prefill workers of one host with one bootstrap port."""
    bootstraps = [use for use in _uses(group) if use.purpose == "bootstrap"]
    found: list[Finding] = []
    for one, other in _meeting(bootstraps):
        together = group.on_one_host(one.worker, other.worker)
        if together is False:
            continue
        reason = f"Both prefill workers want bootstrap port {one.port}"
        reason += " on one host." if together else "; if they run on one host, the second one does not start."
        taken = {use.port for use in bootstraps}
        free = next(port for port in range(one.port + 1, one.port + 1000) if port not in taken)
        flag = (
            "VLLM_MOONCAKE_BOOTSTRAP_PORT" if other.worker.engine is Engine.VLLM else "--disaggregation-bootstrap-port"
        )
        found.append(
            _BOOTSTRAP_CLASH.finding(
                Severity.ERROR if together else Severity.WARNING,
                other.worker.name,
                [_evidence(one), _evidence(other)],
                reason,
                f"Give {other.worker.name} {flag} {free}, and name it to the router: --prefill URL {free}.",
                str(free),
            )
        )
    return found


def bootstrap_port_mismatch(group: Group) -> list[Finding]:
    """Finds a router, or a decode worker, that expects prefill's bootstrap server on another port."""
    found: list[Finding] = []
    by_port = _by_port(group)
    for target in group.targets:
        if target.role is not WorkerRole.PREFILL:
            continue
        worker = _worker_of(by_port, target)
        if worker is None or worker.engine is Engine.OTHER:
            continue
        port = said(worker, "disaggregation_bootstrap_port")
        has = Evidence(worker.source, f"{worker.name}: bootstrap port {port}")
        if target.bootstrap_port and port and target.bootstrap_port != port:
            named = Evidence(target.router.source, f"--prefill {target.url} {target.bootstrap_port}")
            reason = f"Decode will look for the bootstrap server of {worker.name} on {target.bootstrap_port}."
            remedy = f"Write --prefill {target.url} {port}."
            found.append(_BOOTSTRAP_MISMATCH.finding(Severity.ERROR, target.url, (named, has), reason, remedy, port))
        elif not target.bootstrap_port and worker.engine is not Engine.VLLM:
            for decode in group.of_role(WorkerRole.DECODE):
                own = said(decode, "disaggregation_bootstrap_port")
                if own != port:
                    evidence = (has, Evidence(decode.source, f"{decode.name}: bootstrap port {own}"))
                    reason = f"The router names no bootstrap port, so {decode.name} looks for it on {own}."
                    remedy = f"Write --prefill {target.url} {port} for the router."
                    found.append(
                        _BOOTSTRAP_MISMATCH.finding(Severity.ERROR, decode.name, evidence, reason, remedy, port)
                    )
                    break
    return found


def port_clash(group: Group) -> list[Finding]:
    """Finds two processes, or two purposes, on one port of one host."""
    found: list[Finding] = []
    told: set[tuple[str, str]] = set()
    for one, other in _meeting(list(_uses(group))):
        same = one.worker is other.worker
        together = True if same else group.on_one_host(one.worker, other.worker)
        both_bootstrap = one.purpose == other.purpose == "bootstrap"
        if together is False or both_bootstrap or (same and one.purpose == other.purpose):
            continue
        names = (one.worker.name, other.worker.name)
        if names in told:
            continue
        told.add(names)
        reason = f"Port {one.port} is wanted twice" + (" on one host." if together else ", if these run on one host.")
        found.append(
            _PORT_CLASH.finding(
                Severity.ERROR if together else Severity.WARNING,
                f"port {one.port}",
                [_evidence(one), _evidence(other)],
                reason,
                f"Give {other.worker.name} another port for {other.purpose}.",
            )
        )
    return found


def port_ephemeral(group: Group) -> list[Finding]:
    """Finds ports inside the kernel's range for outgoing connections."""
    low, high = group.ephemeral
    inside = [use for use in _uses(group) if low <= use.port <= high]
    if not inside:
        return []
    reason = (
        f"The kernel gives ports from {low} to {high} to connections, and may give these away before they are used."
    )
    remedy = f"Choose ports below {low}, or reserve them: sysctl -w net.ipv4.ip_local_reserved_ports=PORTS."
    subject = ", ".join(dict.fromkeys(str(use.port) for use in inside))
    return [_EPHEMERAL.finding(Severity.WARNING, subject, [_evidence(use) for use in inside], reason, remedy)]


def port_taken(group: Group) -> list[Finding]:
    """Finds ports that somebody listens on already, on the host that is at hand."""
    if group.host is None:
        return []
    listening = {listener.port: listener for listener in group.host.state.network.listeners.otherwise(())}
    source = group.host.state.network.listeners.source
    found: list[Finding] = []
    for use in _uses(group):
        listener = listening.get(use.port)
        if listener is None or not group.here(use.worker) or use.worker.resolved:
            continue
        evidence = (_evidence(use), Evidence(source, f"somebody listens on {listener.address}:{listener.port}"))
        reason = f"Port {use.port} is in use on this host, so {use.worker.name} will not start."
        remedy = f"See who has it: ss -ltnp 'sport = :{use.port}'; stop it or choose another port."
        found.append(_PORT_TAKEN.finding(Severity.ERROR, f"port {use.port}", evidence, reason, remedy))
    return found


def router_workers(group: Group) -> list[Finding]:
    """Finds URLs of a router that fit no worker, and workers in another role than the router takes them for."""
    found: list[Finding] = []
    if not group.servers:
        return found
    by_port = _by_port(group)
    for target in group.targets:
        worker = _worker_of(by_port, target)
        named = Evidence(target.router.source, f"--{target.role.value} {target.url}")
        if worker is None:
            if "$" in target.url or any("$" in said(server, "port") for server in group.servers):
                continue
            ports = ", ".join(f"{server.name} on {said(server, 'port')}" for server in group.servers)
            reason = f"No worker of this deployment serves {target.url}."
            remedy = "Name the workers' own hosts and ports."
            evidence = (named, Evidence(group.servers[0].source, ports))
            found.append(_ROUTER_WORKERS.finding(Severity.WARNING, target.url, evidence, reason, remedy))
        elif worker.role is not target.role and WorkerRole.UNKNOWN is not worker.role:
            reason = f"The router takes {worker.name} for a {target.role.value} worker, but it is {worker.role.value}."
            remedy = f"Name it with --{worker.role.value}, or start it with --disaggregation-mode {target.role.value}."
            evidence = (named, Evidence(worker.source, f"{worker.name}: {worker.role.value}"))
            found.append(_ROUTER_WORKERS.finding(Severity.ERROR, target.url, evidence, reason, remedy))
    return found


def _by_port(group: Group) -> dict[str, list[WorkerArguments]]:
    by_port: dict[str, list[WorkerArguments]] = {}
    for server in group.servers:
        by_port.setdefault(said(server, "port"), []).append(server)
    return by_port


def _worker_of(by_port: Mapping[str, Sequence[WorkerArguments]], target: Target) -> WorkerArguments | None:
    on_port = by_port.get(str(target.port), ())
    on_host = [worker for worker in on_port if not worker.node or worker.node == target.host]
    fitting = [worker for worker in on_host or on_port if worker.role is target.role]
    return next(iter(fitting or on_host), None)


def _evidence(use: _Use) -> Evidence:
    return Evidence(use.worker.source, f"{use.worker.name}: {use.purpose} port {use.port}")


CHECKS: tuple[Check[Group], ...] = (
    Check(_BOOTSTRAP_CLASH, bootstrap_port_clash),
    Check(_BOOTSTRAP_MISMATCH, bootstrap_port_mismatch),
    Check(_PORT_CLASH, port_clash),
    Check(_PORT_TAKEN, port_taken),
    Check(_EPHEMERAL, port_ephemeral),
    Check(_ROUTER_WORKERS, router_workers),
)
