"""Counters of the local API."""

from __future__ import annotations

from marina.metrics import Counter, Histogram, Registry

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class ApiMetrics:
    """Requests by method, route pattern and status, and how long they took."""

    def __init__(self, registry: Registry) -> None:
        self._requests = Counter(
            "marina_api_requests",
            "Requests answered by the local API.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "marina_api_request_seconds",
            "Time from a request to the end of its reply.",
            ("route",),
            registry=registry,
        )

    def record(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one request; labels come from a fixed set, so that callers cannot grow them."""
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(took_s)
