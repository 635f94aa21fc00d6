"""The service's metrics for Prometheus."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import prometheus_client

from deploy.runtime import Session

DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""OpenTelemetry's buckets for the duration of a request, in seconds."""


class Metrics:
    """What `/metrics` shows, in Prometheus' base units."""

    def __init__(self, session: Session, depth: Callable[[], float]) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.requests = prometheus_client.Histogram(
            "http_server_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=DURATIONS,
            registry=self.registry,
        )
        self.batches = prometheus_client.Histogram(
            "inference_batch_size",
            "Requests in one run of the model.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.compute = prometheus_client.Histogram(
            "inference_compute_duration_seconds",
            "One run of the model.",
            buckets=DURATIONS,
            registry=self.registry,
        )
        self.rejected = prometheus_client.Counter(
            "inference_requests_rejected",
            "Requests that were not answered with a picture.",
            ("reason",),
            registry=self.registry,
        )
        prometheus_client.Gauge(
            "inference_queue_depth", "Requests that wait for the model.", registry=self.registry
        ).set_function(depth)
        facts = session.metadata
        prometheus_client.Info("inference_model", "What is served.", registry=self.registry).info(
            {
                "method": facts.method,
                "kind": facts.schema.kind,
                "width": str(session.schema.width),
                "height": str(session.schema.height),
                "precision": facts.precision,
                "provider": session.provider,
                "checkpoint_sha256": facts.checkpoint_sha256,
            }
        )

    def batch(self, size: int, seconds: float) -> None:
        self.batches.observe(size)
        self.compute.observe(seconds)

    def text(self) -> bytes:
        return prometheus_client.generate_latest(self.registry)


class Exposition:
    """The text of the metrics for any number of clients, who cannot make it cost more than a part of one processor.

    make: what gives the text; it is called in a thread, by one at a time. Who asks while it is at work, or resting,
    waits for the next text and shares it with all others who wait: none is older than the question.
    """

    REST = 4.0
    """So many times as long as a text took to make, none is made."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._next: asyncio.Task[bytes] | None = None
        self._making = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._rested = 0.0

    async def text(self) -> bytes:
        if self._next is None:
            self._next = asyncio.create_task(self._made())
        # Shielded: whoever leaves takes it from nobody else.
        return await asyncio.shield(self._next)

    async def _made(self) -> bytes:
        async with self._making:
            await asyncio.sleep(self._rested - time.monotonic())
            self._next = None
            begun = time.monotonic()
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._make)
            finally:
                ended = time.monotonic()
                self._rested = ended + self.REST * (ended - begun)

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)
