"""Commands of compose files and Kubernetes manifests: found with their variables, and put right where they stand."""

from __future__ import annotations

import pytest
import yaml
from pdpanel.panel.lint.kind import recognise
from pdpanel.panel.lint.lint import lint_text
from pdpanel.panel.lint.manifests import containers, manifest_commands

COMPOSE = """\
# kept
services:
  prefill:
    image: lmsysorg/sglang:v0.5.23
    command: python3 -m sglang.launch_server --model-path m --disaggregation-mode prefill --host 0.0.0.0 --tp 2
    environment:
      MC_FORCE_MNNVL: "0"   # gone
      KEEP: a
  router:  # kept, too
    image: sglang-router
    command:
      - python3
      - -m
      - sglang_router.launch_router
      - --pd-disaggregation
      - --prefill
      - http://prefill:30000
      - --decode
      - http://a:30001,http://b:30001
    environment:
      - MC_INTRA_NVLINK=1
"""
MANIFEST = """\
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
metadata: {name: decode}
spec:
  leaderWorkerTemplate:
    leaderTemplate:
      spec:
        containers:
        - name: engine
          image: vllm/vllm-openai:v0.33.0
          args: ["--model", "m", "--port", "8100",
            "--kv-transfer-config", '{"kv_connector":"X","kv_role":"kv_both","kv_rank":0}']
          env:
          - name: MC_FORCE_TCP
            value: "0"
"""


def test_services_are_commands_with_versions_and_variables() -> None:
    prefill, router = manifest_commands(recognise(COMPOSE), "c.yaml")
    assert (prefill.worker.name, prefill.worker.version, prefill.worker.node) == ("prefill", "0.5.23", "prefill")
    assert prefill.worker.env == {"MC_FORCE_MNNVL": "0", "KEEP": "a"}
    assert router.worker.program == "sglang_router.launch_router"


def test_containers_of_pods_are_commands() -> None:
    (worker,) = [one.worker for one in manifest_commands(recognise(MANIFEST), "k.yaml")]
    assert (worker.program, worker.version, worker.get("port")) == ("vllm serve", "0.33.0", "8100")
    assert worker.env == {"MC_FORCE_TCP": "0"}


def test_what_is_wrong_in_a_compose_file_is_put_right_and_the_rest_stays() -> None:
    report = lint_text(COMPOSE)
    assert report.kind == "compose"
    assert {"variable-presence", "router-options", "flag-abbreviated"} <= {finding.id for finding in report.findings}
    corrected = report.corrected or ""
    assert "# kept\n" in corrected and "# kept, too" in corrected
    services = yaml.safe_load(corrected)["services"]
    assert services["prefill"]["environment"] == {"KEEP": "a"}
    assert "--tp-size 2" in services["prefill"]["command"]
    assert services["router"]["command"][-4:] == ["--decode", "http://a:30001", "--decode", "http://b:30001"]
    assert services["router"]["environment"] == ["MC_INTRANODE_NVLINK=1"]
    assert lint_text(corrected).corrected is None


def test_what_is_wrong_in_a_manifest_is_put_right() -> None:
    report = lint_text(MANIFEST)
    assert report.kind == "kubernetes"
    document = yaml.safe_load(report.corrected or "")
    container = document["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]
    assert container["args"][-1] == '{"kv_connector":"X","kv_role":"kv_both"}'
    assert not container.get("env")


@pytest.mark.parametrize(
    "text",
    [
        "services:\n  a: {command: [1, {b: c}], environment: [1, {name: 2}], image: 3}\n  b: null\n",
        "apiVersion: v1\nkind: Pod\nspec: {containers: [1, {command: {a: b}}]}\n",
        "services: &a\n  b: *a\n  c: {command: vllm serve m}\n",
        "apiVersion: v1\nkind: X\na: &a [*a]\n",
    ],
)
def test_odd_files_are_no_error(text: str) -> None:
    pasted = recognise(text)
    assert isinstance(containers(pasted), list)
    assert lint_text(text).kind in {"unknown", "compose", "kubernetes"}
