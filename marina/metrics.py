"""Counters, gauges and histograms with labels, in one registry per node.

prometheus_client does the work; each package declares its own metrics in one dataclass
(``<package>/metrics.py``) built from the registry that ``node`` passes in.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Counter", "Gauge", "Histogram", "Registry", "render"]

Registry = CollectorRegistry
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(registry: Registry) -> bytes:
    """Return all metrics in the Prometheus text format."""
    return generate_latest(registry)
