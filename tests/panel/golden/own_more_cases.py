"""More launch cases of the project's own: IPv6, several prefills on a node, groups, sizes by role; see `own_cases`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["OWN_MORE_CASES"]

_SGLANG = "python -m sglang.launch_server --model-path org/m"
_ROUTER = "python -m sglang_router.launch_router --pd-disaggregation"
_CURRENT = {"engine": "sglang", "dialect": "sglang-current", "model": "org/m", "prefill_port": 30000}
_CURRENT = {**_CURRENT, "decode_port": 30001, "router_port": 8000}
_LEGACY = {"engine": "sglang", "dialect": "sglang-legacy-mooncake-json", "model": "org/m", "router": "mini_lb"}
_LEGACY = {**_LEGACY, "prefill_port": 30000, "decode_port": 30001, "router_port": 8000, "metadata_port": 8998}
_FILE = "MOONCAKE_CONFIG_PATH=./mooncake.json"
_GROUP = (
    "--disaggregation-ib-device mlx5_0 --tp-size 16 --dp-size 8 --enable-dp-attention --moe-a2a-backend deepep "
    "--mem-fraction-static 0.8 --trust-remote-code --nnodes 2"
)

OWN_MORE_CASES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...], Mapping[str, Any], Mapping[str, str]]] = {
    "two-by-two-with-a-policy-each": (
        {
            **_CURRENT,
            "tp": 2,
            "bootstrap_port": 8998,
            "prefill_policy": "cache_aware",
            "decode_policy": "power_of_two",
            "prefill_hosts": ["10.1.0.1", "10.1.0.2"],
            "decode_hosts": ["10.1.0.1", "10.1.0.3"],
            "decode_base_gpu_id": {"10.1.0.1": 2, "10.1.0.3": 0},
        },
        (
            *(
                f"prefill@{host}: {_SGLANG} --disaggregation-mode prefill --host {host} --port 30000 --tp-size 2"
                for host in ("10.1.0.1", "10.1.0.2")
            ),
            f"decode@10.1.0.1: {_SGLANG} --disaggregation-mode decode --host 10.1.0.1 --port 30001 --tp-size 2 "
            "--base-gpu-id 2",
            f"decode@10.1.0.3: {_SGLANG} --disaggregation-mode decode --host 10.1.0.3 --port 30001 --tp-size 2",
            f"router@10.1.0.1: {_ROUTER} --prefill http://10.1.0.1:30000 8998 --prefill http://10.1.0.2:30000 8998 "
            "--decode http://10.1.0.1:30001 --decode http://10.1.0.3:30001 --prefill-policy cache_aware "
            "--decode-policy power_of_two --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "two-prefills-on-a-node": (
        {
            **_CURRENT,
            "tp": 2,
            "bootstrap_ports": [8998, 8999],
            "prefill_hosts": ["10.1.0.1", "10.1.0.1"],
            "decode_hosts": ["10.1.0.2"],
            "prefill_port": {"10.1.0.1": 31000},
        },
        (
            f"prefill@10.1.0.1: {_SGLANG} --disaggregation-mode prefill --host 10.1.0.1 --port 31000 --tp-size 2",
            f"prefill@10.1.0.1: {_SGLANG} --disaggregation-mode prefill --host 10.1.0.1 --port 31001 --tp-size 2 "
            "--base-gpu-id 2 --disaggregation-bootstrap-port 8999",
            f"decode@10.1.0.2: {_SGLANG} --disaggregation-mode decode --host 10.1.0.2 --port 30001 --tp-size 2",
            f"router@10.1.0.1: {_ROUTER} --prefill http://10.1.0.1:31000 8998 --prefill http://10.1.0.1:31001 8999 "
            "--decode http://10.1.0.2:30001 --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "decode-behind-a-larger-prefill": (
        {**_CURRENT, "prefill_tp": 4, "decode_tp": 2, "decode_base_gpu_id": 4, "ib_devices": ["mlx5_1", "mlx5_2"]},
        (
            f"prefill: {_SGLANG} --disaggregation-mode prefill --port 30000 --tp-size 4 "
            "--disaggregation-ib-device mlx5_1,mlx5_2",
            f"decode: {_SGLANG} --disaggregation-mode decode --port 30001 --tp-size 2 --base-gpu-id 4 "
            "--disaggregation-ib-device mlx5_1,mlx5_2",
        ),
        {},
        {},
    ),
    "addresses-of-ipv6": (
        {
            **_CURRENT,
            "tp": 2,
            "bootstrap_port": 8998,
            "policy": "round_robin",
            "prefill_hosts": ["fd00::1"],
            "decode_hosts": ["fd00::2"],
        },
        (
            f"prefill@fd00::1: {_SGLANG} --disaggregation-mode prefill --host fd00::1 --port 30000 --tp-size 2",
            f"decode@fd00::2: {_SGLANG} --disaggregation-mode decode --host fd00::2 --port 30001 --tp-size 2",
            f"router@fd00::1: {_ROUTER} --prefill http://[fd00::1]:30000 8998 --decode http://[fd00::2]:30001 "
            "--policy round_robin --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "two-groups-of-prefill": (
        {
            "engine": "sglang",
            "model": "org/m",
            "backend": "mooncake",
            "ib_devices": ["mlx5_0"],
            "tp": 16,
            "dp": 8,
            "dp_attention": True,
            "a2a": "deepep",
            "mem_fraction_static": 0.8,
            "decode_max_running_requests": 128,
            "dist_port": 5000,
            "prefill_groups": [["p1", "p2"], ["p3", "p4"]],
            "decode_groups": [["d1", "d2"]],
        },
        (
            *(
                f"prefill@p{2 * group + rank + 1}: {_SGLANG} --disaggregation-mode prefill {_GROUP} "
                f"--host p{2 * group + rank + 1} --port 30000 --dist-init-addr p{2 * group + 1}:5000 --node-rank {rank}"
                for group in range(2)
                for rank in range(2)
            ),
            *(
                f"decode@d{rank + 1}: {_SGLANG} --disaggregation-mode decode {_GROUP} --host d{rank + 1} --port 30001 "
                f"--dist-init-addr d1:5000 --node-rank {rank} --max-running-requests 128"
                for rank in range(2)
            ),
            f"router@p1: {_ROUTER} --prefill http://p1:30000 8998 --prefill http://p3:30000 8998 "
            "--decode http://d1:30001 --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "encoders-on-hosts-over-tcp": (
        {
            **_CURRENT,
            "sglang_version": "0.5.14",
            "backend": "mooncake_tcp",
            "encoder_backend": "mooncake",
            "encoder_ports": [30002],
            "encoder_hosts": ["e1", "e2"],
            "prefill_hosts": ["p1"],
            "decode_hosts": ["d1"],
            "ib_devices": ["mlx5_0"],
        },
        (
            *(
                f"encoder@{host}: MC_FORCE_TCP=1 {_SGLANG} --encoder-only --encoder-transfer-backend mooncake "
                f"--host {host} --port 30002"
                for host in ("e1", "e2")
            ),
            f"prefill@p1: {_SGLANG} --disaggregation-mode prefill --disaggregation-transfer-backend mooncake_tcp "
            "--host p1 --port 30000 --encoder-transfer-backend mooncake --language-only "
            "--encoder-urls http://e1:30002 http://e2:30002",
            f"decode@d1: {_SGLANG} --disaggregation-mode decode --disaggregation-transfer-backend mooncake_tcp "
            "--host d1 --port 30001",
            f"router@p1: {_ROUTER} --prefill http://p1:30000 --decode http://d1:30001 --host 0.0.0.0 --port 8000",
        ),
        {},
        {},
    ),
    "legacy-with-another-metadata-port": (
        {
            **_LEGACY,
            "tp": None,
            "protocol": "tcp",
            "ib_devices": [],
            "metadata_port": 9998,
            "prefill_hosts": ["10.1.0.1"],
            "decode_hosts": ["10.1.0.2", "10.1.0.3"],
        },
        (
            f"prefill@10.1.0.1: {_FILE} {_SGLANG} --disaggregation-mode prefill --host 10.1.0.1 --port 30000 "
            "--disaggregation-bootstrap-port 9998",
            *(
                f"decode@{host}: {_FILE} {_SGLANG} --disaggregation-mode decode --host {host} --port 30001 "
                "--disaggregation-bootstrap-port 9998"
                for host in ("10.1.0.2", "10.1.0.3")
            ),
            "router@10.1.0.1: python3 -m sglang.srt.disaggregation.mini_lb --prefill http://10.1.0.1:30000 "
            "--decode http://10.1.0.2:30001,http://10.1.0.3:30001 --host 0.0.0.0 --port 8000",
        ),
        {
            f"{host}:mooncake.json": {
                "local_hostname": host,
                "metadata_server": "http://10.1.0.1:9998/metadata",
                "protocol": "tcp",
                "device_name": "",
            }
            for host in ("10.1.0.1", "10.1.0.2", "10.1.0.3")
        },
        {},
    ),
}
