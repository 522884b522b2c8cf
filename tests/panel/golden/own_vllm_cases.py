"""Launch cases of the project's own for vLLM; see `own_cases` for their form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

__all__ = ["OWN_VLLM_CASES"]

_API_SERVER = "MOONCAKE_CONFIG_PATH=./mooncake.json python3 -m vllm.entrypoints.openai.api_server"


def _v0(role: str, rank: int) -> str:
    # As in the document, the size is 2e9, which no JSON writer of Python prints.
    text = (
        f'{{"kv_connector":"MooncakeConnector","kv_role":"{role}","kv_rank":{rank},'
        '"kv_parallel_size":2,"kv_buffer_size":2e9}'
    )
    return shlex.quote(text)


def _v1(role: str) -> str:
    return shlex.quote(json.dumps({"kv_connector": "MooncakeConnector", "kv_role": role}, separators=(",", ":")))


OWN_VLLM_CASES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...], Mapping[str, Any], Mapping[str, str]]] = {
    "v0-on-other-hosts": (
        {
            "engine": "vllm",
            "dialect": "vllm-v0-mooncake",
            "model": "org/m",
            "max_model_len": 4096,
            "gpu_memory_utilization": 0.7,
            "prefill_service_port": 8110,
            "decode_service_port": 8210,
            "kv_buffer_size": 2e9,
            "proxy_port": 9000,
            "protocol": "rdma",
            "ib_devices": ["mlx5_0", "mlx5_1"],
            "prefill_host": "10.1.0.1",
            "decode_host": "10.1.0.2",
            "prefill_url_port": 14003,
            "decode_url_port": 14003,
            "metadata": "etcd",
            "metadata_host": "10.1.0.2",
        },
        (
            "metadata@10.1.0.2: etcd --listen-client-urls http://0.0.0.0:2379 "
            "--advertise-client-urls http://localhost:2379",
            f"prefill@10.1.0.1: {_API_SERVER} --model org/m --port 8110 --max-model-len 4096 "
            f"--gpu-memory-utilization 0.7 --kv-transfer-config {_v0('kv_producer', 0)}",
            f"decode@10.1.0.2: {_API_SERVER} --model org/m --port 8210 --max-model-len 4096 "
            f"--gpu-memory-utilization 0.7 --kv-transfer-config {_v0('kv_consumer', 1)}",
        ),
        {
            "both:mooncake.json": {
                "prefill_url": "10.1.0.1:14003",
                "decode_url": "10.1.0.2:14003",
                "metadata_server": "10.1.0.2:2379",
                "metadata_backend": "etcd",
                "protocol": "rdma",
                "device_name": "mlx5_0,mlx5_1",
            }
        },
        {},
    ),
    "v0-over-tcp-on-one-node": (
        {
            "engine": "vllm",
            "dialect": "vllm-v0-mooncake",
            "model": "org/m",
            "tp": 2,
            "max_model_len": 10000,
            "gpu_memory_utilization": 0.8,
            "prefill_service_port": 8100,
            "decode_service_port": 8200,
            "kv_buffer_size": 5e9,
            "protocol": "tcp",
            "ib_devices": [],
            "prefill_host": "10.1.0.1",
            "decode_host": "10.1.0.1",
            "prefill_url_port": 13003,
            "decode_url_port": 13103,
            "cuda_visible_devices": {"prefill": "0,1", "decode": "2,3"},
            "metadata": "http",
        },
        tuple(
            f"{role}@10.1.0.1: CUDA_VISIBLE_DEVICES={gpus} {_API_SERVER} --model org/m --port {port} "
            "--max-model-len 10000 --gpu-memory-utilization 0.8 --tensor-parallel-size 2 "
            f"--kv-transfer-config {_v0(kind, rank).replace('2e9', '5e9')}"
            for role, gpus, port, kind, rank in (
                ("prefill", "0,1", 8100, "kv_producer", 0),
                ("decode", "2,3", 8200, "kv_consumer", 1),
            )
        ),
        {
            "both:mooncake.json": {
                "prefill_url": "10.1.0.1:13003",
                "decode_url": "10.1.0.1:13103",
                "metadata_server": "http://10.1.0.1:8080/metadata",
                "protocol": "tcp",
                "device_name": "",
            }
        },
        {},
    ),
    "v1-with-tp": (
        {
            "engine": "vllm",
            "dialect": "vllm-v1-mooncake",
            "model": "org/m",
            "tp": 4,
            "prefill_host": "10.1.0.1",
            "decode_host": "10.1.0.2",
            "prefill_service_port": 8030,
            "decode_service_port": 8040,
        },
        (
            "prefill@10.1.0.1: vllm serve org/m --port 8030 --tensor-parallel-size 4 "
            f"--kv-transfer-config {_v1('kv_producer')}",
            "decode@10.1.0.2: vllm serve org/m --port 8040 --tensor-parallel-size 4 "
            f"--kv-transfer-config {_v1('kv_consumer')}",
            "proxy: python examples/disaggregated/mooncake_connector/mooncake_connector_proxy.py "
            "--prefill http://10.1.0.1:8030 --decode http://10.1.0.2:8040",
        ),
        {},
        {},
    ),
}
