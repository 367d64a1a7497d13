# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the service customize one VM: plan, apply, wait for its end, and say what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..client import PROGRESS_SECONDS, Client
from ..client_transport import BACKOFF_CAP
from ..errors import REMEDIES, OpenNGTError

__all__ = [
    "STATES",
    "Outcome",
    "apply",
    "demand",
    "failure_of",
    "follow",
    "known",
    "line_of",
    "plan",
    "readable",
    "withdraw",
]

Json = dict[str, Any]
STATES = ("pending", "running", "done", "failed", "timed_out")
ENDED = STATES[2:]
CODES = {"failed": "CUSTOMIZATION_FAILED", "timed_out": "CUSTOMIZATION_TIMED_OUT"}
RESTART_SECONDS = 120.0
GRACE_SECONDS = 60.0
"""How much longer than the service's own limit its verdict is waited for."""
FEW = 3


class Outcome(NamedTuple):
    changed: bool
    reason: str
    row: Json | None
    """As the API has it; None for a VM that was never customized."""
    findings: list[Json]
    before: str
    after: str
    """What the disc holds, masked by the service."""


def plan(client: Client, vm: str, spec: Mapping[str, Any]) -> Outcome:
    """What `apply` would do; changes nothing. CUSTOMIZATION_INVALID where the service would not take it."""
    try:
        planned = client.plan_customization(vm, spec)
    except OpenNGTError as error:
        raise _findings_as_lines(error) from error
    findings = list(planned.get("findings") or ())
    demand(findings)
    row = None if planned["changed"] else known(client, vm)
    before, after = planned.get("preview_before") or "", planned.get("preview_after") or ""
    return Outcome(bool(planned["changed"]), planned.get("reason") or "", row, findings, before, after)


def apply(client: Client, vm: str, spec: Mapping[str, Any], planned: Outcome, timeout: float) -> Outcome:
    """Do what was planned; the disc is in its drive then. `timeout` in seconds."""
    if not planned.changed:
        return planned
    try:
        client.wait_task(client.customize(vm, spec), timeout)
    except OpenNGTError as error:
        raise _findings_as_lines(error) from error
    return planned._replace(row=client.customization(vm))


def withdraw(client: Client, vm: str, timeout: float, *, check: bool) -> Outcome:
    """Take the disc out and forget the customization; nothing to do for a VM that has none."""
    row = known(client, vm)
    if row is None:
        return Outcome(False, "never customized", None, [], "", "")
    if not check:
        client.wait_task(client.withdraw_customization(vm), timeout)
    before = f"{row['state']} {row['instance_id']}\n"
    return Outcome(True, f"was {row['state']}", row, [], before, "")


def known(client: Client, vm: str) -> Json | None:
    """The VM's row, or None."""
    try:
        return client.customization(vm)
    except OpenNGTError as error:
        if error.code != "NOT_FOUND":
            raise
        return None


def follow(
    client: Client,
    vm: str,
    row: Json,
    seconds: float,
    on_row: Callable[[Json], None] = lambda row: None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Json:
    """Wait for the end -> the last row; that it failed raises nothing. `on_row` gets each that has another state.

    CUSTOMIZATION_TIMED_OUT where the service has no verdict either, a minute after `seconds`. A service that restarts
    meanwhile is waited for, ENDPOINT_UNREACHABLE after two minutes.
    """
    began = heard = time.monotonic()
    seen = None
    while True:
        if row["state"] != seen:
            on_row(row)
            seen = row["state"]
        if row["state"] in ENDED:
            return row
        if time.monotonic() - began > seconds + GRACE_SECONDS:
            hint = "; it has not begun: does the VM run?" if row["state"] == "pending" else ""
            message = f"{row['vm_name']} is still {row['state']} after {seconds:g} s{hint}"
            raise OpenNGTError("CUSTOMIZATION_TIMED_OUT", message, {"customization": row})
        pause(PROGRESS_SECONDS)
        try:
            row = client.customization(vm)
        except OpenNGTError as error:
            if error.code != "ENDPOINT_UNREACHABLE" or time.monotonic() - heard > RESTART_SECONDS:
                raise
            pause(BACKOFF_CAP)
        else:
            heard = time.monotonic()


def failure_of(row: Json | None) -> OpenNGTError | None:
    """Why the guest did not become what it should; None for one that did, or has not ended."""
    if row is None or row["state"] not in CODES:
        return None
    code = row["code"] if row.get("code") in REMEDIES else CODES[row["state"]]
    message = row.get("message") or f"the guest ended as {row['state']} and gave no reason"
    return OpenNGTError(code, f"{row['vm_name']}: {message}", {**(row.get("details") or {}), "customization": row})


def line_of(finding: Mapping[str, Any]) -> str:
    """`scripts[0] line 9: users.0.lock-passwd is no key of a user: write lock_passwd`"""
    place = finding["part"] + (f" line {finding['line']}" if finding.get("line") else "")
    key = finding.get("key") or ""
    message = finding["message"]
    what = message if not key or key in message else f"{key} {message}"
    warning = "warning: " if finding.get("severity") == "warning" else ""
    return f"{warning}{place}: {what}: {finding['remedy']}"


def readable(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each finding, errors first."""
    return sorted(map(line_of, findings), key=lambda line: line.startswith("warning: "))


def demand(findings: Sequence[Mapping[str, Any]]) -> None:
    """CUSTOMIZATION_INVALID unless they are warnings; its details have them as lines."""
    if any(finding["severity"] == "error" for finding in findings):
        raise _invalid(findings)


def _findings_as_lines(error: OpenNGTError) -> OpenNGTError:
    """The service's refusal with lines in the place of what programs read."""
    findings = error.details.get("findings")
    return _invalid(findings) if error.code == "CUSTOMIZATION_INVALID" and findings else error


def _invalid(findings: Sequence[Mapping[str, Any]]) -> OpenNGTError:
    lines = readable(findings)
    more = f"; and {len(lines) - FEW} more" if len(lines) > FEW else ""
    return OpenNGTError("CUSTOMIZATION_INVALID", "; ".join(lines[:FEW]) + more, {"findings": lines})
