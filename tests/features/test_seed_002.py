"""Rows 62 to 94 of the feature table: vLLM's first Mooncake connector, and what took its place."""

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

V0: dict[str, Any] = {
    "engine": "vllm",
    "dialect": "vllm-v0",
    "engine_version": "0.6.4.post1",
    "model": "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4",
    "workers": {"context_length": 10000, "mem_fraction": 0.8},
    "nics": ["erdma_0"],
    "prefill": {"count": 1, "hosts": ["192.168.0.137"], "port": 8100},
    "decode": {"count": 1, "hosts": ["192.168.0.139"], "port": 8200, "kv_port": 13003},
    "metadata": {"server": "192.168.0.139:2379", "backend": "etcd", "start": True},
    "observe": False,
    "rpc_ports": None,
}
ONE_NODE = {
    **V0,
    "decode": {"count": 1, "hosts": ["192.168.0.137"], "port": 8200},
    "metadata": "etcd://192.168.0.137:2379",
}
V1: dict[str, Any] = {
    "engine": "vllm",
    "model": "Qwen/Qwen2.5-7B-Instruct",
    "prefill": {"count": 1, "hosts": ["192.168.0.2"], "port": 8010},
    "decode": {"count": 1, "hosts": ["192.168.0.3"], "port": 8020},
}


def config(fields: dict[str, Any]) -> dict[str, Any]:
    return json.loads(next(file.text for file in made(fields).files if file.path == "mooncake.json"))


