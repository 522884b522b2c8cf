"""The pod of a process: its container, probes, volumes and resources. Pure.

A template holds one process, or all further ranks of a worker over several nodes, which differ by their rank alone.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from ..deployment import Deployment
from ..launch import LaunchPlan, PlannedFile, ProcessSpec, Role
from ..planning.gpu_count import gpus_of_process
from .accelerator import Accelerator, accelerator_of
from .k8s_services import Cluster
from .k8s_text import Marks, literal, member_texts
from .nodes import environment, file_labels, ready_url
from .run_of import image_of

__all__ = ["WORKERS", "files_of", "gpu_resource", "group_of", "labels", "marks_of", "pod_template"]

WORKERS = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)
_FOLDER = "/deployment"
_CACHE = "/root/.cache"
_PERIOD_S = 10
_RESOURCES = {
    Accelerator.NONE: "",
    Accelerator.NVIDIA: "nvidia.com/gpu",
    Accelerator.AMD: "amd.com/gpu",
    Accelerator.ASCEND: "huawei.com/Ascend910",
}
# Waits for URLs, in any image that has Python.
_WAIT = """\
import sys, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
end = time.monotonic() + float(sys.argv[1])
for url in sys.argv[2:]:
    while True:
        try:
            opener.open(url, timeout=4)
            break
        except OSError as error:
            if time.monotonic() > end:
                sys.exit(f"{url} did not answer within {sys.argv[1]} s: {error}")
            time.sleep(1)
"""


def labels(cluster: Cluster, spec: ProcessSpec) -> dict[str, str]:
    """Returns the labels of a process' objects; `pdpanel-process` is its own."""
    return {
        "app.kubernetes.io/name": cluster.plan.dialect,
        "app.kubernetes.io/instance": cluster.name,
        "app.kubernetes.io/component": spec.role.value,
        "app.kubernetes.io/part-of": cluster.name,
        "app.kubernetes.io/managed-by": "pdpanel",
        "pdpanel-process": spec.name.partition("-rank")[0],
    }


def gpu_resource(deployment: Deployment) -> str:
    """Returns what the device plug-in of the deployment's GPUs calls them; empty for an engine that runs without."""
    return _RESOURCES[accelerator_of(deployment)]


def files_of(plan: LaunchPlan, spec: ProcessSpec) -> tuple[PlannedFile, ...]:
    """Returns the files of a process: those of its host, and those that are the same on all."""
    return tuple(file for file in plan.files if file.shared or file.node == spec.node)


def group_of(cluster: Cluster, spec: ProcessSpec) -> str:
    """Returns the name of the worker over several nodes that a process belongs to; empty when it is no such one."""
    worker = f"{cluster.name}-{spec.name.partition('-rank')[0]}"
    return worker if worker in cluster.groups else ""


def pod_template(cluster: Cluster, deployment: Deployment, specs: Sequence[ProcessSpec]) -> dict[str, Any]:
    """Returns the template of one process, or of all further ranks of a worker.

    Raises:
        ConfigError: `specs` do not fit into one template.
    """
    spec = specs[0]
    marks = [marks_of(cluster, each) for each in specs]
    grouped = bool(group_of(cluster, spec))
    worker = spec.role in WORKERS
    accelerated = worker and bool(gpu_resource(deployment))
    metadata: dict[str, Any] = {"labels": labels(cluster, spec)}
    if spec.role is Role.PREFILL and "bootstrap" in spec.ports:
        # The router's service discovery reads the port here.
        metadata["annotations"] = {"sglang.ai/bootstrap-port": str(spec.ports["bootstrap"])}
    pod: dict[str, Any] = {}
    if not grouped and spec.role not in (Role.METADATA, Role.STORE):
        # The kubelet writes it to /etc/hosts: a process can listen on its own name before DNS knows it.
        pod["hostname"] = spec.node
    pod["automountServiceAccountToken"] = False
    pod["enableServiceLinks"] = False
    pod["terminationGracePeriodSeconds"] = max(30, math.ceil(spec.grace_s) + 5)
    awaited = [other for other in map(cluster.plan.process, spec.after) if other is not None and other.ready.url]
    if awaited:
        pod["initContainers"] = [_wait(cluster, deployment, spec, awaited)]
    volumes, mounts = _volumes(cluster, deployment, spec)
    container: dict[str, Any] = {
        "name": spec.role.value,
        "image": image_of(cluster.plan, deployment, spec),
        **_command(specs, marks),
    }
    variables = _variables(specs, marks, grouped, worker)
    if variables:
        container["env"] = variables
    place = spec.cwd or (_FOLDER if files_of(cluster.plan, spec) else "")
    if place:
        container["workingDir"] = place
    ports = sorted({port: purpose for purpose, port in spec.ports.items()}.items())
    if ports:
        container["ports"] = [
            {"name": purpose.replace("_", "-")[:15], "containerPort": port} for port, purpose in ports
        ]
    container |= _probes(spec)
    security: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if accelerated:
        gpus = gpus_of_process(deployment.settings(spec.role.value))
        container["resources"] = {"limits": {gpu_resource(deployment): str(gpus)}}
        # RDMA pins memory.
        security["capabilities"] = {"add": ["IPC_LOCK"]}
    container["securityContext"] = security
    if mounts:
        container["volumeMounts"] = mounts
    pod["containers"] = [container]
    if volumes:
        pod["volumes"] = volumes
    return {"metadata": metadata, "spec": pod}


