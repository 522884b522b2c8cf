"""How embeddings come from an encoder to the worker that asked: the seam of both sides.

The asker draws a `Slip`, sends what it says along with the images, and takes what arrives. `zmq_way` and `memory_way`
implement both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # the command line reads the names alone
    from .embeddings import Rows

__all__ = ["BACKENDS", "MEMORY", "ZMQ", "Receiver", "Sender", "Slip", "resolve_backend"]

ZMQ = "zmq_to_scheduler"
MEMORY = "mooncake"
BACKENDS = ("auto", ZMQ, MEMORY)


def resolve_backend(name: str) -> str:
    """Returns the backend that a value of --encoder-transfer-backend stands for; SGLang's rule."""
    return ZMQ if name == "auto" else name


class Slip(Protocol):
    """One transfer to come."""

    @property
    def target(self) -> Mapping[str, Any]:
        """What the encoder must know, as JSON values; `backend` among them."""
        ...

    async def take(self) -> list[Rows]:
        """Returns the embeddings of each image, in the order that was asked for, once all are there.

        Raises:
            RemoteProtocolError: something else came.
        """
        ...

    def abandon(self) -> None:
        """Nobody takes them any more; they may still arrive. Nothing happens after `take`."""
        ...


class Receiver(Protocol):
    """The asker's side."""

    @property
    def most_images(self) -> int:
        """Of one transfer."""
        ...

    async def expect(self, images: int) -> Slip:
        """Returns the slip of a transfer of so many images; waits for room where it needs some."""
        ...

    async def stop(self) -> None:
        """Ends; nothing is received any more."""
        ...


class Sender(Protocol):
    """The encoder's side."""

    async def send(self, target: Mapping[str, Any], images: Sequence[Rows]) -> int:
        """Sends the embeddings of all images in one transfer; returns its bytes.

        Raises:
            RequestError: `target` cannot be used.
            PdpanelError: the transfer failed.
        """
        ...

    async def stop(self) -> None:
        """Ends; what is under way may be lost."""
        ...
