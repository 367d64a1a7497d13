# SPDX-License-Identifier: GPL-3.0-or-later
"""The API as it runs: uvicorn, TLS, the real token and audit tables; only the work behind the calls is a fake."""

import asyncio
import dataclasses
import datetime
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from openngt import effects
from openngt.client import Client
from openngt.diagnosis.decide import decide
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority
from openngt.pki.issue_log import IssueLog
from openngt_service.api.application import create_api
from openngt_service.api.context import ApiContext
from openngt_service.api.server import ApiServer
from openngt_service.health.checks import Facts
from openngt_service.health.health import Health
from openngt_service.health.runner import HealthRunner
from openngt_service.service_certificates import ensure_server_certificate
from openngt_service.store.audit import AuditLog
from openngt_service.store.database import open_database
from openngt_service.store.health_rows import HealthRows
from openngt_service.store.registry import Registry
from openngt_service.store.task_rows import RequestKey, TaskRecord, TaskRows
from openngt_service.store.tokens import Role, Tokens
from openngt_service.tasks.engine import TaskEngine
from openngt_service.tasks.fleet_power import PowerAsk
from openngt_service.tasks.operations import task_record
from openngt_service.tasks.refresh_plan import Ask
from openngt_service.tasks.upgrade_plan import UpgradeAsk

Json = dict[str, Any]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def vm_record(name: str, vm_uuid: str | None = None, **more: Any) -> Json:
    record = {
        "vm_uuid": vm_uuid or str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "vm_name": name,
        "ngt_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        "ngt_enabled": True,
        "tools_iso_mounted": False,
        "vss_snapshot": True,
        "self_service_restore": True,
        "communication_type": "kIpBased",
        "communication_link_active": False,
        "communication_link_over_serial_port_active": False,
        "transport": None,
        "serial_port": "none",
        "power_state": "on",
        "agent_version": None,
        "available_version": "0.1.0",
        "generation": 0,
        "certificate": None,
        "mount": None,
        "link": {
            "since": None,
            "peer": None,
            "session": None,
            "last_seen": None,
            "last_refusal": None,
            "clock_offset_seconds": None,
        },
        "vm_info": None,
        "enrolled_at": NOW,
    }
    return {**record, **more}


