"""Mooncake's signatures: each is named by a line of its kind and not by a near miss.

The lines have the formats of Mooncake's sources (3b5a594 and older ones, as issues quote them).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pdpanel.panel.doctor.signatures import mooncake, mooncake_rdma

# id: lines that it explains, and lines that it does not.
LINES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log-gpu-memory-not-registered": (
        (
            "E1212 12:06:27.214640   865 rdma_context.cpp:205] Failed to register memory 0x7fd4ad548000: Bad address [14]",
            "E0605 10:48:27.885119 10136 rdma_context.cpp:203] Failed to register memory 0x7b375b400000: Invalid argument [22]",
            "Failed to register memory 0x1: Bad address",
        ),
        ("E1212 12:06:27.2 865 rdma_context.cpp:205] Failed to unregister memory 0x7fd4ad548000",),
    ),
    "log-max-mr-size": (
        (
            "E0730 11:49:18.1 1 rdma_context.cpp:203] Failed to register memory 0x7efb94000000: Input/output error [5]",
            "[Wed Jul 30 11:49:18 2025] infiniband erdma_0: ERROR: Out of mr size: 0, max 68719476736",
            "E0730 1:1:1.1 1 rdma_context.cpp:9] Buffer length 99 exceeds device max_mr_size 68719476736",
        ),
        ("I0730 11:49:18.1 1 config.cpp:400] max_mr_size = 1099511627776",),
    ),
    "log-mkeys-leaked": (
        (
            "E0101 01:01:01.1 7 rdma_context.cpp:205] Failed to register memory 0x7f00: Resource temporarily unavailable [11]",
            "mlx5_core 0000:65:01.0: mlx5_cmd_out_err:829:(pid 3958462): CREATE_MKEY(0x200) op_mod(0x0) failed, "
            "status no resources(0xf), syndrome (0x2aac7c), err(-11)",
            "mlx5_cmd_out_err:821:(pid 12): CREATE_MKEY(0x200) op_mod(0x0) failed, status limits exceeded(0x8)",
            "infiniband mlx5_0: create_mkey_callback:148:(pid 0): async reg mr failed. status -11",
        ),
        ("mlx5_core 0000:65:01.0: CREATE_MKEY(0x200) op_mod(0x0) succeeded",),
    ),
    "log-memlock": (
        (
            "E0101 01:01:01.1 7 rdma_context.cpp:205] Failed to register memory 0x7f00: Cannot allocate memory [12]",
            "libibverbs: Warning: RLIMIT_MEMLOCK is 65536 bytes.",
            "ib_md.c:280 UCX ERROR ibv_reg_mr(address=0x7f, length=2, access=0xf) failed: Cannot allocate memory. "
            "Please set max locked memory (ulimit -l) to 'unlimited'",
        ),
        ("RLIMIT_MEMLOCK is unlimited",),
    ),
    "log-registration-failed": (
        (
            "[2025-06-05 10:48:27 TP7] Mooncake memory registration failed.",
            "RuntimeError: Mooncake memory registration failed (ret=-1)",
            "E0101 01:01:01.1 7 rdma_transport.cpp:1] Failed to register memory region (chunk 0) with context 2",
        ),
        ("[2025-06-05 10:48:27 TP7] Mooncake memory registration took 3 s.",),
    ),
    "log-dma-buf-unsupported": (
        (
            "E0101 01:01:01.1 7 rdma_context.cpp:700] DMA BUF supported required for GPU RDMA without nvidia-peermem "
            "on GPU device 0 mapped to RNIC mlx5_0",
        ),
        ("I0101 01:01:01.1 7 rdma_context.cpp:700] DMA BUF is used for GPU memory",),
    ),
    "log-no-rnic": (
        (
            "E0101 01:01:01.1 7 rdma_transport.cpp:9] RdmaTransport: No available RNIC",
            "E0101 01:01:01.1 7 transfer_engine_impl.cpp:9] Failed to install RDMA transport",
        ),
        ("I0101 01:01:01.1 7 x.cpp:9] RdmaTransport: 8 available RNICs",),
    ),
    "log-gid-null": (
        (
            "W0101 01:01:01.1 7 rdma_context.cpp:9] GID is NULL, please check your GID index by specifying MC_GID_INDEX",
            "I0513 13:21:20.3 7 rdma_context.cpp:125] RDMA device: mlx5_3, LID: 0, GID: (GID_Index 3) "
            "00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00",
            "RDMA device: mlx5_3, LID: 0, GID: (3) 00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00",
            "RDMA device: mlx5_3, LID: 0, GID: 00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00",
            "RDMA device: mlx5_3, LID: 0, GID: (3) 0000:0000:0000:0000:0000:0000:0000:0000",
            "RDMA device: mlx5_3, LID: 0, GID: ::",
        ),
        (
            "I0421 09:34:39.6 7 rdma_context.cpp:125] RDMA device: mlx5_bond_5, LID: 0, GID: (GID_Index 3) "
            "00:00:00:00:00:00:00:00:00:00:ff:ff:1e:f6:db:2f",
            "RDMA device: mlx5_3, LID: 0, GID: (3) 0000:0000:0000:0000:0000:ffff:0a00:0001",
            "RDMA device: mlx5_3, LID: 0, GID: ::ffff:10.0.0.1",
        ),
    ),
    "log-no-gid": (
        (
            "W0101 01:01:01.1 7 rdma_context.cpp:9] No suitable GID found on mlx5_2/1",
            "W0101 01:01:01.1 7 topology.cpp:9] mlx5_2:1 has no GID table entries",
        ),
        ("I0101 01:01:01.1 7 rdma_context.cpp:9] Find best gid index: 3 on mlx5_2/1",),
    ),
    "log-qp-rtr": (
        (
            "E0101 01:01:01.1 7 rdma_endpoint.cpp:9] [Handshake] Failed to modify QP to RTR, check mtu, gid, peer lid, "
            "peer qp num: Invalid argument",
        ),
        ("I0101 01:01:01.1 7 rdma_endpoint.cpp:9] QP moved to RTR",),
    ),
    "log-qp-create": (
        ("E0101 01:01:01.1 7 rdma_endpoint.cpp:9] Failed to create QP: Cannot allocate memory [12]",),
        ("I0101 01:01:01.1 7 rdma_endpoint.cpp:9] created QP 12",),
    ),
    "log-device-not-found": (
        ("E0101 01:01:01.1 7 rdma_context.cpp:9] No matched device found: mlx5_9",),
        ("I0101 01:01:01.1 7 rdma_context.cpp:9] matched device found: mlx5_9",),
    ),
    "log-port-not-active": (
        (
            "W0101 01:01:01.1 7 rdma_context.cpp:9] Device mlx5_2 port not active",
            "W0101 01:01:01.1 7 topology.cpp:9] Device mlx5_2 has no active ports, skipping",
            "I0101 01:01:01.1 7 topology.cpp:9] mlx5_2:1 is not active (state: 1)",
        ),
        ("I0101 01:01:01.1 7 topology.cpp:9] Device mlx5_2 port 1 is available",),
    ),
    "log-verbs-node": (
        (
            "W0101 01:01:01.1 7 topology.cpp:54] Device mlx5_0 path /dev/infiniband/uverbs0 does not exist",
            "W0101 01:01:01.1 7 topology.cpp:67] Device /dev/infiniband/uverbs0 is not accessible for read/write",
        ),
        ("opened /dev/infiniband/uverbs0",),
    ),
    "log-flushed": (
        (
            "E0101 01:01:01.1 7 worker_pool.cpp:9] Worker: Process failed for slice (opcode: 1): Work Request Flushed Error",
            "I0101 01:01:01.1 7 worker_pool.cpp:9] Worker: WR flush error (peer_nic: a@mlx5_0), redispatching if retry allows",
            "status IBV_WC_WR_FLUSH_ERR",
        ),
        ("flushed 12 log lines",),
    ),
    "log-rdma-retries": (
        (
            "E0101 01:01:01.1 7 worker_pool.cpp:654] Worker: Process failed for slice (opcode: 1, source_addr: 0x1, "
            "length: 65536, dest_addr: 0x2, local_nic: mlx5_0, peer_nic: 10.0.0.2:15001@mlx5_0): transport retry counter exceeded",
        ),
        ("retry counter is 3",),
    ),
    "log-rdma-remote-access": (
        (
            "E0101 01:01:01.1 7 worker_pool.cpp:654] Worker: Process failed for slice (opcode: 1): remote access error",
            "E0101 01:01:01.1 7 worker_pool.cpp:77] [RDMA] No rkey for MR access: seg=a addr=0x1 len=2",
        ),
        ("remote access granted",),
    ),
    "log-rdma-slice": (
        (
            "E0101 01:01:01.1 7 worker_pool.cpp:654] Worker: Process failed for slice (opcode: 1): local protection error",
        ),
        ("I0101 01:01:01.1 7 worker_pool.cpp:654] Worker: Processed slice",),
    ),
    "log-rdma-handshake": (
        (
            "W0101 01:01:01.1 7 worker_pool.cpp:477] Worker: Cannot make connection for endpoint: 10.0.0.2:15428@mlx5_1",
            "E0101 01:01:01.1 7 transfer_metadata.cpp:9] Handshake rejected by 10.0.0.2:15428: Peer NIC not found",
        ),
        ("I0101 01:01:01.1 7 x.cpp:9] handshake done",),
    ),
    "log-rdma-event": (
        (
            "W0101 01:01:01.1 7 worker_pool.cpp:1014] Worker: Received context async event port error for context mlx5_4",
        ),
        ("async event loop started",),
    ),
    "log-nvlink-address": (
        (
            "E0101 01:01:01.1 7 nvlink_transport.cpp:1153] Requested address 0x7f0000000000 to 0x7f0000001000 not found!",
        ),
        ("page 3 not found!",),
    ),
    "log-forced-tcp": (
        ("I0101 01:01:01.1 7 transfer_engine_impl.cpp:9] MC_FORCE_TCP is set, using TCP transport only",),
        ("MC_FORCE_TCP is not set",),
    ),
    "log-tcp-not-rdma": (
        (
            "W1121 05:05:38.070032  6468 topology.cpp:201] No RDMA devices found, check your device installation",
            "I0101 01:01:01.1 7 transfer_engine_impl.cpp:9] Using TCP transport (no HCA detected)",
            "I0101 01:01:01.1 7 transfer_engine_impl.cpp:9] Topology discovery complete. Found 0 HCAs.",
            "WARNING: RDMA not available; falling back to TCP",
        ),
        ("I0101 01:01:01.1 7 transfer_engine_impl.cpp:9] Topology discovery complete. Found 8 HCAs.",),
    ),
    "log-tcp-bad-address": (
        (
            "E0520 06:53:47.272128 18592 tcp_transport.cpp:136] Session::writeBody failed. Error: Bad address (value: 14), "
            "total_transferred_bytes_: 0, current transferred_bytes: 0",
            "E1 tcp.h:8] ClientSession::writeBody failed. Attempt to write data 0x40 using buffer 0x40. Error: Bad address (value: 14)",
        ),
        ("I1 tcp.h:8] Session::writeBody done",),
    ),
    "log-ephemeral-ports": (
        (
            "E0101 01:01:01.1 7 tcp_transport.cpp:9] TcpTransport::getConnection failed to create connection to "
            "10.0.0.2:16001. Error: connect: Cannot assign requested address",
            "requests.exceptions.ConnectionError: HTTPConnectionPool(host='10.0.0.2', port=8998): Max retries exceeded "
            "(Caused by NewConnectionError('[Errno 99] Cannot assign requested address'))",
        ),
        (
            "OSError: [Errno 99] error while attempting to bind on address ('10.0.0.9', 30000): cannot assign requested address",
        ),
    ),
    "log-tcp-peer-gone": (
        (
            "E1121 05:09:39.640025  9560 tcp_transport_session_impl.h:678] ClientSession: failed to read WRITE ack frame. "
            "Error: End of file (value: 2)",
            "E1121 05:09:39.6 9560 tcp_transport_session_impl.h:890] ClientSession::writeBody failed. Attempt to write "
            "data 0x55 using buffer 0x55. Error: Broken pipe (value: 32)",
        ),
        ("I1 tcp.h:8] ClientSession: started",),
    ),
    "log-tcp-protocol": (
        ("E1 tcp.h:8] ClientSession: no status frame within 30s (peer likely speaks the legacy protocol)",),
        ("the HTTP protocol is spoken",),
    ),
    "log-transfer-timeout": (
        (
            "I0101 01:01:01.1 7 transfer_engine_py.cpp:9] Sync batch data transfer timeout after 30000000000ns",
            "E1 x.cpp:9] [Mooncake Cuda] Transfer timeout | BatchID: 4",
        ),
        ("transfer timeout is 30 s",),
    ),
    "log-mooncake-port": (
        (
            "E0101 01:01:01.1 7 transfer_metadata_plugin.cpp:9] SocketHandShakePlugin: bind (port 12001): Address already in use [98]",
            "E0101 01:01:01.1 7 transfer_engine_impl.cpp:9] P2P: No valid port found for local TCP service.",
        ),
        ("I1 x.cpp:9] SocketHandShakePlugin: listening",),
    ),
    "log-peer-refused": (
        (
            "E1121 05:09:39.640328  9573 transfer_metadata_plugin.cpp:1030] SocketHandShakePlugin: connect()127.0.0.1:16227: "
            "Connection refused [111]",
            "E1 x.h:9] TCP lane connection to 10.0.0.2:16001 failed: Connection refused (attempt failure 1)",
        ),
        ("curl: (7) Failed to connect to 10.0.0.2: Connection refused",),
    ),
    "log-peer-unreachable": (
        (
            "E1 transfer_metadata_plugin.cpp:1030] SocketHandShakePlugin: connect() 172.17.0.1:15428: Connection timed out [110]",
            "E1 x.cpp:9] SocketHandShakePlugin: failed to get IP address of peer server node7:15428, check DNS and /etc/hosts",
        ),
        ("ping: connect: No route to host",),
    ),
    "log-advertised-bridge": (
        (
            "I1 transfer_engine_impl.cpp:9] Transfer Engine RPC using P2P handshake, listening on 172.17.0.1:16519",
            "I0421 09:34:39.6 4671 transfer_engine.cpp:86] Transfer Engine uses address 172.17.0.1 and port 16519 for "
            "serving local TCP service",
            "INFO mooncake_connector.py: Mooncake Transfer Engine initialized on 172.18.0.1:15432",
        ),
        (
            "registered prefill instance at 172.16.0.1:8998",
            "I1 transfer_engine_impl.cpp:9] Transfer Engine RPC using P2P handshake, listening on 10.148.0.107:16519",
        ),
    ),
    "log-metadata-plugin": (
        (
            "F1 transfer_metadata_plugin.cpp:9] Unable to find metadata storage plugin redis with conn string: redis://127.0.0.1:6379",
        ),
        ("found the metadata storage plugin http",),
    ),
    "log-metadata-server": (
        (
            "E1 transfer_metadata_plugin.cpp:9] EtcdStoragePlugin: unable to connect etcd://10.0.0.1:2379: context deadline exceeded",
            "E1 transfer_metadata_plugin.cpp:9] PUT http://10.0.0.1:8080/metadata?key=a curl: Couldn't connect to server err:",
            "Error from etcd client: 14",
        ),
        ("GET http://10.0.0.1:30000/health 200",),
    ),
    "log-segment-missing": (
        ("E1 x.cpp:9] Failed to get description of 10.0.0.2:17002",),
        ("Failed to get the description",),
    ),
    "log-mooncake-build": (
        (
            "E1 transfer_engine_py.cpp:9] Protocol 'nvlink_intra' requires -DUSE_INTRA_NVLINK=ON",
            "E1 multi_transport.cpp:9] Unsupported transport efa, please rebuild Mooncake",
        ),
        ("this requires -dry-run",),
    ),
    "log-mooncake-setting": (
        (
            "W1 config.cpp:9] Ignore value from environment variable MC_GID_INDEX",
            "W1 x.cpp:9] Failed to load custom topology from /etc/topo.json, falling back to auto-detect.",
        ),
        ("environment variable MC_GID_INDEX is 3",),
    ),
    "log-mooncake-start": (
        ("[2025-06-05 10:48:27 TP7] Mooncake Transfer Engine initialization failed.",),
        ("Mooncake Transfer Engine initialization took 2 s",),
    ),
}


@pytest.mark.parametrize("rule", LINES)
def test_a_line_of_its_kind_is_named(rule: str, named: Callable[..., set[str]]) -> None:
    for line in LINES[rule][0]:
        assert named(line) == {rule}


@pytest.mark.parametrize("rule", LINES)
def test_a_near_miss_is_not(rule: str, named: Callable[..., set[str]]) -> None:
    for line in LINES[rule][1]:
        assert rule not in named(line)


def test_the_table_has_every_signature() -> None:
    known = [signature.rule.id for signature in (*mooncake_rdma.SIGNATURES, *mooncake.SIGNATURES)]
    assert sorted(LINES) == sorted(known)
