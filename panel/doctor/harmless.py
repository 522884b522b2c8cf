"""Lines that look like errors or warnings and belong to a healthy start, each with why it is harmless.

Pure. `log_line` and the levels of the Logs tab do not count them as errors, `logs.marks` explains them; a report over
a log leaves them out. A line of a known failure is never one of them.
"""

from __future__ import annotations

from ...nic_probe.checks.check import Rule
from ...nic_probe.finding import Severity
from .signatures.signature import Signature, Speaker

__all__ = ["HARMLESS", "is_harmless"]

_NOTHING = "Nothing needs to be done."

HARMLESS: tuple[Signature, ...] = (
    Signature(
        Rule(
            "log-harmless-profiler",
            "PyTorch's profiler was begun on another thread than the first one",
            "The profiler's library sets its client for profiles that are asked for from outside up on the thread that "
            "loaded PyTorch, and says so when another one begins first. A worker begins its profiles on the thread "
            "that computes, and they are complete.",
            ("pytorch/kineto: libkineto/src/libkineto_api.cpp",),
        ),
        Speaker.TORCH,
        Severity.INFO,
        ("external init callback must run in same thread",),
        r"External init callback must run in same thread as registerClient",
        "Harmless: the profile was begun on the thread that computes, as it should be.",
        _NOTHING,
    ),
    Signature(
        Rule(
            "log-harmless-local-segment",
            "Mooncake looks for its own segment before it has made it",
            "At its start the engine asks for the description of its own segment, which it writes only afterwards. "
            "Mooncake logs the first question as an error; every healthy start has this line once.",
            ("kvcache-ai/Mooncake: transfer_metadata.cpp",),
        ),
        Speaker.MOONCAKE,
        Severity.INFO,
        ("local segment descriptor not found",),
        r"Local segment descriptor not found",
        "Harmless: Mooncake asks for its own description before it has made it, at every start.",
        _NOTHING,
    ),
    Signature(
        Rule(
            "log-harmless-glog",
            "The logging library was used before it was set up",
            "Google's logging library says so when a program logs without a log directory. Its lines go to the "
            "process's log, as they should.",
            ("google/glog: logging.cc",),
        ),
        Speaker.MOONCAKE,
        Severity.INFO,
        ("logging before initgooglelogging",),
        r"Logging before InitGoogleLogging",
        "Harmless: the lines of this library go to this log instead of a file of their own.",
        _NOTHING,
    ),
    Signature(
        Rule(
            "log-harmless-ignored-exception",
            "Python ignored an exception while it tidied up",
            "An object that is cleared away, mostly at the end of a process, cannot hand an exception to anybody, so "
            "Python prints it and goes on.",
            ("Python documentation: sys.unraisablehook",),
        ),
        Speaker.PYTHON,
        Severity.INFO,
        ("exception ignored in",),
        r"Exception ignored in",
        "Harmless: the exception came up while an object was cleared away, and ended nothing.",
        _NOTHING,
    ),
    Signature(
        Rule(
            "log-harmless-elastic",
            "PyTorch names the module that would record errors",
            "The launcher of PyTorch logs the name of its error recorder. The name holds the word error; the line "
            "reports none.",
            ("PyTorch documentation: torch.distributed.elastic.multiprocessing.errors",),
        ),
        Speaker.TORCH,
        Severity.INFO,
        ("torch.distributed.elastic.multiprocessing.errors",),
        r"torch\.distributed\.elastic\.multiprocessing\.errors(?!\.\w{1,40}Error)",
        "Harmless: the line names a module of PyTorch, and reports no error.",
        _NOTHING,
    ),
    Signature(
        Rule(
            "log-harmless-nccl-setting",
            "A setting of PyTorch has an old name",
            "PyTorch reads TORCH_NCCL_ASYNC_ERROR_HANDLING today, takes the old name as well and says so. The word "
            "error is part of the setting's name.",
            ("PyTorch documentation: ProcessGroupNCCL environment variables",),
        ),
        Speaker.TORCH,
        Severity.INFO,
        ("nccl_async_error_handling",),
        r"NCCL_ASYNC_ERROR_HANDLING",
        "Harmless: the line is about a setting whose name holds the word error.",
        _NOTHING,
    ),
)
"""Tried after the known failures."""


def is_harmless(text: str) -> bool:
    """Returns True for a line that looks like an error or a warning and belongs to a healthy start."""
    lowered = text.lower()
    return any(signature.search(text, lowered) is not None for signature in HARMLESS)
