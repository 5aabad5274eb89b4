"""What /metrics tells, in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from rrwkv_server.engine.generation import Counts
from rrwkv_server.engine.prefix_cache import PrefixCache
from rrwkv_server.engine.scheduler import Scheduler

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """Of one server, with a registry of its own."""

    def __init__(self, scheduler: Scheduler, prefixes: PrefixCache) -> None:
        registry = self._registry = CollectorRegistry()
        registry.register(_Now(scheduler, prefixes))
        self.requests = Counter(
            "rrwkv_requests", "Requests by path and by how they ended.", ["path", "status"], registry=registry
        )
        self.gone = Counter("rrwkv_clients_gone", "Clients that left before their answer's end.", registry=registry)
        self.tokens = Counter("rrwkv_tokens", "Tokens read, cached and written.", ["kind"], registry=registry)
        self.first = Histogram(
            "rrwkv_first_token_seconds",
            "From a request to its first token, waiting too.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.whole = Histogram(
            "rrwkv_answer_seconds", "From a request to its last token.", buckets=_SECONDS, registry=registry
        )

    def count(self, counts: Counts) -> None:
        """What one generation read and wrote."""
        self.tokens.labels("cached").inc(counts.cached)
        self.tokens.labels("read").inc(counts.prompt - counts.cached)
        self.tokens.labels("written").inc(counts.written)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Now(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, scheduler: Scheduler, prefixes: PrefixCache) -> None:
        self._scheduler, self._prefixes = scheduler, prefixes

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("rrwkv_active", "Requests that take turns.", self._scheduler.active)
        yield GaugeMetricFamily("rrwkv_waiting", "Requests that wait for a place.", self._scheduler.waiting)
        stats = self._prefixes.stats()
        yield GaugeMetricFamily("rrwkv_prefixes", "States after prefixes that are kept.", stats.entries)
        yield GaugeMetricFamily("rrwkv_prefix_bytes", "What they take.", stats.bytes)
        yield CounterMetricFamily("rrwkv_prefix_hits", "Prompts that began with a kept prefix.", stats.hits)
        yield CounterMetricFamily("rrwkv_prefix_misses", "Prompts that did not.", stats.misses)
        yield CounterMetricFamily("rrwkv_prefix_evicted", "Prefixes that had to leave.", stats.evicted)
