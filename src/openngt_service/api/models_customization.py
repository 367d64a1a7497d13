# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API takes and gives about customization. The inside of a customization is judged by the library, which names
a field as its author writes it.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from .models import Answer, Body, Time, Uuid

__all__ = [
    "Customization",
    "CustomizationList",
    "CustomizationPlan",
    "CustomizationRequest",
    "CustomizationSpec",
    "CustomizationVerdict",
]

Format = Literal["cloud_init", "sysprep", "cloudbase_init"]
Object = dict[str, Any]


class CustomizationSpec(Body):
    format: Format | None = None
    scripts: list[Object] | None = None
    """Each `content`, `content_base64` or `datastore_path`, and `name`."""
    options: Object | None = None
    network: Object | None = None
    """Network config, version 2."""
    files: list[Object] | None = None
    """Each `path`, `content`, `content_base64` or `datastore_path`, `mode`, `owner`."""
    datasource: Literal["nocloud", "config_drive"] | None = None
    install_type: Literal["prepared", "fresh"] | None = None
    instance_id: str | None = None
    meta_data: Object | None = None


class CustomizationRequest(CustomizationSpec):
    power_on: bool = False
    """Switch the VM on once the disc is in its drive."""
    wait_seconds: Annotated[int, Field(ge=10, le=7 * 86400)] | None = None
    """How long the guest may take, from when the VM is seen on; none: the setting `customization_seconds`."""


class Finding(Answer):
    severity: Literal["error", "warning"]
    code: str
    part: str
    message: str
    remedy: str
    line: int | None
    key: str


class CustomizationVerdict(Answer):
    valid: bool
    findings: list[Finding]
    preview: str
    """What would be written, secrets masked."""


class CustomizationPlan(Answer):
    changed: bool
    reason: str
    findings: list[Finding]
    preview_before: str
    """What is known of what the VM was given: its content is kept nowhere."""
    preview_after: str
    digest: str


class Customization(Answer):
    vm_uuid: Uuid
    vm_name: str
    state: Literal["pending", "running", "done", "failed", "timed_out"]
    format: Format
    instance_id: str
    digest: str
    code: str | None
    message: str | None
    """The guest's own words, where it has failed."""
    details: Object | None
    drive: str | None
    """In which the disc is; null once it was taken away."""
    requested_at: Time
    started_at: Time | None
    finished_at: Time | None
    deadline: Time | None


class CustomizationList(Answer):
    items: list[Customization]
    next_page_token: str | None
