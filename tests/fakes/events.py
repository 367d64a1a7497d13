# SPDX-License-Identifier: GPL-3.0-or-later
"""GatewayEvents that remember what they were told, in order."""

import asyncio
from collections.abc import Mapping
from typing import Any

from openngt_service.ports import Refusal, SessionInfo

__all__ = ["RecordingEvents"]


class RecordingEvents:
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.capabilities: dict[str, Any] = {"vss_snapshot": True, "self_service_restore": False}
        self.gate: asyncio.Event | None = None
        """When set: `link_up` waits for it, as for a slow database."""
        self.failure: Exception | None = None
        """When set: `link_up` raises it."""

    async def link_up(self, session: SessionInfo, status: dict[str, Any]) -> dict[str, Any]:
        self.told.append(("link_up", session, status))
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.capabilities

    async def link_down(self, session: SessionInfo, reason: str) -> None:
        self.told.append(("link_down", session, reason))

    async def status(self, session: SessionInfo, status: dict[str, Any]) -> None:
        self.told.append(("status", session, status))

    def heartbeat(self, session: SessionInfo, disc_mounted: bool | None) -> None:
        self.told.append(("heartbeat", session, disc_mounted))

    def clock(self, session: SessionInfo, offset_seconds: float) -> None:
        self.told.append(("clock", session, offset_seconds))

    def used_twice(self, older: SessionInfo, newer: SessionInfo) -> None:
        self.told.append(("used_twice", older, newer))

    def foreign(self, vm_uuid: str, certificate_vm_uuid: str, serial: int, peer: str) -> None:
        self.told.append(("foreign", vm_uuid, certificate_vm_uuid, serial, peer))

    def recorded(self, vm_uuid: str, record: Mapping[str, Any]) -> None:
        self.told.append(("recorded", vm_uuid, dict(record)))

    def claimed(self, vm_uuid: str, generation: int, peer: str) -> None:
        self.told.append(("claimed", vm_uuid, generation, peer))

    def refused(self, reason: Refusal, peer: str, vm_uuid: str | None, serial: int | None) -> None:
        self.told.append(("refused", reason, peer, vm_uuid, serial))

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        """All that was told of one kind, without its name."""
        return [event[1:] for event in self.told if event[0] == kind]

    def refusals(self) -> list[str]:
        return [event[0] for event in self.of("refused")]
