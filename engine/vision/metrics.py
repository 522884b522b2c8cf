"""What encoders and language workers count of images, in SGLang's style, in the registry of their other metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["EncoderMetrics", "LanguageMetrics"]

_LABELS = ("model_name", "engine_type")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class EncoderMetrics:
    """The metrics of an encoder worker."""

    def __init__(self, registry: CollectorRegistry, model_name: str) -> None:
        self._registry = registry
        values = (model_name, "encoder")

        def counter(name: str, text: str) -> Counter:
            return Counter(f"sglang:{name}", text, _LABELS, registry=registry).labels(*values)

        self._requests = counter("encoder_requests", "Calls of /encode.")
        self._failed = counter("encoder_failed_requests", "Calls of /encode that failed.")
        self._images = counter("encoder_images", "Images that were asked for.")
        self._cached = counter("encoder_cached_images", "Images whose embeddings were at hand.")
        self._computed = counter("encoder_computed_images", "Images that went through the vision tower.")
        self._seconds = counter("encoder_compute_seconds", "Time in the vision tower.")
        self._bytes = counter("encoder_sent_bytes", "Bytes of embeddings sent.")
        self._latency = Histogram(
            "sglang:encoder_request_latency_seconds", "Time of a call.", _LABELS, registry=registry, buckets=_SECONDS
        ).labels(*values)
        self._waiting = Gauge(
            "sglang:encoder_queue_images", "Images that are not done.", _LABELS, registry=registry
        ).labels(*values)

    def request(self, seconds: float, images: int, cached: int, sent: int) -> None:
        """Takes a call that was answered.

        Args:
            images: asked for.
            cached: of these, at hand before.
            sent: bytes.
        """
        self._requests.inc()
        self._images.inc(images)
        self._cached.inc(cached)
        self._bytes.inc(sent)
        self._latency.observe(seconds)

    def failed(self) -> None:
        """Counts a call that failed."""
        self._requests.inc()
        self._failed.inc()

    def batch(self, images: int, seconds: float) -> None:
        """Takes a batch that was computed; any thread."""
        self._computed.inc(images)
        self._seconds.inc(seconds)

    def render(self, waiting: int) -> bytes:
        """Returns the Prometheus text of everything.

        Args:
            waiting: images that are not done.
        """
        self._waiting.set(waiting)
        return generate_latest(self._registry)


class LanguageMetrics:
    """What a worker that computes text counts of the images in its prompts.

    Args:
        role: label `engine_type`: prefill, decode or unified.
    """

    def __init__(self, registry: CollectorRegistry, model_name: str, role: str) -> None:
        values = (model_name, role)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"sglang:{name}", text, _LABELS, registry=registry).labels(*values)

        self._images = counter("mm_images", "Images in accepted prompts.")
        self._cached = counter("mm_cached_images", "Images whose embeddings were at hand.")
        self._asked = counter("mm_encoder_images", "Images that encoders were asked for.")
        self._retried = counter("mm_encoder_retried_images", "Images that were asked for in vain, and again.")
        text = "From a prompt's arrival until it had its embeddings."
        wait = Histogram("sglang:mm_embedding_wait_seconds", text, _LABELS, registry=registry, buckets=_SECONDS)
        self._wait = wait.labels(*values)

    def wanted(self, images: int, cached: int) -> None:
        """Takes the images of a prompt, and how many of them were at hand."""
        self._images.inc(images)
        self._cached.inc(cached)

    def asked(self, images: int) -> None:
        """Takes images that an encoder is asked for."""
        self._asked.inc(images)

    def retried(self, images: int) -> None:
        """Takes images that were asked for in vain."""
        self._retried.inc(images)

    def waited(self, seconds: float) -> None:
        """Takes the time until a prompt had its embeddings."""
        self._wait.observe(seconds)
