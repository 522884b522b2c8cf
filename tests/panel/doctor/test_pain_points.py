"""The 29 known pains of PD serving, each with its condition injected and the finding that has to name it.

A pain shows in a log, in the commands of a deployment, or on the host; what a host shows has its own table beside
nic_probe's tests. Nothing here is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pdpanel.nic_probe.checks.registry import check_host
from pdpanel.nic_probe.finding import Finding
from pdpanel.nic_probe.host import probe_host
from pdpanel.nic_probe.sources.files import HostFiles
from pdpanel.nic_probe.topology.survey import survey_topology
from pdpanel.panel.doctor.agreement import check_agreement
from pdpanel.panel.doctor.command import parse_script
from pdpanel.panel.doctor.deployment import check_commands
from pdpanel.panel.doctor.log import explain_log
from simulated_node import grow_node

P = "python -m sglang.launch_server --model-path org/m --disaggregation-mode prefill --host {p} "
D = "python -m sglang.launch_server --model-path org/m --disaggregation-mode decode --port 30001 --host {d} "


def pair(prefill: str = "", decode: str = "", one_host: bool = False, before: str = "") -> str:
    """Returns the commands of a pair, on two hosts unless told otherwise."""
    hosts = {"p": "10.0.0.1", "d": "10.0.0.1" if one_host else "10.0.0.2"}
    gpu = "--base-gpu-id 4 " if one_host else ""
    return f"{before}{P}{prefill}\n{before}{D}{gpu}{decode}".format(**hosts)


@dataclass(frozen=True, slots=True)
class Pain:
    """One row: what is injected, in a log or in commands, and the finding that names it."""

    number: int
    finding: str
    log: str = ""
    commands: str = ""
    on_node: bool = False


E = "E1212 12:06:27.214640   865 "
PAINS = (
    Pain(
        1,
        "log-gpu-memory-not-registered",
        E + "rdma_context.cpp:205] Failed to register memory 0x7fd4ad548000: Bad address [14]",
    ),
    Pain(
        1,
        "log-gpu-memory-not-registered",
        E + "rdma_context.cpp:203] Failed to register memory 0x7b375b400000: Invalid argument [22]",
    ),
    Pain(
        2,
        "log-dma-buf-unsupported",
        E
        + "x.cpp:1] DMA BUF supported required for GPU RDMA without nvidia-peermem on GPU device 0 mapped to RNIC mlx5_0",
    ),
    Pain(2, "log-no-rnic", E + "rdma_transport.cpp:1] RdmaTransport: No available RNIC"),
    Pain(3, "log-gid-null", "RDMA device: mlx5_3, LID: 0, GID: (GID_Index 3) " + ":".join(["00"] * 16)),
    Pain(3, "log-qp-rtr", E + "x.cpp:1] Failed to modify QP to RTR, check mtu, gid, peer lid, peer qp num"),
    Pain(
        4, "log-advertised-bridge", "I1 x.cpp:1] Transfer Engine RPC using P2P handshake, listening on 172.17.0.1:16519"
    ),
    Pain(
        4,
        "host-loopback",
        commands=pair().replace("--host 10.0.0.1 ", "")
        + "\npython -m sglang_router.launch_router --pd-disaggregation --port 8000 --prefill http://10.0.0.1:30000 --decode http://10.0.0.2:30001",
    ),
    Pain(
        5,
        "ib-device-crosses-rails",
        commands=P.format(p="127.0.0.1") + "--tp 8 --disaggregation-ib-device mlx5_0,mlx5_1,mlx5_2,mlx5_3",
        on_node=True,
    ),
    Pain(
        6,
        "bootstrap-port-clash",
        commands=pair(one_host=True) + "\n" + P.format(p="10.0.0.1") + "--port 30002 --base-gpu-id 2",
    ),
    Pain(6, "log-bootstrap-register", "Prefill instance failed to register to bootstrap server after 5 retries"),
    Pain(7, "flag-twice", commands=pair("--port 30000 --port 30010")),
    Pain(7, "log-connection-refused", "ConnectionRefusedError: [Errno 111] Connection refused"),
    Pain(
        8,
        "log-rendezvous-port",
        "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. port: 29500, name: EADDRINUSE",
    ),
    Pain(8, "port-ephemeral", commands=pair("--dist-init-addr 10.0.0.1:45000")),
    Pain(9, "gpu-shared", commands=pair(one_host=True).replace("--base-gpu-id 4 ", "")),
    Pain(9, "port-clash", commands=pair(one_host=True).replace("--port 30001 ", "")),
    Pain(
        10,
        "log-gpu-occupied",
        "ValueError: The memory capacity is unbalanced. Some GPUs may be occupied by other processes.",
    ),
    Pain(
        11, "log-mkeys-leaked", E + "x.cpp:1] Failed to register memory 0x7f00: Resource temporarily unavailable [11]"
    ),
    Pain(12, "pd-page-size", commands=pair("--page-size 64", "--page-size 1")),
    Pain(
        12,
        "log-page-size-differs",
        "RuntimeError: Page size mismatch: prefill server has page_size=64, but decode server has page_size=1.",
    ),
    Pain(13, "pd-tensor-parallel", commands=pair("--tp 2", "--tp 4")),
    Pain(13, "log-tp-differs", "Performance is NOT guaranteed when using different TP sizes for non-MLA models."),
    Pain(14, "pd-kv-dtype", commands=pair("--kv-cache-dtype fp8_e5m2")),
    Pain(14, "pd-state-dtype", commands=pair("--mamba-ssm-dtype float32", "--mamba-ssm-dtype bfloat16")),
    Pain(
        15,
        "log-cudart-missing",
        "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
    ),
    Pain(
        16,
        "log-verbs-library",
        "libibverbs: Warning: couldn't load driver 'libmlx5-rdmav34.so': libmlx5-rdmav34.so: cannot open",
    ),
    Pain(17, "log-verbs-node", "W1 topology.cpp:54] Device mlx5_0 path /dev/infiniband/uverbs0 does not exist"),
    Pain(18, "log-memlock", E + "rdma_context.cpp:205] Failed to register memory 0x7f00: Cannot allocate memory [12]"),
    Pain(19, "log-tcp-not-rdma", "I1 transfer_engine_impl.cpp:9] Using TCP transport (no HCA detected)"),
    Pain(
        20,
        "log-tcp-bad-address",
        "E0520 06:53:47.2 1 tcp_transport.cpp:136] Session::writeBody failed. Error: Bad address (value: 14)",
    ),
    Pain(
        21,
        "log-no-worker",
        "ERROR pd_router: Failed to select PD pair error=No available prefill workers (all circuits open or unhealthy)",
    ),
    Pain(
        22,
        "log-prefill-lost",
        "Lost connection with prefill instance (bootstrap_addr: 10.0.0.1:8998), 12 requests affected",
    ),
    Pain(
        22,
        "log-bundled-peer-lost",
        '{"event": "peer_lost", "peer": "127.0.0.1:8998", "reason": "the connection ended"}',
    ),
    Pain(
        23,
        "log-kv-transfer-error",
        "Decode transfer failed for request rank=0 KVTransferError(bootstrap_room=7): timed out",
    ),
    Pain(23, "log-waiting-timeout", "Request 12 timed out after 300.4s in KVPoll.WaitingForInput"),
    Pain(
        24,
        "log-metadata-plugin",
        "F1 x.cpp:1] Unable to find metadata storage plugin etcd with conn string: etcd://10.0.0.1:2379",
    ),
    Pain(24, "config-path-ignored", commands=pair(before="MOONCAKE_CONFIG_PATH=./mooncake.json ")),
    Pain(25, "proxy-env", commands=pair(before="http_proxy=http://proxy:3128 ")),
    Pain(
        25,
        "log-proxy",
        "requests.exceptions.ProxyError: HTTPConnectionPool(host='10.0.0.1', port=8998): Max retries exceeded",
    ),
    Pain(26, "log-bottleneck", "\n".join(["Prefill batch, #new-seq: 1, #queue-req: 12, #inflight-req: 0"] * 30)),
    Pain(26, "log-kv-pool-full", "KV cache pool is full. Retract requests. #retracted_reqs: 3"),
    Pain(27, "log-invalid-device", "RuntimeError: CUDA error: invalid device ordinal"),
    Pain(27, "gpu-missing", commands=P.format(p="127.0.0.1") + "--tp 4 --base-gpu-id 6", on_node=True),
    Pain(
        28,
        "log-ephemeral-ports",
        "E1 tcp.cpp:1] TcpTransport::getConnection failed to create connection to 10.0.0.2:16001. Error: connect: Cannot assign requested address",
    ),
    Pain(29, "engine-metrics-off", commands=pair()),
)
# Seen on the host alone, by nic_probe's own checks, and nowhere in this table.
ON_THE_HOST_ALONE: frozenset[int] = frozenset()


def _findings(pain: Pain, root: Path) -> tuple[Finding, ...]:
    if pain.log:
        return explain_log(pain.log.splitlines(), "worker.log").findings
    if not pain.on_node:
        return check_agreement(parse_script(pain.commands))
    host = probe_host(HostFiles(grow_node(root, gpus=8, nics=8, nics_per_switch=2, gids=8).root), {})
    return check_commands(parse_script(pain.commands), host, survey_topology(host))


@pytest.mark.parametrize("pain", PAINS, ids=lambda pain: f"{pain.number}-{pain.finding}")
def test_the_pain_is_named(pain: Pain, tmp_path: Path) -> None:
    named = {finding.id: finding for finding in _findings(pain, tmp_path)}
    assert pain.finding in named
    assert named[pain.finding].reason
    assert named[pain.finding].remedy


def test_all_29_are_named() -> None:
    numbers = {pain.number for pain in PAINS} | ON_THE_HOST_ALONE
    assert numbers == set(range(1, 30))


@pytest.mark.parametrize(
    "commands",
    [pair("--enable-metrics", "--enable-metrics"), pair("--enable-metrics", "--enable-metrics", one_host=True)],
)
def test_a_pair_in_order_has_no_finding(commands: str) -> None:
    assert check_agreement(parse_script(commands)) == ()


def test_a_pair_in_order_has_no_error_on_its_host(
    tmp_path: Path, errors: Callable[[tuple[Finding, ...]], list[str]]
) -> None:
    host = probe_host(HostFiles(grow_node(tmp_path, gpus=8, nics=8, nics_per_switch=2, gids=8).root), {})
    topology = survey_topology(host)
    commands = pair("--tp 4 --enable-metrics", "--tp 4 --enable-metrics", one_host=True).replace(
        "10.0.0.1", "127.0.0.1"
    )
    assert errors((*check_host(host, topology), *check_commands(parse_script(commands), host, topology))) == []
