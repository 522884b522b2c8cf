"""From the workers of one role to its fields: how many, where, of which size, and what else was said of them.

Pure. Called by `importing` with the commands of one deployment, after a router has told what workers alone do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..doctor.command import WrittenCommand, read_json
from ..doctor.group import Target, said
from ..doctor.worker import Engine, WorkerArguments, WorkerRole
from .draft import DeploymentDraft
from .import_options import Read, read_options, worker_nics

__all__ = ["ROLES", "RoleReading", "read_role"]

ROLES: Mapping[WorkerRole, str] = {
    WorkerRole.PREFILL: "prefill",
    WorkerRole.DECODE: "decode",
    WorkerRole.UNIFIED: "unified",
    WorkerRole.UNKNOWN: "unified",
    WorkerRole.ENCODER: "encoder",
}


@dataclass(slots=True)
class RoleReading:
    """What the workers of a role say.

    Attributes:
        name: of the role.
        workers: its commands, each worker's ranks beside each other, rank 0 first.
        model: what they serve.
        served_model_name: what they call it.
        kv_configs: vLLM's KV transfer configurations.
        nics: their NICs as a deployment writes them; None when they name none.
        lost: (worker's source, what, why) of each thing that cannot be kept.
    """

    name: str
    workers: list[WrittenCommand]
    model: str = ""
    served_model_name: str = ""
    backend: str = ""
    kv_configs: list[dict[str, Any]] = field(default_factory=list)
    nics: Any = None
    lost: list[tuple[str, str, str]] = field(default_factory=list)


def read_role(
    draft: DeploymentDraft, name: str, workers: Sequence[WrittenCommand], targets: Sequence[Target]
) -> RoleReading:
    """Takes a role's workers into the draft, all but their variables, and returns what is to be said of all roles."""
    ordered = sorted(workers, key=lambda one: (_start(one.worker), _rank(one.worker)))
    reading = RoleReading(name, ordered)
    nodes = max(_span(one.worker) for one in ordered)
    heads = [one for one in ordered if _rank(one.worker) == 0] or ordered[:1]
    draft.set(f"{name}.count", len(heads))
    if nodes > 1:
        draft.set(f"{name}.nodes", nodes)
        port = _start(ordered[0].worker)[1].rpartition(":")[2]
        if port.isdecimal() and f"{name}.dist_port" in draft.known:
            draft.set(f"{name}.dist_port", int(port))
    hosts = [_node(one.worker, targets) for one in ordered]
    if any(hosts):
        draft.set(f"{name}.hosts", hosts)
    reads = [read_options(one, draft.knows(name)) for one in ordered]
    _settings(draft, reading, reads)
    first = heads[0].worker
    port = said(first, "port")
    if port.isdecimal():
        draft.set(f"{name}.port", int(port))
    bootstrap = reads[ordered.index(heads[0])].planned.get("disaggregation-bootstrap-port", "")
    if bootstrap.isdecimal():
        draft.set(f"{name}.bootstrap_port", int(bootstrap))
    _sizes_of_vllm(draft, name, first, reads[0])
    return reading


def _settings(draft: DeploymentDraft, reading: RoleReading, reads: Sequence[Read]) -> None:
    """Takes what the workers of a role agree on; what only one says is lost, but for the first GPU."""
    name, first = reading.name, reads[0]
    for one, written in zip(reads, reading.workers, strict=True):
        source = written.worker.source
        reading.lost += [(source, what, why) for what, why in one.lost]
        planned = one.planned
        reading.model = reading.model or planned.get("model-path", "") or planned.get("model", "")
        reading.served_model_name = reading.served_model_name or planned.get("served-model-name", "")
        reading.backend = reading.backend or planned.get("disaggregation-transfer-backend", "")
        config = read_json(planned.get("kv-transfer-config", ""))
        if isinstance(config, dict):
            reading.kv_configs.append(config)
        nics = planned.get("disaggregation-ib-device") or planned.get("mooncake-ib-device", "")
        if nics and reading.nics is None:
            reading.nics = worker_nics(nics)
            if reading.nics is None:
                reading.lost.append((source, f"--disaggregation-ib-device {nics}", "a deployment names NICs, no file"))
    for field_name, value in first.fields.items():
        draft.set(f"{name}.{field_name}", value)
    for flag, value in first.flags.items():
        if flag in {"", "api-key"}:
            continue
        draft.set(f"{name}.flags.{flag}", value)


def _sizes_of_vllm(draft: DeploymentDraft, name: str, worker: WorkerArguments, read: Read) -> None:
    if worker.engine is not Engine.VLLM:
        return
    if "enable-expert-parallel" in read.planned and "ep" in draft.knows(name):
        draft.set(f"{name}.ep", worker.number("tp_size", 1) * worker.number("dp_size", 1))
    if "no-enable-chunked-prefill" in read.planned and "chunked_prefill_size" in draft.knows(name):
        draft.set(f"{name}.chunked_prefill_size", -1)


def _node(worker: WorkerArguments, targets: Sequence[Target]) -> str:
    if worker.node:
        return worker.node
    host, _, _ = _start(worker)[1].rpartition(":")
    if host and _rank(worker) == 0:
        return host.strip("[]")
    # A worker that listens on all addresses is known by its port, where the router names one alone.
    listens = said(worker, "host") in {"0.0.0.0", "::"}
    fitting = {target.host for target in targets if str(target.port) == said(worker, "port")}
    local = {"localhost", "127.0.0.1", "::1"}
    return fitting.pop() if listens and len(fitting) == 1 and not fitting & local else ""


def _span(worker: WorkerArguments) -> int:
    local = worker.number("data_parallel_size_local", 0)
    if worker.engine is Engine.VLLM and local:
        return max(1, worker.number("dp_size", 1) // local)
    return max(1, min(4096, worker.number("nnodes", 1)))


def _rank(worker: WorkerArguments) -> int:
    local = worker.number("data_parallel_size_local", 0)
    if worker.engine is Engine.VLLM and local:
        return worker.number("data_parallel_start_rank", 0) // local
    return worker.number("node_rank", 0)


def _start(worker: WorkerArguments) -> tuple[int, str]:
    """Returns where the ranks of a worker meet, by which they are known to be one; empty for one of a single node."""
    if _span(worker) < 2:
        return 0, ""
    address = worker.get("dist_init_addr")
    host = worker.get("master_addr") or worker.get("data_parallel_address")
    port = worker.get("master_port") or worker.get("data_parallel_rpc_port") or "29501"
    return 1, address or (f"{host}:{port}" if host else "")
