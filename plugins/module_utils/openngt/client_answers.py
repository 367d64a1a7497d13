# SPDX-License-Identifier: GPL-3.0-or-later
"""What an answer of the admin API comes to: the service's own error, and how a task has ended."""

from __future__ import annotations

from typing import Any

from .errors import OpenNGTError

__all__ = ["service_error", "succeeded", "timed_out"]

Json = dict[str, Any]


def service_error(error: Json) -> OpenNGTError:
    """The service's own error; a code that this library does not know yet is kept."""
    details = dict(error.get("details") or {})
    if error.get("request_id"):
        details["request_id"] = error["request_id"]
    remedy = error.get("remedy")
    return OpenNGTError(str(error["code"]), str(error.get("message")), details, "" if remedy is None else str(remedy))


def succeeded(task: Json) -> Json:
    """The task, or what it failed of: its own error, else TASK_FAILED."""
    if task["state"] == "succeeded":
        return task
    error = task.get("error")
    if isinstance(error, dict) and "code" in error:
        raise service_error({**error, "details": {**(error.get("details") or {}), "task_id": task["task_id"]}})
    raise OpenNGTError(
        "TASK_FAILED",
        f"task {task['task_id']} ({task['kind']}) ended as {task['state']} at step {task['step']!r}",
        {"task": task},
    )


def timed_out(task: Json, timeout: float) -> OpenNGTError:
    """Of a task that goes on without the one who waited `timeout` seconds for it."""
    return OpenNGTError(
        "TASK_TIMED_OUT",
        f"task {task['task_id']} ({task['kind']}) did not end within {timeout:g} s; it is at step {task['step']!r}",
        {"task": task},
    )
