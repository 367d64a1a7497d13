# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check at each side of its limits, with the words that people search for."""

import asyncio
import dataclasses
import datetime
from typing import Any

import pytest

from openngt.errors import OpenNGTError
from openngt_service.health.catalogue import CHECKS, default_policy
from openngt_service.health.checks import CheckResult, DiskUse, Facts
from openngt_service.health.readiness import Readiness
from openngt_service.store.customizations import Customized
from openngt_service.store.sightings import Sighting, SightingKind
from openngt_service.tasks.clones import Clone
from openngt_service.tasks.recover import Attempt

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
MINUTE = datetime.timedelta(minutes=1)


def judged(name: str, looked_at: Facts, **thresholds: int) -> CheckResult:
    """By the defaults, but for these."""
    check = CHECKS[name]
    assert set(thresholds) <= set(check.limits)
    return check.judge(looked_at, {**default_policy(check).thresholds, **thresholds})


def vm(name: str = "the-windows2022", **more: Any) -> dict[str, Any]:
    link = {"since": None, "peer": None, "session": None, "last_seen": None, "last_refusal": None}
    link["clock_offset_seconds"] = None
    record = {
        "vm_uuid": f"uuid-of-{name}",
        "vm_name": name,
        "power_state": "on",
        "communication_link_active": True,
        "agent_version": "4.1.1",
        "available_version": "4.1.1",
        "certificate": certificate(1000),
        "mount": None,
        "link": link,
    }
    return {**record, **more}


def certificate(days: float, state: str = "current", kind: str = "link", minutes: int = 0) -> dict[str, Any]:
    """In use for so many minutes."""
    used = NOW - minutes * MINUTE
    return {"state": state, "kind": kind, "not_after": NOW + days * DAY, "first_used_at": used}


def facts(*vms: dict[str, Any], **more: Any) -> Facts:
    return Facts(**{"now": NOW, "vms": vms, "iso_files": [], "certificates": {}, **more})


@pytest.mark.parametrize(
    ("days", "state"),
    [(1000, "PASS"), (90.1, "PASS"), (90, "INFO"), (46, "INFO"), (45, "WARN"), (8, "WARN"), (7, "FAIL"), (-1, "FAIL")],
)
def test_a_client_certificate_is_judged_by_the_days_left(days: float, state: str) -> None:
    result = judged("ngt_client_cert_expiry_check", facts(vm(certificate=certificate(days))))
    assert result.state == state
    assert [item["state"] for item in result.items] == ([] if state == "PASS" else [state])


def test_the_alert_has_its_number_and_the_worst_vm_decides() -> None:
    result = judged(
        "ngt_client_cert_expiry_check",
        facts(vm("a", certificate=certificate(80)), vm("b", certificate=certificate(-2)), vm("c")),
    )
    assert (result.state, result.message) == ("FAIL", "A600103: NGT client certificates expiring")
    assert [item["message"] for item in result.items] == [
        "VM: a - NGT client certificate expires in 80 days",
        "VM: b - NGT client certificate has expired",
    ]


def test_a_bootstrap_certificate_is_short_lived_by_design() -> None:
    def state(certificate: dict[str, Any] | None) -> str:
        return judged("ngt_client_cert_expiry_check", facts(vm(certificate=certificate))).state

    assert state(certificate(1, kind="bootstrap", minutes=1)) == "PASS"
    assert state(certificate(-1, kind="bootstrap")) == "FAIL"
    assert state(certificate(-1, state="next")) == "PASS"
    assert state(None) == "PASS"


def test_an_agent_that_does_not_rotate_is_a_warning_that_says_so() -> None:
    stuck = facts(vm("web01", certificate=certificate(1, kind="bootstrap", minutes=20)))
    result = judged("ngt_client_cert_expiry_check", stuck)
    assert (result.state, result.items[0]["message"]) == (
        "WARN",
        "VM: web01 - the agent has not rotated the certificate of its ISO",
    )
    assert judged("ngt_client_cert_expiry_check", stuck, rotation_minutes=30).state == "PASS"


def test_thresholds_are_what_the_policy_says() -> None:
    soon = facts(vm(certificate=certificate(80)), certificates={"CA": NOW + 80 * DAY})
    for name in ("ngt_client_cert_expiry_check", "ngt_ca_expiry_check"):
        assert judged(name, soon).state == "INFO"
        assert judged(name, soon, info_days=60).state == "PASS"
        assert judged(name, soon, info_days=200, warn_days=100).state == "WARN"
        assert judged(name, soon, info_days=200, warn_days=100, fail_days=80).state == "FAIL"


