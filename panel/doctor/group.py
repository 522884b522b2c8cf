"""The processes of one deployment together, with what is known of the host: what every agreement rule looks at.

Pure. Fills in what a single command cannot say: the role of a worker that only the router names, the host of a
worker that listens on all addresses, the defaults of each engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from ...nic_probe.finding import Evidence
from ...nic_probe.host import Host
from ...nic_probe.topology.survey import Topology
from .worker import Engine, WorkerArguments, WorkerRole

__all__ = [
    "Group",
    "Target",
    "attention_tp",
    "is_mla",
    "make_group",
    "said",
    "seen",
    "split_deployments",
]

_DEFAULT_EPHEMERAL = (32768, 60999)

_DEFAULTS: dict[Engine, dict[str, str]] = {
    Engine.SGLANG: {
        "host": "127.0.0.1",
        "port": "30000",
        "tp_size": "1",
        "pp_size": "1",
        "dp_size": "1",
        "attn_dp_size": "1",
        "base_gpu_id": "0",
        "gpu_id_step": "1",
        "nnodes": "1",
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "disaggregation_transfer_backend": "mooncake",
        "disaggregation_bootstrap_port": "8998",
    },
    Engine.VLLM: {
        "host": "0.0.0.0",
        "port": "8000",
        "tp_size": "1",
        "pp_size": "1",
        "dp_size": "1",
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "disaggregation_bootstrap_port": "8998",
    },
    Engine.BUNDLED: {
        "host": "127.0.0.1",
        "port": "30000",
        "tp_size": "1",
        "page_size": "16",
        "kv_cache_dtype": "auto",
        "dtype": "auto",
        "disaggregation_transfer_backend": "mooncake",
        "disaggregation_bootstrap_port": "8998",
    },
    Engine.OTHER: {},
}
_ROUTER_PORTS = {Engine.SGLANG: "30000", Engine.BUNDLED: "30000", Engine.VLLM: "8000"}
_EVERYWHERE = frozenset({"0.0.0.0", "::"})
# Models whose KV cache is one latent vector per token, the same on every rank.
_MLA = re.compile(r"deepseek-?(?:v[234]|r1)|kimi-?k2|glm-?5|longcat", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A worker as a router names it."""

    router: WorkerArguments
    role: WorkerRole
    url: str
    host: str
    port: int
    bootstrap_port: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """One deployment.

    Attributes:
        processes: with roles and nodes filled in as far as they can be known.
        host: the host that is at hand, None when there is none to look at.
        ephemeral: first and last port that the kernel gives to outgoing connections.
    """

    processes: tuple[WorkerArguments, ...]
    host: Host | None = None
    topology: Topology | None = None
    ephemeral: tuple[int, int] = _DEFAULT_EPHEMERAL

    def of_role(self, *roles: WorkerRole) -> tuple[WorkerArguments, ...]:
        """Returns the processes of these roles."""
        return tuple(process for process in self.processes if process.role in roles)

    @property
    def servers(self) -> tuple[WorkerArguments, ...]:
        """The processes that compute."""
        return tuple(process for process in self.processes if process.serves)

    @property
    def pair(self) -> tuple[WorkerArguments, ...]:
        """Prefill and decode workers; empty unless there are both."""
        prefill, decode = self.of_role(WorkerRole.PREFILL), self.of_role(WorkerRole.DECODE)
        return (*prefill, *decode) if prefill and decode else ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the routers name."""
        return tuple(target for router in self.of_role(WorkerRole.ROUTER) for target in _router_targets(router))

    @property
    def several_nodes(self) -> bool:
        """True when processes are known to run on more than one host."""
        nodes = {process.node for process in self.processes if process.node}
        nodes |= {host for target in self.targets if (host := _specific(target.host))}
        multi_node = any(process.number("nnodes", 1) > 1 for process in self.processes)
        return len(nodes) > 1 or multi_node

    def on_one_host(self, one: WorkerArguments, other: WorkerArguments) -> bool | None:
        """Returns whether two processes share a host; None when that cannot be known."""
        if one.node and other.node:
            return one.node == other.node
        if one.node or other.node:
            return None
        hosts = [said(worker, "host") for worker in (one, other)]
        if "" in hosts:
            return None
        everywhere = {host in _EVERYWHERE for host in hosts}
        # Two that listen on loopback can only meet on one host.
        return True if everywhere == {False} else None

    def here(self, worker: WorkerArguments) -> bool:
        """Returns True when the worker may run on `host`."""
        if self.host is None:
            return False
        if not worker.node or worker.node == self.host.name.value:
            return True
        addresses = {
            address.partition("/")[0] for netdev in self.host.netdevs for address in netdev.addresses.otherwise(())
        }
        return worker.node in addresses


def said(worker: WorkerArguments, name: str) -> str:
    """Returns an argument, or the engine's default; empty when the engine decides it while it runs."""
    if worker.resolved and worker.engine is not Engine.VLLM:
        # What such a worker does not tell is not known: its log is no list of defaults.
        return worker.get(name)
    if name == "port" and worker.role is WorkerRole.ROUTER:
        return worker.get("port", _ROUTER_PORTS.get(worker.engine, ""))
    if name == "host" and worker.role is WorkerRole.ROUTER and worker.engine is Engine.SGLANG:
        return worker.get("host", "0.0.0.0")
    return worker.get(name) or _DEFAULTS[worker.engine].get(name, "")


