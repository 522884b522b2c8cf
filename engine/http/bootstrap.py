"""Where the two halves of a disaggregated request meet: `bootstrap_host`, `bootstrap_port`, `bootstrap_room`.

Routers add these fields; forms and the meaning of null are SGLang's. Pure; called by the generation routes.
"""

from __future__ import annotations

import re
from typing import Any

from ..config import Mode, ServerConfig
from ..request import Bootstrap
from .values import Reader

__all__ = ["read_bootstrap"]

_FIELDS = ("bootstrap_host", "bootstrap_port", "bootstrap_room")
_FAKE_HOST = "2.2.2.2"
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,253}")
_VIA_ROUTER = "send the request to the router"


def read_bootstrap(body: Reader, config: ServerConfig) -> Bootstrap | None:
    """Returns the meeting place on prefill and decode workers, None on unified ones.

    Raises:
        RequestError: a field is missing, malformed, or asks for what this worker does not do.
    """
    if config.disaggregation_mode is Mode.UNIFIED:
        for field in _FIELDS:
            if body.has(field):
                raise body.refuse(field, "this worker is unified and meets no other", "leave it out")
        return None
    reader = Reader({field: _single(body, field) for field in _FIELDS})
    host = reader.text("bootstrap_host", "")
    if host == _FAKE_HOST:
        problem = "the bundled engine does not implement SGLang's fake transfer"
        raise reader.refuse("bootstrap_host", problem, _VIA_ROUTER)
    is_prefill = config.disaggregation_mode is Mode.PREFILL
    if not reader.has("bootstrap_room"):
        problem = f"a {config.disaggregation_mode.role} worker needs it"
        raise reader.refuse("bootstrap_room", problem, _VIA_ROUTER)
    room = reader.whole("bootstrap_room", 0, 0, 2**63 - 1)
    if room == 0:
        raise reader.refuse("bootstrap_room", "room 0 is reserved", f"draw one from 1 to {2**63 - 1}")
    if not host:
        if not is_prefill:
            raise reader.refuse("bootstrap_host", "a decode worker needs it", _VIA_ROUTER)
        host = config.host
    if not _HOST.fullmatch(host):
        raise reader.refuse("bootstrap_host", "no host name or address", "send the prefill worker's host")
    port = reader.whole("bootstrap_port", config.disaggregation_bootstrap_port, 1, 65535)
    return Bootstrap(host, port, room)


def _single(body: Reader, field: str) -> Any:
    """Returns the field's value, taken out of a list of one."""
    value = body.raw(field)
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise body.refuse(field, f"a list of {len(value)} for one prompt", "send one value")
    return value[0]
