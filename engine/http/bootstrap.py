"""Where the two halves of a disaggregated request meet: `bootstrap_host`, `bootstrap_port`, `bootstrap_room`.

Routers add these fields; forms and the meaning of null are SGLang's. Pure; called by the generation routes.
"""

from __future__ import annotations

import re
from typing import Any

from ..config import Mode, ServerConfig
from ..request import Bootstrap
from .values import Reader

__all__ = ["read_bootstrap", "read_bootstraps"]

_FIELDS = ("bootstrap_host", "bootstrap_port", "bootstrap_room")
_FAKE_HOST = "2.2.2.2"
_HOST = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,253}")
_VIA_ROUTER = "send the request to the router"


def read_bootstraps(body: Reader, config: ServerConfig, prompts: int, copies: int) -> tuple[Bootstrap | None, ...]:
    """Returns the meeting place of each answer, `copies` per prompt, prompt by prompt; None on unified workers.

    A list has one value per answer or per prompt. Of a room that stands for several answers, answer i gets room + i,
    on both halves alike.

    Raises:
        RequestError: a field is missing, malformed, or asks for what this worker does not do.
    """
    total = prompts * copies
    if config.disaggregation_mode is Mode.UNIFIED:
        for field in _FIELDS:
            if body.has(field):
                raise body.refuse(field, "this worker is unified and meets no other", "leave it out")
        return (None,) * total
    columns = [_column(body, field, prompts, copies) for field in _FIELDS]
    return tuple(
        read_bootstrap(Reader({field: column[index] for field, column in zip(_FIELDS, columns, strict=True)}), config)
        for index in range(total)
    )


def read_bootstrap(reader: Reader, config: ServerConfig) -> Bootstrap:
    """Returns the meeting place of one answer on a worker that is half of a pair.

    Raises:
        RequestError: a field is missing, malformed, or asks for what this worker does not do.
    """
    host = reader.text("bootstrap_host", "")
    room = reader.whole("bootstrap_room", 0, 0, 2**63 - 1)
    port = reader.whole("bootstrap_port", config.disaggregation_bootstrap_port, 1, 65535)
    if host == _FAKE_HOST:
        problem = "the bundled engine does not implement SGLang's fake transfer"
        raise reader.refuse("bootstrap_host", problem, _VIA_ROUTER)
    is_prefill = config.disaggregation_mode is Mode.PREFILL
    if not reader.has("bootstrap_room"):
        problem = f"a {config.disaggregation_mode.role} worker needs it"
        raise reader.refuse("bootstrap_room", problem, _VIA_ROUTER)
    if room == 0:
        raise reader.refuse("bootstrap_room", "room 0 is reserved", f"draw one from 1 to {2**63 - 1}")
    if not host:
        if not is_prefill:
            raise reader.refuse("bootstrap_host", "a decode worker needs it", _VIA_ROUTER)
        host = config.host
    if not _HOST.fullmatch(host):
        raise reader.refuse("bootstrap_host", "no host name or address", "send the prefill worker's host")
    return Bootstrap(host, port, room)


def _column(body: Reader, field: str, prompts: int, copies: int) -> list[Any]:
    """Returns the field's value for each answer."""
    value = body.raw(field)
    total = prompts * copies
    if isinstance(value, list) and len(value) == total:
        return value
    if isinstance(value, list):
        if len(value) != prompts:
            asked = f"{prompts} prompt{'s' * (prompts > 1)}" + (f" with n = {copies}" if copies > 1 else "")
            raise body.refuse(field, f"a list of {len(value)} for {asked}", "send one value, or one per prompt")
        return [_shifted(field, one, copy) for one in value for copy in range(copies)]
    return [_shifted(field, value, index) for index in range(total)]


def _shifted(field: str, value: object, index: int) -> object:
    if field != "bootstrap_room" or not isinstance(value, int) or isinstance(value, bool) or not value:
        return value  # what is wrong with it is told later
    return value + index
