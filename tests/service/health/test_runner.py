# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of checks on a real database: what is kept, written, resolved, turned off, and what outlives a restart."""

import asyncio
import contextlib
import dataclasses
import datetime
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import func, select
from tests.fakes.workshop import VM, Workshop, open_workshop

from openngt.errors import OpenNGTError
from openngt_service.health.catalogue import Check
from openngt_service.health.checks import CheckResult, Facts
from openngt_service.health.health import Health
from openngt_service.health.policy import Threshold
from openngt_service.health.report import as_text
from openngt_service.health.runner import HealthRunner
from openngt_service.store import schema

START = datetime.datetime(2026, 5, 20, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
FIVE = datetime.timedelta(minutes=5)
LIMIT = Threshold("limit", 3, 0, 100, "FAIL from so many on")
FAIL = ({"vm_uuid": VM, "vm_name": "web01", "state": "FAIL", "message": "VM: web01 - broken"},)


@dataclasses.dataclass
class Fleet:
    """A runner whose facts are what the test says."""

    workshop: Workshop
    now: datetime.datetime = START
    items: Sequence[dict[str, Any]] = ()
    failure: OpenNGTError | None = None
    registry: CollectorRegistry = dataclasses.field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        checks = {
            name: Check(name, name, f"what {name} is", ("cause",), ("do this",), judge, (LIMIT,), alert_code=code)
            for name, judge, code in (("good", self.fine, None), ("bad", self.judge, "A600103"))
        }
        rows = self.workshop.store.health
        self.runner = HealthRunner(self.gather, rows, self.registry, checks, history=30 * DAY)
        self.health = Health(
            self.runner,
            rows,
            self.workshop.store.registry,
            self.workshop.parts.engine,
            node="192.0.2.10",
            cluster_uuid=self.workshop.store.identity.cluster_uuid,
            interval_seconds=300,
        )

    async def gather(self) -> Facts:
        if self.failure is not None:
            raise self.failure
        return Facts(self.now, [], [], {})

    def fine(self, facts: Facts, limits: Any) -> CheckResult:
        return CheckResult("PASS", "fine")

    def judge(self, facts: Facts, limits: Any) -> CheckResult:
        return CheckResult("FAIL" if self.items else "PASS", "broken" if self.items else "fine", self.items)

    async def round(self, after: datetime.timedelta = FIVE) -> None:
        self.now += after
        await self.runner.run()

    async def rows(self, table: Any) -> int:
        query = select(func.count()).select_from(table)
        return int(await self.workshop.store.database.read(lambda connection: connection.execute(query).scalar_one()))

    async def alerts(self, *states: str) -> list[dict[str, Any]]:
        answer = await self.health.alerts(states=states or ("raised", "acknowledged"))
        return list(answer["items"])

    def metric(self, line: str) -> bool:
        return line in generate_latest(self.registry).decode().splitlines()


@contextlib.asynccontextmanager
async def fleet_in(folder: Path, **values: Any) -> AsyncIterator[Fleet]:
    async with open_workshop(folder) as workshop:
        workshop.hypervisor.add(VM, "web01", {"ide0": None})
        if workshop.store.registry.get(VM) is None:
            await workshop.operations.enable("web01", {}, actor="test")
        yield Fleet(workshop, **values)


def test_results_are_kept_counted_and_run_only_as_asked(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            [only] = await fleet.runner.run(["bad"])
            assert (only["state"], only["items"], only["checked_at"]) == ("FAIL", list(FAIL), START)
            assert (only["resolutions"], only["alert_code"]) == (["do this"], "A600103")
            assert [check["name"] for check in await fleet.runner.last()] == ["good", "bad"]
            assert fleet.metric('openngt_health_check{check="bad"} 3.0')
            assert fleet.metric('openngt_health_items{check="bad",state="FAIL"} 1.0')
            with pytest.raises(OpenNGTError) as caught:
                await fleet.runner.run(["nonsense", "good"])
            assert (caught.value.code, caught.value.details["unknown"]) == ("INVALID_INPUT", ["nonsense"])

    asyncio.run(main())


def test_a_round_that_cannot_look_is_followed_by_the_next_and_resolves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            await fleet.round()
            fleet.failure = OpenNGTError("HYPERVISOR_FAILED", "no answer")
            running = asyncio.create_task(fleet.runner.run_forever(0.001))
            await asyncio.sleep(0.05)
            assert not running.done() and len(await fleet.alerts("raised")) == 1
            fleet.failure, fleet.items = None, ()
            while await fleet.alerts("raised"):
                await asyncio.sleep(0.001)
            running.cancel()

    asyncio.run(main())


def test_many_rounds_that_find_the_same_write_once_a_day(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            await fleet.round()
            before = [await fleet.rows(table) for table in (schema.health_spans, schema.health_alerts)]
            wal = (tmp_path / "openngt.db-wal").stat().st_size
            for _ in range(50):
                await fleet.round()
            assert (tmp_path / "openngt.db-wal").stat().st_size == wal
            await fleet.round(DAY)
            after = [await fleet.rows(table) for table in (schema.health_spans, schema.health_alerts)]
            assert before == after == [1, 1]
            assert await fleet.rows(schema.health_days) == 4, "two checks on two days"

    asyncio.run(main())


def test_an_alert_outlives_a_restart_is_acknowledged_by_name_and_resolved_when_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            await fleet.round()
            [alert] = await fleet.alerts()
            assert (alert["check"], alert["code"], alert["state"], alert["vm_uuid"]) == ("bad", "A600103", "raised", VM)
            assert fleet.metric('openngt_health_alerts{severity="FAIL",state="raised"} 1.0')
        async with fleet_in(tmp_path, items=FAIL, now=START + DAY) as fleet:
            await fleet.round()
            [same] = await fleet.alerts()
            assert same["alert_id"] == alert["alert_id"] and same["raised_at"] == alert["raised_at"]
            shown = await fleet.health.acknowledge(alert["alert_id"], note="on it", actor="ann")
            assert (shown["state"], shown["acknowledged_by"], shown["note"]) == ("acknowledged", "ann", "on it")
            await fleet.health.acknowledge(alert["alert_id"], note="on it", actor="ann")
            entries = [row for row in await fleet.workshop.store.audit.page() if row.verb == "health.acknowledge"]
            assert [(row.actor, row.vm_uuid, row.details["check"]) for row in entries] == [("ann", VM, "bad")]
            await fleet.round()
            assert [one["state"] for one in await fleet.alerts()] == ["acknowledged"]
            fleet.items = ()
            await fleet.round()
            assert await fleet.alerts() == []
            [gone] = await fleet.alerts("resolved")
            assert (gone["alert_id"], gone["acknowledged_by"]) == (alert["alert_id"], "ann")
            with pytest.raises(OpenNGTError, match="is resolved already"):
                await fleet.health.acknowledge(alert["alert_id"], note=None, actor="ann")
            with pytest.raises(OpenNGTError, match="there is no alert"):
                await fleet.health.acknowledge("0" * 32, note=None, actor="ann")
            assert (await fleet.workshop.store.audit.verify()).problem is None

    asyncio.run(main())


def test_a_link_that_comes_and_goes_is_one_alert(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path) as fleet:
            for number in range(20):
                fleet.items = FAIL if number % 2 else ()
                await fleet.round()
            [alert] = await fleet.alerts()
            assert alert["occurrences"] == 10 and await fleet.rows(schema.health_alerts) == 1

    asyncio.run(main())


def test_a_check_that_is_turned_off_shows_as_off_resolves_its_alerts_and_stays_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            await fleet.round()
            described = await fleet.health.set_policy("bad", actor="ann", enabled=False)
            assert (described["enabled"], described["updated_by"]) == (False, "ann")
            [_, off] = await fleet.runner.last()
            assert off["state"] == "OFF" and off["message"].startswith("turned off by ann at ") and off["items"] == []
            assert await fleet.alerts() == [] and fleet.metric('openngt_health_check{check="bad"} -1.0')
        async with fleet_in(tmp_path, items=FAIL, now=START + DAY) as fleet:
            await fleet.round()
            assert [check["state"] for check in await fleet.runner.last()] == ["PASS", "OFF"]
            answer = await fleet.health.history(["bad"], [], days=30, limit=10)
            assert answer["checks"] == ["bad"]
            await fleet.health.set_policy("bad", actor="bob", enabled=True)
            assert [check["state"] for check in await fleet.runner.last()] == ["PASS", "FAIL"]
            verbs = [(row.actor, row.verb) for row in await fleet.workshop.store.audit.page()]
            assert [one for one in verbs if one[1] == "health.policy"] == [
                ("ann", "health.policy"),
                ("bob", "health.policy"),
            ]
            with pytest.raises(OpenNGTError) as caught:
                await fleet.health.set_policy("worse", actor="ann", enabled=False)
            assert caught.value.code == "NOT_FOUND" and "good, bad" in caught.value.message

    asyncio.run(main())


def test_thresholds_are_kept_and_reach_the_check(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path) as fleet:
            await fleet.health.set_policy("bad", actor="ann", thresholds={"limit": 7}, alert_from="FAIL")
        async with fleet_in(tmp_path) as fleet:
            assert fleet.runner.policy("bad").thresholds == {"limit": 7}
            [_, described] = fleet.health.checks()
            assert (described["alert_from"], described["thresholds"][0]["value"]) == ("FAIL", 7)
            assert described["thresholds"][0]["default"] == 3

    asyncio.run(main())


def test_a_run_is_a_task_with_progress_and_its_report_can_be_had_later(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path, items=FAIL) as fleet:
            task = await fleet.health.submit(["bad"], actor="ann")
            result = await fleet.workshop.result(task)
            assert (result["state"], result["counts"]["FAIL"]) == ("FAIL", 1)
            assert result["checks"] == [{"name": "bad", "state": "FAIL", "message": "broken", "items": 1}]
            report = await fleet.health.report(task["task_id"])
            assert report["checks"][0]["items"] == list(FAIL) and report["node"] == "192.0.2.10"
            text = as_text(report).splitlines()
            assert "Detailed information for bad:" in text and "FAIL: broken" in text
            assert "VM: web01 - broken" in text and "Resolution: do this" in text and "Node 192.0.2.10:" in text
            assert any(line.startswith("/health_checks/ngt_checks/bad ") and "[ FAIL ]" in line for line in text)
            assert any(line.split() == ["|", "Fail", "|", "1", "|"] for line in text)
            with pytest.raises(OpenNGTError) as caught:
                await fleet.health.submit(["nonsense"], actor="ann")
            assert caught.value.code == "INVALID_INPUT"
            with pytest.raises(OpenNGTError, match="has no report"):
                await fleet.health.report("0" * 32)
            for _ in range(25):
                await fleet.workshop.result(await fleet.health.submit([], actor="ann"))
            assert await fleet.rows(schema.health_reports) == 20
            fleet.failure = OpenNGTError("HYPERVISOR_FAILED", "no answer")
            with pytest.raises(OpenNGTError, match="no answer"):
                await fleet.workshop.result(await fleet.health.submit([], actor="ann"))

    asyncio.run(main())


def test_history_is_paged_per_vm_and_forgets_what_is_old(tmp_path: Path) -> None:
    async def main() -> None:
        today = datetime.datetime.now(datetime.UTC)
        async with fleet_in(tmp_path, now=today) as fleet:
            for number in range(5):
                name = f"db{number}"
                fleet.workshop.hypervisor.add(f"6f1c0c2e-9d3a-4d0e-8a55-0c6a1f0b7e{number:02}", name, {})
                await fleet.workshop.operations.enable(name, {}, actor="test")
            fleet.items = FAIL
            await fleet.round(datetime.timedelta(0))
            seen, token = [], None
            while True:
                answer = await fleet.health.history([], [], days=3, limit=2, page_token=token)
                seen += answer["items"]
                token = answer["next_page_token"]
                if token is None:
                    break
            assert [row["vm_name"] for row in seen] == ["db0", "db1", "db2", "db3", "db4", "web01"]
            assert [row["days"][-1] for row in seen] == ["PASS"] * 5 + ["FAIL"] and len(answer["days"]) == 3
            [only] = (await fleet.health.history(["bad"], ["web01"], days=1, limit=9))["items"]
            assert only["days"] == ["FAIL"]
            fleet.items = ()
            await fleet.round()
            fleet.runner._forgot = None
            await fleet.round(40 * DAY)
            assert [await fleet.rows(table) for table in (schema.health_spans, schema.health_alerts)] == [0, 0]
            assert await fleet.rows(schema.health_days) == 2, "today's"

    asyncio.run(main())
