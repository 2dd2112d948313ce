"""Metrics of the agent itself, on prometheus-client: there are few, so rendering them at a scrape costs nothing."""

import sys

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_DELAYS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Own:
    """The agent's own metrics and their registry."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no types for it
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        build = Gauge(
            "fogbell_build_info", "Version of the agent and of its Python; always 1.", ("version", "python"), registry=self.registry
        )
        build.labels(version, ".".join(map(str, sys.version_info[:3]))).set(1)
        self.loop_lag = Histogram("fogbell_loop_lag_seconds", "How late the event loop was.", buckets=_DELAYS, registry=self.registry)
        self.schedule_drift = Histogram("fogbell_schedule_drift_seconds", "How late runs started.", buckets=_DELAYS, registry=self.registry)
        self.reload_successful = Gauge(
            "fogbell_config_last_reload_successful", "Whether the last attempt to load the configuration worked.", registry=self.registry
        )
        self.reload_success_timestamp = Gauge(
            "fogbell_config_last_reload_success_timestamp_seconds", "When the configuration was last loaded.", registry=self.registry
        )
        self.state_write_failures = Counter(
            "fogbell_state_write_failures_total", "Writes of the state that failed: disk full, file gone.", registry=self.registry
        )