class FakeOperations:
    """Enrolled VMs in a dict; each task is done as soon as it is made. `fail` makes the next call raise."""

    def __init__(self) -> None:
        self.enrolled: dict[str, Json] = {}
        self.made: dict[str, Json] = {}
        self.engine: TaskEngine | None = None
        """For the tasks that are not of the fake's making."""
        self.calls: list[tuple[Any, ...]] = []
        self.failures: list[BaseException] = []
        self.customizations = FakeCustomizations(self)
        self.hold = asyncio.Event()
        self.hold.set()

    def begin(self, *call: Any) -> None:
        self.calls.append(call)
        if self.failures:
            raise self.failures.pop()

    def make_task(self, kind: str, vm: Json, result: Json) -> Json:
        task = {
            "task_id": uuid.uuid4().hex,
            "kind": kind,
            "title": kind,
            "parent": None,
            "vm_uuid": vm["vm_uuid"],
            "state": "succeeded",
            "progress": 100,
            "step": "done",
            "result": result,
            "error": None,
            "created": NOW,
            "updated": NOW,
        }
        self.made[task["task_id"]] = task
        return task

    async def hypervisor_vms(self, reference: str | None = None, *, clone_pending: bool | None = None) -> list[Json]:
        self.begin("hypervisor_vms", reference)
        return []

    async def vms(
        self,
        references: Sequence[str] = (),
        *,
        filters: Sequence[str] = (),
        sort: str = "vm_name",
        limit: int = 500,
        page_token: str | None = None,
    ) -> Json:
        self.begin("vms", tuple(references), tuple(filters), sort, limit, page_token)
        found = [vm for name, vm in sorted(self.enrolled.items()) if not references or name in references]
        start = int(page_token or 0)
        more = str(start + limit) if len(found) > start + limit else None
        return {"items": found[start : start + limit], "next_page_token": more}

    async def vm(self, reference: str) -> Json:
        self.begin("vm", reference)
        if reference not in self.enrolled:
            raise OpenNGTError("NOT_ENROLLED", f"VM {reference} has no guest tools enabled", {"near": []})
        return self.enrolled[reference]

    async def diagnosis(self, reference: str) -> Json:
        vm = await self.vm(reference)
        saw = {"vm_uuid": vm["vm_uuid"], "vm_name": vm["vm_name"], "enrolled": True, "power_state": "off"}
        return {**decide(saw, None), "service_saw": saw}

    async def enable(self, reference: str, capabilities: Mapping[str, bool], *, actor: str) -> tuple[Json, bool]:
        self.begin("enable", reference, dict(capabilities), actor)
        created = reference not in self.enrolled
        self.enrolled[reference] = {**self.enrolled.get(reference, vm_record(reference)), **capabilities}
        return self.enrolled[reference], created

    async def disable(self, reference: str, *, actor: str) -> Json:
        vm = await self.vm(reference)
        del self.enrolled[reference]
        return {"vm_uuid": vm["vm_uuid"], "revoked": ["1f"]}

    async def mount(self, reference: str, *, key: RequestKey | None, **asked: Any) -> Json:
        self.begin("mount", reference, asked)
        await self.hold.wait()
        return self.make_task("mount", await self.vm(reference), {"drive": "cd0"})

    async def eject(self, reference: str, *, key: RequestKey | None, **asked: Any) -> Json:
        self.begin("eject", reference, asked)
        return self.make_task("eject", await self.vm(reference), {"ejected": True})

    async def power(self, reference: str, *, key: RequestKey | None, **asked: Any) -> Json:
        self.begin("power", reference, asked)
        return self.make_task("power", await self.vm(reference), {"changed": True})

    async def plan_power(self, ask: PowerAsk) -> Json:
        self.begin("plan_power", ask)
        return {"items": []}

    async def power_many(self, ask: PowerAsk, *, actor: str, key: RequestKey | None) -> Json:
        self.begin("power_many", ask)
        return self.make_task("fleet_power", {"vm_uuid": None}, {"switched": len(ask.vm)})

    async def power_rows(self, task_id: str, *, limit: int, page_token: str | None) -> Json:
        self.begin("power_rows", task_id, limit, page_token)
        return {"task": await self.task(task_id), "items": [], "next_page_token": None}

    async def plan_refresh(self, ask: Ask) -> Json:
        self.begin("plan_refresh", ask)
        return {"items": []}

    async def refresh(self, ask: Ask, *, actor: str, key: RequestKey | None) -> Json:
        self.begin("refresh", ask)
        return self.make_task("fleet_refresh", {"vm_uuid": None}, {"refreshed": len(ask.vm or ())})

    async def refresh_rows(self, task_id: str, *, limit: int, page_token: str | None) -> Json:
        self.begin("refresh_rows", task_id, limit, page_token)
        return {"task": await self.task(task_id), "items": [], "next_page_token": None}

    async def plan_upgrade(self, ask: UpgradeAsk) -> Json:
        self.begin("plan_upgrade", ask)
        return {"items": []}

    async def upgrade(self, ask: UpgradeAsk, *, actor: str, key: RequestKey | None) -> Json:
        self.begin("upgrade", ask)
        return self.make_task("fleet_upgrade", {"vm_uuid": None}, {"upgraded": len(ask.vm or ())})

    async def upgrade_rows(self, task_id: str, *, limit: int, page_token: str | None) -> Json:
        self.begin("upgrade_rows", task_id, limit, page_token)
        return {"task": await self.task(task_id), "items": [], "next_page_token": None}

    async def task(self, task_id: str, *, wait: float = 0.0) -> Json:
        self.begin("task", task_id, wait)
        if task_id not in self.made:
            record = None if self.engine is None else await self.engine.wait(task_id, wait)
            if record is None:
                raise OpenNGTError("NOT_FOUND", f"there is no task {task_id}")
            return task_record(record)
        if self.made[task_id]["state"] == "running":
            await asyncio.sleep(wait)
        return self.made[task_id]

    async def cancel_task(self, task_id: str, *, actor: str) -> Json:
        self.begin("cancel_task", task_id, actor)
        return await self.task(task_id)

    async def tasks(self, reference: str | None, *, limit: int, page_token: str | None) -> Json:
        self.begin("tasks", reference, limit, page_token)
        return {"items": list(self.made.values())[:limit], "next_page_token": None}

    async def issue_batch(self, items: Sequence[Mapping[str, Any]], *, actor: str) -> list[Json]:
        self.begin("issue_batch", len(items), actor)
        certificate = {
            "serial": "1f",
            "generation": 1,
            "not_after": NOW,
            "certificate_pem": "",
            "private_key_pem": None,
        }
        return [{"ngt_uuid": item["vm_uuid"], **item, **certificate} for item in items]

    async def adopt(self, issue_log: IssueLog, *, actor: str) -> Json:
        self.begin("adopt", len(issue_log.issued), actor)
        return {"adopted": len(issue_log.issued), "known": 0}