def test_an_old_agent_is_reported_in_the_words_of_the_original() -> None:
    result = judged("ngt_installer_version_check", facts(vm(agent_version="2.3.2")))
    assert (result.state, result.message) == ("INFO", "Following VMs do not have latest NGT version installed:")
    [item] = result.items
    assert item["message"] == "VM: the-windows2022 - NGT installed version: 2.3.2, NGT latest version: 4.1.1"


def test_an_agent_that_does_not_work_with_the_service_is_a_warning() -> None:
    support = {"state": "too_new", "code": "VERSION_UNSUPPORTED", "message": "agent 9.0 is too new: …", "remedy": "…"}
    result = judged("ngt_installer_version_check", facts(vm(agent_version="9.0", agent_support=support)))
    [item] = result.items
    assert result.state == item["state"] == "WARN"
    assert item["message"].endswith("latest version: 4.1.1 (VERSION_UNSUPPORTED: agent 9.0 is too new: …)")


@pytest.mark.parametrize(
    ("installed", "latest", "old"),
    [
        ("4.1.1", "4.1.1", False),
        ("4.10.0", "4.9.0", False),
        ("4.9.0", "4.10.0", True),
        ("4.1.1rc1", "4.1.1", True),
        ("4.1", "4.1.1", True),
        (None, "4.1.1", False),
        ("odd", "4.1.1", True),
    ],
)
def test_versions_are_compared_by_number(installed: str | None, latest: str, old: bool) -> None:
    result = judged("ngt_installer_version_check", facts(vm(agent_version=installed, available_version=latest)))
    assert (result.state == "INFO") == old


def test_a_link_is_missed_only_where_it_should_be() -> None:
    down = {"communication_link_active": False}
    refused = {**vm()["link"], "last_refusal": {"reason": "expired", "at": NOW}}
    result = judged(
        "ngt_link_check",
        facts(
            vm("linked"),
            vm("off", power_state="off", **down),
            vm("lost", link=refused, **down),
            vm("fresh", certificate=None, **down),
            vm("mounted", certificate=certificate(1, state="next", kind="bootstrap"), **down),
        ),
    )
    assert result.state == "WARN"
    assert {item["vm_name"]: item["state"] for item in result.items} == {
        "lost": "WARN",
        "fresh": "INFO",
        "mounted": "INFO",
    }
    assert "last refused: expired" in result.items[0]["message"]


def test_a_link_that_keeps_to_the_network_for_its_port_is_told_and_is_a_link() -> None:
    held = vm("held", serial_port_held_until=NOW + 30 * MINUTE)
    result = judged("ngt_link_check", facts(vm("linked"), held))
    assert result.state == "INFO" and result.message.startswith("All running VMs are linked, 1 of them")
    [item] = result.items
    assert item["vm_name"] == "held" and f"{NOW + 30 * MINUTE:%H:%M} UTC" in item["message"]
    lost = vm("lost", communication_link_active=False)
    both = judged("ngt_link_check", facts(held, lost))
    assert both.state == "WARN" and both.message == "1 running VMs are not linked"


def test_a_link_is_missed_only_after_a_while_and_not_for_the_services_own_absence() -> None:
    def lost(minutes: float | None) -> dict[str, Any]:
        seen = None if minutes is None else NOW - minutes * MINUTE
        return vm("lost", communication_link_active=False, link={**vm()["link"], "last_seen": seen})

    assert judged("ngt_link_check", facts(lost(4))).state == "PASS"
    assert judged("ngt_link_check", facts(lost(6))).state == "WARN"
    assert judged("ngt_link_check", facts(lost(6)), warn_minutes=10).state == "PASS"
    just_started = {"started": NOW - MINUTE}
    assert judged("ngt_link_check", facts(lost(600), **just_started)).state == "PASS"
    assert judged("ngt_link_check", facts(lost(None), **just_started)).state == "PASS"
    assert judged("ngt_link_check", facts(lost(600), started=NOW - DAY)).state == "WARN"


@pytest.mark.parametrize(
    ("offset", "state", "words"),
    [
        (None, "PASS", ""),
        (29.0, "PASS", ""),
        (-31.4, "WARN", "31 s behind the service's"),
        (299.0, "WARN", "299 s ahead of the service's"),
        (-86400.0, "FAIL", "86400 s behind"),
    ],
)
def test_a_guests_clock_is_judged_in_both_directions(offset: float | None, state: str, words: str) -> None:
    record = vm("web01", link={**vm()["link"], "clock_offset_seconds": offset})
    result = judged("ngt_clock_skew_check", facts(record))
    assert result.state == state
    assert [words in item["message"] for item in result.items] == [True] * (state != "PASS")