def seen(worker: WorkerArguments, name: str) -> Evidence:
    """Returns an argument as evidence."""
    shown = worker.get(name)
    if shown:
        return Evidence(worker.source, f"{worker.name}: {name} = {shown}")
    default = said(worker, name)
    return Evidence(worker.source, f"{worker.name}: {name} not set" + (f" ({default})" if default else ""))


def is_mla(workers: Iterable[WorkerArguments]) -> bool:
    """Returns True when the model is known to keep one latent KV for all heads."""
    return any(_MLA.search(worker.get("model_path")) for worker in workers)


def attention_tp(worker: WorkerArguments) -> int:
    """Returns over how many ranks the heads of one request are spread."""
    tp = int(said(worker, "tp_size") or 1) if said(worker, "tp_size").isdigit() else 1
    dp = worker.number("attn_dp_size", 1)
    if worker.is_on("enable_dp_attention"):
        dp = max(dp, worker.number("dp_size", 1))
    return max(1, tp // max(1, dp))


def make_group(
    workers: Sequence[WorkerArguments],
    host: Host | None = None,
    topology: Topology | None = None,
    ephemeral: tuple[int, int] | None = None,
) -> Group:
    """Returns the processes as one deployment; roles and nodes that only a router tells are filled in."""
    targets = [target for worker in workers if worker.role is WorkerRole.ROUTER for target in _router_targets(worker)]
    if ephemeral is None and host is not None:
        ephemeral = host.state.network.ephemeral_ports.value
    by_port: dict[str, list[Target]] = {}
    for target in targets:
        by_port.setdefault(str(target.port), []).append(target)
    processes = tuple(_completed(worker, by_port) for worker in workers)
    return Group(processes, host, topology, ephemeral or _DEFAULT_EPHEMERAL)


def _completed(worker: WorkerArguments, targets: Mapping[str, Sequence[Target]]) -> WorkerArguments:
    if not worker.serves or (worker.node and worker.role is not WorkerRole.UNKNOWN):
        return worker
    named = targets.get(said(worker, "port"), ())
    if worker.node:
        named = [target for target in named if target.host == worker.node or not _specific(target.host)]
    role, node = worker.role, worker.node
    if role is WorkerRole.UNKNOWN and len({target.role for target in named}) == 1:
        role = named[0].role
    of_role = [target for target in named if target.role is role]
    if not node and said(worker, "host") in _EVERYWHERE and len(of_role) == 1:
        node = _specific(of_role[0].host)
    return worker if (role, node) == (worker.role, worker.node) else replace(worker, role=role, node=node)


def _router_targets(router: WorkerArguments) -> Iterator[Target]:
    """Yields the workers that a router's command names."""
    for option, role in (
        ("prefill", WorkerRole.PREFILL),
        ("decode", WorkerRole.DECODE),
        ("worker-urls", WorkerRole.UNIFIED),
    ):
        for flag in router.all_of(option):
            words = [part for value in flag.values for part in value.split(",") if part]
            for place, word in enumerate(words):
                if "://" not in word:
                    continue
                behind = words[place + 1] if place + 1 < len(words) else ""
                yield from _target(router, role, word, behind if behind.isdigit() else "")
    for name, role in (("prefiller", WorkerRole.PREFILL), ("decoder", WorkerRole.DECODE)):
        hosts = [value for flag in router.all_of(f"{name}-hosts") for value in flag.values]
        ports = [value for flag in router.all_of(f"{name}-ports") for value in flag.values]
        for host, port in zip(hosts, ports, strict=False):
            yield from _target(router, role, f"http://{host}:{port}", "")


def _target(router: WorkerArguments, role: WorkerRole, url: str, bootstrap: str) -> Iterator[Target]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return
    yield Target(router, role, url, host, port, bootstrap)


def _specific(host: str) -> str:
    """Returns a host as a node's name; empty for loopback and variables."""
    local = host in {"", "localhost", "::1", "0.0.0.0", "::"} or host.startswith(("127.", "$"))
    return "" if local else host


def split_deployments(workers: Sequence[WorkerArguments]) -> list[tuple[WorkerArguments, ...]]:
    """Returns the deployments of a document that shows several: one ends where, after its router, workers follow."""
    deployments: list[list[WorkerArguments]] = [[]]
    for worker in workers:
        current = deployments[-1]
        roles = {other.role for other in current}
        complete = WorkerRole.ROUTER in roles and len(roles - {WorkerRole.ROUTER, WorkerRole.METADATA}) > 1
        if complete and worker.role is not WorkerRole.ROUTER:
            deployments.append([worker])
        else:
            current.append(worker)
    return [tuple(deployment) for deployment in deployments if deployment]
