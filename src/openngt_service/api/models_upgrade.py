# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of the upgrade's calls and of the compatibility tables."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .models import Answer, Body, FleetTask, Task, Uuid, VmReference

__all__ = ["CompatibilityAnswer", "UpgradePlan", "UpgradeProgress", "UpgradeRequest"]


class UpgradeRequest(Body):
    """Which VMs by `vm`, none: all that are enrolled; to the service's own agent unless `version` names another."""

    vm: Annotated[list[VmReference], Field(max_length=100_000)] | None = None
    version: Annotated[str, Field(max_length=64)] | None = None
    allow_downgrade: bool = False
    via: Literal["auto", "link", "iso"] = "auto"
    max_in_flight: int = 8
    batch: int | None = None
    max_fail_percentage: Annotated[float, Field(ge=0, le=100)] = 20.0
    rollback_seconds: int = 120
    spread_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 0.0
    wait_seconds: Annotated[float, Field(ge=1, le=3600)] = 180.0


class UpgradeRow(Answer):
    vm_uuid: Uuid
    vm_name: str
    state: Literal["due", "blocked", "unchanged", "waiting", "running", "upgraded", "failed", "not_begun", "cancelled"]
    reason: str
    via: Literal["link", "iso"] | None
    tasks: list[FleetTask]
    """The VM's tasks as people know them: the upgrade, and the mount of its disc where there was one."""
    code: str | None
    message: str | None
    remedy: str | None
    old_version: str | None
    new_version: str | None
    reboot_required: bool | None


class UpgradePlan(Answer):
    items: list[UpgradeRow]


class UpgradeProgress(Answer):
    task: Task
    items: list[UpgradeRow]
    next_page_token: str | None


class VersionLine(Answer):
    service: str
    oldest_agent: str
    newest_agent: str


class CompatibilityAnswer(Answer):
    service_version: str
    versions: list[VersionLine]
    distributions: list[dict[str, Any]]
