"""What the kernel, the C library and Python say of ports, memory, files and the network."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        Rule(
            "log-port-in-use",
            "A port is in use",
            "Two workers, or a worker and something else, want the same port on one host. Bootstrap port 8998, "
            "30000 and the router's default 30000 are the usual ones; a server that was just killed holds its port "
            "for a while, too.",
            ("sgl-project/sglang#21268", "sgl-project/sglang#20952", "sgl-project/sglang#37215"),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        (
            "address already in use",
            "eaddrinuse",
            "errno 98",
            "is in use on",
            "is not available in",
            "port is already allocated",
        ),
        r"address already in use|EADDRINUSE|\[Errno 98\]|the port is in use on"
        r"|at \d{2,5} is not available in \d+ seconds|port is already allocated",
        "A port that the process wants is in use.",
        "Run ss -ltnp to see who has it, and give every instance of a host its own ports.",
    ),
    Signature(
        Rule(
            "log-foreign-address",
            "A server was told an address that is not this host's",
            "Binding fails with Cannot assign requested address when --host names an address of another host. The same "
            "words of a connection mean that no local port is left.",
            ("kvcache-ai/Mooncake#225", "Mooncake documentation: troubleshooting"),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("cannot assign requested address", "errno 99", "cannot listen there"),
        r"\bbind[^\n]{0,160}Cannot assign requested address|\[Errno 99\]"
        r"|cannot listen there",
        "The address to listen on does not belong to this host, or no local port is left for a connection.",
        "Set --host to an address of `ip -brief address`, or to 0.0.0.0; if the line is of a connection, set "
        "MC_TCP_ENABLE_CONNECTION_POOL=1.",
    ),
    Signature(
        Rule(
            "log-oom-killed",
            "The kernel killed a process for want of memory",
            "Host memory ran out, or the limit of the container's cgroup was reached. The process gets SIGKILL and "
            "can say nothing; only the kernel's log does.",
            ("proc(5)", "cgroups(7)"),
        ),
        Speaker.KERNEL,
        Severity.ERROR,
        (
            "out of memory",
            "oom-kill",
            "oom_kill",
            "oomkilled",
            "oom_reaper",
            "killed",
            "code -9",
            "code: -9",
            "signal 9",
        ),
        r"Out of memory: Killed process (?P<pid>\d+)(?: \((?P<name>[^)\n]{1,40})\))?|Memory cgroup out of memory"
        r"|oom-kill:|oom_kill_process|OOMKilled|oom_reaper|^Killed$"
        r"|: line \d+: +\d+ Killed\b|^\[\d+\][+-]? +(?:\d+ +)?Killed\b"
        r"|(?:exit(?:ed)?[^\n]{0,30}|return)code:? -9\b|signal 9\b|exited with code -9\b",
        "A process was killed, most likely because memory ran out (process {pid} {name}).",
        "See dmesg | grep -i oom and the container's memory limit; lower --max-total-tokens, HiCache or the number of "
        "workers.",
    ),
    Signature(
        Rule(
            "log-host-memory",
            "Host memory could not be allocated",
            "The process asked for more memory than the host or its limits give.",
            ("malloc(3)",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("memoryerror", "bad_alloc", "cannot allocate memory", "errno 12", "defaultcpuallocator"),
        r"\bMemoryError\b|std::bad_alloc|\[Errno 12\]|DefaultCPUAllocator: can't allocate memory"
        r"|Cannot allocate memory",
        "Memory could not be allocated.",
        "See free -h, ulimit -a and the container's limit; lower the KV pool or HiCache.",
    ),
    Signature(
        Rule(
            "log-crash",
            "A process crashed in native code",
            "A segmentation fault, an abort or an unhandled C++ exception. Two builds of one library, a KV page that "
            "was freed in use, or a bug of a transport are the usual causes.",
            ("kvcache-ai/Mooncake#1267",),
        ),
        Speaker.KERNEL,
        Severity.ERROR,
        (
            "segmentation fault",
            "segfault",
            "sigsegv",
            "fatal python error",
            "terminate called",
            "sigabrt",
            "core dumped",
            "panicked at",
        ),
        r"Segmentation fault|Segfault encountered|\bSIGSEGV\b|Fatal Python error: (?P<what>[^\n]{1,80})"
        r"|terminate called|\bSIGABRT\b"
        r"|\(core dumped\)|\bsegfault at\b|panicked at",
        "A process crashed ({what}).",
        "Read the frames after it: the first library that is not Python's is the one at fault; compare its version on "
        "all hosts.",
    ),
    Signature(
        Rule(
            "log-open-files",
            "Too many open files",
            "Every connection and queue pair holds file descriptors, and RLIMIT_NOFILE bounds them.",
            ("Mooncake documentation: troubleshooting",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("too many open files", "file descriptor limit", "setrlimit failed", "errno 24"),
        r"Too many open files|\[Errno 24\]|Failed to set file descriptor limit|setrlimit failed",
        "The process reached its limit of open files.",
        "Raise it: ulimit -n 1048576, LimitNOFILE in a systemd unit, or docker run --ulimit nofile=1048576.",
    ),
    Signature(
        Rule(
            "log-disk-full",
            "A file system is full",
            "Models, logs, core files and caches of compiled kernels fill disks.",
            ("errno(3)",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("no space left on device", "disk quota exceeded"),
        r"No space left on device(?:: '(?P<path>[^'\n]{1,160})')?|Disk quota exceeded",
        "A file system is full ({path}).",
        "See df -h; free space, or move the cache (HF_HOME, PDPANEL_CACHE_DIR).",
    ),
    Signature(
        Rule(
            "log-proxy",
            "A request went to a proxy",
            "With http_proxy set, requests between workers go to the proxy unless no_proxy names their hosts: health "
            "checks of 127.0.0.1 and the bootstrap fail with answers that no worker gave.",
            (
                "sgl-project/sglang#28503",
                "sgl-project/sglang#9814",
                "hiyouga/LLaMA-Factory#7520",
                "Mooncake documentation: troubleshooting",
            ),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("proxy", "tunnel connection failed", "x-squid", "squid"),
        r"\bProxyError\b|Proxy Authentication Required|(?:Unable|Cannot|Failed) to connect to (?:the )?proxy"
        r"|Tunnel connection failed"
        r"|X-Squid-Error|generated by [^\n]{0,60}squid|via proxy \S"
        r"|from proxy https?://|proxy (?:refused|returned|server (?:error|could not))",
        "A request between workers went to a proxy.",
        "Unset http_proxy and https_proxy for the workers, or set no_proxy=127.0.0.1,localhost and the address of "
        "every host.",
    ),
    Signature(
        Rule(
            "log-proxy-set",
            "A process was started with http_proxy set",
            "Engines and routers obey http_proxy, so requests between workers go to the proxy unless no_proxy names "
            "their hosts.",
            ("sgl-project/sglang#28503", "Mooncake documentation: troubleshooting"),
        ),
        Speaker.PYTHON,
        Severity.WARNING,
        ("http_proxy", "https_proxy"),
        r"(?i)\bhttps?_proxy['\"]?(?: is set\b|\s?[=:]\s?['\"]?(?P<proxy>https?://[^\s'\",@]{1,80})(?=[\s'\",]|\Z))",
        "The process obeys a proxy ({proxy}), which may catch requests between workers.",
        "Unset http_proxy and https_proxy for the workers, or set no_proxy=127.0.0.1,localhost and the address of "
        "every host.",
    ),
    Signature(
        Rule(
            "log-etcd-loopback",
            "etcd listens on loopback alone",
            "etcd listens on 127.0.0.1:2379 unless it is told otherwise. Workers of other hosts are refused, and find "
            "no peer.",
            ("Mooncake documentation: troubleshooting",),
        ),
        Speaker.PYTHON,
        Severity.WARNING,
        ("listen-client-urls", "serving client traffic", "serving insecure client requests", "etcd bound to"),
        r"(?:listen-client-urls\W{1,8}|serving (?:insecure )?client (?:traffic|requests)[^\n]{0,100}\W|etcd bound to )"
        r"(?:http://)?(?:127\.0\.0\.1|localhost)\b",
        "This etcd serves its own host alone; workers on other hosts cannot reach it.",
        "Start it with etcd --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://ADDRESS:2379.",
    ),
    Signature(
        Rule(
            "log-name-resolution",
            "A host name does not resolve",
            "A name that DNS or /etc/hosts does not know, in a URL, --host or --dist-init-addr.",
            ("getaddrinfo(3)",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        (
            "name resolution",
            "name or service not known",
            "getaddrinfo failed",
            "nodename nor servname",
            "no address associated",
        ),
        r"Temporary failure in name resolution|Name or service not known|getaddrinfo failed|nodename nor servname"
        r"|No address associated with hostname",
        "A host name does not resolve.",
        "Use addresses, or add the hosts to DNS or /etc/hosts on every host.",
    ),
    Signature(
        Rule(
            "log-connection-refused",
            "A connection was refused",
            "Nothing listens there: the other process is not up yet, ended, listens on another port, or on 127.0.0.1 "
            "of its host. A recipe whose fixed port a later flag overrides ends so after a long start.",
            ("NVIDIA/srt-slurm#155", "sgl-project/sglang#12248"),
        ),
        Speaker.PYTHON,
        Severity.WARNING,
        ("connection refused", "connectionrefusederror", "errno 111"),
        r"Connection refused|ConnectionRefusedError|\[Errno 111\]",
        "Another process does not accept connections.",
        "See whether it is up and on which address and port it listens (ss -ltn); compare with the flags of both.",
    ),
    Signature(
        Rule(
            "log-no-route",
            "A host cannot be reached",
            "There is no route, or a firewall drops the packets.",
            ("errno(3)",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("no route to host", "network is unreachable", "errno 113", "errno 101"),
        r"No route to host|Network is unreachable|\[Errno 1(?:13|01)\]",
        "Another host cannot be reached.",
        "Try ping and nc -vz ADDRESS PORT from this host; check the address and the firewall.",
    ),
    Signature(
        Rule(
            "log-link-down",
            "A network link went down",
            "The kernel tells when a port loses its link.",
            ("dmesg(1)",),
        ),
        Speaker.KERNEL,
        Severity.WARNING,
        ("link down", "link is down", "link becomes not ready", "health compromised"),
        r"(?:mlx\d_core|bnxt_en|ice|ionic|irdma|efa|bond\d*)[^\n]{0,80}(?:Link (?:is )?down|health compromised)",
        "A network link of this host went down.",
        "Look at the cable and the switch port.",
    ),
    Signature(
        Rule(
            "log-flags-refused",
            "The program refuses its command line",
            "A flag is unknown to this version, or is the ambiguous beginning of several. Flags of SGLang and vLLM "
            "come and go between versions.",
            ("SGLang release wheels 0.4.5 to 0.5.23",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        (
            "error: unrecognized",
            "error: ambiguous",
            "error: argument",
            "error: the following arguments",
            "error: unexpected argument",
            "no such option",
        ),
        r"error: (?P<what>unrecognized arguments?[^\n]{0,160}|ambiguous option[^\n]{0,160}|argument -[^\n]{0,160}"
        r"|the following arguments are required[^\n]{0,160}|unexpected argument[^\n]{0,160})|No such option",
        "The command line was refused: {what}.",
        "Compare with --help of the installed version; `pdpanel doctor --deployment FILE` names flags that are gone.",
    ),
)
