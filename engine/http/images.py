"""Images in request bodies: `image_url` parts of chat messages, and `image_data` of /generate.

Finds them and names their places; `engine.vision.inputs` reads what stands there. Of a model that takes text alone,
both are refused. Pure; called by the readers of prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import RequestError
from .values import Reader

if TYPE_CHECKING:
    from ..vision.inputs import ImageInputs, ImagePlace

__all__ = ["image_data_schema", "image_part_schema", "read_image_data", "read_image_part", "templated"]

_PART = 'send {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}'
_TEXT_ALONE = "the model takes text only, and the bundled engine does not implement images for it"


def read_image_part(path: str, part: Mapping[str, Any]) -> ImagePlace:
    """Returns where a chat message's part of type `image_url` has its image, and what stands there.

    Raises:
        RequestError: the part is malformed, or asks for what is not served.
    """
    for field in part:
        if field not in ("type", "image_url"):
            raise RequestError(f"{path}.{field!r}", part[field], "no such field", "leave it out")
    image = part.get("image_url")
    if not isinstance(image, Mapping) or not isinstance(image.get("url"), str):
        raise RequestError(f"{path}.image_url", image, "no URL of an image", _PART)
    for field in image:
        if field not in ("url", "detail"):
            raise RequestError(f"{path}.image_url.{field!r}", image[field], "no such field", "leave it out")
    if image.get("detail") not in (None, "auto"):
        problem = "the model has one size of images"
        raise RequestError(f"{path}.image_url.detail", image["detail"], problem, 'leave it out or set it to "auto"')
    return f"{path}.image_url.url", image["url"]


def read_image_data(
    body: Reader, inputs: ImageInputs | None, prompts: int, *, listed: bool
) -> tuple[tuple[ImagePlace, ...], ...]:
    """Returns the images of each prompt of a /generate request.

    `image_data` is an image or a list of them; with a list of prompts, a list with one of these (or null) per prompt.

    Raises:
        RequestError: it is malformed, too long, or the model takes text alone.
    """
    given = body.raw("image_data")
    if given is None or given == []:
        return ((),) * prompts
    if inputs is None:
        raise body.refuse("image_data", _TEXT_ALONE, "leave it out")
    if listed:
        if not isinstance(given, list) or len(given) != prompts:
            raise body.refuse("image_data", f"not one entry for each of {prompts} prompts", "send a list of as many")
        found = tuple(_images(f"image_data[{index}]", one) for index, one in enumerate(given))
    else:
        found = (_images("image_data", given),)
    for places in found:
        inputs.check_count(places)
    return found


def _images(field: str, given: object) -> tuple[ImagePlace, ...]:
    if given is None:
        return ()
    if isinstance(given, str):
        return ((field, given),)
    if not isinstance(given, list):
        raise RequestError(field, given, "no image and no list of images", "send data URLs or base64 strings")
    for index, one in enumerate(given):
        if not isinstance(one, str):
            raise RequestError(f"{field}[{index}]", one, "no image", "send a data URL or a base64 string")
    return tuple((f"{field}[{index}]", one) for index, one in enumerate(given))


def templated(messages: Sequence[Mapping[str, Any]], inputs: ImageInputs, *, takes_parts: bool) -> list[dict[str, Any]]:
    """Returns messages as the chat template wants them.

    Args:
        takes_parts: it goes through the parts of a message and writes image places itself (transformers' and SGLang's
            "openai" form); else it gets one text, where a line with the image token stands for each image.
    """
    found: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if takes_parts:
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
            content = [{"type": "image"} if part["type"] == "image_url" else dict(part) for part in parts]
        elif isinstance(content, list):
            content = "".join(part["text"] if part["type"] == "text" else f"{inputs.text}\n" for part in content)
        found.append({**message, "content": content})
    return found


def image_part_schema() -> dict[str, Any]:
    """Returns the JSON schema of an `image_url` part."""
    url = {
        "type": "object",
        "properties": {"url": {"type": "string"}, "detail": {"enum": ["auto", None]}},
        "required": ["url"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"type": {"const": "image_url"}, "image_url": url},
        "required": ["type", "image_url"],
        "additionalProperties": False,
    }


def image_data_schema(inputs: ImageInputs | None) -> dict[str, Any]:
    """Returns the JSON schema of `image_data`."""
    if inputs is None:
        return {"enum": [[], None]}
    images = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    return {"anyOf": [*images["anyOf"], {"type": "array", "items": {"anyOf": [*images["anyOf"], {"type": "null"}]}}]}
