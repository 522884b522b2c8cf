"""POST /start_profile and /stop_profile, and GET /profile: what a worker's time goes into, as traces for Perfetto.

Routes and fields are SGLang's. Starting and stopping are an administrator's; where the last profile stands may be asked
with the plain key.
"""

from __future__ import annotations

from aiohttp import web

from ..profiling import MOST_STEPS
from ..profiling_trace import ProfileRequest
from .answer import json_response
from .body import read_object
from .fields import PROFILE, STOP_PROFILE
from .intake import require_alive
from .port import EnginePort
from .schema import Schema
from .values import Reader

__all__ = ["PROFILE_GIVEN", "profile", "read_profile", "start_profile", "stop_profile"]

_ACTIVITIES = ("CPU", "GPU")
_LONGEST_FOLDER = 200
PROFILE_GIVEN: dict[str, Schema] = {
    "activities": {"type": "array", "items": {"enum": list(_ACTIVITIES)}, "maxItems": 2},
    "output_dir": {"type": "string", "maxLength": _LONGEST_FOLDER, "pattern": "^[A-Za-z0-9_-]{0,100}$"},
}
"""What the schema of a body says of fields whose values are not all that their type allows."""


async def start_profile(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Begins a profile, which ends with /stop_profile, after `num_steps`, or after half a minute.

    Raises:
        ConflictError: one is under way.
        RequestError: a field is malformed, or `output_dir` is not below the folder that the worker was started in.
        CapacityError: the worker does not compute.
    """
    body = await read_object(request, may_be_empty=True)
    PROFILE.check(body)
    wanted = read_profile(Reader(body))
    require_alive(engine)
    status = await engine.profiling.start(wanted)
    return json_response({"success": True, "message": "Start profiling.", **status})


async def stop_profile(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Ends the profile and answers once the traces of all ranks are written.

    Raises:
        ConflictError: none is under way.
        CapacityError: a trace could not be written.
    """
    STOP_PROFILE.check(await read_object(request, may_be_empty=True))
    status = await engine.profiling.stop()
    return json_response({"success": True, "message": "Stop profiling.", **status})


async def profile(engine: EnginePort, request: web.Request) -> web.StreamResponse:
    """Answers GET /profile: where the last profile stands, and its files."""
    return json_response(engine.profiling.status())


def read_profile(body: Reader) -> ProfileRequest:
    """Returns what is to be profiled.

    Raises:
        RequestError: a field is malformed.
    """
    activities = body.strings("activities", most=2, longest=8)
    for activity in activities:
        if activity not in _ACTIVITIES:
            raise body.refuse("activities", "not one that is recorded", "send CPU and GPU, or leave it out")
    return ProfileRequest(
        folder=body.text("output_dir", "", longest=_LONGEST_FOLDER),
        steps=body.whole("num_steps", 0, 1, MOST_STEPS),
        gpu=not activities or "GPU" in activities,
        shapes=body.boolean("record_shapes", False),
        stacks=body.boolean("with_stack", False),
    )
