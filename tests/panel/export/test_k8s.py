"""Manifests, judged by Kubernetes' own schemas, and the commands that arrive in the containers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import check, expand
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.export.k8s_services import cluster_of, plain_name
from pdpanel.panel.export.k8s_text import mark, member_texts
from pdpanel.panel.export.writing import write_folder
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan
from pdpanel.presets import load_preset, preset_names

PAIR: dict[str, Any] = {"model": "m", "prefill": {"count": 1}, "decode": {"count": 1}}
SGLANG: dict[str, Any] = {**PAIR, "engine": "sglang", "engine_version": "0.5.23"}
GROUPS: dict[str, Any] = {
    **SGLANG,
    "hosts": {"a": {"address": "10.0.0.1"}, "b": {"address": "10.0.0.2"}},
    "prefill": {"count": 1, "nodes": 3, "tp": 24, "hosts": ["a", "b", "c"]},
    "decode": {"count": 2, "nodes": 2, "tp": 16, "hosts": ["d", "e", "f", "g"]},
}
CASES: dict[str, dict[str, Any]] = {
    "bundled": PAIR,
    "unified": {"model": "m", "unified": {"count": 2}},
    "sglang": SGLANG,
    "groups": GROUPS,
    "four": {**SGLANG, "prefill": {"count": 2, "tp": 8}, "decode": {"count": 2, "tp": 8}},
    "legacy": {
        **SGLANG,
        "engine_version": "0.4.5.post1",
        "metadata": {"server": "etcd://10.0.0.9:2379", "start": True},
        "nics": ["mlx5_0"],
    },
    "vllm": {**SGLANG, "engine": "vllm", "engine_version": "0.33.0"},
    "odd-name": {**SGLANG, "name": "-9-"},
    "model folder": {**SGLANG, "model": "/models/a b"},
}


def files_of(fields: dict[str, Any]) -> dict[str, str]:
    deployment = parse_deployment(fields)
    return {file.path: file.text for file in export_files(plan(deployment, elsewhere(), None), deployment, "k8s")}


def manifests(files: dict[str, str]) -> list[dict[str, Any]]:
    """All objects of an export, those of the smoke test included."""
    names = [*yaml.safe_load(files["kustomization.yaml"])["resources"], "smoke-test.yaml"]
    return [document for name in names if name in files for document in yaml.safe_load_all(files[name])]


def pods(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod templates by the name of what runs them, and `/leader` or `/worker` for those of a group."""
    for document in documents:
        name, spec = document["metadata"]["name"], document["spec"] if "spec" in document else {}
        if document["kind"] == "LeaderWorkerSet":
            for kind in ("leader", "worker"):
                yield f"{name}/{kind}", spec["leaderWorkerTemplate"][f"{kind}Template"]
        elif "template" in spec:
            yield name, spec["template"]


def argv_of(template: dict[str, Any], variables: Mapping[str, str]) -> list[str]:
    (container,) = template["spec"]["containers"]
    return [expand(word, variables) for word in [*container["command"], *container.get("args", [])]]


@pytest.mark.parametrize("case", CASES)
def test_kubernetes_takes_all_objects(case: str) -> None:
    documents = manifests(files_of(CASES[case]))
    assert {"Service", "NetworkPolicy"} < {document["kind"] for document in documents}
    for document in documents:
        check(document)


def test_its_steps_work_word_by_word() -> None:
    """By itself kubectl follows five pods and waits half a minute."""
    readme = files_of({**CASES["groups"]})["README.md"]
    assert "kubectl wait --timeout=30m --for=condition=complete" in readme
    assert "--max-log-requests=" in readme


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_kubernetes_takes_every_preset() -> None:
    refused = set()
    for name in preset_names():
        try:
            documents = manifests(files_of(dict(load_preset(name))))
        except ConfigError:
            refused.add(name)
            continue
        assert documents, name
        for document in documents:
            check(document)
    # One is a job of Slurm's, and one needs the name of a network interface of its pods.
    assert len(refused) <= 2, refused


