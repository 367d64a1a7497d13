# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API can ask for about customization. Answers are those of ARCHITECTURE.md section 6."""

from collections.abc import Mapping
from typing import Any

from openngt import effects
from openngt.customization.model import MediaVm
from openngt.errors import OpenNGTError

from ..customization.checked import Checker
from ..store.customizations import Customized
from ..store.task_rows import RequestKey, TaskRecord
from .customization_plan import shown
from .customize import CustomizeRequest, customize, planned, wanted, withdraw
from .engine import Progress
from .links import Links
from .parts import Parts

__all__ = ["CustomizationService"]

Json = dict[str, Any]

ANY_VM = MediaVm("00000000-0000-4000-8000-000000000000", "vm", "i-00000000-0000-4000-8000-000000000000")
"""Whose disc is shown where no VM is named."""


class CustomizationService:
    """`spec` is a customization as the API takes it. INVALID_INPUT names its field."""

    def __init__(self, parts: Parts, links: Links) -> None:
        self._parts = parts
        self._links = links
        self._checker = Checker(parts.settings.datastore)

    async def validate(self, spec: Mapping[str, Any]) -> Json:
        """`{"valid", "findings", "preview"}`."""
        checked = await self._checker.check(spec, ANY_VM)
        valid = not any(finding.severity == "error" for finding in checked.findings)
        findings = [finding.to_dict() for finding in checked.findings]
        return {"valid": valid, "findings": findings, "preview": checked.preview}

    async def plan(self, reference: str, spec: Mapping[str, Any], *, power_on: bool) -> Json:
        """What `apply` would do. Changes nothing. Its errors, and those that the task would have."""
        seen = await self._parts.hypervisor.one(reference)
        checked = await self._checker.check(spec, _media_vm(seen.vm_uuid, seen.vm_name, spec))
        checked.require_valid()
        request = CustomizeRequest(seen.vm_uuid, checked.customization, power_on, wait_seconds=0)
        asked = await wanted(request)
        row = self._parts.store.customizations.get(seen.vm_uuid)
        plan = await planned(self._parts, request, asked, seen)
        after = f"instance_id: {asked.instance_id}\ndigest: {asked.digest}\n{checked.preview}"
        before = "" if row is None else f"instance_id: {row.instance_id}\ndigest: {row.digest}\n"
        return {
            "changed": plan.changed,
            "reason": plan.reason,
            "findings": [finding.to_dict() for finding in checked.findings],
            "preview_before": before if plan.action in ("insert", "replace") else after,
            "preview_after": after,
            "digest": asked.digest,
        }

    async def apply(
        self, reference: str, spec: Mapping[str, Any], *, power_on: bool, wait_seconds: int | None, actor: str
    ) -> TaskRecord:
        """The task. CUSTOMIZATION_INVALID before any change. Its failures: CUSTOMIZATION_CONFLICT, NO_EMPTY_DRIVE,
        NO_SUCH_CARD, VM_POWERED_OFF, VM_BUSY, NO_SPACE, HYPERVISOR_FAILED, …
        """
        seen = await self._parts.hypervisor.one(reference)
        checked = await self._checker.check(spec, _media_vm(seen.vm_uuid, seen.vm_name, spec))
        checked.require_valid()
        seconds = wait_seconds or self._parts.settings.customization_seconds
        request = CustomizeRequest(seen.vm_uuid, checked.customization, power_on, seconds)

        async def work(progress: Progress) -> Json:
            return await customize(self._parts, self._links, request, actor, progress)

        return await self._parts.engine.submit("customize", seen.vm_uuid, work, actor=actor)

    def list(self, *, limit: int, page_token: str | None) -> Json:
        page, now = self._parts.store.customizations.page(limit=limit, page_token=page_token), effects.now()
        return {"items": [shown(row, now) for row in page.items], "next_page_token": page.next_page_token}

    async def show(self, reference: str) -> Json:
        """NOT_FOUND for a VM that was never customized, VM_NOT_FOUND, VM_AMBIGUOUS."""
        row = await self._row(reference)
        if row is None:
            raise OpenNGTError("NOT_FOUND", f"VM {reference} was not customized by this service", {"vm": reference})
        return shown(row, effects.now())

    async def withdraw(self, reference: str, *, actor: str, key: RequestKey | None = None) -> TaskRecord:
        """The task. Its failures: HYPERVISOR_FAILED, …"""
        row = await self._row(reference)
        vm_uuid = row.vm_uuid if row is not None else (await self._parts.hypervisor.one(reference)).vm_uuid

        async def work(progress: Progress) -> Json:
            return await withdraw(self._parts, vm_uuid, actor, progress)

        return await self._parts.engine.submit("withdraw", vm_uuid, work, actor=actor, key=key)

    async def _row(self, reference: str) -> Customized | None:
        """By UUID without asking the hypervisor, which may not answer or not have the VM any more."""
        rows = self._parts.store.customizations
        return rows.get(reference.lower()) or rows.get((await self._parts.hypervisor.one(reference)).vm_uuid)


def _media_vm(vm_uuid: str, vm_name: str, spec: Mapping[str, Any]) -> MediaVm:
    instance_id = spec.get("instance_id")
    return MediaVm(vm_uuid, vm_name, instance_id if isinstance(instance_id, str) else f"i-{vm_uuid}")
