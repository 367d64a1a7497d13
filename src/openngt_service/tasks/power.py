# SPDX-License-Identifier: GPL-3.0-or-later
"""Switch a VM on, off or over: judge what there is, act, and wait until hypervisor or the guest's next boot shows it.

A task holds its VM from the first look to the end, so that a second one is told whom it would race (F25); it has the
VM's turn only while it acts. So whoever disables the VM meanwhile does not wait for a guest that takes its time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from openngt import effects
from openngt.errors import OpenNGTError
from openngt.failpoints import failpoint

from ..hypervisors.base import PowerAction
from ..ports import SessionInfo
from ..store.audit import AuditEntry
from .engine import Progress
from .parts import Parts
from .power_plan import PowerPlan, PowerRequest, StoppedBy, judge, no_link, require_no_disc
from .switching import switch

__all__ = ["power"]

ANSWER_SECONDS = 15.0
"""For the agent to take an order; carrying it out is waited for elsewhere."""
POLL_SECONDS = 1.0
TELL_SECONDS = 5.0

FALLS_BACK = frozenset(
    {
        "ACPI_IGNORED",
        "AGENT_FAILED",
        "AGENT_TIMED_OUT",
        "AGENT_TOO_OLD",
        "GUEST_STILL_RUNS",
        "LINK_NOT_ACTIVE",
        "NOT_ENROLLED",
        "POWER_UNSUPPORTED",
    }
)
"""After these the next way is tried, where the request allows it. The word of the guest's administrator is not among
them: he has answered, and nothing has failed.
"""


async def power(parts: Parts, request: PowerRequest, actor: str, progress: Progress) -> dict[str, Any]:
    """The work of a power task; its result as in ARCHITECTURE.md section 6."""
    with parts.engine.claim(request.vm_uuid, f"{actor} ({request.verb})"):
        return await _Run(parts, request, actor, progress).run()


class _Run:
    def __init__(
        self,
        parts: Parts,
        request: PowerRequest,
        actor: str,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._request = request
        self._actor = actor
        self._progress = progress
        self._clock = clock
        self._failed: list[dict[str, Any]] = []

    async def run(self) -> dict[str, Any]:
        request = self._request
        await self._progress.step(5, "looking at the VM")
        async with self._parts.engine.exclusive(request.vm_uuid):
            plan = await self._judge()
        if request.check or not plan.changed:
            return self._result(plan)
        if request.verb in ("shutdown", "guest_shutdown"):
            return self._result(plan, stopped_by=await self._stop(plan))
        if request.verb == "guest_reboot":
            return self._result(plan, boot_id=await self._reboot())
        for action in plan.actions:
            await self._act(action)
            await self._until_state("off" if action == "off" else "on", action)
        return self._result(plan)

    async def _judge(self) -> PowerPlan:
        """The plan for the VM as it is at this moment. The caller has the VM's turn."""
        parts, vm_uuid = self._parts, self._request.vm_uuid
        seen = await parts.hypervisor.one(vm_uuid)
        enrolled = parts.store.registry.get(vm_uuid) is not None
        held = parts.store.mounts.get(vm_uuid)
        linked = parts.gateway.session(vm_uuid) is not None
        return judge(self._request, seen, held, enrolled=enrolled, linked=linked, now=effects.now())

    # Acting.

    async def _act(self, action: PowerAction) -> None:
        """One action of the hypervisor, written into the audit trail before it is done."""
        await self._progress.step(20, f"{action}: asking the hypervisor")
        async with self._parts.engine.exclusive(self._request.vm_uuid):
            await self._allowed(action)
            await switch(self._parts, self._request.vm_uuid, action)
            failpoint("tasks.power.done")

    async def _ask_agent(self, method: str) -> SessionInfo:
        """The agent has taken the order, or may have: its session before that."""
        await self._progress.step(20, f"{method}: asking the agent")
        async with self._parts.engine.exclusive(self._request.vm_uuid):
            await self._allowed(method)
            session = self._parts.gateway.session(self._request.vm_uuid)
            if session is None:
                raise no_link(self._request.verb, self._parts.enrolled(self._request.vm_uuid).vm_name)
            try:
                await self._parts.gateway.call(self._request.vm_uuid, method, {}, timeout=ANSWER_SECONDS)
            except OpenNGTError as exc:
                if exc.details.get("outcome") != "unknown":
                    raise
            return session

    async def _allowed(self, what: str) -> None:
        """A mount that was at work at the first look has had its turn since. Then the trail, before the deed."""
        request, store = self._request, self._parts.store
        if not request.force:
            require_no_disc(store.mounts.get(request.vm_uuid), effects.now())
        details = {"verb": request.verb, "action": what}
        await store.audit.record(AuditEntry(self._actor, "vm.power", request.vm_uuid, details=details))

    # Ways to stop a VM.

    async def _stop(self, plan: PowerPlan) -> StoppedBy:
        for way in plan.ways:
            try:
                await {"agent": self._stop_by_agent, "acpi": self._stop_by_acpi, "off": self._stop_by_off}[way]()
            except OpenNGTError as exc:
                if exc.code == "VM_POWERED_OFF" and self._failed:
                    return plan.ways[plan.ways.index(way) - 1]  # it has obeyed the last way after its time
                if way == plan.ways[-1] or exc.code not in FALLS_BACK:
                    exc.details.update({"failed_before": self._failed} if self._failed else {})
                    raise
                self._failed.append({"by": way, "code": exc.code, "message": exc.message})
            else:
                return way
        raise AssertionError("the last way returns or raises")

    async def _stop_by_agent(self) -> None:
        await self._ask_agent("guest.shutdown")
        if not await self._wait("waiting until the guest has shut down", self._is_off):
            raise OpenNGTError(
                "GUEST_STILL_RUNS",
                f"the guest took the order to shut down, and still runs after {self._request.wait_seconds:g} s",
                {"linked": self._parts.gateway.session(self._request.vm_uuid) is not None},
            )

    async def _stop_by_acpi(self) -> None:
        await self._act("shutdown")
        if not await self._wait("waiting until the guest obeys ACPI", self._is_off):
            linked = self._parts.gateway.session(self._request.vm_uuid) is not None
            agent = "its agent is connected" if linked else "its agent is not connected either"
            raise OpenNGTError(
                "ACPI_IGNORED",
                f"the guest has ignored ACPI for {self._request.wait_seconds:g} s (in Linux, systemd-logind or acpid "
                f"obeys it); {agent}",
                {"linked": linked},
            )

    async def _stop_by_off(self) -> None:
        await self._act("off")
        await self._until_state("off", "off")

    # Waiting.

    async def _reboot(self) -> str | None:
        """The new boot's id, once the agent is back with it."""
        before = await self._ask_agent("guest.reboot")
        vm_uuid, gateway = self._request.vm_uuid, self._parts.gateway

        async def is_back() -> bool:
            session = gateway.session(vm_uuid)
            if session is not None and _another_boot(before, session):
                return True
            if await self._is_off():
                raise OpenNGTError(
                    "GUEST_NOT_BACK",
                    "the VM is off instead of starting anew; does its hypervisor end it at a reset (-no-reboot)?",
                    {"power_state": "off"},
                )
            return False

        if not await self._wait("waiting until the agent is back from another boot", is_back):
            session = gateway.session(vm_uuid)
            why = "is not back" if session is None else "is still that of the same boot"
            raise OpenNGTError(
                "GUEST_NOT_BACK",
                f"the guest took the order to reboot, and its agent {why} after {self._request.wait_seconds:g} s",
                {"linked": session is not None, "boot_id": before.boot_id},
            )
        session = gateway.session(vm_uuid)
        return None if session is None else session.boot_id

    async def _until_state(self, state: str, action: str) -> None:
        async def is_there() -> bool:
            return await self._parts.hypervisor.power_state(self._request.vm_uuid) == state

        if not await self._wait(f"waiting until the hypervisor shows it {state}", is_there):
            raise OpenNGTError(
                "HYPERVISOR_FAILED",
                f"the hypervisor has done {action}, but does not show the VM {state} within "
                f"{self._request.wait_seconds:g} s",
                {"outcome": "unknown"},
            )

    async def _is_off(self) -> bool:
        return await self._parts.hypervisor.power_state(self._request.vm_uuid) == "off"

    async def _wait(self, step: str, condition: Callable[[], Awaitable[bool]]) -> bool:
        """Whether it came true in the request's time; told as progress every few seconds."""
        begin = self._clock()
        limit, told = self._request.wait_seconds, float("-inf")
        while True:
            passed = self._clock() - begin
            if passed - told >= TELL_SECONDS:
                told = passed
                await self._progress.step(30 + int(60 * min(1.0, passed / limit)), f"{step} (at most {limit:g} s)")
            if await condition():
                return True
            if passed >= limit:
                return False
            await asyncio.sleep(min(POLL_SECONDS, limit - passed))

    def _result(
        self, plan: PowerPlan, *, stopped_by: StoppedBy | None = None, boot_id: str | None = None
    ) -> dict[str, Any]:
        return {
            "vm_uuid": self._request.vm_uuid,
            "verb": self._request.verb,
            "changed": plan.changed,
            "before": plan.before,
            "power_state": plan.after,
            "stopped_by": stopped_by,
            "failed_before": self._failed,
            "boot_id": boot_id,
        }


def _another_boot(before: SessionInfo, now: SessionInfo) -> bool:
    """A guest that does not know its boot's id is told by its session."""
    if before.boot_id is None:
        return now.session != before.session
    return now.boot_id != before.boot_id
