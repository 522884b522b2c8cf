"""The format `k8s`: manifests for `kubectl apply -k`, one file per role, and two options as kustomize components. Pure.

Each process is a pod of its own and is reached by the name of its Service; see `k8s_services` for how the plan is made
for that. YAML of PyYAML, so that no text of a deployment can end its string.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from ..deployment import Deployment
from ..launch import LaunchPlan, ProcessSpec
from .benchmark import trial_requests
from .exported import ExportedFile, Format
from .k8s_documents import config_maps, network_policies, smoke_test, workload
from .k8s_pods import WORKERS, gpu_resource, group_of, marks_of
from .k8s_services import Cluster, cluster_of
from .k8s_text import with_addresses
from .nodes import nodes_of
from .readme import code, readme
from .run_of import images_step

__all__ = ["FORMAT", "write"]

_ABOUT = "For a Kubernetes cluster: Deployments, LeaderWorkerSets for workers over several nodes, and Services."
_RDMA_RESOURCE = "rdma/hca_shared_devices_a"


def write(plan: LaunchPlan, deployment: Deployment) -> tuple[ExportedFile, ...]:
    """Returns README.md, kustomization.yaml, the manifests by role, the smoke test and the options.

    Raises:
        ConfigError: the nodes of a worker do not fit into one template.
    """
    cluster = cluster_of(deployment)
    workers: dict[str, list[ProcessSpec]] = {}
    for spec in cluster.plan.processes:
        workers.setdefault(spec.name.partition("-rank")[0], []).append(spec)
    documents: dict[str, list[dict[str, Any]]] = {}
    for specs in workers.values():
        ranks = sorted(specs, key=lambda spec: spec.rank)
        file = documents.setdefault(f"{ranks[0].role.value}.yaml", [])
        file += [document for spec in _file_readers(ranks) for document in config_maps(cluster, spec)]
        file += workload(cluster, deployment, ranks)
    documents["network-policy.yaml"] = list(network_policies(cluster))
    tests = list(smoke_test(cluster, deployment, trial_requests(cluster.plan, deployment)))
    listed = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(documents)}
    options = _options(cluster, deployment)
    steps = _steps(cluster, deployment, bool(tests), bool(options))
    text = readme(cluster.plan, deployment, nodes_of(cluster.plan), steps, firewall=False)
    text = with_addresses(text, marks_of(cluster))
    exported = [
        ExportedFile("README.md", text),
        ExportedFile("kustomization.yaml", _yaml([listed])),
        *(ExportedFile(name, _yaml(each)) for name, each in documents.items()),
    ]
    if tests:
        exported.append(ExportedFile("smoke-test.yaml", _yaml(tests)))
    return (*exported, *options)


FORMAT = Format("k8s", "Kubernetes manifests", _ABOUT, write)


def _file_readers(ranks: Sequence[ProcessSpec]) -> Sequence[ProcessSpec]:
    """The leader has its files and all further ranks, which share a template, those of the first of them."""
    return ranks[:2]


def _yaml(documents: Iterable[dict[str, Any]]) -> str:
    return yaml.dump_all(
        documents, sort_keys=False, allow_unicode=True, explicit_start=True, width=1 << 20, Dumper=_Dumper
    )


# Both write the same values; without libyaml it takes several times as long.
_SafeDumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_SafeDumper):
    """Writes equal values twice; anchors would be right, and hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _options(cluster: Cluster, deployment: Deployment) -> list[ExportedFile]:
    if not gpu_resource(deployment):
        return []
    limit = f"/containers/0/resources/limits/{_RDMA_RESOURCE.replace('/', '~1')}"
    rdma = [{"op": "add", "path": limit, "value": "1"}]
    network = [
        {"op": "add", "path": "/hostNetwork", "value": True},
        {"op": "add", "path": "/dnsPolicy", "value": "ClusterFirstWithHostNet"},
    ]
    return [
        ExportedFile(f"options/{name}/kustomization.yaml", _yaml([_component(cluster, patch)]))
        for name, patch in (("rdma", rdma), ("host-network", network))
    ]


def _component(cluster: Cluster, patch: list[dict[str, Any]]) -> dict[str, Any]:
    """A patch for the pods of all workers, wherever their kind of workload has the template."""
    roles = ", ".join(role.value for role in WORKERS)
    places = {
        "Deployment": ("/spec/template/spec",),
        "LeaderWorkerSet": tuple(f"/spec/leaderWorkerTemplate/{kind}Template/spec" for kind in ("leader", "worker")),
    }
    used = ["LeaderWorkerSet"] if cluster.groups else []
    if any(not group_of(cluster, spec) for spec in cluster.plan.processes if spec.role in WORKERS):
        used.insert(0, "Deployment")
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": [
            {
                "target": {"kind": kind, "labelSelector": f"app.kubernetes.io/component in ({roles})"},
                "patch": yaml.safe_dump(
                    [{**each, "path": place + each["path"]} for place in places[kind] for each in patch],
                    sort_keys=False,
                ),
            }
            for kind in used
        ],
    }


def _steps(cluster: Cluster, deployment: Deployment, tested: bool, optional: bool) -> list[str]:
    resource = gpu_resource(deployment)
    needs = "a cluster with a network plug-in that knows NetworkPolicy"
    if resource:
        needs += f" and the device plug-in for {code(resource)}"
    if cluster.groups:
        needs += ", and LeaderWorkerSet 0.6 or newer (lws.sigs.k8s.io)"
    steps = [f"This needs {needs}."]
    steps.append(images_step(cluster.plan, deployment, cluster.plan.processes))
    if optional:
        steps.append(
            "RDMA: device plug-ins name the NICs each in their own way. Put yours for "
            f"{code(_RDMA_RESOURCE)} in `options/rdma/kustomization.yaml`, then add `components: [options/rdma]` to "
            "kustomization.yaml; without it Mooncake finds no NIC in the pod. `options/host-network` gives workers the "
            "network of their hosts instead, which NetworkPolicy does not cover."
        )
    if deployment.model.startswith("/"):
        steps.append(f"{code(deployment.model)} is read from each host; it has to be there, or on what they share.")
    else:
        steps.append(
            "Each pod fetches the model anew when it starts: put a PersistentVolumeClaim for the volume `cache` to "
            "keep it. A gated model takes the key `token` of a Secret called `huggingface`."
        )
    steps.append("`kubectl apply -k .`, in the namespace that it is to run in.")
    steps.append(f"`kubectl get pods -l app.kubernetes.io/instance={cluster.name}`: wait until all are ready.")
    if tested:
        name = f"{cluster.name}-smoke-test"
        steps.append(
            "Ask for an answer: `kubectl apply -f smoke-test.yaml && "
            f"kubectl wait --timeout=30m --for=condition=complete job/{name} && kubectl logs job/{name}`."
        )
    # Without the number it follows five pods at most.
    streams = max(5, len(cluster.plan.processes) + 1)
    own = f"-l app.kubernetes.io/instance={cluster.name}"
    steps.append(f"Logs: `kubectl logs {own} --prefix --max-log-requests={streams} -f`.")
    steps.append("End: `kubectl delete -k .`, and `kubectl delete -f smoke-test.yaml` when it was applied.")
    return steps