def sighting(kind: SightingKind, peer: str, times: int = 1, ago: datetime.timedelta = MINUTE) -> Sighting:
    return Sighting("uuid-of-web01", kind, "1f", peer, "192.0.2.1:4000", NOW - DAY, NOW - ago, times)


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        (sighting("retired_serial", "192.0.2.9:5000"), "WARN"),
        (sighting("retired_serial", "192.0.2.1:5000"), "PASS"),
        (sighting("second_machine", "192.0.2.9:5000"), "FAIL"),
        (sighting("second_machine", "192.0.2.1:5000"), "FAIL"),
        (sighting("second_machine", "192.0.2.9:5000", ago=2 * DAY), "PASS"),
    ],
    ids=["retired elsewhere", "reverted", "two machines", "two machines behind one NAT", "over"],
)
def test_one_identity_in_two_hands_is_seen(seen: Sighting, state: str) -> None:
    result = judged("ngt_duplicate_identity_check", facts(vm("web01"), sightings=[seen]))
    assert result.state == state
    assert all("192.0.2.1:4000" in item["message"] and item["serial"] == "1f" for item in result.items)
    assert judged("ngt_duplicate_identity_check", facts(vm("other"), sightings=[seen])).state == "PASS"


def copy_of(number: int, parent: str = "web01") -> Clone:
    return Clone(f"uuid-of-copy{number}", f"copy{number}", f"uuid-of-{parent}", parent, "hypervisor", True)


@pytest.mark.parametrize("count", [1, 100])
def test_duplicates_and_clones_are_named_with_their_parents(count: int) -> None:
    """F16: with 2 machines and with 100, both ends of each pair, whatever showed it."""
    clones = [copy_of(number) for number in range(count)]
    by_port = [
        Sighting(clone.vm_uuid, "foreign_port", "1f", "serial port 1", clone.parent_uuid, NOW, NOW)
        for clone in clones[::2]
    ]
    twice = sighting("second_machine", "192.0.2.9:5000")
    shared = {"uuid-of-web02": ["web02", *(f"web02-copy{number}" for number in range(count))]}
    seen = facts(vm("web01"), vm("web02"), sightings=[*by_port, twice], clones=clones, duplicates=shared)
    result = judged("ngt_duplicate_identity_check", seen)
    assert result.state == "FAIL" and len(result.items) == count + 2
    texts = {item["vm_name"]: item["message"] for item in result.items}
    assert all("web01" in texts[clone.vm_name] and clone.vm_name in texts[clone.vm_name] for clone in clones)
    assert all(name in texts["web02"] for name in shared["uuid-of-web02"])
    assert "192.0.2.9:5000" in texts["web01"] and all(clone.vm_name in texts["web01"] for clone in clones)
    states = {item["vm_name"]: item["state"] for item in result.items}
    assert states["copy0"] == "FAIL" and (count == 1 or states["copy1"] == "INFO"), "what only waits does no harm"
    nothing_to_decide = facts(vm("web01"), clones=[dataclasses.replace(clones[0], pending=False)])
    assert judged("ngt_duplicate_identity_check", nothing_to_decide).state == "PASS"


@pytest.mark.parametrize(
    ("attempt", "linked", "state"),
    [
        (Attempt("uuid-of-web01", "retired", "t1"), False, "WARN"),
        (Attempt("uuid-of-web01", "retired", "t1", "succeeded"), False, "PASS"),
        (Attempt("uuid-of-web01", "retired", "t1", "failed", "NO_EMPTY_DRIVE"), False, "FAIL"),
        (Attempt("uuid-of-web01", "retired", "t1", "failed", "NO_EMPTY_DRIVE"), True, "PASS"),
        (Attempt("uuid-of-another", "retired", "t1", "failed", "NO_EMPTY_DRIVE"), False, "PASS"),
    ],
)
def test_a_recovery_is_shown_while_it_runs_and_when_it_cannot(attempt: Attempt, linked: bool, state: str) -> None:
    """T2: TLS alone: the alarm comes with the attempt."""
    record = vm("web01", communication_link_active=linked)
    result = judged("ngt_identity_recovery_check", facts(record, recoveries=[attempt]))
    assert result.state == state
    assert all("refused (retired)" in item["message"] and item["task_id"] == "t1" for item in result.items)


@pytest.mark.parametrize(("free", "state"), [(5000, "PASS"), (1023, "WARN"), (256, "WARN"), (255, "FAIL")])
def test_the_services_disk_is_judged_by_what_is_free(free: int, state: str) -> None:
    disks = {"/var/lib/openngt": DiskUse(free * 1024 * 1024, 10**10)}
    result = judged("ngt_disk_space_check", facts(disks=disks))
    assert result.state == state
    assert [item["message"].split(" of ")[0] for item in result.items] == [f"/var/lib/openngt: {free} MB free"] * (
        state != "PASS"
    )


