"""The exported Compose projects: commands, who waits for whom, and what a container gets of the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from export_plans import NASTY, deployment, plan_of, process, two_nodes
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.export import export_files
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.launch import LaunchPlan
from pdpanel.panel.plan import plan

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(NASTY)


def services(whole: LaunchPlan, wanted: Deployment | None = None) -> dict[str, dict[str, Any]]:
    """All services, by node and name."""
    files = export_files(whole, wanted or deployment(engine="sglang"), "compose")
    return {
        f"{file.path.partition('/')[0]}:{name}": service
        for file in files
        if file.path.endswith("compose.yaml")
        for name, service in yaml.safe_load(file.text)["services"].items()
    }


@given(st.lists(TEXT, max_size=5), st.dictionaries(st.sampled_from(["A", "B_1"]), TEXT, min_size=1))
def test_words_and_variables_arrive(arguments: list[str], env: dict[str, str]) -> None:
    (service,) = services(plan_of(process("p", ("python3", *arguments), env=env))).values()
    assert service["entrypoint"] == []
    assert [word.replace("$$", "$") for word in service["command"]] == ["python3", *arguments]
    assert all(word.replace("$$", "").count("$") == 0 for word in service["command"])
    assert {name: value.replace("$$", "$") for name, value in service["environment"].items()} == env


def test_processes_wait_on_their_node_by_health_and_for_others_by_a_container() -> None:
    made = services(two_nodes())
    assert made["a:router"]["depends_on"] == {
        "prefill-0": {"condition": "service_healthy"},
        "wait-for-decode-0": {"condition": "service_completed_successfully"},
    }
    assert made["a:wait-for-decode-0"]["command"][-2:] == ["http://10.7.0.2:30000/health", "120"]
    assert made["b:decode-0"]["depends_on"] == {
        "wait-for-etcd": {"condition": "service_completed_successfully"},
        "wait-for-prefill-0": {"condition": "service_completed_successfully"},
    }
    assert made["a:etcd"]["healthcheck"]["test"][1] == "etcdctl", "its image has no Python"
    assert "healthcheck" not in made["c:decode-0-rank1"]


def test_workers_get_gpus_rdma_and_locked_memory() -> None:
    made = services(two_nodes())
    worker, router = made["a:prefill-0"], made["a:router"]
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    ]
    assert worker["devices"] == ["/dev/infiniband:/dev/infiniband"]
    assert (worker["cap_add"], worker["ulimits"]) == (["IPC_LOCK"], {"memlock": -1})
    assert not {"deploy", "devices", "cap_add"} & set(router)
    for service in made.values():
        assert service["network_mode"] == "host"
    over_tcp = services(replace(two_nodes(), transport="mooncake_tcp"))
    assert "devices" not in over_tcp["a:prefill-0"]


@pytest.mark.parametrize(
    ("dialect", "version", "image"),
    [
        ("sglang", "0.5.23", "lmsysorg/sglang:v0.5.23"),
        ("sglang", "", "lmsysorg/sglang:latest"),
        ("vllm", "v0.33.0", "vllm/vllm-openai:v0.33.0"),
    ],
)
def test_images_are_those_of_the_engine_at_its_version(dialect: str, version: str, image: str) -> None:
    made = services(replace(two_nodes(dialect), engine_version=version))
    assert made["a:prefill-0"]["image"] == made["a:router"]["image"] == image
    assert made["a:etcd"]["image"].startswith("quay.io/coreos/etcd:")


def test_a_container_starts_where_its_files_are_and_without_files_where_its_image_says() -> None:
    assert services(two_nodes())["a:prefill-0"]["working_dir"] == "/deployment"
    assert "working_dir" not in services(replace(two_nodes(), files=()))["a:prefill-0"]


def test_an_image_of_the_persons_own_is_used_for_the_command_within() -> None:
    fields = {
        "model": "/models/m",
        "engine": "sglang",
        "prefill": {"count": 1},
        "decode": {"count": 1},
        "run": {"image": "mine:1", "args": ["-v", "/data:/data", "--device", "/dev/x", "--privileged"]},
    }
    wanted = parse_deployment(fields)
    plain = parse_deployment({name: value for name, value in fields.items() if name != "run"})
    inside, without = services(plan(wanted, elsewhere(), None), wanted), services(plan(plain, elsewhere(), None), plain)
    for name, service in inside.items():
        assert service["image"] == "mine:1"
        assert service["command"] == without[name]["command"]
        assert service.get("environment") == without[name].get("environment")
        assert service["privileged"] is True
        assert {"type": "bind", "source": "/data", "target": "/data"} in service["volumes"]
        assert {"type": "bind", "source": "/models/m", "target": "/models/m", "read_only": True} in service["volumes"]
    assert "/dev/x:/dev/x" in inside["pd:prefill-0"]["devices"]
