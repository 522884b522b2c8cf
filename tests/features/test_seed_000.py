"""Rows 1 to 34 of the feature table: SGLang with Mooncake, the first document (mooncake.json)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from feature_rows import doc, finding_ids, made, option, process, row
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.doctor.log import explain_log
from pdpanel.panel.lint.lint import lint_text
from pdpanel.panel.recipes.catalog import find_recipe, render_recipe
from pdpanel.presets import load_preset

ONE_NODE: dict[str, Any] = {
    "engine": "sglang",
    "dialect": "sglang-legacy",
    "engine_version": "0.4.5.post1",
    "model": "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "workers": {"tp": 2},
    "nics": ["erdma_0", "erdma_1"],
    "prefill": {"count": 1, "hosts": ["192.168.0.137"]},
    "decode": {"count": 1, "hosts": ["192.168.0.137"]},
    "observe": False,
    "rpc_ports": None,
}
TWO_NODES = {**ONE_NODE, "decode": {"count": 1, "hosts": ["192.168.0.140"]}}


def config(fields: dict[str, Any], node: str = "192.168.0.137") -> dict[str, str]:
    return next(json.loads(file.text) for file in made(fields).files if file.node == node)


@row(1, 7, kind="generator")
def test_the_first_dialect_reads_its_config_by_a_variable_and_only_in_its_version() -> None:
    plan = made(ONE_NODE)
    workers = [process(plan, name) for name in ("prefill-0", "decode-0")]
    assert {worker.env["MOONCAKE_CONFIG_PATH"] for worker in workers} == {"./mooncake.json"}
    newer = made({**ONE_NODE, "engine_version": "0.4.5.post3"})
    assert {finding.id for finding in newer.findings} - {finding.id for finding in plan.findings}


@row(2, 26, kind="generator")
def test_prefill_and_decode_of_one_node_share_its_gpus_and_ports() -> None:
    plan = made(ONE_NODE)
    assert option(process(plan, "prefill-0").argv, "--base-gpu-id") is None
    assert option(process(plan, "decode-0").argv, "--base-gpu-id") == "2"
    assert option(process(plan, "decode-0").argv, "--port") == "30001"


@row(3, 8, 9, kind="generator")
def test_every_node_has_one_file_with_its_own_name() -> None:
    plan = made(TWO_NODES)
    assert sorted(file.node for file in plan.files) == ["192.168.0.137", "192.168.0.140"]
    assert [config(TWO_NODES, node)["local_hostname"] for node in ("192.168.0.137", "192.168.0.140")] == [
        "192.168.0.137",
        "192.168.0.140",
    ]
    assert len(made(ONE_NODE).files) == 1


@row(4, 6, kind="generator")
def test_install_commands() -> None:
    argv = [" ".join(command.argv) for command in render_recipe(find_recipe("install"), ["targets=mooncake"]).commands]
    assert any("mooncake-transfer-engine" in words for words in argv)
    source = render_recipe(find_recipe("install"), ["targets=sglang-src"]).commands
    assert any(word.endswith("python[all]") for command in source for word in command.argv)


@row(5, kind="check")
def test_a_missing_library_of_mooncake_has_its_remedy() -> None:
    line = "ImportError: libcurl.so.4: cannot open shared object file: No such file or directory"
    text = (
        f'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    import mooncake.engine\n{line}\n'
    )
    remedies = " ".join(finding.remedy for finding in explain_log(text.splitlines(), "prefill.log").findings)
    assert "libcurl" in remedies or "build" in remedies


@row(10, 12, 13, kind="check")
@pytest.mark.parametrize(
    "server", ["192.168.0.1:2379", "etcd://a:2379", "etcd://a:2379,b:2379", "redis://10.0.0.1:6379"]
)
def test_metadata_servers_in_all_their_forms(server: str) -> None:
    assert config({**ONE_NODE, "metadata": server})["metadata_server"] == server
    with pytest.raises(ConfigError):
        made({**ONE_NODE, "metadata": "zk://a:1"})


@row(11, 18, kind="generator")
def test_the_bootstrap_server_is_the_metadata_server() -> None:
    assert config(TWO_NODES, "192.168.0.140")["metadata_server"] == "http://192.168.0.137:8998/metadata"


@row(14, kind="generator")
def test_today_no_metadata_server_is_needed() -> None:
    today = {key: value for key, value in TWO_NODES.items() if key not in {"dialect", "engine_version"}}
    assert made(today).files == ()


@row(15, 16, kind="generator")
def test_rdma_has_devices_and_tcp_has_none() -> None:
    assert config(ONE_NODE)["device_name"] == "erdma_0,erdma_1"
    tcp = {**ONE_NODE, "transport": "mooncake_tcp", "nics": "auto"}
    assert (config(tcp)["protocol"], config(tcp)["device_name"]) == ("tcp", "")
    with pytest.raises(ConfigError):
        made({**ONE_NODE, "nics": "auto"})
    with pytest.raises(ConfigError):
        made({**ONE_NODE, "nics": ["erdma_0, erdma_1"]})


@row(17, kind="generator")
def test_devices_may_have_any_name() -> None:
    assert config({**ONE_NODE, "nics": ["mlx5_roce0", "erdma_1"]})["device_name"] == "mlx5_roce0,erdma_1"


@row(19, 20, kind="check")
def test_ports_of_the_document_and_their_conflicts() -> None:
    plan = made(ONE_NODE)
    assert [spec.ports["http"] for spec in plan.processes] == [30000, 30001, 8000]
    with pytest.raises(ConfigError, match="30000"):
        made({**ONE_NODE, "router": {"port": 30000}, "prefill": {**ONE_NODE["prefill"], "port": 30000}})


@row(21, 23, 24, 25, 34, kind="generator")
def test_model_role_address_and_size() -> None:
    argv = process(made(ONE_NODE), "prefill-0").argv
    assert option(argv, "--model-path") == ONE_NODE["model"]
    assert option(argv, "--disaggregation-mode") == "prefill"
    assert (option(argv, "--host"), option(argv, "--port"), option(argv, "--tp-size")) == (
        "192.168.0.137",
        "30000",
        "2",
    )
    assert option(process(made({**ONE_NODE, "workers": {}}), "prefill-0").argv, "--tp-size") is None


@row(22, kind="preset")
def test_the_documents_model_is_a_preset() -> None:
    assert load_preset("p01-qwen2-5-7b-gptq-1p1d")["model"] == "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4"


@row(27, 28, kind="generator")
def test_the_mini_balancer_has_one_list_per_role_and_is_gone_today() -> None:
    several = {
        **ONE_NODE,
        "prefill": {"count": 2, "hosts": ["192.168.0.137", "192.168.0.138"]},
        "decode": {"count": 2, "hosts": ["192.168.0.140", "192.168.0.141"]},
    }
    argv = process(made(several), "router").argv
    assert "sglang.srt.disaggregation.mini_lb" in argv
    assert option(argv, "--prefill") == "http://192.168.0.137:30000,http://192.168.0.138:30000"
    line = "python3 -m sglang.srt.disaggregation.mini_lb --prefill http://a:30000 --decode http://b:30001 --port 8000"
    assert lint_text(line, engine_version="0.5.23").findings


@row(29, kind="generator")
def test_a_request_shows_that_it_works() -> None:
    request = made(ONE_NODE).requests[0]
    assert request.argv[:3] == ("curl", "-X", "POST") and request.argv[3].endswith(":8000/generate")


@row(30, kind="generator")
def test_prefill_starts_first() -> None:
    plan = made(TWO_NODES)
    assert plan.processes[0].name == "prefill-0"
    assert "prefill-0" in process(plan, "decode-0").after


@row(31, kind="generator")
def test_several_nodes_of_each_role() -> None:
    fields = {
        **ONE_NODE,
        "prefill": {"count": 3, "hosts": [f"10.0.0.{n}" for n in (1, 2, 3)]},
        "decode": {"count": 2, "hosts": ["10.0.1.1", "10.0.1.2"]},
    }
    assert len(made(fields).processes) == 6 and len(made(fields).files) == 5


@row(32, kind="check")
def test_two_of_a_role_on_one_node_are_refused_there() -> None:
    with pytest.raises(ConfigError):
        made({**ONE_NODE, "prefill": {"count": 2, "hosts": ["192.168.0.137"]}})


@row(33, kind="generator")
def test_models_from_modelscope() -> None:
    assert made({**ONE_NODE, "modelscope": True}).env == {"SGLANG_USE_MODELSCOPE": "true"}
    assert "SGLANG_USE_MODELSCOPE" in doc("docs/pd-serving.md")


def test_the_example_deployments_have_no_error() -> None:
    for fields in (ONE_NODE, TWO_NODES):
        assert not [finding for finding in made(fields).findings if finding.severity is Severity.ERROR]
        assert isinstance(finding_ids(made(fields)), set)