def _command(specs: Sequence[ProcessSpec], marks: Sequence[Marks]) -> dict[str, list[str]]:
    words = member_texts([spec.argv for spec in specs], marks, f"{specs[0].role.value}.nodes")
    return {"command": words[:1], "args": words[1:]} if len(words) > 1 else {"command": words}


def _variables(
    specs: Sequence[ProcessSpec], marks: Sequence[Marks], grouped: bool, worker: bool
) -> list[dict[str, Any]]:
    variables: list[dict[str, Any]] = []
    if grouped:
        variables.append({"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    names = list(environment(specs[0]))
    values = member_texts(
        [[environment(spec).get(name, "") for name in names] for spec in specs], marks, f"{specs[0].role.value}.env"
    )
    variables += [{"name": name, "value": value} for name, value in zip(names, values, strict=True)]
    if worker and "HF_TOKEN" not in names:
        key = {"name": "huggingface", "key": "token", "optional": True}
        variables.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": key}})
    return variables


def _probes(spec: ProcessSpec) -> dict[str, Any]:
    if not spec.ready.url:
        return {}
    parts = urlsplit(spec.ready.url)
    port = parts.port or 80
    asked = {"httpGet": {"path": parts.path or "/", "port": port}}
    listens = {"tcpSocket": {"port": port}}
    # A router that is not ready lacks workers, which no restart of it would bring.
    alive = asked if spec.role in WORKERS else listens
    failures = max(1, math.ceil(spec.ready.timeout_s / _PERIOD_S))
    return {
        "startupProbe": {**alive, "periodSeconds": _PERIOD_S, "timeoutSeconds": 5, "failureThreshold": failures},
        "readinessProbe": {**asked, "periodSeconds": _PERIOD_S, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**alive, "periodSeconds": 30, "timeoutSeconds": 20, "failureThreshold": 6},
    }


def _wait(
    cluster: Cluster, deployment: Deployment, spec: ProcessSpec, awaited: Sequence[ProcessSpec]
) -> dict[str, Any]:
    marks = marks_of(cluster, spec)
    urls = member_texts([[ready_url(cluster.plan, other, spec.node) for other in awaited]], [marks], spec.name)
    seconds = math.ceil(max(other.ready.timeout_s for other in awaited))
    return {
        "name": "wait",
        "image": image_of(cluster.plan, deployment, spec),
        "command": ["python3", "-c"],
        "args": [literal(_WAIT), str(seconds), *urls],
    }


def _volumes(
    cluster: Cluster, deployment: Deployment, spec: ProcessSpec
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    files = files_of(cluster.plan, spec)
    if files:
        volumes.append({"name": "files", "configMap": {"name": f"{spec.node}-files"}})
    keys = file_labels(file.path for file in files)
    for file, key in zip(files, keys, strict=True):
        path = posixpath.join(spec.cwd or _FOLDER, file.path)
        mounts.append({"name": "files", "mountPath": path, "subPath": key, "readOnly": True})
    if spec.role in WORKERS:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if spec.role in (*WORKERS, Role.ROUTER, Role.PROXY):
        model = deployment.model
        if model.startswith("/"):
            # A folder that every node has, such as one of a shared file system.
            volumes.append({"name": "model", "hostPath": {"path": model}})
            mounts.append({"name": "model", "mountPath": model, "readOnly": True})
        else:
            volumes.append({"name": "cache", "emptyDir": {}})
            mounts.append({"name": "cache", "mountPath": _CACHE})
    return volumes, mounts


def marks_of(cluster: Cluster, spec: ProcessSpec | None = None) -> Marks:
    """Returns what stands for addresses in the texts of `spec`; without one, for everybody outside of a group."""
    group = group_of(cluster, spec) if spec is not None else ""

    def stands_for(worker: str, rank: int, alone: bool) -> str:
        name = f"{cluster.name}-{worker}"
        if name == group and spec is not None and rank == spec.rank and (alone or rank):
            return "$(POD_IP)"
        if rank == 0:
            return "$(LWS_LEADER_ADDRESS)" if name == group else f"{name}-leader"
        return f"{name}-0-{rank}.{name}"

    return stands_for
