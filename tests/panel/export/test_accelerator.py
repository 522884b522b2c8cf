"""Whose hardware a deployment runs on, and what exports make of it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pdpanel.panel.deployment import Deployment, parse_deployment
from pdpanel.panel.export.accelerator import Accelerator, accelerator_of
from pdpanel.panel.export.export import export_files
from pdpanel.panel.host_facts import elsewhere
from pdpanel.panel.plan import plan

SGLANG = {"engine": "sglang", "engine_version": "0.5.23"}
AITER = {**SGLANG, "workers": {"flags": {"attention-backend": "aiter"}}}
ASCEND = {**SGLANG, "transport": "ascend", "ascend": {"store_url": "tcp://127.0.0.1:24669"}}


def deployment(fields: dict[str, Any]) -> Deployment:
    return parse_deployment({"name": "pd", "model": "m", "prefill": {"count": 1}, "decode": {"count": 1}, **fields})


def exported(fields: dict[str, Any], form: str) -> dict[str, str]:
    wanted = deployment(fields)
    return {file.path: file.text for file in export_files(plan(wanted, elsewhere(), None), wanted, form)}


@pytest.mark.parametrize(
    ("fields", "maker"),
    [
        ({}, Accelerator.NONE),
        (SGLANG, Accelerator.NVIDIA),
        ({**SGLANG, "workers": {"flags": {"attention-backend": "fa3"}}}, Accelerator.NVIDIA),
        (AITER, Accelerator.AMD),
        ({**SGLANG, "decode": {"count": 1, "flags": {"decode-attention-backend": "aiter"}}}, Accelerator.AMD),
        ({**SGLANG, "transport": "mori"}, Accelerator.AMD),
        ({**SGLANG, "env": {"SGLANG_USE_AITER": "1"}}, Accelerator.AMD),
        ({**SGLANG, "prefill": {"count": 1, "hosts": ["a"]}, "hosts": {"a": {"gpu": "MI300X"}}}, Accelerator.AMD),
        (ASCEND, Accelerator.ASCEND),
        ({"engine": "vllm", "dialect": "vllm-ascend"}, Accelerator.ASCEND),
        ({**SGLANG, "workers": {"flags": {"device": "npu"}}}, Accelerator.ASCEND),
    ],
)
def test_the_maker_is_what_the_deployment_says(fields: dict[str, Any], maker: Accelerator) -> None:
    assert accelerator_of(deployment(fields)) is maker


def test_containers_for_amd_gpus_get_their_devices_and_an_image_that_is_called_a_guess() -> None:
    files = exported(AITER, "compose")
    worker = yaml.safe_load(files["pd/compose.yaml"])["services"]["prefill-0"]
    assert worker["image"] == "lmsysorg/sglang-rocm:v0.5.23"
    assert {"/dev/kfd:/dev/kfd", "/dev/dri:/dev/dri"} < set(worker["devices"])
    assert (worker["group_add"], worker["security_opt"]) == (["video"], ["seccomp=unconfined"])
    assert "deploy" not in worker
    for text in (files["README.md"], exported(AITER, "k8s")["README.md"]):
        assert "`lmsysorg/sglang-rocm:v0.5.23` is a guess" in text and "`run: {image: NAME}`" in text
        assert "NVIDIA" not in text
    assert "amd.com/gpu" in exported(AITER, "k8s")["prefill.yaml"]


def test_an_image_that_is_named_is_no_guess() -> None:
    for form in ("compose", "k8s"):
        named = exported({**AITER, "run": {"image": "mine:1"}}, form)["README.md"]
        assert "`mine:1`" in named and "guess" not in named
        assert "guess" not in exported(SGLANG, form)["README.md"]


def test_containers_for_npus_get_the_driver_and_no_nic_of_the_host() -> None:
    worker = yaml.safe_load(exported(ASCEND, "compose")["pd/compose.yaml"])["services"]["decode-0"]
    assert worker["image"] == "quay.io/ascend/sglang:v0.5.23"
    assert "/dev/davinci_manager:/dev/davinci_manager" in worker["devices"]
    assert "/dev/infiniband:/dev/infiniband" not in worker["devices"], "an NPU has a NIC of its own"
    driver = "/usr/local/Ascend/driver"
    assert {"type": "bind", "source": driver, "target": driver, "read_only": True} in worker["volumes"]


def test_an_image_of_the_bundled_engine_has_to_be_built() -> None:
    assert "Nobody publishes `pdpanel:latest`" in exported({}, "compose")["README.md"]