def connector(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return json.loads(option(process(made(fields), name).argv, "--kv-transfer-config") or "")


@row(62, kind="generator")
def test_the_first_connector_is_a_dialect_of_its_own() -> None:
    assert made(V0).dialect == "vllm-v0"
    newer = made({**V0, "engine_version": "0.33.0"})
    assert any(finding.severity is Severity.ERROR for finding in newer.findings)


@row(63, kind="generator")
def test_todays_connectors() -> None:
    assert connector(V1, "prefill-0")["kv_connector"] == "MooncakeConnector"
    store = connector({**V1, "store": {"master": "192.168.0.2:50051"}}, "prefill-0")
    names = [each["kv_connector"] for each in store["kv_connector_extra_config"]["connectors"]]
    assert names == ["MooncakeConnector", "MooncakeStoreConnector"]
    lmcache = connector({**V1, "store": {"master": "192.168.0.2:50051", "kind": "lmcache"}}, "prefill-0")
    assert "LMCache" in json.dumps(lmcache)


@row(64, kind="generator")
def test_install_and_its_known_trouble() -> None:
    argv = [command.argv for command in render_recipe(find_recipe("install"), ["targets=mooncake"]).commands]
    assert any("mooncake-transfer-engine" in words for words in argv)
    trace = ["  import mooncake.engine", "ImportError: libcudart.so.12: cannot open shared object file"]
    assert explain_log(trace, "decode.log").findings


@row(65, 66, kind="check")
def test_old_versions_need_a_build_from_source() -> None:
    assert any("source" in finding.reason + finding.remedy for finding in made(V0).findings)
    assert "cmake" in doc("docs/pd-serving.md")


@row(67, 68, 69, 71, kind="generator")
def test_one_file_for_both_sides() -> None:
    file = next(file for file in made(V0).files if file.path == "mooncake.json")
    assert file.shared
    assert (config(V0)["prefill_url"], config(V0)["decode_url"]) == ("192.168.0.137:13003", "192.168.0.139:13003")
    same = (
        '{"prefill_url": "10.0.0.1:13003", "decode_url": "10.0.0.1:13003", "metadata_server": "etcd://10.0.0.1:2379",'
    )
    report = lint_text(same + ' "protocol": "tcp", "device_name": ""}')
    assert any("13103" in finding.reason + finding.remedy + (finding.corrected or "") for finding in report.findings)


@row(70, kind="check")
def test_ports_of_one_node_are_fifty_apart() -> None:
    urls = [config(ONE_NODE)[key] for key in ("prefill_url", "decode_url")]
    ports = [int(url.rpartition(":")[2]) for url in urls]
    assert abs(ports[0] - ports[1]) >= 50
    near = (
        '{"prefill_url": "10.0.0.1:13003", "decode_url": "10.0.0.1:13010", "metadata_server": "etcd://10.0.0.1:2379",'
    )
    assert lint_text(near + ' "protocol": "tcp", "device_name": ""}').findings


@row(72, 73, kind="generator")
@pytest.mark.parametrize("server", ["etcd://h:2379", "redis://h:6379", "http://h:8080/metadata"])
def test_metadata_backend_stands_beside_a_bare_address_alone(server: str) -> None:
    full = config({**V0, "metadata": server})
    assert full["metadata_server"] == server and "metadata_backend" not in full
    assert config(V0)["metadata_backend"] == "etcd"


@row(74, 75, 76, kind="check")
def test_protocol_and_devices() -> None:
    assert (config(V0)["protocol"], config(V0)["device_name"]) == ("rdma", "erdma_0")
    tcp = config({**V0, "transport": "mooncake_tcp", "nics": "auto"})
    assert (tcp["protocol"], tcp["device_name"]) == ("tcp", "")
    with pytest.raises(ConfigError):
        made({**V0, "nics": "auto"})
    assert "detected" in doc("docs/pd-serving.md")


@row(77, 90, kind="generator")
def test_etcd_is_started_with_the_documents_line() -> None:
    etcd = process(made(V0), "metadata")
    assert etcd.argv == (
        *("etcd", "--listen-client-urls", "http://0.0.0.0:2379"),
        *("--advertise-client-urls", "http://localhost:2379"),
    )
    with pytest.raises(ConfigError):
        made({**V0, "router": {"port": 2379, "node": "192.168.0.139"}})


@row(78, 79, 80, 81, kind="generator")
def test_the_servers_command() -> None:
    argv = process(made({**V0, "workers": {**V0["workers"], "tp": 2}}), "prefill-0").argv
    assert argv[:3] == ("python3", "-m", "vllm.entrypoints.openai.api_server")
    assert (option(argv, "--max-model-len"), option(argv, "--gpu-memory-utilization")) == ("10000", "0.8")
    assert "2" in argv[argv.index(next(word for word in argv if "tensor" in word or word == "-tp")) + 1]
    assert explain_log(["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"], "p.log").findings


@row(82, kind="generator")
def test_models_from_modelscope() -> None:
    plan = made({**V0, "modelscope": True})
    assert process(plan, "prefill-0").env["VLLM_USE_MODELSCOPE"] == "True"


@row(83, kind="generator")
def test_gpus_of_one_node_are_shared_out() -> None:
    plan = made({**ONE_NODE, "workers": {**V0["workers"], "tp": 2}})
    visible = [process(plan, name).env["CUDA_VISIBLE_DEVICES"] for name in ("prefill-0", "decode-0")]
    assert visible == ["0,1", "2,3"]


@row(84, 85, 86, 87, 88, 89, kind="generator")
def test_the_connectors_json() -> None:
    text = option(process(made(V0), "prefill-0").argv, "--kv-transfer-config") or ""
    assert '"kv_buffer_size":2e9' in text
    ours, theirs = connector(V0, "prefill-0"), connector(V0, "decode-0")
    assert (ours["kv_role"], ours["kv_rank"], ours["kv_parallel_size"]) == ("kv_producer", 0, 2)
    assert (theirs["kv_role"], theirs["kv_rank"], theirs["kv_connector"]) == ("kv_consumer", 1, "MooncakeConnector")
    assert not {"kv_ip", "kv_port"} & ours.keys()


@row(91, 92, kind="generator")
def test_the_proxy_has_real_addresses() -> None:
    plan = made(V0)
    proxy = process(plan, "router")
    assert proxy.targets["decode"] == "http://192.168.0.139:8200/v1/completions"
    program = next(file for file in plan.files if file.program)
    assert "192.168.0.139" in program.text and "max_tokens" in program.text and "OPENAI_API_KEY" in program.text
    compile(program.text, "proxy_server.py", "exec")


@row(93, kind="generator")
def test_a_completion_shows_that_it_works() -> None:
    argv = made(V0).requests[0].argv
    assert "http://localhost:8000/v1/completions" in argv
    assert json.loads(argv[-1])["model"] == V0["model"]


@row(94, kind="sentence")
def test_the_preview_numbers_are_linked() -> None:
    assert "vllm-benchmark-results-v0.2" in doc("docs/pd-serving.md")


def test_todays_example_has_no_error() -> None:
    assert not [finding for finding in made(V1).findings if finding.severity is Severity.ERROR]
    assert isinstance(finding_ids(made(V1)), set)