def test_isos_are_left_over_after_their_lease_or_without_a_mount() -> None:
    def mount(ends: datetime.datetime) -> dict[str, Any]:
        return {"drive": "cd0", "holder": "root@a pid 1", "since": NOW - 10 * MINUTE, "lease_ends": ends}

    late, good = vm("late", mount=mount(NOW - DAY)), vm("good", mount=mount(NOW + DAY))
    files = [late["vm_uuid"], good["vm_uuid"], "uuid-of-nobody"]
    result = judged("ngt_iso_check", facts(late, good, iso_files=files))
    assert result.state == "WARN"
    assert [item["vm_uuid"] for item in result.items] == [late["vm_uuid"], "uuid-of-nobody"]
    assert "root@a pid 1" in result.items[0]["message"]
    kept = facts(good, iso_files=[good["vm_uuid"]])
    assert judged("ngt_iso_check", kept).state == "PASS"
    assert (
        judged("ngt_iso_check", kept, warn_minutes=10)
        .items[0]["message"]
        .startswith("VM: good - tools ISO is mounted for more than 10 minutes")
    )


def test_the_services_own_certificates_are_watched() -> None:
    ends = {"CA": NOW + 400 * DAY, "API": NOW + 30 * DAY, "gateway": NOW - DAY}
    result = judged("ngt_ca_expiry_check", facts(certificates=ends))
    assert result.state == "FAIL"
    assert {item["name"]: item["state"] for item in result.items} == {"API": "WARN", "gateway": "FAIL"}


def test_readiness_tells_each_part_and_asks_no_more_than_once_a_second() -> None:
    asked = []

    async def fine() -> None:
        asked.append(1)

    async def broken() -> None:
        raise OpenNGTError("HYPERVISOR_FAILED", "no answer")

    async def scenario() -> None:
        readiness = Readiness({"database": fine, "hypervisor": broken})
        answers = await asyncio.gather(*(readiness.check() for _ in range(20)))
        assert all(answer == {"database": True, "hypervisor": False} for answer in answers)
        assert len(asked) == 1

    asyncio.run(scenario())


def customized(state: Any, days_ago: float = 1, **more: Any) -> Customized:
    values: dict[str, Any] = {
        "vm_uuid": "uuid-of-web1",
        "vm_name": "web1",
        "phase": "clean",
        "format": "cloud_init",
        "instance_id": "i-1",
        "digest": "d",
        "nonce_sha256": "n",
        "wait_seconds": 1800,
        "requested_at": NOW,
        "finished_at": NOW - days_ago * DAY,
        "message": "scripts-user: exit 3\nthe disk /dev/sdb is missing",
        "code": "CUSTOMIZATION_FAILED",
    }
    return Customized(state=state, **{**values, **more})


def test_a_vm_that_did_not_become_what_it_should_is_told_with_the_guests_words() -> None:
    result = judged("ngt_customization_check", facts(customizations=[customized("failed")]))
    assert (result.state, result.message) == ("WARN", "1 VMs did not become what they should")
    [item] = result.items
    assert item["message"] == "VM: web1 - customization failed: scripts-user: exit 3 the disk /dev/sdb is missing"
    assert (item["vm_uuid"], item["code"], item["instance_id"]) == ("uuid-of-web1", "CUSTOMIZATION_FAILED", "i-1")


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (customized("timed_out"), "WARN"),
        (customized("timed_out", format="sysprep"), "INFO"),
        (customized("failed", format="sysprep"), "WARN"),
        (customized("failed", phase="ending"), "WARN"),
        (customized("failed", 29.9), "WARN"),
        (customized("failed", 30.1), "PASS"),
        (customized("done"), "PASS"),
        (customized("running", phase="inserted", finished_at=None), "PASS"),
        (customized("pending", phase="preparing", finished_at=None), "PASS"),
    ],
)
def test_a_customization_is_judged_by_its_end_and_for_a_time(row: Customized, state: str) -> None:
    assert judged("ngt_customization_check", facts(customizations=[row])).state == state


def test_how_long_a_failed_customization_is_told_is_what_the_policy_says_and_a_long_message_is_cut() -> None:
    old = customized("failed", 40, message="x" * 5000)
    result = judged("ngt_customization_check", facts(customizations=[old]), within_days=50)
    assert result.state == "WARN" and len(result.items[0]["message"]) < 300