def test_the_schemas_refuse_what_kubernetes_refuses() -> None:
    documents = {document["kind"]: document for document in manifests(files_of(GROUPS))}
    documents["LeaderWorkerSet"]["spec"]["leaderWorkerTemplate"]["workers"] = 2
    documents["Deployment"]["spec"]["template"]["spec"]["containers"][0]["arguments"] = []
    for kind in ("LeaderWorkerSet", "Deployment"):
        with pytest.raises(Exception, match=r"workers|arguments"):
            check(documents[kind])


@pytest.mark.parametrize("case", ["bundled", "sglang", "four", "legacy", "vllm"])
def test_each_pod_runs_the_command_of_the_plan(case: str) -> None:
    cluster = cluster_of(parse_deployment(CASES[case]))
    arrived = dict(pods(manifests(files_of(CASES[case]))))
    for spec in cluster.plan.processes:
        template = arrived.pop(spec.node)
        assert argv_of(template, {}) == list(spec.argv)
        container = template["spec"]["containers"][0]
        values = {each["name"]: expand(each["value"], {}) for each in container.get("env", []) if "value" in each}
        assert values == dict(spec.env)
    assert set(arrived) <= {f"{cluster.name}-smoke-test"}


def test_names_of_services_are_the_hosts_of_all_urls() -> None:
    documents = manifests(files_of(CASES["four"]))
    services = {document["metadata"]["name"] for document in documents if document["kind"] == "Service"}
    router = argv_of(dict(pods(documents))["pd-router"], {})
    urls = [word for word in router if word.startswith("http://")]
    assert urls == [
        "http://pd-prefill-0:30000",
        "http://pd-prefill-1:30000",
        "http://pd-decode-0:30001",
        "http://pd-decode-1:30001",
    ]
    assert {url.split("/")[2].split(":")[0] for url in urls} < services
    for name, template in pods(documents):
        if template["spec"].get("hostname"):
            assert template["spec"]["hostname"] == name, "it listens on its own name"


def test_a_group_gets_its_ranks_and_addresses_from_its_set() -> None:
    documents = manifests(files_of(GROUPS))
    templates = dict(pods(documents))
    sizes = {
        document["metadata"]["name"]: document["spec"]["leaderWorkerTemplate"]["size"]
        for document in documents
        if document["kind"] == "LeaderWorkerSet"
    }
    assert sizes == {"pd-prefill-0": 3, "pd-decode-0": 2, "pd-decode-1": 2}
    leader = {"LWS_LEADER_ADDRESS": "leader.svc", "POD_IP": "10.1.1.1", "LWS_WORKER_INDEX": "0"}
    words = argv_of(templates["pd-prefill-0/leader"], leader)
    assert words[words.index("--dist-init-addr") + 1].startswith("leader.svc:")
    assert words[words.index("--host") + 1] == "10.1.1.1"
    assert words[words.index("--node-rank") + 1] == "0"
    for rank in ("1", "2"):
        words = argv_of(templates["pd-prefill-0/worker"], leader | {"LWS_WORKER_INDEX": rank})
        assert words[words.index("--node-rank") + 1] == rank
        assert words[words.index("--dist-init-addr") + 1].startswith("leader.svc:")
    router = argv_of(templates["pd-router"], {})
    assert "http://pd-prefill-0-leader:30000" in router
    assert "pdpanel-k8s-" not in "".join(files_of(GROUPS).values())
    (service,) = [each for each in documents if each["metadata"]["name"] == "pd-prefill-0-leader"]
    assert service["spec"]["selector"]["leaderworkerset.sigs.k8s.io/worker-index"] == "0"


