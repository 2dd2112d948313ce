"""Metrics of the agent itself, on prometheus-client: there are few, so rendering them at a scrape costs nothing."""

import sys
from array import array
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_DELAYS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Delays(Collector):
    """A histogram of delays in seconds. Plain counts, because it is observed hundreds of times a second, between measurements."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts = array("Q", bytes(8 * (len(_DELAYS) + 1)))
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one delay."""
        self._counts[bisect_left(_DELAYS, seconds)] += 1
        self._total += seconds

    def collect(self) -> Iterable[Metric]:
        """Give the histogram as the library wants it: cumulative, bounds as text."""
        bounds = (*map(floatToGoString, _DELAYS), "+Inf")
        yield HistogramMetricFamily(self._name, self._text, list(zip(bounds, accumulate(self._counts), strict=True)), self._total)


class CredentialExpiries(Collector):
    """When our credentials end. `read` is asked at each scrape, because probes learn of it meanwhile; what is not known has no sample."""

    def __init__(self) -> None:
        self.read: Callable[[], Mapping[tuple[str, str], float]] = dict

    def collect(self) -> Iterable[Metric]:
        """Give a sample for each known end, by tenant and credential."""
        name, text = (
            "fogbell_credential_expiry_timestamp_seconds",
            "When our certificate or secret expires; absent where that is not known.",
        )
        family = GaugeMetricFamily(name, text, labels=("tenant", "credential"))
        for labels, seconds in sorted(self.read().items()):
            family.add_metric(labels, seconds)
        yield family


class ApiCalls(Collector):
    """Calls to Microsoft's services. `read` is asked at each scrape, so that counting costs a probe nothing more."""

    def __init__(self) -> None:
        self.read: Callable[[], Iterable[tuple[str, str, int]]] = tuple

    def collect(self) -> Iterable[Metric]:
        """Give a sample for each tenant and service; the label is not called service, which Prometheus' own discovery takes."""
        text = "Calls to Microsoft's services, tokens included; `api` is what has limits of its own."
        family = CounterMetricFamily("fogbell_api_calls", text, labels=("tenant", "api"))
        for tenant, service, count in sorted(self.read()):
            family.add_metric((tenant, service), count)
        yield family


class Outstanding(Collector):
    """What probes have created and not removed yet, by kind; `read` gives the kinds of all of it at a scrape."""

    def __init__(self) -> None:
        self.read: Callable[[], Iterable[str]] = tuple

    def collect(self) -> Iterable[Metric]:
        """Give a sample for each kind that there is something of."""
        family = GaugeMetricFamily("fogbell_artefacts_outstanding", "Things that probes created and have not removed.", labels=("kind",))
        for kind, count in sorted(Counts(self.read()).items()):
            family.add_metric((kind,), count)
        yield family


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
        self.loop_lag = Delays("fogbell_loop_lag_seconds", "How late the event loop was.")
        self.schedule_drift = Delays("fogbell_schedule_drift_seconds", "How late runs started.")
        self.registry.register(self.loop_lag)
        self.registry.register(self.schedule_drift)
        self.credential_expiries = CredentialExpiries()
        self.registry.register(self.credential_expiries)
        self.api_calls = ApiCalls()
        self.registry.register(self.api_calls)
        self.outstanding = Outstanding()
        self.registry.register(self.outstanding)
        self.reload_successful = Gauge(
            "fogbell_config_last_reload_successful", "Whether the last attempt to load the configuration worked.", registry=self.registry
        )
        self.reload_success_timestamp = Gauge(
            "fogbell_config_last_reload_success_timestamp_seconds", "When the configuration was last loaded.", registry=self.registry
        )
        self.state_write_failures = Counter(
            "fogbell_state_write_failures_total", "Writes of the state that failed: disk full, file gone.", registry=self.registry
        )
