# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway counts, in Prometheus' terms."""

from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ..ports import Refusal

__all__ = ["GatewayMetrics"]

_HANDSHAKE_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class GatewayMetrics(Collector):
    """Every reason of refusal is there from the start with 0, so that an alert on its rate sees the first one.

    What is counted with every heartbeat is a plain number and read at scrape time: the gateway has one thread, and a
    Counter's lock would cost more than all else that a heartbeat counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.connected = Gauge("openngt_gateway_connected", "Live sessions, from hello on", registry=registry)
        self.accepted = Counter(
            "openngt_gateway_accepted", "Connections whose certificate was accepted", registry=registry
        )
        self.refused = Counter(
            "openngt_gateway_refused", "Connections refused or cut by a rule", ["reason"], registry=registry
        )
        for reason in get_args(Refusal):
            self.refused.labels(reason)
        self.handshake_seconds = Histogram(
            "openngt_gateway_handshake_seconds",
            "From the accepted socket to the judged certificate",
            buckets=_HANDSHAKE_BUCKETS,
            registry=registry,
        )
        self.serial_ports = Gauge(
            "openngt_gateway_serial_ports", "VMs' serial ports that are attached", registry=registry
        )
        self.serial_skipped = Counter(
            "openngt_gateway_serial_skipped_bytes", "Bytes from serial ports that were no frames", registry=registry
        )
        self.heartbeats = 0
        self.frames_received = 0
        self.frames_sent = 0
        self.heartbeat_timeouts = Counter(
            "openngt_gateway_heartbeat_timeouts", "Sessions ended by two missed heartbeats", registry=registry
        )
        self.calls = Counter(
            "openngt_gateway_calls", "Requests to agents by outcome", ["method", "outcome"], registry=registry
        )
        self.superseded = Counter(
            "openngt_gateway_superseded",
            "Sessions ended by a newer one of the same VM; boot=other hints at a clone",
            ["boot"],
            registry=registry,
        )
        self.duplicates = Counter(
            "openngt_gateway_duplicates", "Times that two machines were seen with one identity", registry=registry
        )
        for boot in ("same", "other"):
            self.superseded.labels(boot)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("openngt_gateway_heartbeats", "Heartbeats answered", value=self.heartbeats)
        frames = CounterMetricFamily("openngt_gateway_frames", "Frames", labels=["direction"])
        frames.add_metric(["received"], self.frames_received)
        frames.add_metric(["sent"], self.frames_sent)
        yield frames
