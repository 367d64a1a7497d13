# SPDX-License-Identifier: GPL-3.0-or-later
"""The bodies of the admin API, as ARCHITECTURE.md section 6 fixes them; OpenAPI is generated from here.

Requests are strict: no unknown field, no "yes" for true. Answers are validated too, so the document cannot drift.
"""

import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "AdoptAnswer",
    "AdoptRequest",
    "AuditRows",
    "BatchAnswer",
    "BatchRequest",
    "CaAnswer",
    "CapabilitiesRequest",
    "Diagnosis",
    "DisableAnswer",
    "EjectRequest",
    "ErrorAnswer",
    "HypervisorVmList",
    "MountRequest",
    "PowerRequest",
    "Readiness",
    "RefreshPlan",
    "RefreshProgress",
    "RefreshRequest",
    "Task",
    "TaskList",
    "TokenCreated",
    "TokenDeleted",
    "TokenList",
    "TokenName",
    "TokenRequest",
    "Vm",
    "VmList",
    "VmReference",
]

# No control characters: a reference goes into logs and messages.
TEXT = r"^[^\x00-\x1f\x7f]+$"
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

VmReference = Annotated[str, Field(min_length=1, max_length=255, pattern=TEXT, description="UUID or name of a VM")]
Uuid = Annotated[str, Field(pattern=UUID)]
Holder = Annotated[str, Field(min_length=1, max_length=255, pattern=TEXT)]
TokenName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@-]*$")]
Role = Literal["viewer", "operator", "admin"]
Expiry = Literal["PASS", "INFO", "WARN", "FAIL"]
TaskState = Literal["queued", "running", "succeeded", "failed", "interrupted", "cancelled"]
SerialPort = Literal["none", "ready", "needs_full_stop_and_start", "unknown"]
Time = datetime.datetime


class Body(BaseModel):
    """A request."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


# Errors


class Error(Answer):
    code: str
    message: str
    remedy: str
    details: dict[str, Any]
    request_id: str | None


class ErrorAnswer(Answer):
    error: Error


# VMs


class CdromDrive(Answer):
    name: str
    state: Literal["empty", "loaded", "tray_open"]
    holds: str | None


class Parent(Answer):
    vm_uuid: Uuid
    vm_name: str


class HypervisorVm(Answer):
    vm_uuid: Uuid
    vm_name: str
    power_state: Literal["on", "off", "paused", "unknown"]
    enrolled: bool
    clone_pending: bool = False
    """A clone of an enrolled VM, for somebody to enable or to leave."""
    cloned_from: Parent | None = None
    """Set for a clone of a VM that is or once was enrolled."""
    power_unsupported: dict[str, str] = {}
    """What the adapter cannot do with this VM, each with the reason."""
    serial_port: SerialPort
    cdrom_drives: list[CdromDrive]


class HypervisorVmList(Answer):
    items: list[HypervisorVm]


class Certificate(Answer):
    serial: str
    state: Literal["next", "current", "retired", "revoked"]
    kind: Literal["bootstrap", "link", "external"]
    generation: int
    not_before: Time
    not_after: Time
    first_used_at: Time | None
    days_left: int
    expiry: Expiry


class Mount(Answer):
    drive: str
    generation: int | None
    holder: str
    since: Time
    lease_ends: Time


class LastRefusal(Answer):
    reason: str
    at: Time


class Link(Answer):
    since: Time | None
    peer: str | None
    session: str | None
    last_seen: Time | None
    clock_offset_seconds: float | None
    """Guest's clock minus the service's."""
    last_refusal: LastRefusal | None


class AgentSupport(Answer):
    state: Literal["supported", "too_old", "too_new", "unknown"]
    code: str | None
    message: str | None
    remedy: str | None


class Vm(Answer):
    vm_uuid: Uuid
    vm_name: str
    ngt_uuid: Uuid
    ngt_enabled: bool
    tools_iso_mounted: bool
    vss_snapshot: bool
    self_service_restore: bool
    agent_capabilities: dict[str, bool] | None = None
    """What the connected agent has taken; null while it is not connected."""
    communication_type: Literal["kIpBased", "kFallbackToIP"]
    communication_link_active: bool
    communication_link_over_serial_port_active: bool
    transport: Literal["tls", "serial"] | None
    serial_port: SerialPort
    serial_port_held_until: Time | None = None
    """The linked agent does not go back to its port before this moment: it failed soon after a return."""
    power_state: Literal["on", "off", "paused", "unknown"]
    agent_version: str | None
    available_version: str
    agent_support: AgentSupport | None = None
    """By the table of versions: whether this agent works with this service."""
    reboot_required: bool | None = None
    """What the guest says; null where it does not know, or is not known."""
    generation: int
    certificate: Certificate | None
    mount: Mount | None
    link: Link
    vm_info: dict[str, Any] | None
    enrolled_at: Time


class VmList(Answer):
    items: list[Vm]
    next_page_token: str | None


class DiagnosisCheck(Answer):
    name: str
    state: Literal["ok", "failed", "not_made"]
    found: str
    """For a check that was not made, why."""


class DiagnosedCause(Answer):
    cause: str
    message: str
    remedy: str


class Diagnosis(DiagnosedCause):
    vm_uuid: Uuid
    vm_name: str
    link_active: bool
    evidence: list[str]
    also: list[DiagnosedCause]
    """Further causes that hold as well; the first one comes before them."""
    checks: list[DiagnosisCheck]
    service_saw: dict[str, Any]
    """The evidence itself, to be judged together with the guest's (`openngt/diagnosis/evidence.py`)."""


