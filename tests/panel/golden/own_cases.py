"""Launch cases of the project's own, in the form of the published ones: other models, hosts, ports, counts, versions.

Each is the inputs of a case, and what is to come of them as one line of shell per command: ROLE[@NODE]: COMMAND.
Written by hand from the documents' rules, never from what the dialects print.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from .own_more_cases import OWN_MORE_CASES
from .own_vllm_cases import OWN_VLLM_CASES

__all__ = ["OWN_CASES", "case_of"]

_SGLANG = "python -m sglang.launch_server"
_ROUTER = "python -m sglang_router.launch_router --pd-disaggregation"
_LEGACY = {"engine": "sglang", "dialect": "sglang-legacy-mooncake-json", "router": "mini_lb", "metadata_port": 8998}
_CURRENT = {"engine": "sglang", "dialect": "sglang-current"}
_ENV = "MOONCAKE_CONFIG_PATH=./mooncake.json"
_MINI_LB = "python3 -m sglang.srt.disaggregation.mini_lb"


def _config(host: str, server: str, protocol: str = "rdma", devices: str = "") -> dict[str, str]:
    return {"local_hostname": host, "metadata_server": server, "protocol": protocol, "device_name": devices}


def _smoke(port: int, prompt: str) -> str:
    body = json.dumps({"text": prompt, "sampling_params": {"temperature": 0}})
    return f"curl -X POST http://127.0.0.1:{port}/generate -H 'Content-Type: application/json' -d {shlex.quote(body)}"


Case = tuple[Mapping[str, Any], tuple[str, ...], Mapping[str, Any], Mapping[str, str]]

OWN_CASES: Mapping[str, Case] = {
    **OWN_MORE_CASES,
    **OWN_VLLM_CASES,
    "legacy-2p2d-on-two-nodes": (
        {
            **_LEGACY,
            "model": "org/m",
            "tp": 2,
            "protocol": "rdma",
            "ib_devices": ["mlx5_0"],
            "prefill_port": 30000,
            "decode_port": 30001,
            "router_host": "0.0.0.0",
            "router_port": 9000,
            "decode_base_gpu_id": 2,
            "prefill_hosts": ["10.1.0.1", "10.1.0.2"],
            "decode_hosts": ["10.1.0.1", "10.1.0.2"],
        },
        (
            *(
                f"prefill@{host}: {_ENV} {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 30000 "
                f"--host {host} --tp-size 2"
                for host in ("10.1.0.1", "10.1.0.2")
            ),
            *(
                f"decode@{host}: {_ENV} {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 "
                f"--host {host} --tp-size 2 --base-gpu-id 2"
                for host in ("10.1.0.1", "10.1.0.2")
            ),
            f"router@10.1.0.1: {_MINI_LB} --prefill http://10.1.0.1:30000,http://10.1.0.2:30000 "
            "--decode http://10.1.0.1:30001,http://10.1.0.2:30001 --host 0.0.0.0 --port 9000",
            f"smoke-test@10.1.0.1: {_smoke(9000, 'Let me tell you a lonnng story ')}",
        ),
        {
            f"{host}:mooncake.json": _config(host, "http://10.1.0.1:8998/metadata", devices="mlx5_0")
            for host in ("10.1.0.1", "10.1.0.2")
        },
        {},
    ),
    "legacy-tcp-with-redis": (
        {
            **_LEGACY,
            "model": "org/m",
            "tp": 1,
            "protocol": "tcp",
            "metadata_backend": "redis",
            "prefill_port": 31000,
            "decode_port": 31001,
            "prefill_hosts": ["10.1.0.1"],
            "decode_hosts": ["10.1.0.9"],
        },
        (
            f"prefill@10.1.0.1: {_ENV} {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 31000 "
            "--host 10.1.0.1 --tp-size 1",
            f"decode@10.1.0.9: {_ENV} {_SGLANG} --model-path org/m --disaggregation-mode decode --port 31001 "
            "--host 10.1.0.9 --tp-size 1",
        ),
        {f"{host}:mooncake.json": _config(host, "redis://10.1.0.1:6379", "tcp") for host in ("10.1.0.1", "10.1.0.9")},
        {},
    ),
    "single-node-with-policy": (
        {
            **_CURRENT,
            "model": "org/m",
            "tp": 4,
            "bootstrap_port": 8998,
            "prefill_port": 30000,
            "decode_port": 30001,
            "router_host": "0.0.0.0",
            "router_port": 8000,
            "policy": "cache_aware",
            "decode_base_gpu_id": 4,
            "prefill_hosts": ["10.1.0.1"],
            "decode_hosts": ["10.1.0.1"],
            "modelscope": True,
        },
        (
            f"prefill@10.1.0.1: {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 30000 "
            "--host 10.1.0.1 --tp-size 4",
            f"decode@10.1.0.1: {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 "
            "--base-gpu-id 4 --host 10.1.0.1 --tp-size 4",
            f"router@10.1.0.1: {_ROUTER} --prefill http://10.1.0.1:30000 8998 --decode http://10.1.0.1:30001 "
            "--policy cache_aware --host 0.0.0.0 --port 8000",
            f"smoke-test@10.1.0.1: {_smoke(8000, 'Tell me a long story')}",
        ),
        {},
        {"SGLANG_USE_MODELSCOPE": "true"},
    ),
    "three-decodes": (
        {
            **_CURRENT,
            "model": "org/m",
            "tp": 2,
            "bootstrap_port": 9100,
            "prefill_port": 30000,
            "decode_port": 30001,
            "router_port": 8000,
            "prefill_hosts": ["a1"],
            "decode_hosts": ["a1", "a2", "a3"],
            "decode_base_gpu_id": {"a1": 2, "a2": 0, "a3": 0},
        },
        (
            f"prefill@a1: {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 30000 --host a1 "
            "--tp-size 2 --disaggregation-bootstrap-port 9100",
            f"decode@a1: {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 --host a1 --tp-size 2 "
            "--base-gpu-id 2",
            *(
                f"decode@{host}: {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 "
                f"--host {host} --tp-size 2"
                for host in ("a2", "a3")
            ),
            f"router@a1: {_ROUTER} --prefill http://a1:30000 9100 --decode http://a1:30001 --decode http://a2:30001 "
            "--decode http://a3:30001 --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "a-map-of-nics": (
        {
            **_CURRENT,
            "model": "org/m",
            "ib_devices": {"0": "mlx5_0,mlx5_1", "1": "mlx5_2"},
            "backend": "mooncake",
            "prefill_port": 30000,
            "decode_port": 30001,
            "router_port": 8000,
            "decode_base_gpu_id": 1,
        },
        (
            f"prefill: {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 30000 "
            """--disaggregation-ib-device '{"0": "mlx5_0,mlx5_1", "1": "mlx5_2"}'""",
            f"decode: {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 --base-gpu-id 1 "
            """--disaggregation-ib-device '{"0": "mlx5_0,mlx5_1", "1": "mlx5_2"}'""",
        ),
        {},
        {},
    ),
    "nixl-groups-of-three": (
        {
            "engine": "sglang",
            "backend": "nixl",
            "model": "org/moe",
            "tp": 24,
            "dp": 24,
            "dp_attention": True,
            "prefill_group": ["p1", "p2", "p3"],
            "decode_group": ["d1", "d2", "d3"],
            "dist_port": 5000,
            "a2a": "deepep",
            "mem_fraction_static": 0.7,
            "prefill_port": 30000,
            "decode_port": 30001,
        },
        tuple(
            f"{role}@{side}{rank + 1}: {_SGLANG} --model-path org/moe --disaggregation-transfer-backend nixl "
            f"--disaggregation-mode {role} --host {side}{rank + 1} --port {port} --trust-remote-code "
            f"--dist-init-addr {side}1:5000 --nnodes 3 --node-rank {rank} --tp-size 24 --dp-size 24 "
            "--enable-dp-attention --moe-a2a-backend deepep --mem-fraction-static 0.7"
            for role, side, port in (("prefill", "p", 30000), ("decode", "d", 30001))
            for rank in range(3)
        ),
        {},
        {},
    ),
    "ascend-groups-of-one": (
        {
            "engine": "sglang",
            "backend": "ascend",
            "model": "org/moe",
            "tp": 16,
            "dist_port": 5000,
            "prefill_group": ["10.1.0.1"],
            "decode_group": ["10.1.0.2"],
            "mf_store_url": "tcp://10.1.0.1:24669",
        },
        tuple(
            f"{role}@{host}: {_SGLANG} --model-path org/moe --disaggregation-transfer-backend ascend "
            f"--disaggregation-mode {role} --host {host} --port {port} --trust-remote-code "
            f"--dist-init-addr {host}:5000 --nnodes 1 --node-rank 0 --tp-size 16"
            for role, host, port in (("prefill", "10.1.0.1", 30000), ("decode", "10.1.0.2", 30001))
        ),
        {},
        {"ASCEND_MF_STORE_URL": "tcp://10.1.0.1:24669"},
    ),
    "experts-by-version": (
        {
            "engine": "sglang",
            "sglang_version": "0.5.22",
            "model": "org/moe",
            "tp": 8,
            "dp": 4,
            "dp_attention": True,
            "a2a": "deepep",
            "prefill_hosts": ["a"],
            "decode_hosts": ["b"],
        },
        tuple(
            f"{role}@{host}: {_SGLANG} --model-path org/moe --disaggregation-mode {role} --port {port} --host {host} "
            "--tp-size 8 --attn-dp-size 4 --moe-a2a-backend deepep"
            for role, host, port in (("prefill", "a", 30000), ("decode", "b", 30001))
        ),
        {},
        {},
    ),
    "experts-of-an-older-version": (
        {
            "engine": "sglang",
            "sglang_version": "0.5.18",
            "model": "org/moe",
            "tp": 8,
            "attn_dp": 8,
            "ep_backend": "mooncake",
            "prefill_hosts": ["a"],
            "decode_hosts": ["b"],
            "ib_devices": ["m0", "m1"],
        },
        tuple(
            f"{role}@{host}: {_SGLANG} --model-path org/moe --disaggregation-mode {role} --port {port} --host {host} "
            "--tp-size 8 --dp-size 8 --enable-dp-attention --elastic-ep-backend mooncake --moe-a2a-backend mooncake "
            "--disaggregation-ib-device m0,m1 --mooncake-ib-device m0,m1"
            for role, host, port in (("prefill", "a", 30000), ("decode", "b", 30001))
        ),
        {},
        {},
    ),
    "tcp-of-an-older-version": (
        {
            "engine": "sglang",
            "sglang_version": "0.5.12",
            "backend": "mooncake_tcp",
            "model": "org/m",
            "decode_base_gpu_id": 1,
        },
        (
            f"prefill: MC_FORCE_TCP=1 {_SGLANG} --model-path org/m --disaggregation-mode prefill --port 30000",
            f"decode: MC_FORCE_TCP=1 {_SGLANG} --model-path org/m --disaggregation-mode decode --port 30001 "
            "--base-gpu-id 1",
            f"router: {_ROUTER} --prefill http://127.0.0.1:30000 --decode http://127.0.0.1:30001 --host 0.0.0.0 "
            "--port 8000",
        ),
        {},
        {},
    ),
    "one-encoder": (
        {
            "engine": "sglang",
            "model": "org/vl",
            "tp": 2,
            "encoder_ports": [31002],
            "prefill_port": 31000,
            "decode_port": 31001,
            "encoder_backend": "zmq_to_scheduler",
        },
        (
            f"encoder: {_SGLANG} --model-path org/vl --encoder-only --encoder-transfer-backend zmq_to_scheduler "
            "--port 31002",
            f"prefill: {_SGLANG} --model-path org/vl --disaggregation-mode prefill "
            "--disaggregation-transfer-backend mooncake --encoder-transfer-backend zmq_to_scheduler --tp-size 2 "
            "--language-only --encoder-urls http://127.0.0.1:31002 --port 31000",
            f"decode: {_SGLANG} --model-path org/vl --disaggregation-mode decode "
            "--disaggregation-transfer-backend mooncake --port 31001",
        ),
        {},
        {},
    ),
    "timeouts-of-decode": (
        {
            **_CURRENT,
            "model": "org/m",
            "waiting_timeout": 600,
            "heartbeat_interval": 10.5,
            "heartbeat_max_failure": 3,
            "bootstrap_timeout": 600,
            "decode_base_gpu_id": 1,
        },
        (
            f"prefill: SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT=600 {_SGLANG} --model-path org/m "
            "--disaggregation-mode prefill --port 30000",
            "decode: SGLANG_DISAGGREGATION_WAITING_TIMEOUT=600 SGLANG_DISAGGREGATION_HEARTBEAT_INTERVAL=10.5 "
            f"SGLANG_DISAGGREGATION_HEARTBEAT_MAX_FAILURE=3 {_SGLANG} --model-path org/m "
            "--disaggregation-mode decode --port 30001 --base-gpu-id 1",
        ),
        {},
        {},
    ),
    "a-store-elsewhere": (
        {"engine": "sglang", "model": "org/m", "master": "127.0.0.1:50061"},
        (
            "master: mooncake_master --rpc_port=50061 --enable_http_metadata_server=true "
            "--http_metadata_server_port=8080 --eviction_high_watermark_ratio=0.95",
            f"server: SGLANG_HICACHE_MOONCAKE_CONFIG_PATH=mooncake_config.json {_SGLANG} --model-path org/m "
            "--enable-hierarchical-cache --hicache-storage-backend mooncake",
        ),
        {
            "mooncake_config.json": {
                "local_hostname": "localhost",
                "metadata_server": "http://127.0.0.1:8080/metadata",
                "master_server_address": "127.0.0.1:50061",
                "protocol": "rdma",
                "device_name": "",
                "global_segment_size": "4gb",
            }
        },
        {},
    ),
}


def case_of(name: str) -> dict[str, Any]:
    """Returns an own case in the form of the published ones."""
    inputs, lines, files, env = OWN_CASES[name]
    return {"inputs": inputs, "files": files, "env": env, "commands": [_command(line) for line in lines]}


def _command(line: str) -> dict[str, Any]:
    where, _, text = line.partition(": ")
    role, _, node = where.partition("@")
    words = shlex.split(text)
    own = 0
    while "=" in words[own] and not words[own].startswith("-"):
        own += 1
    env = {word.partition("=")[0]: word.partition("=")[2] for word in words[:own]}
    return {"role": role, "argv": words[own:], "env": env, **({"node": node} if node else {})}
