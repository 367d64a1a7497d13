# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service answers about customization, for `PreparedService`."""

from typing import Any

from .prepared_service import Reply

__all__ = ["PLAN", "ROW", "SAME", "TASK", "ok", "refused"]

ROW = {
    "vm_uuid": "564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11",
    "vm_name": "web1",
    "state": "pending",
    "format": "cloud_init",
    "instance_id": "i-564d5a10-9d5c-4b1e-8f0e-0d6a1f6f3c11",
    "digest": "ab12",
    "code": None,
    "message": None,
    "details": {},
    "drive": "cd0",
    "requested_at": "2026-01-01T00:00:00Z",
    "started_at": None,
    "finished_at": None,
    "deadline": "2026-01-01T00:30:00Z",
}
TASK = {
    "task_id": "78417249bc5e417e85f2aef127bc8bbb",
    "kind": "customize",
    "title": "Customizing the VM",
    "parent": None,
    "vm_uuid": ROW["vm_uuid"],
    "state": "succeeded",
    "progress": 100,
    "step": "done",
    "result": {},
    "error": None,
}
PLAN = {
    "changed": True,
    "reason": "never customized",
    "findings": [],
    "preview_before": "",
    "preview_after": "user-data:\n#cloud-config\nhostname: web1\npassword: ***\n",
    "digest": "ab12",
}
SAME = {**PLAN, "changed": False, "reason": "the VM has it", "preview_before": PLAN["preview_after"]}


def ok(body: Any) -> Reply:
    return (200, body, {})


def refused(status: int, code: str, message: str, details: dict[str, Any]) -> Reply:
    return (status, {"error": {"code": code, "message": message, "remedy": "do better", "details": details}}, {})
