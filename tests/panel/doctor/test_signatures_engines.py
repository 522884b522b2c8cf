"""The signatures of SGLang, vLLM, NIXL, routers and the bundled engine: lines that they name, and near misses.

The lines have the formats of SGLang 0.5.23, vLLM 0.33 and the bundled engine.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pdpanel.panel.doctor.signatures import pdpanel, router, sglang, vllm

# id: lines that it explains, and lines that it does not.
LINES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log-page-size-differs": (
        (
            "RuntimeError: Page size mismatch: prefill server has page_size=64, but decode server has page_size=1. "
            "Both servers must use the same --page-size value.",
        ),
        ("Attention backend not specified, setting page_size to 64",),
    ),
    "log-kv-dtype-differs": (
        (
            "RuntimeError: KV cache dtype mismatch: prefill server has kv_cache_dtype=auto, but decode server has "
            "kv_cache_dtype=fp8_e4m3. Both servers must use the same --kv-cache-dtype value.",
            "ValueError: kv_cache_dtype mismatch: prefill fp8_e5m2 vs decode bfloat16",
            "RuntimeError: KV layout mismatch: prefill server has kv_layout=a, but decode server has kv_layout=b.",
        ),
        ("Using KV cache dtype: torch.bfloat16",),
    ),
    "log-state-differs": (
        (
            "RuntimeError: Mamba state layouts differ between prefill and decode (src item_lens=[1], dst item_lens=[2])",
            "RuntimeError: Prefill/Decode Mamba slot size mismatch (src=128, dst=256).",
            "ValueError: mamba_ssm_dtype mismatch: prefill float32, decode bfloat16",
            "Decode 10.0.0.2:1 registered 4 metadata buffers but this prefill has 3; only the first 3 are transferred",
        ),
        ("Mamba Cache is allocated. conv_state size: 1GB, ssm_state size: 2GB",),
    ),
    "log-tp-unsupported": (
        (
            "RuntimeError: PD Disaggregation does NOT support PD different TP sizes for non-MLA SWA hybrid models yet.",
            "AssertionError: Decode TP size 8 must be the same as prefill TP size 4",
            "RuntimeError: PD disagg: heterogeneous TP not supported for MiniMax state yet.",
        ),
        ("TP size is 8",),
    ),
    "log-tp-differs": (
        ("[2026-01-01 00:00:00 TP0] Performance is NOT guaranteed when using different TP sizes for non-MLA models. ",),
        ("Performance is guaranteed",),
    ),
    "log-decode-lost": (
        (
            "[2026-01-01 00:00:00 TP0] Session 10.0.0.2:15428 failed.",
            "Decode instance could be dead, remote mooncake session 10.0.0.2:15428 is not alive",
            "Failed to send kv chunk of 8842 to 10.0.0.2:40123",
        ),
        ("Session 10.0.0.2:15428 recovered via probe; un-blacklisted",),
    ),
    "log-prefill-lost": (
        (
            "Lost connection with prefill instance (bootstrap_addr: 10.0.0.1:8998), 12 requests affected",
            "Losing connection with prefill instance (bootstrap_addr: 10.0.0.1:8998), affected 12 requests",
            "Failed to get kvcache from prefill instance, it might be dead",
        ),
        ("Connected with prefill instance (bootstrap_addr: 10.0.0.1:8998)",),
    ),
    "log-bootstrap-timeout": (
        (
            "Some requests timed out when bootstrapping, which means prefill instances fail to receive the KV indices",
            "Request 12 timed out after 300.4s in KVPoll.Bootstrapping",
        ),
        ("KVPoll.Bootstrapping",),
    ),
    "log-waiting-timeout": (
        (
            "Some requests fail to receive KV Cache transfer done signal after bootstrapping. ",
            "Request 12 timed out after 300.4s in KVPoll.WaitingForInput",
        ),
        ("KVPoll.WaitingForInput",),
    ),
    "log-bootstrap-register": (
        (
            "Prefill instance failed to register to bootstrap server after 5 retries",
            "Prefill register attempt 1/5 failed: status 503",
        ),
        ("Prefill successfully registered to bootstrap server.",),
    ),
    "log-bootstrap-info": (
        (
            "Error fetching prefill server info from bootstrap: Read timed out",
            "Failed to get prefill server info: 404, x",
        ),
        ("CommonKVBootstrapServer started successfully on 10.0.0.1:8998",),
    ),
    "log-ib-device": (
        (
            "ValueError: Invalid IB devices specified for all GPUs: ['mlx5_9']. Available devices: ['mlx5_0']",
            "ValueError: No IB devices configured for GPU 3. Available GPUs: [0, 1]",
            "RuntimeError: InfiniBand sysfs path not found: /sys/class/infiniband. Please ensure drivers are installed.",
            "RuntimeError: No IB devices found in /sys/class/infiniband",
        ),
        ("No IB devices specified for Mooncake backend, falling back to auto discovery.",),
    ),
    "log-mini-lb": (
        (
            "ModuleNotFoundError: No module named 'sglang.srt.disaggregation.mini_lb'",
            "RuntimeError: sglang.srt.disaggregation.mini_lb is a stub",
            "RuntimeError: mini_lb is deprecated, use the router",
        ),
        ("python -m sglang.srt.disaggregation.mini_lb --host 0.0.0.0",),
    ),
    "log-gpu-occupied": (
        (
            "ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes. "
            "pre_model_load_memory=70.1, local_gpu_memory=79.1",
            "ValueError: Free memory on device cuda:0 (10.2/79.1 GiB) on startup is less than desired GPU memory "
            "utilization (0.9, 71.2 GiB).",
        ),
        ("Load weight begin. avail mem=78.5 GB",),
    ),
    "log-kv-pool-small": (
        (
            "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static.",
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
            "ValueError: 16.00 GiB KV cache is needed, which is larger than the available KV cache memory (4.1 GiB).",
        ),
        ("KV Cache is allocated. #tokens: 105600, K size: 7.26 GB, V size: 7.26 GB",),
    ),
    "log-kv-pool-full": (
        ("[2026-01-01 00:00:00 TP0] KV cache pool is full. Retract requests. #retracted_reqs: 3",),
        ("KV cache pool is empty",),
    ),
    "log-watchdog": (
        ("[2026-01-01 00:00:00 TP0] Watchdog timeout (self.watchdog_timeout=300)",),
        ("watchdog_timeout=300",),
    ),
    "log-child-died": (
        (
            "[2026-01-01 00:00:00] Received sigquit from a child process. It usually means the child failed.",
            "(EngineCore_DP0 pid=9) ERROR 01-01 00:00:00 [core.py:700] EngineCore failed to start.",
            "RuntimeError: Engine core initialization failed. See root cause above.",
        ),
        ("EngineCore is ready",),
    ),
    "log-transfer-length": (
        (
            "aiohttp.http_exceptions.TransferEncodingError: 400, message='Not enough data to satisfy transfer length header.'",
        ),
        ("transfer length 400",),
    ),
    "log-kv-transfer-error": (
        (
            "Prefill transfer failed for request rank=0 req.rid='a' req.bootstrap_room=7 with exception KVTransferError(bootstrap_room=7): x",
        ),
        ("bootstrap_room=7",),
    ),
    "log-kv-config-refused": (
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for KVTransferConfig",
            "vllm serve: error: argument --kv-transfer-config: Value {} cannot be converted to <function x>.",
            "pydantic: kv_buffer_size: Extra inputs are not permitted",
            "TypeError: KVTransferConfig.__init__() got an unexpected keyword argument 'kv_rank'",
        ),
        (
            "kv_transfer_config=KVTransferConfig(kv_connector='MooncakeConnector', kv_role='kv_producer')",
            # Versions that still have these fields print them with every other default.
            "non-default args: {'kv_transfer_config': KVTransferConfig(kv_connector='MooncakeConnector', "
            "kv_buffer_size=1000000000.0, kv_role='kv_producer', kv_rank=None, kv_parallel_size=1, kv_ip='127.0.0.1')}",
        ),
    ),
    "log-mooncake-import": (
        (
            "WARNING 01-01 00:00:00 [mooncake_connector.py:61] Please install mooncake by following the instructions at x",
            "ModuleNotFoundError: No module named 'mooncake'",
        ),
        ("mooncake 0.3.13 is installed",),
    ),
    "log-vllm-transfer": (
        ("(Worker pid=3) ERROR 01-01 00:00:00 [x.py:1] Mooncake transfer engine returned -1",),
        ("Mooncake transfer engine started",),
    ),
    "log-vllm-expired": (
        ("WARNING 01-01 00:00:00 [x.py:1] Timeout waiting for P side ready: ['a']",),
        ("waiting for P side",),
    ),
    "log-vllm-layout": (
        (
            "This D tp_rank 3 is not paired with P tp_rank 0; expected one of [0, 1].",
            "AssertionError: Local tensor parallel size 3 is not divisible by remote tensor parallel size 2.",
            "ERROR [x.py:1] req a: local blocks(3) < remote blocks(4) in a KV cache group (is_mamba_group=False)",
        ),
        ("tensor parallel size 2",),
    ),
    "log-vllm-bootstrap": (
        (
            "RuntimeError: Failed to register RegisterWorkerPayload(engine_id='a') with the Mooncake bootstrap server at "
            "http://10.0.0.1:8998/register after 3 attempts.",
        ),
        ("Successfully registered with bootstrap server at x",),
    ),
    "log-shm-broadcast": (
        ("INFO 01-01 00:00:00 [shm_broadcast.py:1] No available shared memory broadcast block found in 60 seconds.",),
        ("shared memory broadcast block ready",),
    ),
    "log-nixl-peer-lost": (
        ("nixl._bindings.nixlRemoteDisconnectError: NIXL_ERR_REMOTE_DISCONNECT",),
        ("NIXL is available",),
    ),
    "log-nixl-backend": (
        ("nixl._bindings.nixlBackendError: NIXL_ERR_BACKEND", "[1] select.c:1 UCX  ERROR no active messages transport"),
        ("NIXL KVManager initialized with backend: UCX",),
    ),
    "log-no-worker": (
        (
            "ERROR sglang_router_rs::routers::http::pd_router: Failed to select PD pair error=No available prefill workers "
            "(all circuits open or unhealthy)",
            "No available servers: Failed to select prefill worker",
            '{"level": "info", "event": "request failed", "reason": "No prefill worker is healthy: http://127.0.0.1:30000 is starting."}',
        ),
        ("2 available prefill workers",),
    ),
    "log-router-startup": (
        ("RuntimeError: Timeout 1800s waiting for workers http://127.0.0.1:30000 to become healthy",),
        ("waiting for workers",),
    ),
    "log-circuit-open": (
        ("WARN sglang_router_rs::core::circuit_breaker: Circuit breaker state transition: closed -> open",),
        ("circuit breaker closed",),
    ),
    "log-bundled-transport": (
        (
            '{"t": "2026-11-21T05:56:13.950+00:00", "level": "info", "event": "transport", "requested": "mooncake", "used": '
            '"tcp", "notice": "Mooncake cannot be imported: libcudart.so.12: cannot open shared object file The KV travels '
            'over plain TCP sockets."}',
        ),
        ('{"level": "info", "event": "transport", "requested": "mooncake", "used": "mooncake", "notice": ""}',),
    ),
    "log-bundled-staging": (
        (
            '{"t": "x", "level": "warning", "event": "staging", "memory": "host", "reason": "The KV is staged through the '
            "host's memory: this Mooncake build (mooncake-transfer-engine-non-cuda) cannot move GPU memory.\"}",
        ),
        ('{"t": "x", "level": "info", "event": "staging", "memory": "gpu", "reason": ""}',),
    ),
    "log-bundled-misfit": (
        (
            '{"level": "info", "event": "peer_lost", "peer": "127.0.0.1:8998", "reason": "The prefill worker at '
            '127.0.0.1:8998 went away: The workers do not fit: page_size is 16 here and 32 there."}',
            '{"level": "warning", "event": "peer_refused", "remote": "127.0.0.1", "reason": "The peer said nothing."}',
        ),
        ("the workers fit",),
    ),
    "log-bundled-rank": (
        (
            '{"level": "error", "event": "fatal", "reason": "Rank 1 (pid 12 on node 0) was ended by SIGKILL."}',
            '{"level": "warning", "event": "rank_lost", "rank": 1, "reason": "Rank 1 (pid 12 on node 0) failed: full"}',
        ),
        ('{"level": "warning", "event": "regrouped", "generation": 1, "ranks": [0]}',),
    ),
    "log-bundled-fatal": (
        ('{"t": "x", "level": "error", "event": "fatal", "reason": "RuntimeError: shapes"}',),
        ('{"level": "info", "event": "stopping"}',),
    ),
    "log-bundled-link": (
        (
            '{"level": "info", "event": "link_failed", "peer": "127.0.0.1:30001", "reason": "The peer\'s transport is tcp."}',
        ),
        ('{"level": "info", "event": "link_opened", "peer": "127.0.0.1:30001"}',),
    ),
    "log-bundled-peer-lost": (
        ('{"level": "info", "event": "peer_lost", "peer": "127.0.0.1:30001", "reason": "the connection ended"}',),
        ('{"level": "info", "event": "peer_joined", "peer": "127.0.0.1:30001"}',),
    ),
    "log-bundled-grant": (
        ("No decode worker granted pages within 300 s.", "The KV cache did not arrive within 300 s."),
        ("decode granted pages",),
    ),
    "log-bundled-transfer": (
        (
            "KV transfer failed: Mooncake's write to 127.0.0.1:16001 timed out; it answers a probe",
            "Mooncake's engine does not start (code -1).",
        ),
        ("KV transfer done",),
    ),
    "log-bundled-worker": (
        (
            '{"event": "worker", "worker": "http://127.0.0.1:30001", "role": "decode", "state": "suspected", "was": "healthy", '
            '"reason": "x"}',
        ),
        (
            '{"event": "worker", "worker": "http://127.0.0.1:30001", "role": "decode", "state": "healthy", "was": "starting"}',
        ),
    ),
    "log-bundled-start": (
        ("error: --page-size = '0': is less than 1; give 1 or more.",),
        ("error: something else",),
    ),
}


@pytest.mark.parametrize("rule", LINES)
def test_a_line_of_its_kind_is_named(rule: str, named: Callable[..., set[str]]) -> None:
    for line in LINES[rule][0]:
        assert rule in named(line)


@pytest.mark.parametrize("rule", LINES)
def test_a_near_miss_is_not(rule: str, named: Callable[..., set[str]]) -> None:
    for line in LINES[rule][1]:
        assert rule not in named(line)


def test_the_table_has_every_signature() -> None:
    modules = (sglang, vllm, router, pdpanel)
    assert sorted(LINES) == sorted(signature.rule.id for module in modules for signature in module.SIGNATURES)
