"""The Kubernetes objects of a plan: workloads, Services, config files and the policy of who may connect. Pure.

Written for `apps/v1`, `networking.k8s.io/v1` and `leaderworkerset.x-k8s.io/v1`, whose controller sets
LWS_LEADER_ADDRESS and, from its version 0.6 on, LWS_WORKER_INDEX in its pods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..deployment import Deployment
from ..dialects.placement import url
from ..launch import ProcessSpec, Request, Role
from .k8s_pods import files_of, group_of, labels, marks_of, pod_template
from .k8s_services import Cluster
from .k8s_text import literal, with_addresses
from .nodes import file_labels
from .run_of import image_of

__all__ = ["config_maps", "network_policies", "smoke_test", "workload"]

_ENTRANCES = (Role.ROUTER, Role.PROXY)
Document = dict[str, Any]


def workload(cluster: Cluster, deployment: Deployment, specs: Sequence[ProcessSpec]) -> Iterator[Document]:
    """Yields the Service of a process and what runs it: `specs` are all ranks of a worker, or one process.

    Raises:
        ConfigError: the ranks of a worker do not fit into one template.
    """
    spec = specs[0]
    yield _service(cluster, spec)
    template = pod_template(cluster, deployment, specs[:1])
    group = group_of(cluster, spec)
    if group:
        yield {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": group, "labels": labels(cluster, spec)},
            "spec": {
                "replicas": 1,
                "leaderWorkerTemplate": {
                    "size": len(specs),
                    "restartPolicy": "RecreateGroupOnPodRestart",
                    "leaderTemplate": template,
                    "workerTemplate": pod_template(cluster, deployment, specs[1:]),
                },
            },
        }
        return
    stateful = spec.role in (Role.METADATA, Role.STORE)
    body: Document = {"replicas": 1, "selector": {"matchLabels": _selector(cluster, spec)}, "template": template}
    if stateful:
        body = {"serviceName": spec.node, **body}
    else:
        # The old pod holds the GPUs that the new one needs.
        body["strategy"] = {"type": "Recreate"}
    yield {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet" if stateful else "Deployment",
        "metadata": {"name": spec.node, "labels": labels(cluster, spec)},
        "spec": body,
    }


def _service(cluster: Cluster, spec: ProcessSpec) -> Document:
    selector = _selector(cluster, spec)
    if group_of(cluster, spec):
        selector["leaderworkerset.sigs.k8s.io/worker-index"] = "0"
    body: Document = {"selector": selector}
    if spec.role not in _ENTRANCES:
        # Mooncake opens ports of its own choice, and peers look for a pod before it is ready.
        body = {"clusterIP": "None", "publishNotReadyAddresses": True, **body}
    ports = sorted({port: purpose for purpose, port in spec.ports.items()}.items())
    if ports:
        body["ports"] = [
            {"name": purpose.replace("_", "-")[:15], "port": port, "targetPort": port} for port, purpose in ports
        ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.node, "labels": labels(cluster, spec)},
        "spec": body,
    }


def _selector(cluster: Cluster, spec: ProcessSpec) -> dict[str, str]:
    own = labels(cluster, spec)
    return {name: own[name] for name in ("app.kubernetes.io/instance", "pdpanel-process")}


def config_maps(cluster: Cluster, spec: ProcessSpec) -> Iterator[Document]:
    """Yields the ConfigMap of a process that reads files."""
    files = files_of(cluster.plan, spec)
    if not files:
        return
    keys = file_labels(file.path for file in files)
    # Nothing is expanded in a file: it has the names that DNS knows.
    data = {key: with_addresses(file.text, marks_of(cluster)) for file, key in zip(files, keys, strict=True)}
    yield {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{spec.node}-files", "labels": labels(cluster, spec)},
        "data": data,
    }


def network_policies(cluster: Cluster) -> Iterator[Document]:
    """Yields the policies: pods of the deployment are reached by one another alone, and its entrance by everybody."""
    instance = {"app.kubernetes.io/instance": cluster.name}
    common = {"app.kubernetes.io/part-of": cluster.name, "app.kubernetes.io/managed-by": "pdpanel", **instance}
    yield _policy(f"{cluster.name}-own", common, instance, [{"from": [{"podSelector": {"matchLabels": instance}}]}])
    for spec in cluster.plan.processes:
        if spec.role in _ENTRANCES and "http" in spec.ports:
            rule = {"ports": [{"protocol": "TCP", "port": spec.ports["http"]}]}
            yield _policy(f"{spec.node}-clients", common, _selector(cluster, spec), [rule])


def _policy(name: str, own: Mapping[str, str], selected: Mapping[str, str], rules: list[Document]) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": dict(own)},
        "spec": {"podSelector": {"matchLabels": dict(selected)}, "policyTypes": ["Ingress"], "ingress": rules},
    }


def smoke_test(cluster: Cluster, deployment: Deployment, requests: Sequence[Request]) -> Iterator[Document]:
    """Yields a Job for each request: it asks the entrance by the name of its Service."""
    entrance = next((spec for spec in cluster.plan.processes if spec.role in _ENTRANCES), None)
    if entrance is None:
        return
    for number, request in enumerate(requests):
        name = f"{cluster.name}-smoke-test" + (f"-{number}" if number else "")
        own = {
            "app.kubernetes.io/instance": cluster.name,
            "app.kubernetes.io/component": "smoke-test",
            "app.kubernetes.io/part-of": cluster.name,
            "app.kubernetes.io/managed-by": "pdpanel",
        }
        words = [_asked(word, entrance) for word in request.argv]
        if words[0] == "curl":
            words.insert(1, "--fail-with-body")
        container = {
            "name": "smoke-test",
            "image": image_of(cluster.plan, deployment, entrance),
            "command": [literal(words[0])],
            "args": [literal(word) for word in words[1:]],
            "securityContext": {"allowPrivilegeEscalation": False},
        }
        pod = {"restartPolicy": "Never", "automountServiceAccountToken": False, "containers": [container]}
        yield {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": own},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": own}, "spec": pod}},
        }


def _asked(word: str, entrance: ProcessSpec) -> str:
    """The request of a plan is sent on the router's own node, and this one from another pod."""
    port = entrance.ports.get("http", 0)
    for host in ("127.0.0.1", "localhost"):
        here = url(host, port)
        if word == here or word.startswith(f"{here}/"):
            return url(entrance.node, port) + word[len(here) :]
    return word
