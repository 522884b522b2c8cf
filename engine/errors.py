"""The exception tree that the engine and the panel share.

Every class carries the HTTP status that it becomes on the API and whether the same request may be sent again
unchanged. An error that a person caused names the field, the value and the remedy in one sentence.

    PdpanelError                 500
      ConfigError                400   bad flag, file, deployment or model
      RequestError               400   bad request body
        NotFoundError            404
        ConflictError            409   e.g. a room that is already active
      CapacityError              503   full; retryable
      PeerError                  502   the other worker
        LocalProtocolError       500   our own breach of the protocol
        RemoteProtocolError      502   the peer's breach of the protocol
      RankError                  502   another rank of the same worker is gone or does not answer
      TransferError              502   a KV transfer failed; says whether its memory is quiet
      AbortedError               499   the client or a peer gave the request up
      DeadlineError              504   the request's time is over
"""

from __future__ import annotations

__all__ = [
    "AbortedError",
    "CapacityError",
    "ConfigError",
    "ConflictError",
    "DeadlineError",
    "LocalProtocolError",
    "NotFoundError",
    "PdpanelError",
    "PeerError",
    "RankError",
    "RemoteProtocolError",
    "RequestError",
    "TransferError",
    "describe_value",
]

_SHOWN_CHARACTERS = 80


def describe_value(value: object) -> str:
    """Returns `value` as it is shown in an error: one line, at most 80 characters, control characters escaped.

    What is left out stands in the middle: of a long path people need the end.
    """
    text = repr(value)
    if len(text) > _SHOWN_CHARACTERS:
        half = (_SHOWN_CHARACTERS - 3) // 2
        text = f"{text[:half]}...{text[-half:]}"
    return text


class PdpanelError(Exception):
    """Root of everything that pdpanel raises on purpose; its text is fit for a user."""

    http_status = 500
    retryable = False


class _FieldError(PdpanelError):
    """An error about one named input.

    Args:
        field: the flag, key or request field at fault.
        value: what was given.
        problem: what is wrong with it, without a full stop.
        remedy: what to write instead, without a full stop.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        self.field = field
        self.value = value
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{field} = {describe_value(value)}: {problem}; {remedy}.")


class ConfigError(_FieldError):
    """Raised when a flag, a file, a deployment or a model cannot be used."""

    http_status = 400


class RequestError(_FieldError):
    """Raised when a request body or one of its fields cannot be served as asked."""

    http_status = 400


class NotFoundError(RequestError):
    """Raised when a request names something that does not exist."""

    http_status = 404


class ConflictError(RequestError):
    """Raised when a request names something that is already in use, such as an active room."""

    http_status = 409


class CapacityError(PdpanelError):
    """Raised when a bounded queue or pool is full; the same request may succeed later."""

    http_status = 503
    retryable = True

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class PeerError(PdpanelError):
    """Raised when another worker cannot be reached or went away."""

    http_status = 502
    retryable = True


class LocalProtocolError(PeerError):
    """Raised when this process breaks the protocol: a bug of ours."""

    http_status = 500
    retryable = False


class RemoteProtocolError(PeerError):
    """Raised when a peer breaks the protocol or does not fit (version, geometry, model)."""

    retryable = False


class RankError(PdpanelError):
    """Raised when ranks of one worker cannot compute together: one of them is gone, or does not answer in time."""

    http_status = 502
    retryable = True


class TransferError(PdpanelError):
    """Raised when a KV transfer failed.

    Args:
        message: what happened, as far as it is known.
        quiesced: True when the writer provably touches the destination no more; a failure alone never implies it.
    """

    http_status = 502
    retryable = True

    def __init__(self, message: str, *, quiesced: bool) -> None:
        self.quiesced = quiesced
        super().__init__(message)


class AbortedError(PdpanelError):
    """Raised when a request was given up by its client or by the other half of its pair."""

    http_status = 499


class DeadlineError(PdpanelError):
    """Raised when a request's time is over."""

    http_status = 504
    retryable = True
