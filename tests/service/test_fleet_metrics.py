# SPDX-License-Identifier: GPL-3.0-or-later
"""The fleet as Prometheus sees it: from values, and from a service at work."""

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.scraping import scrape
from tests.fakes.service import ServiceProcess

from openngt_service.fleet_metrics import FleetMetrics, VmNumbers, exposition, numbers_of_vms
from openngt_service.ports import SessionInfo
from openngt_service.store.certificate_rows import Entry
from openngt_service.store.mounts import Mount
from openngt_service.store.registry import Capabilities, Vm
from openngt_service.store.task_rows import TaskRecord

NOW = datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def entry(serial: int, vm_uuid: str, state: Any, days: int, *, used: bool = True) -> Entry:
    used_at = NOW if used else None
    return Entry(serial, vm_uuid, "ngt", serial, "link", state, NOW, NOW + days * DAY, "00", first_used_at=used_at)


def session(vm_uuid: str, transport: Any = "tls", version: str | None = "0.1.0") -> SessionInfo:
    return SessionInfo(vm_uuid, "ngt", "s", 1, 1, "link", "peer", transport, NOW, version)


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and the labels' values, in the order of the labels' names."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found[sample.name, tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def mount(serial: int, **changes: Any) -> Mount:
    given = {"phase": "ejecting", "config_only": False, "holder": "ansible", **changes}
    return Mount("vm", drive="cd0", since=NOW, lease_ends=NOW, serial=f"{serial:x}", **given)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_links_and_agents_are_those_of_the_live_sessions(registry: CollectorRegistry) -> None:
    live = [session("a"), session("b", "serial"), session("c", "serial", "0.0.9"), session("d", version=None)]
    FleetMetrics(registry, lambda: live, lambda serial: None, frozenset())
    found = samples(generate_latest(registry))
    assert (found["openngt_links", ("serial",)], found["openngt_links", ("tls",)]) == (2, 2)
    assert found["openngt_agents", ("0.1.0",)] == 2
    assert found["openngt_agents", ("unknown",)] == found["openngt_agents", ("0.0.9",)] == 1
    live.clear()
    assert samples(generate_latest(registry))["openngt_links", ("serial",)] == 0


def test_guests_cannot_make_labels_without_end(registry: CollectorRegistry) -> None:
    live = [session(str(number), version=f"made-up-{number}") for number in range(499)]
    live.append(session("half", version="\ud800" + 1000 * "x"))
    FleetMetrics(registry, lambda: live, lambda serial: None, frozenset())
    found = {key: value for key, value in samples(generate_latest(registry)).items() if key[0] == "openngt_agents"}
    assert len(found) == 51 and found["openngt_agents", ("other",)] == 450 and sum(found.values()) == 500


def test_an_installation_counts_by_whether_its_agent_came(registry: CollectorRegistry) -> None:
    ledger = {1: entry(1, "vm", "retired", 1), 2: entry(2, "vm", "next", 1, used=False)}
    metrics = FleetMetrics(registry, list, ledger.get, frozenset({"service (agent upgrade)"}))
    for ended in (
        mount(1),
        mount(2),
        mount(2),
        mount(3),
        mount(1, config_only=True),
        mount(1, holder="service (agent upgrade)"),
        mount(1, phase="preparing"),
    ):
        metrics.mount_ended(ended)
    found = samples(generate_latest(registry))
    assert found["openngt_installs_total", ("linked",)] == 1
    assert found["openngt_installs_total", ("not_linked",)] == 3


def test_tasks_count_by_kind_and_end_with_their_time(registry: CollectorRegistry) -> None:
    metrics = FleetMetrics(registry, list, lambda serial: None, frozenset())
    later = NOW + datetime.timedelta(seconds=7)
    for state in ("succeeded", "failed", "running"):
        record = TaskRecord("id", "mount", "vm", "me", state, 0, "", None, None, NOW, later)  # type: ignore[arg-type]
        metrics.task_ended(record)
    found = samples(generate_latest(registry))
    assert (
        found["openngt_tasks_total", ("mount", "succeeded")] == found["openngt_tasks_total", ("mount", "failed")] == 1
    )
    assert ("openngt_tasks_total", ("mount", "running")) not in found
    assert found["openngt_task_duration_seconds_sum", ("mount",)] == 14
    assert found["openngt_task_duration_seconds_bucket", ("mount", "5.0")] == 0
    assert found["openngt_task_duration_seconds_bucket", ("mount", "10.0")] == 2


def test_of_a_vms_certificates_the_current_one_counts() -> None:
    vms = [Vm(name, name, "ngt", True, Capabilities(), 1, NOW) for name in ("a", "b", "c")]
    live = [
        entry(1, "a", "next", 900),
        entry(2, "a", "current", 30),
        entry(3, "b", "next", 1),
        entry(4, "z", "next", 1),
    ]
    found = numbers_of_vms(vms, live, [session("b")])
    ends = (NOW + 30 * DAY).timestamp(), (NOW + DAY).timestamp()
    assert found == [
        VmNumbers("a", "a", False, "link", ends[0]),
        VmNumbers("b", "b", True, "link", ends[1]),
        VmNumbers("c", "c", False, None, 0.0),
    ]


def test_names_of_others_stay_in_their_labels() -> None:
    hostile = 'a"} 1\nopenngt_vm_link_up{vm_name="b\\'
    checks = [
        {"name": "c", "items": [{"vm_uuid": "u", "vm_name": hostile, "state": state} for state in ("INFO", "FAIL")]},
        {
            "name": "d",
            "items": [{"name": "disk", "state": "WARN"}, {"vm_uuid": "u", "vm_name": "b", "state": "PASS"}],
        },
    ]
    found = samples(exposition([VmNumbers("u", hostile, True, None, 0.0)], checks))
    assert found == {("openngt_vm_link_up", (hostile, "u")): 1, ("openngt_vm_finding", ("c", hostile, "u")): 3}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    running = ServiceProcess(tmp_path_factory.mktemp("service"))
    running.hypervisor.add("6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab", "web1", {"cd0": None})
    running.start()
    yield running
    running.stop()


def test_a_service_at_work_tells_what_it_did(service: ServiceProcess) -> None:
    with service.client() as client:
        client.enable("web1")
        client.wait_task(client.mount("web1", "me", 600), 30)
        client.wait_task(client.eject("web1", "me"), 30)
        client.wait_task(client.run_health(), 30)
    found = samples(scrape(service, service.token))
    assert found["openngt_installs_total", ("not_linked",)] == 1
    assert found["openngt_tasks_total", ("mount", "succeeded")] == 1
    name = ("web1", "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab")
    assert found["openngt_vm_link_up", name] == 0
    assert found["openngt_vm_certificate_expiry_timestamp_seconds", ("bootstrap", *name)] > 1_000_000_000
    assert b"web1" not in scrape(service), "numbers alone without a token"


def test_ten_thousand_vms_are_a_few_megabytes() -> None:
    vms = [VmNumbers(f"00000000-0000-4000-8000-{n:012}", f"web{n:05}", True, "link", 1.8e9) for n in range(10_000)]
    assert len(exposition(vms, [])) < 4_000_000
