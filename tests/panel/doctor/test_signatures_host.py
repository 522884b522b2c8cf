"""The signatures of GPUs, NCCL, the kernel, Python and model hubs: lines that they name, and near misses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pdpanel.panel.doctor.signatures import accelerator, distributed, host, model

# id: lines that it explains, and lines that it does not.
LINES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "log-gpu-memory": (
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB",
            "RuntimeError: CUDA error: out of memory",
            "RuntimeError: HIP out of memory. Tried to allocate 20.00 MiB",
        ),
        ("gpu memory: 79 GiB",),
    ),
    "log-invalid-device": (
        ("RuntimeError: CUDA error: invalid device ordinal",),
        ("invalid device name",),
    ),
    "log-no-gpu": (
        (
            "RuntimeError: No CUDA GPUs are available",
            "RuntimeError: Found no NVIDIA driver on your system.",
            "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory",
        ),
        ("8 CUDA GPUs are available",),
    ),
    "log-driver-old": (
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",),
        ("driver version 570.86",),
    ),
    "log-gpu-arch": (
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device",),
        ("kernel image loaded",),
    ),
    "log-gpu-busy": (
        ("RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",),
        ("the GPU is busy",),
    ),
    "log-fabric-manager": (
        ("RuntimeError: CUDA error: system not yet initialized",),
        ("the system is initialized",),
    ),
    "log-illegal-access": (
        ("RuntimeError: CUDA error: an illegal memory access was encountered",),
        ("memory access",),
    ),
    "log-gpu-hardware": (
        (
            "[12345.678901] NVRM: Xid (PCI:0000:18:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
            "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        ),
        ("NVRM: loading NVIDIA UNIX driver",),
    ),
    "log-cudart-missing": (
        (
            "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory",
            "mooncake_master: error while loading shared libraries: libcudart.so.13: cannot open shared object file",
        ),
        ("loaded libcudart.so.12",),
    ),
    "log-verbs-library": (
        (
            "ImportError: libibverbs.so.1: cannot open shared object file: No such file or directory",
            "libibverbs: Warning: couldn't load driver 'libmlx5-rdmav34.so': libmlx5-rdmav34.so: not found",
            "libibverbs: Warning: no userspace device-specific driver found for /sys/class/infiniband_verbs/uverbs0",
        ),
        ("loaded libibverbs.so.1",),
    ),
    "log-library-missing": (
        (
            "ImportError: libnuma.so.1: cannot open shared object file: No such file or directory",
            "ImportError: /x/engine.so: undefined symbol: _ZN8mooncake",
            "ImportError: /lib/libc.so.6: version `GLIBC_2.38' not found (required by engine.so)",
        ),
        ("libnuma.so.1 found",),
    ),
    "log-nccl-timeout": (
        (
            "[rank3]:[E1121 05:05:38.069805 ProcessGroupNCCL.cpp:632] [Rank 3] Watchdog caught collective operation timeout: "
            "WorkNCCL(SeqNum=12, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600012 milliseconds before timing out.",
        ),
        ("NCCL timeout is 600 s",),
    ),
    "log-shm-full": (
        (
            "node1:9:9 [0] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-abc to 33030532 bytes",
            "RuntimeError: DataLoader worker (pid 9) is killed by signal: Bus error. insufficient shared memory (shm).",
        ),
        ("/dev/shm has 64 GB",),
    ),
    "log-nccl-ib": (
        (
            "node1:9:9 [0] NCCL WARN NET/IB : Got completion from peer 10.0.0.2<41234> with status=12 opcode=0 len=0",
            "node1:9:9 [0] NCCL WARN Call to ibv_modify_qp failed with error Invalid argument",
        ),
        ("NCCL INFO NET/IB : Using [0]mlx5_0:1/RoCE",),
    ),
    "log-nccl-interface": (
        (
            "node1:9:9 [0] NCCL WARN Bootstrap : no socket interface found",
            "RuntimeError: Gloo connectFullMesh failed with x",
        ),
        ("NCCL INFO Bootstrap : Using eth0:10.0.0.2<0>",),
    ),
    "log-rendezvous-port": (
        (
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network address. "
            "port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
            "ValueError: Port is already in use. dist_init_port=5000 port_base=5001",
        ),
        ("The server socket listens on port 29500",),
    ),
    "log-rendezvous-timeout": (
        (
            "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 1/2 clients joined.",
            "The client socket has timed out after 600000ms while trying to connect to (10.0.0.1, 5000).",
        ),
        ("2/2 clients have come",),
    ),
    "log-nccl-error": (
        (
            "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, unhandled system error",
            "ncclSystemError: System call (e.g. socket, malloc) or external library call failed",
        ),
        ("NCCL version 2.27.3+cuda12.9",),
    ),
    "log-port-in-use": (
        (
            "ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 30000): address already in use",
            "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:29236')",
            "ValueError: scheduler port at 30005 is not available in 30 seconds. scheduler port is used by a process already.",
        ),
        ("the address is in use by nobody",),
    ),
    "log-foreign-address": (
        (
            "OSError: [Errno 99] error while attempting to bind on address ('10.0.0.9', 30000): cannot assign requested address",
            "zmq: bind to tcp://10.0.0.9:1: Cannot assign requested address",
            "OSError: [Errno 99] Cannot assign requested address",
        ),
        ("connect: Cannot assign requested address",),
    ),
    "log-oom-killed": (
        (
            "[12345.678901] Out of memory: Killed process 4711 (python3) total-vm:123kB, anon-rss:12kB",
            "Memory cgroup out of memory: Killed process 4711 (python3)",
            "./serve.sh: line 12:  4711 Killed                  python3 -m sglang.launch_server",
            "Killed",
            "RuntimeError: sglang worker exited with code -9 before reporting ready",
        ),
        ("Killed the idle timer task",),
    ),
    "log-host-memory": (
        ("MemoryError", "terminate after std::bad_alloc", "OSError: [Errno 12] Cannot allocate memory"),
        ("memory errors: 0",),
    ),
    "log-crash": (
        (
            "Fatal Python error: Segmentation fault",
            "!!!!!!! Segfault encountered !!!!!!!",
            "terminate called after throwing an instance of 'std::runtime_error'",
            "python3[4711]: segfault at 7f00 ip 00007f sp 00007ffc error 4 in engine.so",
        ),
        ("no segments",),
    ),
    "log-open-files": (
        ("OSError: [Errno 24] Too many open files", "W1 x.cpp:9] Failed to set file descriptor limit. Continuing"),
        ("12 open files",),
    ),
    "log-disk-full": (
        ("OSError: [Errno 28] No space left on device: '/home/me/.cache/huggingface/x'",),
        ("space left on device: 12 GB",),
    ),
    "log-proxy": (
        (
            "requests.exceptions.ProxyError: HTTPConnectionPool(host='10.0.0.1', port=8998): Max retries exceeded",
            "OSError: Tunnel connection failed: 403 Forbidden",
            "< HTTP/1.1 407 Proxy Authentication Required",
        ),
        ("starting the proxy server on port 8000", "load_balance_proxy_server_example.py"),
    ),
    "log-proxy-set": (
        (
            "http_proxy=http://10.1.1.1:3128",
            "environ: {'HOME': '/root', 'https_proxy': 'http://proxy.corp:8080'}",
        ),
        ("http_proxy=None", "no_proxy=localhost", "see http_proxy in the documentation"),
    ),
    "log-etcd-loopback": (
        (
            '{"level":"info","msg":"configuring client listeners","listen-client-urls":["http://127.0.0.1:2379"]}',
            '{"level":"info","msg":"serving client traffic insecurely; this is strongly discouraged!",'
            '"address":"127.0.0.1:2379"}',
        ),
        (
            '{"level":"info","msg":"configuring client listeners","listen-client-urls":["http://0.0.0.0:2379"]}',
            '{"msg":"serving client traffic insecurely","address":"10.0.0.1:2379"}',
        ),
    ),
    "log-name-resolution": (
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution",),
        ("name resolution done",),
    ),
    "log-connection-refused": (
        ("ConnectionRefusedError: [Errno 111] Connection refused",),
        ("the connection was not refused",),
    ),
    "log-no-route": (("OSError: [Errno 113] No route to host",), ("a route to the host",)),
    "log-link-down": (
        (
            "[99.123456] mlx5_core 0000:19:00.0 eth1: Link down",
            "mlx5_core 0000:19:00.0: device's health compromised - reached miss count",
        ),
        ("eth1: Link up",),
    ),
    "log-flags-refused": (
        (
            "launch_server.py: error: unrecognized arguments: --stream-output",
            "launch_server.py: error: ambiguous option: --cuda-graph-bs could match --cuda-graph-bs-decode",
            "error: unexpected argument '--foo' found",
        ),
        ("error: it broke",),
    ),
    "log-model-gated": (
        (
            "huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo for url https://huggingface.co/x",
        ),
        ("aggregated 3 models",),
    ),
    "log-model-auth": (
        ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/models/x",),
        ("401 tokens", "You are sending unauthenticated requests to the HF Hub. Please set a HF_TOKEN"),
    ),
    "log-model-missing": (
        (
            "OSError: foo/bar is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
            "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.",
        ),
        ("huggingface_hub.errors.LocalEntryNotFoundError: x",),
    ),
    "log-model-offline": (
        (
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
            "HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /x",
            "huggingface_hub.errors.LocalEntryNotFoundError: x",
        ),
        ("downloading from huggingface.co",),
    ),
    "log-model-code": (
        ("ValueError: The repository x contains custom code which must be executed to correctly load the model.",),
        ("trust_remote_code=False",),
    ),
    "log-model-unsupported": (
        ("ValueError: Model architectures ['FooForCausalLM'] are not supported for now.",),
        ("Resolved architecture: LlamaForCausalLM",),
    ),
    "log-model-damaged": (
        ("safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",),
        ("Loading safetensors checkpoint shards: 100%",),
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
    modules = (accelerator, distributed, host, model)
    assert sorted(LINES) == sorted(signature.rule.id for module in modules for signature in module.SIGNATURES)