def test_a_group_of_the_bundled_engine_answers_to_its_services_name() -> None:
    """Its pods are bound to addresses, and the router speaks to a name."""
    fields = {**GROUPS, "engine": "bundled", "prefill": {**GROUPS["prefill"], "flags": {"allowed-hosts": "mine"}}}
    del fields["engine_version"]
    templates = dict(pods(manifests(files_of(fields))))
    for kind in ("leader", "worker"):
        words = argv_of(templates[f"pd-prefill-0/{kind}"], {"POD_IP": "10.1.1.1", "LWS_LEADER_ADDRESS": "leader.svc"})
        assert words[words.index("--host") + 1] == "10.1.1.1"
        assert words[words.index("--allowed-hosts") + 1] == "mine,pd-prefill-0-leader"
    words = argv_of(templates["pd-decode-1/leader"], {})
    assert words[words.index("--allowed-hosts") + 1] == "pd-decode-0-leader,pd-decode-1-leader"
    assert "http://pd-decode-1-leader:30000" in argv_of(templates["pd-router"], {})
    assert "--allowed-hosts" not in argv_of(dict(pods(manifests(files_of(GROUPS))))["pd-prefill-0/leader"], {})


def unmarked(worker: str, rank: int, alone: bool) -> str:
    raise AssertionError(f"{worker} has no mark")


def test_nodes_of_a_worker_that_differ_by_more_than_their_rank_are_refused() -> None:
    assert member_texts([["r1x"], ["r2x"], ["r3x"]], [unmarked] * 3, "f") == ["r$(LWS_WORKER_INDEX)x"]
    with pytest.raises(ConfigError, match=r"prefill\.nodes"):
        member_texts([["a"], ["b"]], [unmarked] * 2, "prefill.nodes")
    with pytest.raises(ConfigError, match=r"prefill\.nodes"):
        member_texts([["a"], ["a", "b"]], [unmarked] * 2, "prefill.nodes")


@pytest.mark.parametrize(
    ("changes", "resource"),
    [
        ({}, "nvidia.com/gpu"),
        ({"hosts": {"a": {"gpu": "MI300X"}}}, "amd.com/gpu"),
        ({"transport": "ascend", "ascend": {"store_url": "tcp://10.0.0.1:24666"}}, "huawei.com/Ascend910"),
    ],
)
def test_workers_ask_for_the_gpus_of_the_platform(changes: dict[str, Any], resource: str) -> None:
    templates = dict(pods(manifests(files_of({**CASES["four"], **changes}))))
    container = templates["pd-decode-1"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {resource: "8"}
    assert container["securityContext"]["capabilities"]["add"] == ["IPC_LOCK"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in templates["pd-decode-1"]["spec"]["volumes"]
    assert "resources" not in templates["pd-router"]["spec"]["containers"][0]


def test_the_bundled_engine_asks_for_no_gpu() -> None:
    for _, template in pods(manifests(files_of(PAIR))):
        assert "resources" not in template["spec"]["containers"][0]


def test_prefill_tells_its_bootstrap_port_and_probes_follow_the_plan() -> None:
    templates = dict(pods(manifests(files_of(SGLANG | {"limits": {"ready_timeout_s": 95}}))))
    assert templates["pd-prefill-0"]["metadata"]["annotations"] == {"sglang.ai/bootstrap-port": "8998"}
    assert "annotations" not in templates["pd-decode-0"]["metadata"]
    container = templates["pd-prefill-0"]["spec"]["containers"][0]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 30000}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 95
    router = templates["pd-router"]["spec"]["containers"][0]
    assert "tcpSocket" in router["livenessProbe"], "a router without workers is not restarted"


def test_only_pods_of_the_deployment_and_clients_of_the_router_are_let_in() -> None:
    documents = manifests(files_of(SGLANG))
    own, clients = [document["spec"] for document in documents if document["kind"] == "NetworkPolicy"]
    instance = {"matchLabels": {"app.kubernetes.io/instance": "pd"}}
    assert own == {
        "podSelector": instance,
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"podSelector": instance}]}],
    }
    assert clients["podSelector"]["matchLabels"]["pdpanel-process"] == "router"
    assert clients["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8000}]}]
    for _, template in pods(documents):
        assert template["metadata"]["labels"]["app.kubernetes.io/instance"] == "pd"


def test_a_server_and_config_files_are_objects_of_their_own() -> None:
    documents = manifests(files_of(CASES["legacy"]))
    by_name = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert ("StatefulSet", "pd-metadata") in by_name
    assert ("Service", "pd-metadata") in by_name
    (text,) = by_name["ConfigMap", "pd-prefill-0-files"]["data"].values()
    assert "pd-metadata:2379" in text
    assert "10.0.0.9" not in "".join(map(str, documents))
    mounts = dict(pods(documents))["pd-prefill-0"]["spec"]["containers"][0]["volumeMounts"]
    assert {mount["subPath"] for mount in mounts if mount["name"] == "files"} == set(
        by_name["ConfigMap", "pd-prefill-0-files"]["data"]
    )


@pytest.mark.parametrize(("name", "made"), [("pd", "pd"), ("-9-", "pd-9"), ("---", "pd"), ("a-", "a")])
def test_names_become_names_of_services(name: str, made: str) -> None:
    assert plain_name(name) == made


TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30)
SHELL = st.sampled_from(["$(POD_IP)", "$$", "$", "$(", "$$(A)", "'", '"', "`id`", "${HOME}", "a: b", "- x", "#", "\\"])
HOSTILE = st.lists(SHELL | TEXT, min_size=1, max_size=6).map("".join)


