"""What can go wrong with a request at the router, and how a client is told: OpenAI's error shape, whole or as an event.

Pure. `WorkerError` says which worker failed and whether another try may succeed; other errors come from
`engine.errors`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..errors import AbortedError, CapacityError, PdpanelError, RequestError
from .events import DONE, Event
from .workers import Worker

__all__ = [
    "Answer",
    "ClientGoneError",
    "StoppedError",
    "TooLargeError",
    "WorkerError",
    "answer_for",
    "error_answer",
    "error_event",
    "event_failure",
    "unreachable",
]

_RETRYABLE = frozenset({429, 500, 502, 503})
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    499: "aborted_error",
    502: "peer_error",
    503: "overloaded_error",
    504: "timeout_error",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response, ready to be sent."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after: str = ""


class ClientGoneError(AbortedError):
    """Raised when the client closed its connection."""


class StoppedError(AbortedError):
    """Raised in every open request when the router stops, or when its abort was asked for."""

    def __init__(self, message: str, http_status: int) -> None:
        self.http_status = http_status
        super().__init__(message)


class TooLargeError(RequestError):
    """Raised when a body has more than `most_bytes`."""

    http_status = 413

    def __init__(self, most_bytes: int) -> None:
        super().__init__("body", f"over {most_bytes} bytes", "too long for --max-payload-size", "send a shorter one")


class WorkerError(PdpanelError):
    """Raised when a worker failed a request, or said no to it.

    Args:
        message: one sentence that names the worker.
        reason: what went wrong in a few words; by default the message.
        lost: True when the worker could not be reached or its connection broke, False when it answered.
        answer: what the client gets when there is no other try.
    """

    def __init__(self, worker: Worker, message: str, answer: Answer, *, reason: str = "", lost: bool = False) -> None:
        self.worker = worker
        self.answer = answer
        self.reason = reason or message
        self.lost = lost
        self.http_status = answer.status
        self.retryable = answer.status in _RETRYABLE
        super().__init__(message)

    @property
    def is_full(self) -> bool:
        """True when the worker said that it has too much to do, or is about to end."""
        return not self.lost and self.http_status in {429, 503}

    @property
    def blames_peer(self) -> bool:
        """True when the worker said that it could not work with its other half."""
        return not self.lost and self.http_status == 502

    @property
    def is_suspicious(self) -> bool:
        """True when the worker itself may be ill, not merely full or asked for too much."""
        return self.lost or self.http_status in {500, 502}


def error_answer(status: int, message: str, *, retry_after: str = "") -> Answer:
    """Returns an OpenAI-shaped error."""
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "internal_error")
    body = json.dumps({"error": {"message": message, "type": kind, "code": status}}, ensure_ascii=False)
    return Answer(status, body.encode(), retry_after=retry_after)


def answer_for(error: PdpanelError) -> Answer:
    """Returns what a client that has got nothing yet is sent for `error`."""
    if isinstance(error, WorkerError):
        return error.answer
    retry_after = f"{max(1, round(error.retry_after_s))}" if isinstance(error, CapacityError) else ""
    return error_answer(error.http_status, str(error), retry_after=retry_after)


def error_event(error: PdpanelError) -> bytes:
    """Returns the end of a stream that `error` cut off: an error event and `[DONE]`."""
    answer = answer_for(error)
    try:
        found = json.loads(answer.body)["error"]
        text = json.dumps({"error": found}, ensure_ascii=False) if isinstance(found, dict) else ""
    except (ValueError, KeyError, TypeError):
        text = ""
    body = text.encode() if text else error_answer(answer.status, str(error)).body
    return b"data: " + body + b"\n\n" + DONE


def unreachable(worker: Worker, reason: str, *, began: bool) -> WorkerError:
    """Returns the failure of a worker whose connection could not be made, or broke after the answer `began`."""
    problem = "broke off its answer" if began else "gave no answer"
    message = f"The {worker.role.value} worker at {worker.url} {problem} ({reason})."
    return WorkerError(worker, message, error_answer(502, message), reason=reason, lost=True)


def event_failure(worker: Worker, event: Event) -> WorkerError:
    """Returns the failure that an error event of `worker` tells of."""
    message, status = "an error without a message", 500
    try:
        error = json.loads(event.data)["error"]
        if isinstance(error, dict):
            message = str(error.get("message") or message)
            code = error.get("code")
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
        else:
            message = str(error)
    except (ValueError, KeyError, TypeError):
        pass
    body = event.data if event.data.startswith(b"{") else b""
    answer = Answer(status, body) if body else error_answer(status, message)
    return WorkerError(worker, f"{worker.role.value} {worker.url}: {message}", answer)
