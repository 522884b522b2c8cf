"""What Mooncake's RDMA transport says when registering memory, opening a NIC or connecting to a peer fails."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

_DOC = "Mooncake documentation: troubleshooting"
_REGISTER = r"Failed to register memory (?:0x[0-9a-f]{1,20})?[^\n]{0,80}?"

SIGNATURES = (
    Signature(
        Rule(
            "log-gpu-memory-not-registered",
            "A NIC could not register GPU memory (Bad address, Invalid argument)",
            "GPUDirect RDMA needs a way for the NIC to reach GPU memory: the module nvidia_peermem, or dma-buf with a "
            "recent driver and kernel. Without either, ibv_reg_mr fails with EFAULT (Bad address [14]) or EINVAL "
            "(Invalid argument [22]), and the worker ends.",
            (
                "sgl-project/sglang#6193",
                "sgl-project/sglang#6894",
                "kvcache-ai/Mooncake#281",
                "kvcache-ai/Mooncake#351",
            ),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("failed to register memory",),
        _REGISTER + r"(?P<why>Bad address|Invalid argument|\[14\]|\[22\])",
        "The NIC cannot reach GPU memory ({why}): neither nvidia_peermem nor dma-buf works for it.",
        "Load the module (modprobe nvidia-peermem), or set WITH_NVIDIA_PEERMEM=0 to use dma-buf; "
        "without GPUDirect use --disaggregation-transfer-backend mooncake_tcp.",
    ),
    Signature(
        Rule(
            "log-max-mr-size",
            "A memory region is larger than the NIC registers",
            "Some NICs register a limited size: eRDMA 64 GB in all (max_mr_size). Beyond it ibv_reg_mr fails with EIO "
            "(Input/output error [5]), and the kernel's log says `Out of mr size`.",
            (_DOC, "kvcache-ai/Mooncake#1382"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("failed to register memory", "max_mr_size", "out of mr size"),
        _REGISTER + r"(?:Input/output error|\[5\])|exceeds device max_mr_size|Out of mr size",
        "The NIC does not register so much memory.",
        "See max_mr_size in `ibv_devinfo -v`, and lower --mem-fraction-static so that the KV pool stays below it.",
    ),
    Signature(
        Rule(
            "log-mkeys-leaked",
            "The NIC has no memory keys left (CREATE_MKEY)",
            "Each registered region takes memory keys inside the NIC. Processes ended with SIGKILL leak them until "
            "the firmware has none: Resource temporarily unavailable [11], and CREATE_MKEY failed in the kernel's "
            "log. A low vm.max_map_count looks alike.",
            (_DOC, "sgl-project/sglang#16484", "sgl-project/sglang#36589"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("failed to register memory", "create_mkey"),
        _REGISTER
        + r"(?:Resource temporarily unavailable|\[11\])|CREATE_MKEY[^\n]{0,120}(?:failed|no resources|limits exceeded)"
        r"|create_mkey_callback[^\n]{0,80}failed",
        "The NIC has no memory keys left, most likely leaked by workers that were killed.",
        "Run sysctl -w vm.max_map_count=16777216; if that is not it, reboot the node, and end workers with SIGTERM.",
    ),
    Signature(
        Rule(
            "log-memlock",
            "Registering memory failed: the limit of locked memory",
            "RDMA pins what it registers, and RLIMIT_MEMLOCK bounds that: often 8 MiB. ibv_reg_mr, or creating a "
            "queue, then fails with ENOMEM (Cannot allocate memory [12]).",
            ("openucx/ucx#8229", "openucx/ucx#7930", "kvcache-ai/Mooncake#1382", "kvcache-ai/Mooncake#1405", _DOC),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        (
            "failed to register memory",
            "registration",
            "ibv_reg_mr",
            "rlimit_memlock",
            "max locked memory",
            "ibv_create_cq",
        ),
        _REGISTER
        + r"(?:Cannot allocate memory|\[12\])"
        + r"|memory registration[^\n]{0,80}Cannot allocate memory"
        + r"|ibv_(?:reg_mr|create_cq)[^\n]{0,200}Cannot allocate memory|RLIMIT_MEMLOCK is \d+ bytes"
        r"|set max locked memory",
        "The limit of locked memory is too low for the KV pool.",
        "Raise it: ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, "
        "or docker run --ulimit memlock=-1 --cap-add IPC_LOCK.",
    ),
    Signature(
        Rule(
            "log-registration-failed",
            "An engine gave up because memory could not be registered",
            "SGLang and vLLM end when Mooncake registers no memory. The reason stands in an earlier line of "
            "Mooncake's own, with the error number.",
            ("sgl-project/sglang#6193", "kvcache-ai/Mooncake#351"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("memory registration failed", "failed to register memory region", "refused to register"),
        r"Mooncake (?:batch )?memory registration failed|Failed to register memory region"
        r"|RdmaTransport: Failed to register memory|Mooncake refused to register",
        "The engine could not register its KV pool.",
        "Look for the first line with `Failed to register memory`: its error number names the cause.",
        noise_after=True,
    ),
    Signature(
        Rule(
            "log-dma-buf-unsupported",
            "A GPU does not export dma-buf, and nvidia-peermem is not used",
            "With WITH_NVIDIA_PEERMEM=0 every GPU that may use the NIC has to support dma-buf, which takes the open "
            "kernel modules and a kernel of 5.12 or newer. Else Mooncake does not open the NIC.",
            ("kvcache-ai/Mooncake#3538",),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("dma buf support",),
        r"DMA BUF support(?:ed)? required(?:[^\n]{0,160}mapped to RNIC (?P<device>\S+))?",
        "GPU memory cannot be exported to the NIC (device: {device}), and nvidia-peermem is switched off or absent.",
        "Load nvidia-peermem and set WITH_NVIDIA_PEERMEM=1, or install the open NVIDIA kernel modules.",
    ),
    Signature(
        Rule(
            "log-no-rnic",
            "Mooncake has no RDMA NIC left",
            "Every NIC failed to open, so the RDMA transport cannot start. Why each one failed stands in the lines "
            "before.",
            ("kvcache-ai/Mooncake#3538",),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("no available rnic", "cannot initialize rdma resources", "failed to install rdma transport"),
        r"No available RNIC|cannot initialize RDMA resources|Failed to install RDMA transport",
        "No RDMA NIC could be opened.",
        "Look at the lines before for each NIC's reason; `pdpanel doctor` checks the NICs of this host.",
        noise_after=True,
    ),
    Signature(
        Rule(
            "log-gid-null",
            "A NIC's GID is empty",
            "Over RoCE a NIC is addressed by a GID. An index that names an empty entry of the table gives an address "
            "of zeros, and every transfer fails. In containers the table is often sparse, and the index differs from "
            "host to host.",
            ("sgl-project/sglang#30737", "kvcache-ai/Mooncake#1026", "kvcache-ai/Mooncake#1143", _DOC),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("gid is null", "rdma device:"),
        r"GID is NULL"
        r"|RDMA device: (?P<device>[^,\n]{1,80}), LID: \d+, GID: (?:\((?:GID_Index )?(?P<index>-?\d+)\) )?"
        r"(?:(?:00:){15}00\b|(?:0000:){7}0000\b|::(?![\w:]))",
        "The chosen GID (device: {device}, index: {index}) is empty, so peers cannot address the NIC.",
        "Set MC_GID_INDEX to an entry of type RoCE v2 that has an address (show_gids lists them), on every host.",
    ),
    Signature(
        Rule(
            "log-no-gid",
            "A NIC has no suitable GID",
            "No entry of the GID table can be used: none is of type RoCE v2 or InfiniBand, or all are empty. This is "
            "usual in a container whose network namespace lacks the NIC's interface.",
            ("projectcalico/calico#8482", "kvcache-ai/Mooncake#1597", "kvcache-ai/Mooncake#2269"),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("no suitable gid", "has no gid table entries", "failed to query gid"),
        r"No suitable GID (?:found )?(?:on|while refreshing) (?P<device>[^\s/]{1,80})"
        r"|(?P<device_2>\S{1,80}) has no GID table entries"
        r"|Failed to query GID",
        "A NIC ({device}) has no usable GID.",
        "Give the interface of the NIC an address, or run the container with the host's network.",
    ),
    Signature(
        Rule(
            "log-qp-rtr",
            "Two NICs cannot connect (QP to RTR)",
            "Moving a queue pair to ready-to-receive fails when MTU or GID of the two ends do not fit, or when the "
            "peer's NIC cannot be reached over the fabric.",
            (_DOC, "kvcache-ai/Mooncake#1026"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("to rtr", "init2rtr failed"),
        r"(?:Failed to )?modify QP to RTR|init2rtr failed",
        "A connection between two NICs could not be made: MTU, GID or the fabric between them does not fit.",
        "Set MC_MTU and MC_GID_INDEX alike on both hosts, and try ib_send_bw between the two NICs.",
    ),
    Signature(
        Rule(
            "log-qp-create",
            "No more queue pairs",
            "Too many queue pairs were made: the NIC's limit, or one leak after another when peers keep failing "
            "(Mooncake before 0.3.5).",
            (_DOC, "kvcache-ai/Mooncake#1845"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("failed to create qp",),
        r"Failed to create QP",
        "The NIC makes no more queue pairs.",
        "Set MC_ENABLE_DEST_DEVICE_AFFINITY=1, which needs fewer of them, and use Mooncake 0.3.5 or newer.",
    ),
    Signature(
        Rule(
            "log-device-not-found",
            "A named RDMA device does not exist",
            "The device list or a filter names a NIC that this host does not have, or that the container does not "
            "show. Names differ between hosts: mlx5_0, mlx5_bond_0, erdma_0, rocep1s0.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("no matched device found",),
        r"No matched device found(?:: (?P<device>\S{1,80}))?",
        "There is no RDMA device of the name that was asked for ({device}).",
        "Name a device of `ls /sys/class/infiniband`, or leave the option out.",
    ),
    Signature(
        Rule(
            "log-port-not-active",
            "An RDMA port is not active",
            "Mooncake skips a NIC whose port is not ACTIVE: no cable, the switch port is off, on InfiniBand no "
            "subnet manager, or MC_IB_PORT names another port than the one in use.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("not active", "no active ports"),
        r"Device (?P<device>\S{1,80}) (?:port not active|has no active ports)"
        r"|(?P<device_2>\w{1,60}:\d+) is not active \(state",
        "An RDMA port ({device}) is not active, so its NIC is left out.",
        "Look at the cable and the switch, or set MC_IB_PORT to the port that is in use.",
    ),
    Signature(
        Rule(
            "log-verbs-node",
            "A NIC's device node is missing or closed",
            "RDMA goes through /dev/infiniband/uverbs*. A container sees every NIC in sysfs, but may open only those "
            "whose nodes it was given. Mooncake leaves the others out and then uses TCP without a word.",
            ("vllm-project/vllm#42075", "kvcache-ai/Mooncake#507", "apache/brpc#2298"),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("/dev/infiniband/",),
        r"(?P<path>/dev/infiniband/\w+)[^\n]{0,40}?(?:does not exist|is not accessible|is not a character device"
        r"|Permission denied|No such file)",
        "The process may not use {path}, so Mooncake leaves its NIC out and may fall back to TCP.",
        "Start the container with --device /dev/infiniband --cap-add IPC_LOCK --ulimit memlock=-1.",
    ),
    Signature(
        Rule(
            "log-flushed",
            "Work requests flushed",
            "When one transfer fails, the driver breaks the connection and flushes everything that was queued. These "
            "errors follow; the first one before them names the cause.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("flush",),
        r"work request flushed|WR[_ ]FLUSH(?:_ERR| error)",
        "Queued transfers were flushed because the connection had broken before.",
        "Look for the first error before this line.",
        noise_after=True,
    ),
    Signature(
        Rule(
            "log-rdma-retries",
            "A NIC's peer does not acknowledge",
            "The NIC sent again and again without an answer: the peer died, a cable or switch port failed, the two "
            "subnets are not routed, or packets are dropped (PFC and ECN on RoCE).",
            (_DOC, "sgl-project/sglang#10560"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("retry counter exceeded", "retry exceeded"),
        r"(?:transport |RNR )?retry (?:counter )?exceeded",
        "Packets to the peer's NIC are not acknowledged.",
        "See whether the peer lives; then try ib_send_bw between the two NICs, and look at drops and PFC on the "
        "switch.",
    ),
    Signature(
        Rule(
            "log-rdma-remote-access",
            "A peer refuses access to its memory",
            "The memory that was granted is not registered any more: the peer was started anew, or it had freed the "
            "pages already.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("remote access error", "rkey not found", "no rkey for mr", "not within any registered buffer"),
        r"remote access error|rkey not found|No rkey for MR|not within any registered buffer",
        "The peer does not know the memory that was written to.",
        "Start prefill and decode anew together; addresses of an earlier process are void.",
    ),
    Signature(
        Rule(
            "log-rdma-slice",
            "A part of a transfer failed",
            "Mooncake reports each failed slice with the reason of the NIC at the end of the line.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("process failed for slice", "cannot redispatch slice"),
        r"Process failed for slice|Cannot redispatch slice",
        "A transfer over RDMA failed.",
        "Read the reason at the end of the line; errors after the first one are consequences.",
    ),
    Signature(
        Rule(
            "log-rdma-handshake",
            "Two workers cannot agree on an RDMA connection",
            "Before the first write the two ends exchange GID, LID and queue pair numbers over TCP. It fails when "
            "the peer cannot be reached or refuses; the peer's own log says why.",
            (_DOC, "kvcache-ai/Mooncake#256"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("cannot make connection for endpoint", "handshake"),
        r"Cannot make connection for endpoint|Failed to exchange handshake"
        r"|Handshake (?:request )?rejected by (?P<peer>[^\s:]{1,80})"
        r"|Rejected handshake request|Timed out waiting for RDMA ready ACK",
        "The RDMA connection to a peer ({peer}) could not be set up.",
        "Look into the peer's log at the same time; check that the two hosts reach each other on ports 15000 to 17000.",
    ),
    Signature(
        Rule(
            "log-rdma-event",
            "A NIC reported an event while it was in use",
            "The driver tells of a port that went down, a changed GID or a fatal error of a queue or the device. "
            "Transfers over this NIC fail until it is back.",
            (_DOC,),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("async event", "is now inactive due to"),
        r"(?:Received|Got) (?:context )?async event:? (?P<event>[^\n]{1,60}?) for context (?P<device>\S{1,80})"
        r"|Context (?P<device_2>\S{1,80}) is now inactive due to",
        "The NIC {device} reported: {event}.",
        "Look at the link of this NIC (cable, switch port) and at the kernel's log.",
    ),
    Signature(
        Rule(
            "log-nvlink-address",
            "A peer's memory is not reachable over NVLink",
            "On GB200 and GB300 memory is shared over multi-node NVLink only if it was allocated for that. Else the "
            "transport does not find the peer's addresses.",
            ("Mooncake documentation: multi-node NVLink",),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("requested address",),
        r"nvlink_transport\.cpp[^\n]{0,80}Requested address[^\n]{0,120}not found"
        r"|Requested address 0x[^\n]{0,120} not found!",
        "The KV pool was not allocated for multi-node NVLink.",
        "Set MC_FORCE_MNNVL=1, NCCL_MNNVL_ENABLE=1, NCCL_CUMEM_ENABLE=1 and SGLANG_MOONCAKE_CUSTOM_MEM_POOL=True.",
    ),
)