class FakeCustomizations:
    """A customization for each enrolled VM; what is asked for is what is answered."""

    def __init__(self, operations: FakeOperations) -> None:
        self._operations = operations

    async def validate(self, spec: Json) -> Json:
        self._operations.begin("validate", spec)
        return {"valid": True, "findings": [], "preview": ""}

    async def plan(self, reference: str, spec: Json, *, power_on: bool) -> Json:
        self._operations.begin("plan", spec, power_on)
        plan = {"changed": True, "reason": "r", "findings": [], "preview_before": "", "preview_after": ""}
        return {**plan, "digest": "d" * 64}

    async def apply(self, reference: str, spec: Json, **asked: Any) -> TaskRecord:
        self._operations.begin("apply", spec, asked)
        return await self._task("customize", reference)

    def list(self, *, limit: int, page_token: str | None) -> Json:
        self._operations.begin("list", limit, page_token)
        rows = [self._row(vm) for vm in self._operations.enrolled.values()]
        return {"items": rows, "next_page_token": None}

    async def show(self, reference: str) -> Json:
        return self._row(await self._operations.vm(reference))

    async def withdraw(self, reference: str, *, actor: str, key: RequestKey | None) -> TaskRecord:
        self._operations.begin("withdraw", reference)
        return await self._task("withdraw", reference)

    def _row(self, vm: Json) -> Json:
        row = {"vm_uuid": vm["vm_uuid"], "vm_name": vm["vm_name"], "state": "running", "format": "cloud_init"}
        row |= {"instance_id": "i-1", "digest": "d" * 64, "requested_at": NOW, "started_at": NOW, "deadline": NOW}
        return {**row, **dict.fromkeys(("code", "message", "details", "drive", "finished_at"))}

    async def _task(self, kind: str, reference: str) -> TaskRecord:
        task = self._operations.make_task(kind, await self._operations.vm(reference), {"changed": True})
        fields = {name: value for name, value in task.items() if name != "title"}
        return TaskRecord(actor="test", **fields)


class Loop:
    """An event loop in a thread of its own, so that the tests can be plain blocking clients."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class FakeRollover:
    """No CA follows another; what is asked for is what is answered."""

    def status(self) -> Json:
        ca = {"ca_sha256": "a" * 64, "not_before": NOW, "not_after": NOW}
        vms = [
            {
                "vm_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, "web1")),
                "vm_name": "web1",
                "linked": True,
                "message": "m",
                "remedy": "r",
            }
        ]
        status = {"phase": "prepared", "since": NOW, "signing": ca, "next": ca, "old": None}
        return {**status, "advice": {"step": "activate", "state": "WARN", "message": "m"}, "vms_behind": vms}

    async def step(self, step: str, **options: Any) -> Json:
        if step == "retire":
            raise OpenNGTError("CA_ROLLOVER_BLOCKED", "the old CA still signs")
        return {"changed": True, "reason": f"{step} {sorted(options.items())}", **self.status()}


@dataclasses.dataclass
class Api:
    """A running API; `client(role)` speaks to it, `secrets` holds the tokens."""

    endpoint: str
    ca_file: str
    secrets: Mapping[str, str]
    operations: FakeOperations
    context: ApiContext
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    parts: dict[str, bool]

    def client(self, role: str = "admin") -> Client:
        return Client(self.endpoint, self.secrets[role], self.ca_file, pause=lambda _: None)

    def audit(self) -> list[Json]:
        return list(self.client().audit())


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    now = effects.now()
    authority = create_authority(tmp_path / "ca", common_name="test", now=now)
    certificate = tmp_path / "api.pem"
    ensure_server_certificate(certificate, authority, ["127.0.0.1", "localhost"], now)
    database = open_database(f"sqlite:///{tmp_path / 'openngt.db'}")
    tokens, audit, registry = Tokens(database), AuditLog(database), CollectorRegistry()
    loop = Loop()
    operations = FakeOperations()
    rows = HealthRows(database)
    parts = {"database": True, "gateway": True}

    async def gather() -> Facts:
        return Facts(effects.now(), list(operations.enrolled.values()), [], {})

    async def ready() -> dict[str, bool]:
        return parts

    async def build() -> ApiContext:
        await tokens.load()
        operations.engine = TaskEngine(TaskRows(database), in_flight=4)
        health = Health(
            HealthRunner(gather, rows, registry),
            rows,
            Registry(database),
            operations.engine,
            node="192.0.2.10",
            cluster_uuid=database.identity.cluster_uuid,
            interval_seconds=300,
        )
        return ApiContext(
            operations=operations,
            tokens=tokens,
            audit=audit,
            health=health,
            ca=lambda: {
                "ca_pem": authority.certificate_pem.decode(),
                "ca_sha256": authority.ca_sha256,
                "trusted_ca_sha256": [authority.ca_sha256],
                "not_after": authority.not_after,
                "key_type": authority.info.key_type,
                "cluster_uuid": database.identity.cluster_uuid,
                "service_name": database.identity.service_name,
            },
            payload=lambda: {"agent_version": "0.1.0", "windows_python": None},
            rollover=FakeRollover(),  # type: ignore[arg-type]  # the calls that routes make, and no more
            ready=ready,
            metrics=registry,
            vm_metrics=lambda: asyncio.sleep(0, b"openngt_vm_link_up 1\n"),
        )

    context = loop.run(build())
    secrets = {role: loop.run(tokens.create(f"the-{role}", role, actor="test")) for role in ROLES}
    server = ApiServer(create_api(context), host="127.0.0.1", port=0, certificate=certificate)
    loop.run(server.start())
    endpoint = f"https://127.0.0.1:{server.address[1]}"
    yield Api(endpoint, str(tmp_path / "ca/ca.pem"), secrets, operations, context, loop.run, parts)
    loop.run(server.stop())
    loop.close()
    database.close()
