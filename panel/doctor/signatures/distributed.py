"""What NCCL and torch.distributed say when the processes of one engine do not find or hear each other."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        Rule(
            "log-nccl-timeout",
            "A collective of NCCL timed out",
            "One rank did not take part: it died, hangs, or its NIC or NVLink does. The rank that reports it is often "
            "not the one at fault.",
            ("PyTorch documentation: distributed",),
        ),
        Speaker.NCCL,
        Severity.ERROR,
        ("collective operation timeout", "watchdog caught", "nccl watchdog"),
        r"Watchdog caught collective operation timeout|NCCL watchdog[^\n]{0,80}(?:timeout|terminated)",
        "A collective did not end because one rank took no part.",
        "Find the rank without this line, or with an earlier error; NCCL_DEBUG=INFO shows what each one uses.",
    ),
    Signature(
        Rule(
            "log-shm-full",
            "/dev/shm is full",
            "NCCL and torch share memory between processes through /dev/shm, of which a container has 64 MB unless "
            "told otherwise.",
            ("NCCL documentation: troubleshooting, shared memory",),
        ),
        Speaker.NCCL,
        Severity.ERROR,
        ("/dev/shm", "shm-size", "insufficient shared memory", "bus error"),
        r"failed to extend /dev/shm|(?:attaching to|creating) shared memory segment /dev/shm"
        r"|No space left on device[^\n]{0,80}/dev/shm"
        r"|/dev/shm[^\n]{0,80}No space left|insufficient shared memory|killed by signal: Bus error",
        "There is too little shared memory.",
        "Start the container with --shm-size 32g or --ipc host.",
    ),
    Signature(
        Rule(
            "log-nccl-ib",
            "NCCL lost a connection over RDMA",
            "NCCL reports the work completion of the NIC: status 12 is a peer that does not acknowledge, 5 a flush "
            "that follows from an earlier error.",
            ("NVIDIA/nccl documentation",),
        ),
        Speaker.NCCL,
        Severity.ERROR,
        ("net/ib", "ibv_modify_qp", "ncclremoteerror"),
        r"NET/IB ?: (?:Got completion|Got async event)[^\n]{0,200}|Call to ibv_\w{1,30} failed|ncclRemoteError",
        "NCCL's RDMA connection to another rank failed.",
        "Look at the NIC's link and GID (NCCL_IB_HCA, NCCL_IB_GID_INDEX); NCCL_IB_DISABLE=1 tells whether RDMA is the "
        "cause.",
    ),
    Signature(
        Rule(
            "log-nccl-interface",
            "NCCL or Gloo found no interface to talk over",
            "Ranks first meet over TCP. On a host with many interfaces the wrong one is chosen, or a name in "
            "NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME does not exist.",
            ("Mooncake documentation: troubleshooting",),
        ),
        Speaker.NCCL,
        Severity.ERROR,
        ("no socket interface", "connectfullmesh", "unable to find interface", "unable to resolve hostname to a"),
        r"no socket interface found|connectFullMesh failed|Unable to find interface for"
        r"|unable to resolve hostname to a \(local\) address",
        "Ranks found no network interface in common.",
        "Set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME to the interface that all hosts share.",
    ),
    Signature(
        Rule(
            "log-rendezvous-port",
            "The rendezvous port of an engine is taken",
            "Ports that are chosen and then released before they are used get lost to others: --dist-init-addr, the "
            "port of NCCL and TCPStore.",
            ("sgl-project/sglang#37215", "sgl-project/sglang#7418", "SemiAnalysisAI/InferenceX#3000"),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("server socket has failed to listen", "eaddrinuse", "port is already in use. dist"),
        r"server socket has failed to listen(?:[^\n]{0,120}?port: (?P<port>\d+))?|TCPStore[^\n]{0,120}EADDRINUSE"
        r"|Port is already in use\. dist",
        "The port on which the ranks of an engine meet is in use ({port}).",
        "Give each instance of a host its own --dist-init-addr and --nccl-port, below net.ipv4.ip_local_port_range.",
    ),
    Signature(
        Rule(
            "log-rendezvous-timeout",
            "Ranks of an engine did not meet",
            "Not all ranks came to --dist-init-addr in time: one did not start, the address belongs to another host, "
            "a firewall is between, or --nnodes is too large.",
            ("SGLang documentation: PD disaggregation",),
        ),
        Speaker.TORCH,
        Severity.ERROR,
        ("diststoreerror", "clients joined", "client socket has", "waiting for clients"),
        r"DistStoreError|Timed out after \d+ seconds waiting for clients"
        r"|client socket has (?:timed out|failed to connect)",
        "Not every rank reached the rendezvous.",
        "Start all ranks with the same --dist-init-addr and --nnodes, and check that its port is open between the "
        "hosts.",
    ),
    Signature(
        Rule(
            "log-nccl-error",
            "NCCL failed",
            "NCCL's own message, with NCCL_DEBUG=WARN in the lines before, says what: a driver, shared memory, a NIC, "
            "or a peer that ended.",
            ("NVIDIA/nccl documentation: troubleshooting",),
        ),
        Speaker.NCCL,
        Severity.ERROR,
        ("nccl",),
        r"NCCL error|nccl(?:System|Internal|UnhandledCuda|InvalidUsage)Error|DistBackendError",
        "NCCL reported an error.",
        "Set NCCL_DEBUG=WARN and read the line before it.",
    ),
)
