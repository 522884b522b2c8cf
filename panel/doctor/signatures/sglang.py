"""What SGLang's prefill and decode servers say when the two halves do not fit, lose each other or do not start."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

SIGNATURES = (
    Signature(
        Rule(
            "log-page-size-differs",
            "Prefill and decode have different page sizes",
            "A KV page has to mean the same on both sides. With different --page-size requests hang, and only the "
            "prefill side shows an error; newer versions refuse at the first request.",
            ("sgl-project/sglang#14439", "sgl-project/sglang#14474"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("page size", "page_size"),
        r"Page[ _]size mismatch(?:[^\n]{0,40}page_size=(?P<prefill>\d+)[^\n]{0,60}page_size=(?P<decode>\d+))?",
        "Prefill has page size {prefill} and decode {decode}.",
        "Give both the same --page-size.",
    ),
    Signature(
        Rule(
            "log-kv-dtype-differs",
            "Prefill and decode have different types of KV cache",
            "Bytes of one type read as another are garbage: answers become nonsense without any error, where the "
            "version does not compare them.",
            ("sgl-project/sglang#19398", "sgl-project/sglang#36371"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("kv cache dtype mismatch", "kv_cache_dtype mismatch", "kv layout"),
        r"KV[ _]cache[ _]dtype mismatch(?:[^\n]{0,60}kv_cache_dtype=(?P<prefill>\w+)[^\n]{0,80}kv_cache_dtype=(?P<"
        r"decode>\w+))?"
        r"|KV layout mismatch|disagree on the \S{1,40} KV layout",
        "The KV cache has another type or layout on prefill ({prefill}) than on decode ({decode}).",
        "Give both the same --kv-cache-dtype and attention backend.",
    ),
    Signature(
        Rule(
            "log-state-differs",
            "Prefill and decode keep the model's state differently",
            "Models with Mamba or linear attention carry a state beside the KV cache. Its type and slot size have to "
            "agree, too.",
            ("sgl-project/sglang#19398", "sgl-project/sglang#36371"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        (
            "mamba s",
            "mamba_ssm_dtype mismatch",
            "metadata buffers",
            "state layout",
            "state index",
            "geometry differs",
        ),
        r"mamba_ssm_dtype mismatch|Mamba (?:state layouts differ|slot size mismatch)"
        r"|registered \d+ metadata buffers but this prefill has \d+"
        r"|state layout rejected|state index length mismatch|KV geometry differs",
        "Prefill and decode lay out the model's state differently.",
        "Start both with the same --mamba-ssm-dtype, --page-size, memory and checksum options, and the same version.",
    ),
    Signature(
        Rule(
            "log-tp-unsupported",
            "Different tensor parallel sizes are not supported for this model",
            "Models with sliding windows, Mamba layers or packed types cannot be cut differently on the two sides.",
            ("sgl-project/sglang#15674", "sgl-project/sglang#15665", "sgl-project/sglang#15675"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("tp size", "tp_size", "heterogeneous tp", "p tp > d tp"),
        r"does NOT support (?:PD )?different (?:attention )?TP sizes|heterogeneous TP not supported"
        r"|Different TP sizes[^\n]{0,40} (?:is|are) not supported|P TP > D TP"
        r"|TP size[^\n]{0,20} must be the same"
        r"|does not support different prefill / decode|requires (?:matching|equal|the same) [^\n]{0,40}TP size",
        "This model needs the same tensor parallel size on prefill and decode.",
        "Give both the same --tp-size (and --attn-dp-size).",
    ),
    Signature(
        Rule(
            "log-tp-differs",
            "Prefill and decode have different tensor parallel sizes",
            "For models without MLA each KV page is then cut into heads and sent in many small writes: slow, and "
            "under load it has ended in crashes.",
            ("sgl-project/sglang#15674", "llm-d/llm-d#2433"),
        ),
        Speaker.SGLANG,
        Severity.WARNING,
        ("different tp sizes", "different attention tp", "different runtime attention tp"),
        r"Performance is NOT guaranteed when using different TP sizes|head-slice transfer for different attention TP"
        r"|slice transfer for different runtime attention TP",
        "Prefill and decode have different tensor parallel sizes, so the KV cache travels in small pieces.",
        "Use the same --tp-size on both, or set SGLANG_DISAGG_STAGING_BUFFER=1.",
    ),
    Signature(
        Rule(
            "log-decode-lost",
            "Prefill cannot reach a decode worker",
            "The decode worker's transfer session does not answer: it died, was restarted, or its address cannot be "
            "reached.",
            ("sgl-project/sglang#12779", "sgl-project/sglang#16903"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("decode instance could be dead", "session", "failed to send kv chunk"),
        r"Decode instance could be dead|mooncake session \S{1,80} is not alive"
        r"|Session (?P<session>[\w.:\[\]-]+:\d+) failed"
        r"|Failed to send kv chunk of \d+ to (?P<session_2>\S{1,80})",
        "KV could not be sent to a decode worker ({session}).",
        "See in its log whether it lives; after a restart of decode, restart prefill with it on older versions.",
    ),
    Signature(
        Rule(
            "log-prefill-lost",
            "Decode lost its prefill worker",
            "When prefill dies, requests that wait for its KV fail, and on older versions decode stays stuck until it "
            "is restarted.",
            (
                "sgl-project/sglang#6215",
                "sgl-project/sglang#12779",
                "sgl-project/sglang#31144",
                "vllm-project/aibrix#2289",
            ),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("connection with prefill", "kvcache from prefill"),
        r"(?:Lost|Losing) connection with prefill instance(?: \(bootstrap_addr: (?P<peer>[^)\s]{1,80})\))?"
        r"|Failed to get kvcache from prefill instance",
        "The prefill worker ({peer}) is gone; requests that waited for its KV failed.",
        "Look at the end of prefill's log; if decode stays stuck, restart the pair.",
    ),
    Signature(
        Rule(
            "log-bootstrap-timeout",
            "Requests timed out before their transfer began",
            "Prefill waits SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT seconds (300) for decode to name its pages. Under "
            "load decode is full; else decode never got the request, or the two cannot reach each other.",
            ("sgl-project/sglang#10110", "sgl-project/sglang#9266"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("timed out when bootstrapping", "kvpoll.bootstrapping", "bootstrapping timeout"),
        r"timed out when bootstrapping|timed out after [\d.]+s in KVPoll\.Bootstrapping"
        r"|Bootstrapping timeout",
        "Decode did not answer requests in time.",
        "Add decode capacity or limit concurrency; SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT=600 waits longer.",
    ),
    Signature(
        Rule(
            "log-waiting-timeout",
            "Requests timed out waiting for their KV",
            "Decode waits SGLANG_DISAGGREGATION_WAITING_TIMEOUT seconds (300) for the KV of a request. Prefill is "
            "overloaded or failed, or the transfer is slow.",
            ("sgl-project/sglang#9266", "sgl-project/sglang#23272"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("transfer done signal", "kvpoll.waitingforinput"),
        r"fail to receive KV Cache transfer done signal"
        r"|timed out after [\d.]+s in KVPoll\.WaitingForInput",
        "The KV of requests did not arrive in time.",
        "Add prefill capacity, look at the link's throughput; SGLANG_DISAGGREGATION_WAITING_TIMEOUT=600 waits longer.",
    ),
    Signature(
        Rule(
            "log-bootstrap-register",
            "A prefill worker could not register at the bootstrap server",
            "Each prefill rank registers at the bootstrap server of its instance, port 8998. It fails when another "
            "instance has that port, when a proxy catches the request, or when --host is not reachable from all "
            "ranks.",
            ("sgl-project/sglang#21268", "sgl-project/sglang#20952", "sgl-project/sglang#28503"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("failed to register", "register attempt"),
        r"Prefill instance failed to register|Failed to register prefill (?:instance|server)"
        r"|Prefill register attempt \d+/\d+ failed",
        "A prefill worker could not register at its bootstrap server.",
        "Give each prefill instance of a host its own --disaggregation-bootstrap-port, unset http_proxy, "
        "and set --host to an address that all ranks reach.",
    ),
    Signature(
        Rule(
            "log-bootstrap-info",
            "Decode cannot ask prefill's bootstrap server",
            "Decode asks prefill's bootstrap server for its layout. The router names its address: the host of the "
            "prefill URL and the bootstrap port behind it.",
            ("sgl-project/sglang#9814", "sgl-project/sglang#20952"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("from bootstrap", "prefill server info", "prefill parallel info"),
        r"Error (?:fetching|querying) [^\n]{1,40} from bootstrap(?:: (?P<why>[^\n]{1,120}))?"
        r"|Failed to get prefill (?:server|parallel) info",
        "Decode could not reach prefill's bootstrap server ({why}).",
        "Give the router the right bootstrap port (--prefill URL PORT), a host that decode reaches, and no proxy.",
    ),
    Signature(
        Rule(
            "log-ib-device",
            "SGLang refuses --disaggregation-ib-device",
            "The names are checked against /sys/class/infiniband: no unknown name, no port suffix, a map needs every "
            "GPU that is used, and the folder must not be missing or empty.",
            ("SGLang source: validation_hook.py", "sgl-project/sglang#23003"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("ib device", "infiniband sysfs path", "port suffixes"),
        r"Invalid IB devices specified(?: for [^:\n]{1,40})?: (?P<devices>\[[^\]\n]{0,200}\])"
        r"|No (?:valid )?IB devices (?:found|specified)"
        r" (?!for Mooncake backend)|No IB devices configured for GPU \d|InfiniBand sysfs path not found"
        r"|without port suffixes",
        "The RDMA devices that were named ({devices}) cannot be used on this host.",
        "Name devices of `ls /sys/class/infiniband`, in a map one entry per GPU, or leave the option out.",
    ),
    Signature(
        Rule(
            "log-mini-lb",
            "sglang.srt.disaggregation.mini_lb is gone",
            "The small load balancer of 0.4.5 is a stub in 0.5.2 and gone today. The router took its place, with "
            "--mini-lb for debugging.",
            ("SGLang release wheels 0.4.5 to 0.5.23",),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("mini_lb", "disaggregation.launch_lb"),
        r"No module named '?sglang\.srt\.disaggregation\.(?:mini_lb|launch_lb)"
        r"|mini_lb[^\n]{0,120}(?:deprecated|moved|removed|RuntimeError)"
        r"|RuntimeError[^\n]{0,80}\bmini_lb\b",
        "This version of SGLang has no mini_lb.",
        "Start python -m sglang_router.launch_router --pd-disaggregation --prefill URL PORT --decode URL.",
    ),
    Signature(
        Rule(
            "log-gpu-occupied",
            "Another process holds GPU memory",
            "Schedulers and engine cores that outlive their server keep its GPU memory. The next server then finds "
            "less than it needs, or unequal memory on its GPUs.",
            (
                "sgl-project/sglang#31645",
                "sgl-project/sglang#23627",
                "vllm-project/vllm#55510",
                "vllm-project/vllm#34643",
            ),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("memory capacity is unbalanced", "free memory on device", "memory gpu to start"),
        r"memory capacity is unbalanced|Free memory on device[^\n]{0,160}less than desired GPU memory utilization",
        "GPU memory is held by another process, often one that a stopped server left behind.",
        "Run nvidia-smi, end what is left of earlier servers, and start again when the memory is free.",
    ),
    Signature(
        Rule(
            "log-kv-pool-small",
            "No room for the KV cache",
            "After the weights too little memory is left for the KV cache of even one request.",
            ("SGLang documentation: PD disaggregation",),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("not enough memory", "cache blocks", "kv cache", "fewer tokens than"),
        r"Not enough memory\. Please try to increase --mem-fraction-static|No available memory for the cache blocks"
        r"|(?:larger than|exceeds?) the (?:available KV cache memory"
        r"|maximum number of tokens that can be stored in KV cache)",
        "Too little memory is left for the KV cache.",
        "Raise --mem-fraction-static (vLLM: --gpu-memory-utilization), lower the context length, or use more GPUs.",
    ),
    Signature(
        Rule(
            "log-kv-pool-full",
            "Requests are retracted: the KV pool is full",
            "Decode had started more requests than its KV pool holds to their end, takes some back and computes them "
            "anew. It is the sign of a decode-bound deployment.",
            ("sgl-project/sglang#24488",),
        ),
        Speaker.SGLANG,
        Severity.WARNING,
        ("retract requests", "is preempted by"),
        r"KV cache pool is full\. Retract requests|Sequence group \S{1,80} is preempted by",
        "Decode runs out of KV memory and gives requests up for a while.",
        "Add decode workers or memory, or lower --max-running-requests.",
    ),
    Signature(
        Rule(
            "log-watchdog",
            "A scheduler stood still",
            "SGLang's watchdog ends a server whose forward pass takes longer than --watchdog-timeout: a hung "
            "collective, a kernel that compiles, or a GPU that fell off the bus.",
            ("sgl-project/sglang#12779",),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("watchdog timeout",),
        r"\bWatchdog timeout",
        "The scheduler made no step for too long.",
        "Look for NCCL or GPU errors before it; a first start that compiles may need a larger --watchdog-timeout.",
    ),
    Signature(
        Rule(
            "log-child-died",
            "A server's own process died",
            "The server reports that one of its processes ended. Why stands before this line.",
            ("sgl-project/sglang#9726",),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        ("sigquit", "is dead. please check", "engine core", "enginecore", "enginedead", "subprocess exited"),
        r"Received sigquit from a child process|is dead\. Please check|EngineCore (?:failed to start|encountered)"
        r"|Engine core initialization failed|EngineDeadError|subprocess exited with code -?\d",
        "A process of the server died.",
        "Look for the first error before this line.",
        noise_after=True,
    ),
    Signature(
        Rule(
            "log-transfer-length",
            "An answer was cut off (transfer length header)",
            "Seen with DeepSeek-V3 and Llama-405B on ROCm at 512 and more requests at once: answers end early, "
            "requests are dropped and throughput falls.",
            ("ROCm documentation: SGLang PD disaggregation",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        ("transfer length header", "transferencodingerror"),
        r"Not enough data to satisfy transfer length header|TransferEncodingError",
        "The server closed answers before their end.",
        "Keep concurrency below 512, and look into the workers' logs for what ended the requests.",
    ),
    Signature(
        Rule(
            "log-kv-transfer-error",
            "Transfers of requests failed (KVTransferError)",
            "SGLang names the request by its bootstrap room. A few under load are time-outs; many in a row are a "
            "broken link or a dead peer.",
            ("sgl-project/sglang#10110", "sgl-project/sglang#23272", "sgl-project/sglang#10560"),
        ),
        Speaker.SGLANG,
        Severity.ERROR,
        (
            "kvtransfererror",
            "transfer failed for request",
            "handshake failed for request",
            "bootstrap failed for request",
        ),
        r"KVTransferError\(bootstrap_room=\d{1,20}\)"
        r"|(?:transfer|handshake|bootstrap) failed for request rank=\d+",
        "The KV of requests was not transferred.",
        "Find the first error of both workers; errors of later rooms are often consequences.",
        beside_others=True,
    ),
)