def usable(model: str) -> bool:
    return bool(model.strip()) and not model.startswith("-")


@settings(deadline=None, max_examples=12)
@given(model=HOSTILE.filter(usable), value=HOSTILE, served=HOSTILE)
def test_hostile_names_arrive_as_they_are(model: str, value: str, served: str) -> None:
    fields = {**GROUPS, "model": model, "served_model_name": served, "env": {"X": value}}
    deployment = parse_deployment(fields)
    cluster = cluster_of(deployment)
    templates = dict(pods(manifests(files_of(fields))))
    decode = next(spec for spec in cluster.plan.processes if spec.name == "decode-0")
    variables = {name: mark("decode-0", 0) for name in ("POD_IP", "LWS_LEADER_ADDRESS")}
    assert argv_of(templates["pd-decode-0/leader"], variables) == list(decode.argv)
    variable = next(each for each in templates["pd-router"]["spec"]["containers"][0]["env"] if each["name"] == "X")
    assert expand(variable["value"], {}) == value


def test_a_job_of_slurms_is_refused() -> None:
    fields = {**SGLANG, "dialect": "rocm-mad", "model": "DeepSeek-V3", "slurm": {"nodes": ["n1", "n2"]}}
    with pytest.raises(ConfigError, match="export it as slurm"):
        cluster_of(parse_deployment(fields))


def test_the_same_deployment_gives_the_same_bytes() -> None:
    assert files_of(GROUPS) == files_of(GROUPS)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_options_are_components_of_kustomize(tmp_path: Path) -> None:
    deployment: Deployment = parse_deployment({**GROUPS, "prefill": {"count": 1, "tp": 8, "hosts": ["a"]}})
    write_folder(export_files(plan(deployment, elsewhere(), None), deployment, "k8s"), tmp_path)
    listing = tmp_path / "kustomization.yaml"
    listing.write_text(listing.read_text() + "components: [options/rdma, options/host-network]\n")
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    templates = dict(pods(list(yaml.safe_load_all(done.stdout))))
    assert {name: template["spec"].get("hostNetwork", False) for name, template in templates.items()} == {
        "pd-prefill-0": True,
        "pd-decode-0/leader": True,
        "pd-decode-0/worker": True,
        "pd-decode-1/leader": True,
        "pd-decode-1/worker": True,
        "pd-router": False,
    }
    limits = templates["pd-prefill-0"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"nvidia.com/gpu": "8", "rdma/hca_shared_devices_a": "1"}
