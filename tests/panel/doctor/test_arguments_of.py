from __future__ import annotations

from pdpanel.panel.deployment import parse_deployment
from pdpanel.panel.doctor.arguments_of import arguments_of_plan, arguments_of_server_info
from pdpanel.panel.doctor.worker import Engine, WorkerRole
from pdpanel.panel.host_facts import HostFacts
from pdpanel.panel.plan import RunIds, plan


def test_a_plan_gives_one_worker_per_process() -> None:
    fields = {"model": "m", "prefill": {"count": 1, "flags": {"page-size": 32}}, "decode": {"count": 2}}
    planned = plan(parse_deployment(fields), HostFacts("node1", 8, "python3"), RunIds("r", "/r", "/c"))
    workers = {worker.name: worker for worker in arguments_of_plan(planned)}
    assert sorted(workers) == ["decode-0", "decode-1", "prefill-0", "router"]
    assert workers["prefill-0"].role is WorkerRole.PREFILL
    assert workers["prefill-0"].get("page_size") == "32"
    assert workers["prefill-0"].env["PDPANEL_PROCESS"] == "prefill-0"
    assert {worker.node for worker in workers.values()} == {"node1"}
    assert workers["router"].role is WorkerRole.ROUTER


def test_flat_arguments_of_sglang() -> None:
    info = {
        "model_path": "m",
        "tp_size": 2,
        "disaggregation_mode": "prefill",
        "version": "0.5.23",
        "internal_states": [{}],
    }
    worker = arguments_of_server_info(info, "prefill-0", "http://a/server_info")
    assert (worker.engine, worker.role, worker.version) == (Engine.SGLANG, WorkerRole.PREFILL, "0.5.23")
    assert worker.get("tp_size") == "2"
    assert worker.resolved
    assert worker.source == "http://a/server_info"


def test_what_the_bundled_engine_answers() -> None:
    info = {
        "disaggregation_mode": "null",
        "page_size": 16,
        "pages": {},
        "startup": {},
        "api_key": "x",
        "version": "unknown",
    }
    worker = arguments_of_server_info(info, "unified-0")
    assert (worker.engine, worker.role, worker.version) == (Engine.BUNDLED, WorkerRole.UNIFIED, "")
    assert "api_key" not in worker.values


def test_what_vllm_answers() -> None:
    text = "model='m', tensor_parallel_size=2, kv_transfer_config=KVTransferConfig(kv_role='kv_consumer'), dtype=torch.bfloat16"
    worker = arguments_of_server_info({"vllm_config": text}, "decode-0")
    assert (worker.engine, worker.role, worker.get("tp_size")) == (Engine.VLLM, WorkerRole.DECODE, "2")
    mapping = {"vllm_config": {"tensor_parallel_size": 2, "kv_transfer_config": {"kv_role": "kv_producer"}}}
    assert arguments_of_server_info(mapping, "x").role is WorkerRole.PREFILL
