"""What the HTTP layer sees of a worker: an engine and a card of its model.

The worker implements `EnginePort` without importing anything else of this package; routes are written against
it and against nothing else, so tests drive them with scripted tokens.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..config import ServerConfig
from ..metrics import EngineMetrics
from ..profiling import Profiling
from ..request import GenerateRequest, TokenEvent
from ..statistics import EngineStatistics
from ..text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ..vision.inputs import ImageInputs

__all__ = ["EnginePort", "ModelCard"]


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The model as the API describes it.

    Attributes:
        served_name: the name that clients use.
        path: the local directory it is loaded from, or its hub id.
        tokenizer_path: a directory with its tokenizer.json, for clients and routers that count tokens themselves.
        architectures: as in the model's config.json, such as ("LlamaForCausalLM",).
        context_length: prompt and output tokens per request at most, after --context-length and the KV pool's
            size.
        vocab_size: token ids are 0 to vocab_size - 1.
        eos_ids: ids that end an output.
        images: how images are taken; None for a model that takes text alone.
    """

    served_name: str
    path: str
    tokenizer_path: str
    architectures: tuple[str, ...]
    model_type: str
    context_length: int
    vocab_size: int
    eos_ids: tuple[int, ...]
    images: ImageInputs | None = None


class EnginePort(Protocol):
    """One worker."""

    @property
    def config(self) -> ServerConfig:
        """What it was started with."""
        ...

    @property
    def model(self) -> ModelCard:
        """What it serves."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        ...

    @property
    def metrics(self) -> EngineMetrics:
        """What /metrics renders."""
        ...

    @property
    def alive(self) -> bool:
        """True while it can take requests: loaded, and its step loop runs."""
        ...

    @property
    def dead(self) -> str:
        """Why it can take no more requests, in one sentence; empty before that."""
        ...

    @property
    def spare(self) -> int:
        """How many more requests it would take now."""
        ...

    def submit(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent, None]:
        """Starts a request.

        The iterator ends after the event with the finish; on a prefill worker it ends after the KV transfer,
        with no finish when decode goes on. Closing it early (`aclose`), or cancelling the task that waits on
        it, aborts the request.

        Raises:
            CapacityError: full; here or with the first event.
            ConflictError: the room is active already; here or with the first event.
        """
        ...

    def abort(self, rid: str) -> bool:
        """Gives up the requests with this id (all for an empty one); returns whether there were any."""
        ...

    @property
    def profiling(self) -> Profiling:
        """Its profiles."""
        ...

    def statistics(self) -> EngineStatistics:
        """Returns queues, pools and speed at this moment."""
        ...

    async def flush_cache(self) -> bool:
        """Empties the prefix cache; False when requests are running."""
        ...
