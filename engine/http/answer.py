"""Responses: JSON, and errors in OpenAI's shape.

The one place that turns an exception into a status and a body, so that no traceback and no internal text
reaches a client. Called by the routes, the streams and the app's outermost layer.
"""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import web

from ..errors import CapacityError, ConfigError, PdpanelError, RequestError
from ..request import Finish

__all__ = ["AbortedByEngine", "body_of", "error_body", "error_response", "json_response", "status_of", "to_json"]

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    499: "aborted_error",
    502: "peer_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_RETRYABLE = frozenset({408, 429, 502, 503, 504})
_INTERNAL = "The worker failed on this request; its log has the reason."


class AbortedByEngine(PdpanelError):
    """The engine ended a request with an abort.

    Args:
        finish: its message and status.
    """

    def __init__(self, finish: Finish) -> None:
        self.http_status = finish.http_status if finish.http_status >= 400 else 499
        self.retryable = self.http_status in _RETRYABLE
        super().__init__(finish.message or "The request was aborted.")


def to_json(value: object) -> str:
    """Returns compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Returns a JSON response."""
    body = to_json(value).encode("utf-8", "backslashreplace")
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def status_of(error: BaseException) -> int:
    """Returns the HTTP status of an exception; 500 for one that nobody foresaw."""
    return error.http_status if isinstance(error, PdpanelError) else 500


def error_body(message: str, status: int, *, param: str | None = None, retryable: bool | None = None) -> dict[str, Any]:
    """Returns an error in OpenAI's shape; `code` is the status, as in SGLang."""
    default = "internal_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": _TYPES.get(status, default),
            "code": status,
            "param": param,
            "retryable": status in _RETRYABLE if retryable is None else retryable,
        }
    }


def body_of(error: BaseException) -> dict[str, Any]:
    """Returns the body for an exception; the text of an unforeseen one stays inside."""
    if not isinstance(error, PdpanelError):
        return error_body(_INTERNAL, 500, retryable=False)
    param = error.field if isinstance(error, RequestError | ConfigError) else None
    return error_body(str(error), error.http_status, param=param, retryable=error.retryable)


def error_response(error: BaseException) -> web.Response:
    """Returns the response for an exception."""
    headers: dict[str, str] = {}
    status = status_of(error)
    if isinstance(error, CapacityError):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif status == 503:
        headers["Retry-After"] = "1"
    return json_response(body_of(error), status, headers)
