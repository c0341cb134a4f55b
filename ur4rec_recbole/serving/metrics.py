"""What the service counts, for Prometheus."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.requests import Request

from ur4rec_recbole.serving.holder import Holder


class _Seen:
    response: Any = None


class Metrics:
    """Counters of one application, in a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, holder: Holder) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ur4rec_requests_total", "Requests by path and status", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "ur4rec_request_seconds", "Time to an answer", ["path"], registry=self.registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
        )  # fmt: skip
        for name, meaning, value in (
            ("items", "Items in the catalogue", lambda: len(holder.recommender.index.ids)),
            ("loaded_timestamp_seconds", "When the model was loaded", lambda: holder.loaded),
            ("failed_reloads", "New models that could not be read", lambda: holder.failures),
        ):
            Gauge(f"ur4rec_{name}", meaning, registry=self.registry).set_function(value)

    @contextmanager
    def measured(self, request: Request) -> Iterator[_Seen]:
        """Count one request, whose response the block puts into what it is given."""
        seen, began = _Seen(), time.perf_counter()
        try:
            yield seen
        finally:
            route = request.scope.get("route")  # a path of the application, never a client's text
            path = getattr(route, "path", "other")
            status = seen.response.status_code if seen.response is not None else 500
            self._requests.labels(path, status).inc()
            self._seconds.labels(path).observe(time.perf_counter() - began)

    def text(self) -> bytes:
        """Return all of them in Prometheus' text format."""
        return generate_latest(self.registry)
