# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API takes and gives where many VMs are switched at once."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .models import Answer, Body, FleetTask, Task, Uuid, VmReference

__all__ = ["PowerFleetRequest", "PowerPlan", "PowerProgress", "PowerRow"]


class PowerFleetRequest(Body):
    vm: Annotated[list[VmReference], Field(max_length=100_000)]
    verb: Literal["on", "off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot"]
    fallback: Literal["none", "acpi", "off"] = "none"
    wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    force: bool = False
    max_in_flight: Annotated[int, Field(ge=1, le=1000)] = 16


class PowerRow(Answer):
    vm: str
    """As it was named."""
    vm_uuid: Uuid | None
    """None for a name that no VM or several have."""
    vm_name: str
    verb: str
    state: Literal["due", "blocked", "unchanged", "waiting", "running", "switched", "failed", "not_begun", "cancelled"]
    tasks: list[FleetTask]
    changed: bool
    before: str | None
    power_state: str | None
    stopped_by: Literal["agent", "acpi", "off"] | None
    failed_before: list[dict[str, Any]]
    boot_id: str | None
    code: str | None
    message: str | None
    remedy: str | None
    details: dict[str, Any] | None


class PowerPlan(Answer):
    items: list[PowerRow]


class PowerProgress(Answer):
    task: Task
    items: list[PowerRow]
    next_page_token: str | None
