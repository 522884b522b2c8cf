"""Logs of a start where all is well give no finding of severity error, and name no failure.

SGLang's and vLLM's lines have the formats of 0.5.23 and 0.33; the bundled engine's were written by it.
"""

from __future__ import annotations

import pytest
from pdpanel.nic_probe.finding import Severity
from pdpanel.panel.doctor.log import explain_log

SGLANG_PREFILL = """\
[2026-01-01 00:00:00] Attention backend not specified. Use fa3 backend by default.
[2026-01-01 00:00:00] No IB devices specified for Mooncake backend, falling back to auto discovery.
[2026-01-01 00:00:01] server_args={'model_path': 'org/m', 'tp_size': 2, 'page_size': 64, 'disaggregation_mode': 'prefill', 'watchdog_timeout': 300, 'trust_remote_code': False, 'nccl_port': None}
[2026-01-01 00:00:09 TP0] Init torch distributed begin.
[2026-01-01 00:00:10 TP0] sglang is using nccl==2.27.3
NCCL version 2.27.3+cuda12.9
node1:9:9 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE [1]mlx5_1:1/RoCE [RO]; OOB eth0:10.0.0.1<0>
[2026-01-01 00:00:11 TP0] Load weight begin. avail mem=78.50 GB
Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:01<00:01,  1.2it/s]
[2026-01-01 00:00:20 TP0] Load weight end. elapsed=9.01 s, type=Qwen3ForCausalLM, avail mem=70.61 GB, mem usage=7.56 GB.
[2026-01-01 00:00:20 TP0] Using KV cache dtype: torch.bfloat16
[2026-01-01 00:00:20 TP0] KV Cache is allocated. dtype: torch.bfloat16, #tokens: 105600, K size: 7.26 GB, V size: 7.26 GB
[2026-01-01 00:00:20 TP0] Memory pool end. avail mem=55.66 GB
WARNING: Logging before InitGoogleLogging() is written to STDERR
I0101 00:00:21.100000  4670 transfer_engine_impl.cpp:500] Transfer Engine RPC using P2P handshake, listening on 10.0.0.1:16519
I0101 00:00:21.150000  4670 transfer_engine_impl.cpp:300] Auto-discovering topology...
I0101 00:00:21.200000  4670 transfer_engine_impl.cpp:315] Topology discovery complete. Found 8 HCAs.
I0101 00:00:21.250000  4670 rdma_context.cpp:413] Find best gid index: 3 on mlx5_0/1 (network state: GID_WITH_NETWORK)
I0101 00:00:21.300000  4670 rdma_context.cpp:125] RDMA device: mlx5_0, LID: 0, GID: (GID_Index 3) 00:00:00:00:00:00:00:00:00:00:ff:ff:0a:00:00:01
I0101 00:00:21.350000  4670 transfer_engine_impl.cpp:400] Using RDMA transport (RoCE/iWARP)
I0101 00:00:21.400000  4670 transfer_engine_impl.cpp:900] Metrics reporting is disabled (set MC_TE_METRIC=1 to enable)
[2026-01-01 00:00:22 TP0] max_total_num_tokens=105600, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=2048, context_len=40960, available_gpu_mem=54.09 GB
[2026-01-01 00:00:22] CommonKVBootstrapServer started successfully on 10.0.0.1:8998
[2026-01-01 00:00:23] INFO:     Started server process [4670]
[2026-01-01 00:00:23] INFO:     Uvicorn running on http://10.0.0.1:30000 (Press CTRL+C to quit)
[2026-01-01 00:00:24] INFO:     127.0.0.1:50512 - "GET /get_model_info HTTP/1.1" 200 OK
[2026-01-01 00:00:30] End of prefill warmup with status 200, resp: [{'text': '%', 'meta_info': {'finish_reason': {'type': 'length'}}}]
[2026-01-01 00:00:30] The server is fired up and ready to roll!
[2026-01-01 00:00:31 TP0] Prefill batch, #new-seq: 1, #new-token: 6, #cached-token: 0, token usage: 0.00, #running-req: 0, #queue-req: 0, #pending-token: 0, #bootstrap-req: 0, #inflight-req: 0, cuda graph: False, input throughput (token/s): 0.37
"""
SGLANG_DECODE = """\
[2026-01-01 00:00:01] server_args=ServerArgs(model_path='org/m', tokenizer_path='org/m', skip_tokenizer_init=False, disaggregation_mode='decode', disaggregation_transfer_backend='mooncake', error_rate=None)
[2026-01-01 00:00:21 TP0] Capture cuda graph begin. This can take up to several minutes. avail mem=54.00 GB
[2026-01-01 00:00:25 TP0] Capture cuda graph end. Time elapsed: 4.00 s. mem usage=0.80 GB. avail mem=53.20 GB.
[2026-01-01 00:00:30] The server is fired up and ready to roll!
[2026-01-01 00:00:40 TP0] Decode batch, #running-req: 1, #token: 40, token usage: 0.00, pre-allocated usage: 0.00, #prealloc-req: 0, #transfer-req: 0, #retracted-req: 0, cuda graph: True, gen throughput (token/s): 120.31, #queue-req: 0
[2026-01-01 00:01:00] Shutting down
[2026-01-01 00:01:00] Finished server process [4671]
"""
ROUTER = """\
2026-01-01 00:00:00  INFO sglang_router_rs::server: src/server.rs:830: Starting router on 0.0.0.0:8000 | mode: PrefillDecode | policy: RoundRobin | max_payload: 512MB
2026-01-01 00:00:30  INFO sglang_router_rs::core::worker_manager: All workers are healthy
2026-01-01 00:00:31  INFO http_request{method=POST uri=/generate version=HTTP/1.1 request_id="gnt-1" status=200 OK latency=12.1ms}: sglang_router_rs::response: finished processing request
"""
VLLM = """\
INFO 01-01 00:00:00 [__init__.py:241] Automatically detected platform cuda.
(APIServer pid=302) INFO 01-01 00:00:01 [api_server.py:1805] vLLM API server version 0.33.0
(APIServer pid=302) INFO 01-01 00:00:01 [utils.py:326] non-default args: {'model_tag': 'org/m', 'port': 8010, 'model': 'org/m', 'trust_remote_code': False, 'kv_transfer_config': KVTransferConfig(kv_connector='MooncakeConnector', kv_role='kv_producer')}
(EngineCore_DP0 pid=400) INFO 01-01 00:00:10 [core.py:77] Initializing a V1 LLM engine (v0.33.0) with config: model='org/m', dtype=torch.bfloat16, max_seq_len=40960, tensor_parallel_size=1, kv_cache_dtype=auto
(EngineCore_DP0 pid=400) INFO 01-01 00:00:12 [parallel_state.py:1000] rank 0 in world size 1 is assigned as DP rank 0, PP rank 0, TP rank 0, EP rank 0
(EngineCore_DP0 pid=400) Loading safetensors checkpoint shards: 100% Completed | 4/4 [00:02<00:00,  1.9it/s]
(EngineCore_DP0 pid=400) INFO 01-01 00:00:28 [gpu_worker.py:436] Available KV cache memory: 53.54 GiB
(EngineCore_DP0 pid=400) INFO 01-01 00:00:28 [kv_cache_utils.py:1319] GPU KV cache size: 389,888 tokens
(EngineCore_DP0 pid=400) INFO 01-01 00:00:28 [kv_cache_utils.py:1324] Maximum concurrency for 40,960 tokens per request: 9.52x
(APIServer pid=302) INFO 01-01 00:00:40 [launcher.py:36] Route: /health, Methods: GET
(APIServer pid=302) INFO:     Application startup complete.
(APIServer pid=302) INFO 01-01 00:00:50 [loggers.py:127] Engine 000: Avg prompt throughput: 4.1 tokens/s, Avg generation throughput: 0.1 tokens/s, Running: 1 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.1%, Prefix cache hit rate: 0.0%
"""
BUNDLED_PREFILL = """\
{"t": "2026-01-01T00:00:00.572+00:00", "level": "info", "event": "started", "phase": "import torch", "seconds": 1.227}
{"t": "2026-01-01T00:00:01.016+00:00", "level": "info", "event": "started", "phase": "weights", "seconds": 0.011}
WARNING: Logging before InitGoogleLogging() is written to STDERR
W0101 00:00:01.039506  6469 transfer_engine_py.cpp:120] Using default malloc/free for protocol: rdma
W0101 00:00:01.039870  6469 topology.cpp:201] No RDMA devices found, check your device installation
E0101 00:00:01.039912  6469 transfer_metadata.cpp:1098] Local segment descriptor not found
{"t": "2026-01-01T00:00:01.042+00:00", "level": "info", "event": "transport", "requested": "mooncake", "used": "mooncake", "notice": ""}
{"t": "2026-01-01T00:00:01.276+00:00", "level": "info", "event": "ready", "address": "127.0.0.1:30000", "role": "prefill", "model": "SmolLM2-135M-Instruct"}
{"t": "2026-01-01T00:00:01.473+00:00", "level": "info", "event": "peer_joined", "peer": "127.0.0.1:30001", "epoch": 2963088866851487877, "transport": "mooncake"}
{"t": "2026-01-01T00:00:18.139+00:00", "level": "info", "event": "peer_lost", "peer": "127.0.0.1:30001", "reason": "The decode worker at 127.0.0.1:30001 went away: the connection ended."}
{"t": "2026-01-01T00:00:18.142+00:00", "level": "info", "event": "stopping", "requests": 0}
"""
BUNDLED_ROUTER = """\
{"t": "2026-01-01T00:00:00.683+00:00", "level": "info", "event": "listening", "url": "http://127.0.0.1:8000", "host": "127.0.0.1", "workers": ["http://127.0.0.1:30000", "http://127.0.0.1:30001"]}
{"t": "2026-01-01T00:00:02.326+00:00", "level": "info", "event": "worker", "worker": "http://127.0.0.1:30001", "role": "decode", "state": "healthy", "was": "starting", "reason": ""}
{"t": "2026-01-01T00:00:19.143+00:00", "level": "info", "event": "stopping", "open_requests": 0}
"""
ETCD_AND_MASTER = """\
{"level":"info","ts":"2026-01-01T00:00:00.000Z","caller":"etcdmain/etcd.go:73","msg":"Running: ","args":["etcd"]}
I0101 00:00:00.000000     1 master.cpp:100] Starting Mooncake Master Service on port 50051, max_threads=4
"""

HEALTHY: dict[str, tuple[str, set[str]]] = {
    "SGLang prefill": (SGLANG_PREFILL, set()),
    "SGLang decode": (SGLANG_DECODE, set()),
    "sglang-router": (ROUTER, set()),
    "vLLM": (VLLM, set()),
    # TCP and the end of a run are worth a word, and no failure.
    "bundled prefill": (BUNDLED_PREFILL, {"log-tcp-not-rdma", "log-bundled-peer-lost"}),
    "bundled router": (BUNDLED_ROUTER, set()),
    "etcd and master": (ETCD_AND_MASTER, set()),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_log_names_no_failure(name: str) -> None:
    text, remarks = HEALTHY[name]
    report = explain_log(text.splitlines(keepends=True), name)
    assert {finding.id for finding in report.findings} == remarks
    assert all(finding.severity is not Severity.ERROR for finding in report.findings)
    assert report.first_error == ""
