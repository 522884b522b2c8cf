from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.log_arguments import ArgumentsReader, arguments_of_log
from pdpanel.panel.doctor.worker import Engine, WorkerArguments, WorkerRole

OLD = (
    "[2026-03-25 12:50:41] INFO engine.py:177: server_args=ServerArgs(model_path='qwen/qwen2.5-0.5b', "
    "tokenizer_mode='auto', "
    "load_format='auto', model_loader_extra_config='{\"tp_size\": 99}', context_length=None, host='10.0.0.1', "
    "port=30000, "
    "kv_cache_dtype='fp8_e4m3', tp_size=2, page_size=64, quant=QuantConfig(bits=4, names=['a', 'b']), "
    "api_key='s3cret', "
    "disaggregation_mode='prefill', enable_metrics=True)"
)
NEW = (
    "[2026-09-24 01:50:02] server_args={'model_path': '/models/x', 'model_loader_extra_config': {'tp_size': 99}, "
    "'tp_size': 2, 'kv_cache_dtype': 'auto', 'page_size': 1, 'mamba_ssm_dtype': None, 'api_key': 's3cret', "
    "'disaggregation_mode': 'decode', 'cuda_graph_bs_decode': [1, 2, 4]}"
)
VLLM = (
    "(APIServer pid=302) INFO 08-28 04:24:00 [api_server.py:1805] vLLM API server version 0.33.0",
    "(APIServer pid=302) INFO 08-28 04:24:00 [utils.py:326] non-default args: {'model_tag': '/models/x', 'model': "
    "'/models/x', "
    "'port': 8010, 'block_size': 32, 'kv_transfer_config': KVTransferConfig(kv_connector='MooncakeConnector', "
    "engine_id='a', kv_role='kv_producer', kv_connector_extra_config={'device_name': 'mlx5_0'})}",
    "(EngineCore pid=178) INFO 04-20 04:20:48 [core.py:77] Initializing a V1 LLM engine (v0.33.0) with config: "
    "model='/models/x', "
    "speculative_config=None, tokenizer='/models/x', dtype=torch.bfloat16, max_seq_len=16384, tensor_parallel_size=4, "
    "kv_cache_dtype=auto, observability_config=ObservabilityConfig(a=None, b=(1, 2)), served_model_name=x",
)
BUNDLED = (
    '{"t": "x", "level": "info", "event": "transport", "requested": "mooncake", "used": "tcp", "notice": "no."}',
    '{"t": "x", "level": "info", "event": "ready", "address": "127.0.0.1:30001", "role": "decode", "model": "SmolLM2"}',
)


def only(*lines: str) -> WorkerArguments:
    (worker,) = arguments_of_log(lines, "w.log")
    assert worker.resolved
    return worker


def test_sglang_logs_its_arguments_as_a_call() -> None:
    worker = only("x", OLD)
    assert (worker.engine, worker.role, worker.node) == (Engine.SGLANG, WorkerRole.PREFILL, "10.0.0.1")
    assert worker.source == "w.log:2"
    assert worker.get("model_path") == "qwen/qwen2.5-0.5b"
    assert worker.get("tp_size") == "2"
    assert worker.get("page_size") == "64"
    assert worker.get("kv_cache_dtype") == "fp8_e4m3"
    assert worker.get("context_length", "none") == "none"
    assert worker.is_on("enable_metrics")


def test_newer_sglang_logs_them_as_a_mapping() -> None:
    worker = only(NEW)
    assert (worker.engine, worker.role) == (Engine.SGLANG, WorkerRole.DECODE)
    assert worker.get("tp_size") == "2"
    assert worker.get("page_size") == "1"
    assert worker.get("cuda_graph_bs_decode") == "1,2,4"
    assert "mamba_ssm_dtype" not in worker.values


def test_keys_are_not_kept() -> None:
    assert "s3cret" not in str(only(OLD))
    assert "s3cret" not in str(only(NEW))


def test_vllm_logs_what_is_not_default_and_then_its_configuration() -> None:
    worker = only(*VLLM)
    assert (worker.engine, worker.role, worker.version) == (Engine.VLLM, WorkerRole.PREFILL, "0.33.0")
    assert worker.get("model_path") == "/models/x"
    assert worker.get("page_size") == "32"
    assert worker.get("tp_size") == "4"
    assert worker.get("context_length") == "16384"
    assert worker.get("disaggregation_transfer_backend") == "MooncakeConnector"
    assert worker.get("disaggregation_ib_device") == "mlx5_0"


def test_the_bundled_engine_logs_its_transport_and_that_it_is_ready() -> None:
    worker = only(*BUNDLED)
    assert (worker.engine, worker.role) == (Engine.BUNDLED, WorkerRole.DECODE)
    assert worker.get("port") == "30001"
    assert worker.get("disaggregation_transfer_backend") == "mooncake"
    assert worker.get("transport_used") == "tcp"


def test_the_last_start_counts() -> None:
    assert only(NEW, NEW.replace("'page_size': 1", "'page_size': 128")).get("page_size") == "128"


def test_a_log_without_arguments_gives_none() -> None:
    assert arguments_of_log(["x", "server_args are good"], "w.log") == ()


def test_a_line_that_was_cut_off_gives_what_it_has() -> None:
    worker = only(OLD[: OLD.index("quant=")])
    assert worker.get("page_size") == "64"


@given(st.text(alphabet="ab=',:{}[]()<>\"\\ 1", max_size=200))
def test_no_line_raises(text: str) -> None:
    for start in ("server_args=ServerArgs(", "server_args={", "non-default args: {"):
        arguments_of_log([start + text], "x")
    arguments_of_log(["Initializing a V1 LLM engine (v0.1) with config: " + text], "x")


def test_one_reading_serves_two_readers() -> None:
    """A log may be a pipe, which cannot be read twice."""
    lines = [b"noise\n", OLD.encode() + b"\n", b"more noise\n"]
    reader = ArgumentsReader("w.log")
    assert list(reader.watched(lines)) == lines
    (worker,) = reader.workers()
    assert (worker.role, worker.source) == (WorkerRole.PREFILL, "w.log:2")


def test_lines_of_utf_16_are_read() -> None:
    (worker,) = arguments_of_log(OLD.encode("utf-16-le").splitlines(True), "w.log")
    assert worker.get("page_size") == "64"


def test_what_a_worker_has_started_with_is_not_refused() -> None:
    """An older vLLM prints the fields of V0 as defaults of its own, and runs."""
    line = (
        "non-default args: {'kv_transfer_config': KVTransferConfig(kv_connector='MooncakeConnector', "
        "kv_buffer_size=1000000000.0, kv_role='kv_producer', kv_parallel_size=1, kv_ip='127.0.0.1')}"
    )
    assert "vllm-v0-kv-config" not in {finding.id for finding in check_agreement(arguments_of_log([line], "w.log"))}
