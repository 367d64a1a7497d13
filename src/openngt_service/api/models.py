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
    "CheckList",
    "CheckRequest",
    "DisableAnswer",
    "EjectRequest",
    "ErrorAnswer",
    "HypervisorVmList",
    "MountRequest",
    "Readiness",
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
SerialPort = Literal["none", "ready", "needs_full_stop_and_start", "unknown"]
CheckState = Literal["PASS", "INFO", "WARN", "FAIL"]
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


class HypervisorVm(Answer):
    vm_uuid: Uuid
    vm_name: str
    power_state: Literal["on", "off", "paused", "unknown"]
    enrolled: bool
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
    days_left: int
    expiry: CheckState


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
    last_refusal: LastRefusal | None


class Vm(Answer):
    vm_uuid: Uuid
    vm_name: str
    ngt_uuid: Uuid
    ngt_enabled: bool
    tools_iso_mounted: bool
    vss_snapshot: bool
    self_service_restore: bool
    communication_type: Literal["kIpBased", "kFallbackToIP"]
    communication_link_active: bool
    communication_link_over_serial_port_active: bool
    transport: Literal["tls", "serial"] | None
    serial_port: SerialPort
    power_state: Literal["on", "off", "paused", "unknown"]
    agent_version: str | None
    available_version: str
    generation: int
    certificate: Certificate | None
    mount: Mount | None
    link: Link
    vm_info: dict[str, Any] | None
    enrolled_at: Time


class VmList(Answer):
    items: list[Vm]
    next_page_token: str | None


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


# Tasks


class TaskError(Answer):
    code: str
    message: str
    remedy: str
    details: dict[str, Any]


class Task(Answer):
    task_id: str
    kind: str
    vm_uuid: str | None
    state: Literal["queued", "running", "succeeded", "failed", "interrupted"]
    progress: Annotated[int, Field(ge=0, le=100)]
    step: str
    result: dict[str, Any] | None
    error: TaskError | None
    created: Time
    updated: Time


class TaskList(Answer):
    items: list[Task]
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
    not_after: Time
    key_type: str
    cluster_uuid: Uuid
    service_name: str


class AdoptRequest(Body):
    lines: Annotated[list[Annotated[str, Field(max_length=4096, pattern=r"^[^\r\n]*$")]], Field(max_length=100_000)]
    """The lines of an issue log (`issued.jsonl`), as they stand in the file."""


class AdoptAnswer(Answer):
    adopted: int
    known: int


# Health, audit, tokens


class Check(Answer):
    name: str
    state: CheckState
    message: str
    items: list[dict[str, Any]]
    checked_at: Time


class CheckList(Answer):
    checks: list[Check]


class CheckRequest(Body):
    checks: list[Annotated[str, Field(max_length=64)]] = []


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
