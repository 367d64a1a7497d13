# SPDX-License-Identifier: GPL-3.0-or-later
"""Each check at each side of its limits, with the words that people search for."""

import asyncio
import datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from openngt.errors import OpenNGTError
from openngt_service.health.checks import (
    CheckResult,
    Facts,
    ngt_ca_expiry_check,
    ngt_client_cert_expiry_check,
    ngt_installer_version_check,
    ngt_iso_check,
    ngt_link_check,
)
from openngt_service.health.readiness import Readiness
from openngt_service.health.runner import HealthRunner

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def vm(name: str = "the-windows2022", **more: Any) -> dict[str, Any]:
    link = {"since": None, "peer": None, "session": None, "last_seen": None, "last_refusal": None}
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


def certificate(days: float, state: str = "current", kind: str = "link") -> dict[str, Any]:
    return {"state": state, "kind": kind, "not_after": NOW + days * DAY}


def facts(*vms: dict[str, Any], **more: Any) -> Facts:
    return Facts(**{"now": NOW, "vms": vms, "iso_files": [], "certificates": {}, **more})


@pytest.mark.parametrize(
    ("days", "state"),
    [(1000, "PASS"), (90.1, "PASS"), (90, "INFO"), (46, "INFO"), (45, "WARN"), (8, "WARN"), (7, "FAIL"), (-1, "FAIL")],
)
def test_a_client_certificate_is_judged_by_the_days_left(days: float, state: str) -> None:
    result = ngt_client_cert_expiry_check(facts(vm(certificate=certificate(days))))
    assert result.state == state
    assert [item["state"] for item in result.items] == ([] if state == "PASS" else [state])


def test_the_alert_has_its_number_and_the_worst_vm_decides() -> None:
    result = ngt_client_cert_expiry_check(
        facts(vm("a", certificate=certificate(80)), vm("b", certificate=certificate(-2)), vm("c"))
    )
    assert (result.state, result.message) == ("FAIL", "A600103: NGT client certificates expiring")
    assert [item["message"] for item in result.items] == [
        "VM: a - NGT client certificate expires in 80 days",
        "VM: b - NGT client certificate has expired",
    ]


def test_a_bootstrap_certificate_is_short_lived_by_design() -> None:
    assert ngt_client_cert_expiry_check(facts(vm(certificate=certificate(1, kind="bootstrap")))).state == "PASS"
    assert ngt_client_cert_expiry_check(facts(vm(certificate=certificate(-1, kind="bootstrap")))).state == "FAIL"
    assert ngt_client_cert_expiry_check(facts(vm(certificate=certificate(-1, state="next")))).state == "PASS"
    assert ngt_client_cert_expiry_check(facts(vm(certificate=None))).state == "PASS"


def test_an_old_agent_is_reported_in_the_words_of_the_original() -> None:
    result = ngt_installer_version_check(facts(vm(agent_version="2.3.2")))
    assert (result.state, result.message) == ("INFO", "Following VMs do not have latest NGT version installed:")
    [item] = result.items
    assert item["message"] == "VM: the-windows2022 - NGT installed version: 2.3.2, NGT latest version: 4.1.1"


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
    result = ngt_installer_version_check(facts(vm(agent_version=installed, available_version=latest)))
    assert (result.state == "INFO") == old


def test_a_link_is_missed_only_where_it_should_be() -> None:
    down = {"communication_link_active": False}
    refused = {**vm()["link"], "last_refusal": {"reason": "expired", "at": NOW}}
    result = ngt_link_check(
        facts(
            vm("linked"),
            vm("off", power_state="off", **down),
            vm("lost", link=refused, **down),
            vm("fresh", certificate=None, **down),
            vm("mounted", certificate=certificate(1, state="next", kind="bootstrap"), **down),
        )
    )
    assert result.state == "WARN"
    assert {item["vm_name"]: item["state"] for item in result.items} == {
        "lost": "WARN",
        "fresh": "INFO",
        "mounted": "INFO",
    }
    assert "last refused: expired" in result.items[0]["message"]


def test_isos_are_left_over_after_their_lease_or_without_a_mount() -> None:
    def mount(ends: datetime.datetime) -> dict[str, Any]:
        return {"drive": "cd0", "holder": "root@a pid 1", "lease_ends": ends}

    late, good = vm("late", mount=mount(NOW - DAY)), vm("good", mount=mount(NOW + DAY))
    files = [late["vm_uuid"], good["vm_uuid"], "uuid-of-nobody"]
    result = ngt_iso_check(facts(late, good, iso_files=files))
    assert result.state == "WARN"
    assert [item["vm_uuid"] for item in result.items] == [late["vm_uuid"], "uuid-of-nobody"]
    assert "root@a pid 1" in result.items[0]["message"]
    assert ngt_iso_check(facts(good, iso_files=[good["vm_uuid"]])).state == "PASS"


def test_the_services_own_certificates_are_watched() -> None:
    ends = {"CA": NOW + 400 * DAY, "API": NOW + 30 * DAY, "gateway": NOW - DAY}
    result = ngt_ca_expiry_check(facts(certificates=ends))
    assert result.state == "FAIL"
    assert {item["name"]: item["state"] for item in result.items} == {"API": "WARN", "gateway": "FAIL"}


def test_results_are_kept_counted_and_run_only_as_asked() -> None:
    looked = []

    async def gather() -> Facts:
        looked.append(1)
        return facts()

    def bad(_: Facts) -> CheckResult:
        return CheckResult("FAIL", "broken", [{"message": "x", "state": "FAIL"}])

    async def scenario() -> None:
        registry = CollectorRegistry()
        runner = HealthRunner(gather, registry, {"good": lambda _: CheckResult("PASS", "fine"), "bad": bad})
        [only] = await runner.run(["bad"])
        assert only == {
            "name": "bad",
            "state": "FAIL",
            "message": "broken",
            "items": [{"message": "x", "state": "FAIL"}],
            "checked_at": NOW,
        }
        assert [check["name"] for check in await runner.last()] == ["good", "bad"]
        assert [check["name"] for check in await runner.last()] == ["good", "bad"]
        assert len(looked) == 2
        assert b'openngt_health_check{check="bad"} 3.0' in generate_latest(registry)
        with pytest.raises(OpenNGTError) as caught:
            await runner.run(["nonsense", "good"])
        assert (caught.value.code, caught.value.details["unknown"]) == ("INVALID_INPUT", ["nonsense"])

    asyncio.run(scenario())


def test_a_round_that_cannot_look_is_followed_by_the_next() -> None:
    rounds = []

    async def gather() -> Facts:
        rounds.append(1)
        if len(rounds) == 1:
            raise OpenNGTError("HYPERVISOR_FAILED", "no answer")
        return facts()

    async def scenario() -> None:
        runner = HealthRunner(gather, CollectorRegistry(), {"good": lambda _: CheckResult("PASS", "fine")})
        running = asyncio.create_task(runner.run_forever(0.001))
        while len(rounds) < 3:
            assert not running.done()
            await asyncio.sleep(0.001)
        running.cancel()

    asyncio.run(scenario())


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
