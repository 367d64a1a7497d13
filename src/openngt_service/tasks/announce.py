# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell a connected agent when its VM's capabilities were changed. Any other is told at its next hello."""

import asyncio
import time
from collections.abc import Callable

import structlog

from openngt.errors import OpenNGTError

from .links import Links
from .parts import Parts

__all__ = ["Announcer"]

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
RETRY_SECONDS = 30.0

FINAL = frozenset({"METHOD_BLOCKED", "AGENT_TOO_OLD"})
"""Nothing that a repetition in the same session would change."""


class Announcer:
    """`tell` when something was changed; `retry` every few seconds for those who have not taken it."""

    def __init__(self, parts: Parts, links: Links, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._parts = parts
        self._links = links
        self._clock = clock
        self._not_before: dict[str, float] = {}
        """By session."""
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def tell(self, vm_uuid: str) -> None:
        """Returns when the agent has taken it, or will not now; `agent_capabilities` of the VM's record then says."""
        vm, session = self._parts.store.registry.get(vm_uuid), self._parts.gateway.session(vm_uuid)
        if vm is None or session is None:
            return
        capabilities = vm.capabilities.to_dict()
        if self._links.view(vm_uuid).capabilities == capabilities:
            return
        try:
            await self._parts.gateway.call(
                vm_uuid, "capabilities.set", {"capabilities": capabilities}, timeout=ANSWER_SECONDS
            )
        except OpenNGTError as exc:
            pause = float("inf") if exc.code in FINAL else RETRY_SECONDS
            self._not_before[session.session] = self._clock() + pause
            log.warning("capabilities_not_taken", vm_uuid=vm_uuid, code=exc.code, reason=exc.message)
        else:
            self._links.took_capabilities(session, capabilities)

    def retry(self) -> None:
        """Look for agents that live with other capabilities than their VM has."""
        sessions = list(self._links.sessions())
        live = {session.session for session in sessions}
        self._not_before = {session: at for session, at in self._not_before.items() if session in live}
        for session in sessions:
            vm = self._parts.store.registry.get(session.vm_uuid)
            taken = self._links.view(session.vm_uuid).capabilities
            if vm is not None and taken is not None and taken != vm.capabilities.to_dict():
                self._tell_later(session.vm_uuid, session.session)

    async def stop(self) -> None:
        for task in list(self._under_way.values()):
            task.cancel()
        if self._under_way:
            await asyncio.wait(list(self._under_way.values()))

    def _tell_later(self, vm_uuid: str, session: str) -> None:
        if vm_uuid in self._under_way or self._clock() < self._not_before.get(session, 0.0):
            return
        task = asyncio.get_running_loop().create_task(self.tell(vm_uuid))
        self._under_way[vm_uuid] = task
        task.add_done_callback(lambda _: self._under_way.pop(vm_uuid, None))
