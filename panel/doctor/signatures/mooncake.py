"""What Mooncake says of its transports over TCP, its metadata, its ports and its settings."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

_DOC = "Mooncake documentation: troubleshooting"

SIGNATURES = (
    Signature(
        Rule(
            "log-forced-tcp",
            "Mooncake was told to use TCP",
            "MC_FORCE_TCP takes the RDMA NICs out of the choice. Mooncake tests only whether it is set: "
            "MC_FORCE_TCP=0 "
            "forces TCP, too.",
            ("Mooncake source: transfer_engine_impl.cpp", "measured with Mooncake 0.3.13"),
        ),
        Speaker.MOONCAKE,
        Severity.INFO,
        ("mc_force_tcp is set, using",),
        r"MC_FORCE_TCP is set, using TCP",
        "The KV cache travels over TCP because MC_FORCE_TCP is set.",
        "Unset MC_FORCE_TCP to use RDMA; setting it to 0 does not.",
    ),
    Signature(
        Rule(
            "log-tcp-not-rdma",
            "The KV cache travels over TCP",
            "With no usable RDMA NIC Mooncake takes TCP, whatever protocol was asked for, and reports success. In a "
            "container this is how missing device nodes, IPC_LOCK or user libraries show; SGLang's cookbook warns "
            "that such a fallback may also garble the KV cache.",
            (
                "llm-d/llm-d#2370",
                "ai-dynamo/nixl#909",
                "kvcache-ai/Mooncake#1811",
                "kvcache-ai/Mooncake#3121",
                "measured with Mooncake 0.3.13",
            ),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        (
            "no rdma devices found",
            "using tcp transport",
            "using tcp host transport",
            "found 0 hcas",
            "falling back to",
        ),
        r"No RDMA devices found|Using TCP (?:host )?transport|Found 0 HCAs|falling back to (?:RDMA/)?TCP",
        "Mooncake found no usable RDMA NIC, so the KV cache travels over TCP, whatever was asked for.",
        "Give the process its NICs (docker run --device /dev/infiniband --cap-add IPC_LOCK --ulimit memlock=-1, and "
        "the packages libibverbs1 and ibverbs-providers); or say that TCP is meant: transport mooncake_tcp.",
    ),
    Signature(
        Rule(
            "log-tcp-bad-address",
            "Mooncake's TCP transport got an address in GPU memory",
            "Older versions of the TCP transport cannot send from or write into GPU memory: the socket answers Bad "
            "address (14). It shows on hosts without RDMA and on consumer GPUs.",
            (
                "sgl-project/sglang#7118",
                "kvcache-ai/Mooncake#257",
                "kvcache-ai/Mooncake#602",
                "kvcache-ai/Mooncake#702",
            ),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("session",),
        r"Session::(?:write|read)(?:Body|Header)[^\n]{0,300}Bad address",
        "The TCP transport cannot read GPU memory in this version of Mooncake.",
        "Install mooncake-transfer-engine 0.3.11 or newer and use --disaggregation-transfer-backend mooncake_tcp.",
    ),
    Signature(
        Rule(
            "log-ephemeral-ports",
            "No local ports are left for connections",
            "Without its connection pool Mooncake over TCP opens a socket for each transfer. Ports in TIME_WAIT pile "
            "up until connect fails with Cannot assign requested address.",
            (_DOC, "sgl-project/sglang#31208"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("cannot assign requested address", "can't assign requested address"),
        r"(?:\bconnect|connection|Max retries|tcp lane)[^\n]{0,300}can(?:no|')t assign requested address",
        "Connections cannot be opened because no local port is free.",
        "Set MC_TCP_ENABLE_CONNECTION_POOL=1, and see `ss -tan state time-wait | wc -l`; "
        "sysctl net.ipv4.ip_local_port_range can be widened.",
    ),
    Signature(
        Rule(
            "log-tcp-peer-gone",
            "A TCP transfer ended in the middle",
            "The peer closed the connection while KV was on its way: it died, was restarted, or stopped. At the end "
            "of a run this is ordinary.",
            ("measured with Mooncake 0.3.13",),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("session",),
        r"(?:Client|Server)?Session(?:::\w+|: )[^\n]{0,300}(?:Broken pipe|End of file|Connection reset"
        r"|Operation canceled)",
        "A peer closed the connection during a transfer.",
        "See in the peer's log whether it ended, and why.",
    ),
    Signature(
        Rule(
            "log-tcp-protocol",
            "Two versions of Mooncake's TCP protocol meet",
            "Newer versions acknowledge each write with a status frame, older ones do not. A pair of both fails.",
            ("Mooncake documentation: environment variables",),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("legacy protocol", "status frame", "ack frame"),
        r"speaks the legacy protocol|no status frame within|malformed (?:READ status|WRITE ack) frame",
        "The peer speaks another version of Mooncake's TCP protocol.",
        "Install the same version of Mooncake everywhere, or set MC_TCP_PROTO=1 on the newer side.",
    ),
    Signature(
        Rule(
            "log-transfer-timeout",
            "A transfer took longer than Mooncake waits",
            "One call waits MC_TRANSFER_TIMEOUT seconds (30) plus a second for each gigabyte. The time-out ends the "
            "wait, not the write: the peer's memory is unknown afterwards.",
            ("measured with Mooncake 0.3.13", "sgl-project/sglang#23272"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("data transfer timeout", "transfer timeout |", "slice timeout detected"),
        r"Sync (?:batch )?data transfer timeout|Transfer timeout \| BatchID|Slice timeout detected",
        "A transfer did not end in time.",
        "See whether the peer stands still or the link is saturated; MC_TRANSFER_TIMEOUT sets the seconds.",
    ),
    Signature(
        Rule(
            "log-mooncake-port",
            "Mooncake found no port to listen on",
            "Each engine takes two ports from MC_MIN_RPC_PORT to MC_MAX_RPC_PORT (15000 to 17000), and 12001 for the "
            "handshake where metadata are kept elsewhere.",
            (_DOC, "Mooncake documentation: environment variables"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("sockethandshakeplugin: bind", "no valid port found", "not valid port for serving", "available tcp port"),
        r"SocketHandShakePlugin: bind(?: \(port (?P<port>\d{1,5})\))?|No valid port found for"
        r"|not valid port for serving"
        r"|unable to find available tcp port",
        "Mooncake could not listen (port {port}).",
        "Free the port, or choose others with MC_MIN_RPC_PORT and MC_MAX_RPC_PORT (MC_HANDSHAKE_PORT for 12001).",
    ),
    Signature(
        Rule(
            "log-peer-refused",
            "A Mooncake peer refuses the connection",
            "Nothing listens at the address that the peer had announced: it ended, or was started anew on another "
            "port, or announced an address of another interface.",
            ("kvcache-ai/Mooncake#225", _DOC),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("sockethandshakeplugin: connect", "failed to create connection to", "tcp lane connection to"),
        r"(?:SocketHandShakePlugin: connect\(\) ?|failed to create connection to "
        r"|TCP lane connection to )(?P<peer>[^\s]{1,80}?)"
        r"(?:\.|:)? [^\n]{0,80}Connection refused",
        "The peer at {peer} accepts no connection.",
        "See whether that worker lives, and whether the address is one that this host can reach.",
    ),
    Signature(
        Rule(
            "log-peer-unreachable",
            "A Mooncake peer cannot be reached",
            "The address that a peer announced leads nowhere from here: a bridge of Docker, a loopback address, "
            "another network, or a firewall before ports 15000 to 17000.",
            ("vllm-project/vllm#42090", "kvcache-ai/Mooncake#1371", "kvcache-ai/Mooncake#256"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("sockethandshakeplugin", "failed to create connection to", "tcp lane connection to", "not valid lan address"),
        r"(?:SocketHandShakePlugin: connect\(\) ?|failed to create connection to "
        r"|TCP lane connection to )(?P<peer>[^\s]{1,80}?)"
        r"(?:\.|:)? [^\n]{0,80}(?:timed out|No route to host|Network is unreachable)"
        r"|failed to get IP address of peer server (?P<peer_2>\S{1,80})|not valid LAN address found",
        "The address of a peer ({peer}) cannot be reached from here.",
        "Let workers announce an address of the common network: --host, VLLM_HOST_IP, or MC_TCP_BIND_ADDRESS.",
    ),
    Signature(
        Rule(
            "log-advertised-bridge",
            "A worker announces the address of a Docker bridge",
            "On a host with several interfaces the first one is taken, and 172.17.0.1 is Docker's bridge: it exists "
            "on every host, so peers talk to themselves.",
            ("vllm-project/vllm#42090", "kvcache-ai/Mooncake#1371", "kvcache-ai/Mooncake#225"),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("172.",),
        r"(?:listening on|uses address|initialized on|registered [^\n]{0,40} at|Transfer Engine RPC using[^\n]{0,80}) ?"
        r"(?P<address>172\.1[78]\.0\.1)\b",
        "The worker announces {address}, which is Docker's bridge, so peers on other hosts cannot reach it.",
        "Set --host, VLLM_HOST_IP or MC_TCP_BIND_ADDRESS to an address of the common network.",
    ),
    Signature(
        Rule(
            "log-metadata-plugin",
            "This build of Mooncake does not know the metadata server's kind",
            "etcd and redis are options of Mooncake's build, and the wheel lacks redis. A URL of a kind that is "
            "missing aborts the process.",
            ("kvcache-ai/Mooncake#375", "kvcache-ai/Mooncake#386", "measured with Mooncake 0.3.13"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("metadata storage plugin", "metadata handshake plugin"),
        r"Unable to (?:find|create) metadata (?:storage|handshake) plugin (?:with conn string:? )?(?P<kind>\w+)?",
        "This build of Mooncake has no support for the metadata server that was named ({kind}).",
        "Use P2PHANDSHAKE, which needs no server, or an http:// metadata server.",
    ),
    Signature(
        Rule(
            "log-metadata-server",
            "The metadata server does not answer",
            "etcd listens on 127.0.0.1 unless told otherwise, an http_proxy catches the requests, or the server is "
            "gone and lost what it knew.",
            (_DOC, "kvcache-ai/Mooncake#476", "kvcache-ai/Mooncake#2246"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("etcd", "redisstorageplugin", " curl: ", " http="),
        r"Error from etcd client|EtcdStoragePlugin: unable|RedisStoragePlugin: (?:unable|authentication|failed)"
        r"|(?:GET|PUT|DELETE) (?P<url>https?://\S{1,120}) (?:curl: |http=[45])",
        "The metadata server ({url}) cannot be reached or refuses.",
        "Let etcd listen on all addresses (--listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "
        "http://ADDRESS:2379), unset http_proxy, or use P2PHANDSHAKE.",
    ),
    Signature(
        Rule(
            "log-segment-missing",
            "Mooncake does not know a peer's segment",
            "The name that was asked for is registered nowhere: another local_hostname, or a metadata server that "
            "was restarted and lost it.",
            (_DOC, "kvcache-ai/Mooncake#2246"),
        ),
        Speaker.MOONCAKE,
        Severity.ERROR,
        ("failed to get description of", "failed to retrieve segment descriptor", "failed to find location of"),
        r"(?:Failed to get description of|Failed to retrieve segment descriptor, name|Failed to find location of) "
        r"(?P<segment>\S{1,120})",
        "The peer {segment} is not known to the metadata.",
        "Start the workers anew; with a metadata server, check that both sides use the same one.",
    ),
    Signature(
        Rule(
            "log-mooncake-build",
            "This build of Mooncake lacks a transport",
            "Transports such as NVLink, EFA or HIP are options of the build. What the wheel lacks is refused, or "
            "replaced by RDMA or TCP.",
            ("measured with Mooncake 0.3.13",),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        ("requires -d", "please rebuild mooncake", "is not compiled in"),
        r"Protocol '(?P<protocol>\w+)' requires -D\w+=ON|Unsupported transport (?P<protocol_2>\S{1,40}), please rebuild"
        r"|transport was requested but is not compiled in|is not compiled in",
        "The transport that was asked for ({protocol}) is not part of this build of Mooncake.",
        "Install the build that has it (CUDA, ROCm, EFA), or unset what asks for it.",
    ),
    Signature(
        Rule(
            "log-mooncake-setting",
            "Mooncake ignores a setting",
            "A variable or a topology file that cannot be read is replaced by the default, and only this line says so.",
            ("Mooncake documentation: environment variables",),
        ),
        Speaker.MOONCAKE,
        Severity.WARNING,
        (
            "ignore value from environment variable",
            "invalid mc_",
            "failed to load custom topology",
            "has no valid mappings",
        ),
        r"Ignore value from environment variable (?P<name>\w+)|Invalid (?P<name_2>MC_\w+)"
        r"|Failed to load custom topology from (?P<name_3>\S{1,120})|has no valid mappings",
        "A setting ({name}) has a value that Mooncake does not take.",
        "Correct it or unset it.",
    ),
    Signature(
        Rule(
            "log-mooncake-start",
            "Mooncake's engine did not start",
            "The engines end when Mooncake does not initialise. The line of Mooncake's own before it says why.",
            ("sgl-project/sglang#7338",),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("mooncake transfer engine initialization failed", "transfer engine cannot be initialized"),
        r"Mooncake Transfer Engine initialization failed|Transfer engine cannot be initialized",
        "Mooncake's engine did not start.",
        "Look for Mooncake's own error before this line.",
        noise_after=True,
    ),
)
