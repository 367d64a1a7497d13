# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet in Prometheus' terms: numbers for everybody who may read metrics, and each VM by name for who has a token.

What changes often is counted when it is asked for; a scrape looks at memory alone.
"""

from collections import Counter as Count
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .health.policy import SEVERITY
from .ports import SessionInfo
from .store.certificate_rows import Entry
from .store.mounts import Mount
from .store.registry import Vm
from .store.task_rows import TaskRecord

__all__ = ["FleetMetrics", "VmNumbers", "exposition", "numbers_of_vms"]

Json = Mapping[str, Any]
MOST_VERSIONS = 50
"""What a version is called is the guests' word; the rarest share one label."""
LONGEST_VERSION = 64
TASK_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class FleetMetrics(Collector):
    """`sessions`: those that live. `own_holders`: in whose name the service itself mounts, which installs nothing."""

    def __init__(
        self,
        registry: CollectorRegistry,
        sessions: Callable[[], Iterable[SessionInfo]],
        certificate: Callable[[int], Entry | None],
        own_holders: frozenset[str],
    ) -> None:
        self._sessions = sessions
        self._certificate = certificate
        self._own_holders = own_holders
        self._tasks = Counter("openngt_tasks", "Tasks that have ended.", ["kind", "state"], registry=registry)
        self._seconds = Histogram(
            "openngt_task_duration_seconds",
            "From a task's begin to its end, the wait for its turn included.",
            ["kind"],
            buckets=TASK_BUCKETS,
            registry=registry,
        )
        self._installs = Counter(
            "openngt_installs",
            "Tools ISOs taken out again: linked when an agent has connected with what was on it.",
            ["result"],
            registry=registry,
        )
        for result in ("linked", "not_linked"):
            self._installs.labels(result)
        registry.register(self)

    def task_ended(self, record: TaskRecord) -> None:
        """A task that goes on after a restart has not ended."""
        if record.finished:
            self._tasks.labels(record.kind, record.state).inc()
            self._seconds.labels(record.kind).observe((record.updated - record.created).total_seconds())

    def mount_ended(self, mount: Mount) -> None:
        if mount.config_only or mount.phase == "preparing" or mount.serial is None or mount.holder in self._own_holders:
            return
        entry = self._certificate(int(mount.serial, 16))
        linked = entry is not None and entry.first_used_at is not None
        self._installs.labels("linked" if linked else "not_linked").inc()

    def collect(self) -> Iterator[Metric]:
        links, versions = Count({"serial": 0, "tls": 0}), Count[str]()
        for session in self._sessions():
            links[session.transport] += 1
            versions[label_of(session.agent_version)] += 1
        yield gauge("openngt_links", "Live links.", "transport", links.items())
        shown = versions.most_common(MOST_VERSIONS)
        rest = versions.total() - sum(count for _, count in shown)
        yield gauge("openngt_agents", "Linked agents.", "version", [*shown, ("other", rest)] if rest else shown)


class VmNumbers(NamedTuple):
    """What is told of one VM by name."""

    vm_uuid: str
    vm_name: str
    linked: bool
    kind: str | None
    """Of the certificate that counts; None when there is none."""
    not_after: float


def numbers_of_vms(vms: Sequence[Vm], live: Iterable[Entry], sessions: Iterable[SessionInfo]) -> list[VmNumbers]:
    """Quick: it runs on the event loop. A VM's `current` counts, else its `next`."""
    linked = {session.vm_uuid for session in sessions}
    entries: dict[str, Entry] = {}
    for entry in live:
        if entry.state == "current" or entry.vm_uuid not in entries:
            entries[entry.vm_uuid] = entry
    return [
        VmNumbers(
            vm.vm_uuid,
            vm.vm_name,
            vm.vm_uuid in linked,
            entries[vm.vm_uuid].kind if vm.vm_uuid in entries else None,
            entries[vm.vm_uuid].not_after.timestamp() if vm.vm_uuid in entries else 0.0,
        )
        for vm in vms
    ]


def exposition(vms: Sequence[VmNumbers], checks: Sequence[Json]) -> bytes:
    """Prometheus' text of each VM and of what the checks' last results found about it; a label for each by name.

    For a thread of its own: ten thousand VMs take a moment.
    """
    registry = CollectorRegistry()
    registry.register(Families(list(families(vms, checks))))
    return generate_latest(registry)


class Families(Collector):
    def __init__(self, found: Sequence[Metric]) -> None:
        self._found = found

    def collect(self) -> Sequence[Metric]:
        return self._found


def families(vms: Sequence[VmNumbers], checks: Sequence[Json]) -> Iterator[Metric]:
    link = GaugeMetricFamily("openngt_vm_link_up", "1 while the VM's agent is linked.", labels=["vm_uuid", "vm_name"])
    ends = GaugeMetricFamily(
        "openngt_vm_certificate_expiry_timestamp_seconds",
        "End of the VM's certificate, Unix time; bootstrap is that of a tools ISO, short by design.",
        labels=["vm_uuid", "vm_name", "kind"],
    )
    for vm in vms:
        link.add_metric([vm.vm_uuid, vm.vm_name], vm.linked)
        if vm.kind is not None:
            ends.add_metric([vm.vm_uuid, vm.vm_name, vm.kind], vm.not_after)
    found = GaugeMetricFamily(
        "openngt_vm_finding",
        "What a health check has found about the VM: 1 INFO, 2 WARN, 3 FAIL.",
        labels=["vm_uuid", "vm_name", "check"],
    )
    for (vm_uuid, vm_name, check), severity in worst_findings(checks).items():
        found.add_metric([vm_uuid, vm_name, check], severity)
    yield from (link, ends, found)


def worst_findings(checks: Sequence[Json]) -> dict[tuple[str, str, str], int]:
    """A check may find two things about one VM; a series has one value."""
    worst: dict[tuple[str, str, str], int] = {}
    for check in checks:
        for item in check["items"]:
            severity = SEVERITY.index(item["state"])
            if severity and item.get("vm_uuid"):
                key = (item["vm_uuid"], item.get("vm_name") or "", check["name"])
                worst[key] = max(severity, worst.get(key, 0))
    return worst


def label_of(version: str | None) -> str:
    """A guest may send any text, half a surrogate pair included, which would break the whole answer."""
    return (version or "unknown")[:LONGEST_VERSION].encode("utf-8", "replace").decode()


def gauge(name: str, what: str, label: str, counts: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in counts:
        family.add_metric([value], count)
    return family