class Capabilities(Body):
    """What is left out stays as it is; a VM that is new starts with both."""

    vss_snapshot: bool | None = None
    self_service_restore: bool | None = None


class CapabilitiesRequest(Body):
    capabilities: Capabilities = Capabilities()


class DisableAnswer(Answer):
    vm_uuid: Uuid
    revoked: list[str]


class MountRequest(Body):
    holder: Holder
    lease_seconds: Annotated[int, Field(ge=10, le=7 * 86400)] | None = None
    config_only: bool = False
    holder_is_dead: Holder | None = None


class EjectRequest(Body):
    holder: Holder
    force: bool = False


class PowerRequest(Body):
    verb: Literal["on", "off", "shutdown", "reset", "power_cycle", "guest_shutdown", "guest_reboot"]
    fallback: Literal["none", "acpi", "off"] = "none"
    wait_seconds: Annotated[int, Field(ge=1, le=3600)] = 300
    force: bool = False
    check: bool = False


# Tasks


class TaskError(Answer):
    code: str
    message: str
    remedy: str
    details: dict[str, Any]


class Task(Answer):
    task_id: str
    kind: str
    title: str
    parent: str | None
    """The task that this one is a part of."""
    vm_uuid: str | None
    state: TaskState
    progress: Annotated[int, Field(ge=0, le=100)]
    step: str
    result: dict[str, Any] | None
    error: TaskError | None
    created: Time
    updated: Time


class TaskList(Answer):
    items: list[Task]
    next_page_token: str | None


# Refresh


class RefreshRequest(Body):
    """Which VMs, by `vm`, by `threshold_days`, or by both (of those named the ones that end within so many days)."""

    vm: Annotated[list[VmReference], Field(max_length=100_000)] | None = None
    threshold_days: int | None = None
    validity_days: int | None = None
    via: Literal["auto", "link", "iso"] = "auto"
    max_in_flight: int = 8
    jitter_days: int | None = None
    spread_seconds: Annotated[float, Field(ge=0, le=7 * 86400)] = 0.0
    wait_seconds: Annotated[float, Field(ge=1, le=3600)] = 180.0


class FleetTask(Answer):
    task_id: str
    title: str
    state: TaskState
    progress: int
    step: str


class RefreshRow(Answer):
    vm_uuid: Uuid
    vm_name: str
    state: Literal["due", "blocked", "unchanged", "waiting", "running", "refreshed", "failed", "not_begun", "cancelled"]
    reason: str
    via: Literal["link", "iso"] | None
    key: Literal["agent", "service"] | None
    tasks: list[FleetTask]
    """The VM's tasks as people know them: the refresh, and the mount of its disc where there was one."""
    code: str | None
    message: str | None
    remedy: str | None
    old_serial: str | None
    new_serial: str | None
    old_not_after: Time | None
    new_not_after: Time | None


class RefreshPlan(Answer):
    items: list[RefreshRow]


class RefreshProgress(Answer):
    task: Task
    items: list[RefreshRow]
    next_page_token: str | None


# Certificates and CA


class BatchItem(Body):
    vm_uuid: Uuid
    ngt_uuid: Uuid | None = None
    public_key_pem: Annotated[str, Field(max_length=8192)] | None = None


class BatchRequest(Body):
    items: Annotated[list[BatchItem], Field(min_length=1, max_length=1000)]


class BatchCertificate(Answer):
    vm_uuid: Uuid
    ngt_uuid: Uuid
    serial: str
    generation: int
    not_after: Time
    certificate_pem: str
    private_key_pem: str | None


class BatchAnswer(Answer):
    items: list[BatchCertificate]


class CaAnswer(Answer):
    ca_pem: str
    ca_sha256: str
    trusted_ca_sha256: list[str]
    not_after: Time
    key_type: str
    cluster_uuid: Uuid
    service_name: str


class PayloadPython(Answer):
    version: str
    architecture: str
    size: int
    sha256: str


class PayloadAnswer(Answer):
    agent_version: str
    windows_python: PayloadPython | None
    """None: a Windows guest cannot be installed from this service's ISOs."""


class AdoptRequest(Body):
    lines: Annotated[list[Annotated[str, Field(max_length=4096, pattern=r"^[^\r\n]*$")]], Field(max_length=100_000)]
    """The lines of an issue log (`issued.jsonl`), as they stand in the file."""


class AdoptAnswer(Answer):
    adopted: int
    known: int


# Health, audit, tokens


class AuditRow(Answer):
    sequence: int
    at: str
    """As hashed: RFC 3339 with microseconds."""
    actor: str
    verb: str
    vm_uuid: str | None
    result: str
    details: dict[str, Any]
    previous: str
    hash: str


class AuditHead(Answer):
    sequence: int
    hash: str


class AuditRows(Answer):
    items: list[AuditRow]
    head: AuditHead
    """The newest row, as it is remembered outside the chain: cutting off the chain's tail shows."""


class TokenRequest(Body):
    name: TokenName
    role: Role


class TokenInfo(Answer):
    name: str
    role: Role
    created: Time


class TokenCreated(TokenInfo):
    token: str
    """Shown this once; the service keeps its hash."""


class TokenDeleted(Answer):
    name: str


class TokenList(Answer):
    items: list[TokenInfo]


class Readiness(Answer):
    ready: bool
    parts: dict[str, Literal["ok", "failed"]]
