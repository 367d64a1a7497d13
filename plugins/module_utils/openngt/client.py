# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of the service's admin API, for the modules and the CLI.

Every call raises OpenNGTError. Codes made here: INVALID_INPUT (endpoint, ca_file), AUTHENTICATION_FAILED (no usable
token), ENDPOINT_UNREACHABLE, TLS_NOT_TRUSTED, API_ERROR (the answer is not the API's), TASK_FAILED and TASK_TIMED_OUT;
all others are the service's own, handed on with its message, remedy and details. No error holds the token.

Verification of the service's certificate cannot be switched off, and proxies of the environment are not used.
"""

from __future__ import annotations

import datetime
import itertools
import json
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from .client_answers import service_error, succeeded, timed_out
from .client_transport import BACKOFF_CAP, Answer, Request, Transport, check_token, parse_endpoint
from .errors import OpenNGTError
from .version import __version__

__all__ = ["FINISHED", "Client"]

Json = dict[str, Any]

LONG_POLL_SECONDS = 25
PROGRESS_SECONDS = 2
VMS_IN_A_PAGE = "1000"
FINISHED = ("succeeded", "failed", "interrupted", "cancelled")


def segment(value: str) -> str:
    """A name or id as a part of a path. INVALID_INPUT where it is empty: the path would be that of another call."""
    if not value:
        raise OpenNGTError("INVALID_INPUT", "a name or id is empty", remedy="give the name or id, or leave it out")
    return quote(value, safe="")


class Client:
    """One method for each call of the API; `vm` is a VM's UUID or name everywhere.

    `timeout` is the time in seconds that one call may take, its retries included. Calls are repeated after a lost
    connection and after 429 or 503; each POST and DELETE carries one Idempotency-Key over its repetitions, so the
    service does the work once. Threads that share a client wait for each other's calls.
    """

    def __init__(
        self,
        endpoint: str,
        token: str,
        ca_file: str | None = None,
        timeout: float = 30.0,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(parse_endpoint(endpoint), ca_file, pause)
        self._token = check_token(token)
        if not math.isfinite(timeout) or timeout <= 0:
            raise OpenNGTError("INVALID_INPUT", f"timeout: give seconds above 0, not {timeout:g}")
        self._timeout = timeout
        self._pause = pause

    def __repr__(self) -> str:
        return f"Client({self._transport.endpoint.url!r})"

    @property
    def endpoint(self) -> str:
        """Where the service was found, as `https://host:port`."""
        return self._transport.endpoint.url

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    # What the hypervisor sees, and enrolment.

    def hypervisor_vms(self, vm: str | None = None, *, clone_pending: bool | None = None) -> list[Json]:
        """All VMs of the hypervisor, or those whose UUID or name is `vm` (none, one or several).

        `clone_pending`: only clones that nobody has enabled yet, or all others.
        """
        query = [] if vm is None else [("vm", vm)]
        if clone_pending is not None:
            query.append(("clone_pending", str(clone_pending).lower()))
        return self._items(self._call("GET", "/v1/hypervisor/vms", query=query))

    def vms(
        self,
        vm: Sequence[str] = (),
        *,
        filters: Sequence[str] = (),
        sort: str | None = None,
        vm_info: bool = True,
    ) -> list[Json]:
        """All enrolled VMs, or the named ones; a name that is not enrolled is not in the answer. No cap.

        `filters`: `FIELD=VALUE[,VALUE…]`, or with `!=`, `<`, `<=`, `>`, `>=`; all must hold. `sort`: a field, with `-`
        before it reversed. Without `vm_info` the guests' own records, half of the answer, are null.
        """
        query = [*(("vm", name) for name in vm), *(("filter", text) for text in filters)]
        if sort is not None:
            query.append(("sort", sort))
        if not vm_info:
            query.append(("vm_info", "false"))
        return list(self._pages("/v1/vms", [*query, ("limit", VMS_IN_A_PAGE)]))

    def vm(self, vm: str) -> Json:
        return self._call("GET", f"/v1/vms/{segment(vm)}")

    def diagnosis(self, vm: str) -> Json:
        """Why the link is not active, by the service's own evidence, which is in `service_saw`."""
        return self._call("GET", f"/v1/vms/{segment(vm)}/diagnosis")

    def enable(self, vm: str, capabilities: Mapping[str, bool] | None = None) -> Json:
        """Enrol the VM, or set the capabilities of an enrolled one; None leaves them as they are. -> VM record."""
        body = {} if capabilities is None else {"capabilities": dict(capabilities)}
        return self._call("PUT", f"/v1/vms/{segment(vm)}", body)

    def disable(self, vm: str) -> Json:
        return self._call("DELETE", f"/v1/vms/{segment(vm)}")

    def mount(
        self,
        vm: str,
        holder: str,
        lease_seconds: int,
        config_only: bool = False,
        holder_is_dead: str | None = None,
    ) -> Json:
        """Issue a bootstrap certificate and put the VM's ISO into an empty drive. -> task, for `wait_task`."""
        body = {
            "holder": holder,
            "lease_seconds": lease_seconds,
            "config_only": config_only,
            "holder_is_dead": holder_is_dead,
        }
        return self._call("POST", f"/v1/vms/{segment(vm)}/mount", body)

    def eject(self, vm: str, holder: str, force: bool = False) -> Json:
        """-> task, for `wait_task`."""
        return self._call("POST", f"/v1/vms/{segment(vm)}/eject", {"holder": holder, "force": force})

    def power(
        self,
        vm: str,
        verb: str,
        *,
        fallback: str = "none",
        wait_seconds: int = 300,
        force: bool = False,
        check: bool = False,
    ) -> Json:
        """-> task, for `wait_task`; its result says what was done, or with `check` what would be."""
        body = {"verb": verb, "fallback": fallback, "wait_seconds": wait_seconds, "force": force, "check": check}
        return self._call("POST", f"/v1/vms/{segment(vm)}/power", body)

    # Power of many VMs. `ask`: vm, verb, fallback, wait_seconds, force, max_in_flight, as the API has them.

    def plan_power(self, **ask: Any) -> list[Json]:
        """What `power_many` would do and refuse: a row for each VM. Changes nothing."""
        return self._items(self._call("POST", "/v1/power/plan", ask))

    def power_many(self, **ask: Any) -> Json:
        """-> task, for `wait_task`; it fails when a VM was not switched."""
        return self._call("POST", "/v1/power", ask)

    def power_rows(self, task_id: str) -> list[Json]:
        """How far such a task is with each of its VMs."""
        return list(self._pages(f"/v1/power/{segment(task_id)}", []))

    # Customization. `spec` as the API has it (docs/customization.md).

    def validate_customization(self, spec: Mapping[str, Any]) -> Json:
        """-> `findings` and the masked `preview` of what would be written; for no VM in particular."""
        return self._call("POST", "/v1/customizations/validate", dict(spec))

    def plan_customization(self, vm: str, spec: Mapping[str, Any]) -> Json:
        """What `customize` would do with the VM. Changes nothing."""
        return self._call("POST", f"/v1/customizations/{segment(vm)}/plan", dict(spec))

    def customize(self, vm: str, spec: Mapping[str, Any]) -> Json:
        """Have the VM customized at its next boot. -> task, for `wait_task`; it ends once the disc is in its drive."""
        return self._call("PUT", f"/v1/customizations/{segment(vm)}", dict(spec))

    def customizations(self) -> list[Json]:
        return list(self._pages("/v1/customizations", []))

    def customization(self, vm: str) -> Json:
        """How far the VM is with it. NOT_FOUND for one that was never customized."""
        return self._call("GET", f"/v1/customizations/{segment(vm)}")

    def withdraw_customization(self, vm: str) -> Json:
        """Take its disc out and forget it. -> task, for `wait_task`."""
        return self._call("DELETE", f"/v1/customizations/{segment(vm)}")

    # Certificate refresh. `ask`: vm, threshold_days, validity_days, via, max_in_flight, jitter_days, spread_seconds,
    # wait_seconds, as the API has them.

    def plan_refresh(self, **ask: Any) -> list[Json]:
        """What `refresh` would do: a row for each VM that was named or is enrolled. Changes nothing."""
        return self._items(self._call("POST", "/v1/refresh/plan", ask))

    def refresh(self, **ask: Any) -> Json:
        """Give VMs new certificates. -> task, for `wait_task`; it fails when a VM was not refreshed."""
        return self._call("POST", "/v1/refresh", ask)

    def refresh_rows(self, task_id: str) -> list[Json]:
        """How far a refresh is with each of its VMs."""
        return list(self._pages(f"/v1/refresh/{segment(task_id)}", []))

    # Upgrade of agents. `ask`: vm, version, allow_downgrade, via, max_in_flight, batch, max_fail_percentage,
    # rollback_seconds, spread_seconds, wait_seconds, as the API has them.

    def plan_upgrade(self, **ask: Any) -> list[Json]:
        """What `upgrade` would do: a row for each VM that was named or is enrolled. Changes nothing."""
        return self._items(self._call("POST", "/v1/upgrade/plan", ask))

    def upgrade(self, **ask: Any) -> Json:
        """Change agents over to another version. -> task, for `wait_task`; it fails when a VM was not upgraded."""
        return self._call("POST", "/v1/upgrade", ask)

    def upgrade_rows(self, task_id: str) -> list[Json]:
        """How far an upgrade is with each of its VMs."""
        return list(self._pages(f"/v1/upgrade/{segment(task_id)}", []))

    def compatibility(self) -> Json:
        """Which agents and which guests work with this service."""
        return self._call("GET", "/v1/compatibility")

    # Tasks.

    def task(self, task_id: str, wait: int = 0) -> Json:
        """The task as soon as it has ended, at most `wait` (0 to 30) seconds later."""
        query = [("wait", str(wait))] if wait else []
        return self._call("GET", f"/v1/tasks/{segment(task_id)}", query=query, timeout=self._timeout + wait)

    def tasks(self, vm: str | None = None) -> list[Json]:
        """Newest first."""
        return list(self._pages("/v1/tasks", [] if vm is None else [("vm", vm)]))

    def tasks_since(self, moment: datetime.datetime) -> list[Json]:
        """Those that were begun since then, newest first. What is older is not asked for."""
        found = self._pages("/v1/tasks", [("limit", VMS_IN_A_PAGE)])
        return list(itertools.takewhile(lambda task: datetime.datetime.fromisoformat(task["created"]) >= moment, found))

    def cancel_task(self, task_id: str) -> Json:
        """Have a task for many VMs begin no further one. -> the task. TASK_NOT_CANCELLABLE for any other."""
        return self._call("POST", f"/v1/tasks/{segment(task_id)}/cancel", {})

    def wait_task(self, task: Json, timeout: float, on_progress: Callable[[Json], None] | None = None) -> Json:
        """Wait for the task's end and return it. `on_progress` gets the task each time its progress or step changed.

        A failed task raises its own code, message and details (TASK_FAILED when it has none). TASK_TIMED_OUT leaves the
        task running. A service that restarts meanwhile is waited for.
        """
        deadline = time.monotonic() + timeout
        poll = LONG_POLL_SECONDS if on_progress is None else PROGRESS_SECONDS
        seen = None
        while True:
            if on_progress is not None and (task["progress"], task["step"]) != seen:
                on_progress(task)
            seen = (task["progress"], task["step"])
            if task["state"] in FINISHED:
                return succeeded(task)
            left = deadline - time.monotonic()
            if left <= 0:
                raise timed_out(task, timeout)
            try:
                task = self.task(task["task_id"], wait=max(1, min(poll, int(left))))
            except OpenNGTError as exc:
                if exc.code != "ENDPOINT_UNREACHABLE" or time.monotonic() >= deadline:
                    raise
                self._pause(min(BACKOFF_CAP, max(0.0, deadline - time.monotonic())))

    # Certificates and CA.

    def issue_batch(self, items: Sequence[Mapping[str, Any]]) -> list[Json]:
        """One certificate for each item, in order, all durable when this returns."""
        return self._items(self._call("POST", "/v1/certificates/batch", {"items": [dict(item) for item in items]}))

    def ca(self) -> Json:
        return self._call("GET", "/v1/ca")

    def payload(self) -> Json:
        """What tools ISOs carry: `{"agent_version", "windows_python"}`; the second is null, or has `version`,
        `architecture`, `size` and `sha256`.
        """
        return self._call("GET", "/v1/payload")

    def adopt(self, lines: Sequence[str]) -> Json:
        """Lines of an issue log (`issued.jsonl`), without their line ends. -> {"adopted": n, "known": n}"""
        return self._call("POST", "/v1/ca/adopt", {"lines": list(lines)})

    def ca_rollover(self) -> Json:
        """How far one CA has followed another, and the VMs that the next step waits for."""
        return self._call("GET", "/v1/ca/rollover")

    def roll_over(self, step: str, *, force: bool = False, replaces: str | None = None, check: bool = False) -> Json:
        """Do a step, or with `check` say what it would do. -> the status, `changed` and `reason`."""
        ask = {"step": step, "force": force, "replaces": replaces, "check": check}
        return self._call("POST", "/v1/ca/rollover", ask)

    # Health, audit, tokens.

    def health(self) -> list[Json]:
        """The last result of each check."""
        return self._checks(self._call("GET", "/v1/health"))

    def run_health(self, checks: Sequence[str] = ()) -> Json:
        """Run the named checks, or all. -> task, for `wait_task`; its result counts, the report has it all."""
        return self._call("POST", "/v1/health/run", {"checks": list(checks)} if checks else {})

    def health_report(self, task_id: str | None = None) -> Json:
        """All that a run has found, or the last results. NOT_FOUND when it is not among the newest 20."""
        return self._call("GET", "/v1/health/report", query=[*_given(task_id=task_id), ("format", "json")])

    def health_text(self, task_id: str | None = None) -> str:
        """The same as text, in the manner of `ncc health_checks`."""
        answer = self._send("GET", "/v1/health/report", query=[*_given(task_id=task_id), ("format", "text")])
        if answer.status != 200:
            self._read("GET", "/v1/health/report", answer)
        return answer.body.decode("utf-8", "replace")

    def health_checks(self) -> list[Json]:
        """What there is to check: description, causes, resolutions, thresholds, whether it is on."""
        return self._items(self._call("GET", "/v1/health/checks"))

    def set_health_check(
        self,
        check: str,
        *,
        enabled: bool | None = None,
        alert_from: str | None = None,
        thresholds: Mapping[str, int | None] | None = None,
        check_only: bool = False,
    ) -> Json:
        """What is None stays as it is; a threshold that is None takes its default again. -> the check.

        With `check_only` as it would be; nothing is set.
        """
        body: Json = dict(_given(enabled=enabled, alert_from=alert_from, check=check_only or None))
        if thresholds:
            body["thresholds"] = dict(thresholds)
        return self._call("PUT", f"/v1/health/checks/{segment(check)}", body)

    def health_history(self, checks: Sequence[str] = (), vm: Sequence[str] = (), days: int = 7) -> Json:
        """The worst state of each VM on each day. -> {"checks", "days", "items": [{"vm_uuid", "vm_name", "days"}]}"""
        query = [("check", name) for name in checks] + [("vm", name) for name in vm] + [("days", str(days))]
        first = self._call("GET", "/v1/health/history", query=query)
        answer, items = first, self._items(first)
        while answer.get("next_page_token"):
            page = ("page_token", answer["next_page_token"])
            answer = self._call("GET", "/v1/health/history", query=[*query, page])
            items += self._items(answer)
        return {"checks": first["checks"], "days": first["days"], "items": items}

    def health_alerts(
        self, states: Sequence[str] = (), checks: Sequence[str] = (), vm: str | None = None
    ) -> list[Json]:
        """Newest first; without `states` those that are not resolved."""
        query = [("state", name) for name in states] + [("check", name) for name in checks] + _given(vm=vm)
        return list(self._pages("/v1/health/alerts", query))

    def acknowledge_alert(self, alert_id: str, note: str | None = None) -> Json:
        """-> the alert."""
        return self._call("POST", f"/v1/health/alerts/{segment(alert_id)}/acknowledge", dict(_given(note=note)))

    def audit(self, after: int = 0) -> Iterator[Json]:
        """Rows of the audit log with a sequence number above `after`, oldest first."""
        while rows := self._items(self.audit_page(after)):
            yield from rows
            after = rows[-1]["sequence"]

    def audit_page(self, after: int = 0) -> Json:
        """-> {"items": [row…], "head": {"sequence", "hash"}}; the head is the newest row of all."""
        return self._call("GET", "/v1/audit", query=[("after", str(after))])

    def tokens(self) -> list[Json]:
        return self._items(self._call("GET", "/v1/tokens"))

    def create_token(self, name: str, role: str) -> Json:
        """-> {"name", "role", "token", …}. The secret is shown this once, so a lost answer is never asked for again."""
        return self._call("POST", "/v1/tokens", {"name": name, "role": role}, repeatable=False)

    def delete_token(self, name: str) -> Json:
        return self._call("DELETE", f"/v1/tokens/{segment(name)}")

    # One call.

    def _pages(self, path: str, query: Sequence[tuple[str, str]]) -> Iterator[Json]:
        page: list[tuple[str, str]] = []
        while True:
            answer = self._call("GET", path, query=[*query, *page])
            yield from self._items(answer)
            if not answer.get("next_page_token"):
                return
            page = [("page_token", answer["next_page_token"])]

    def _items(self, answer: Json) -> list[Json]:
        return self._list(answer, "items")

    def _checks(self, answer: Json) -> list[Json]:
        return self._list(answer, "checks")

    def _list(self, answer: Json, key: str) -> list[Json]:
        found = answer.get(key)
        if not isinstance(found, list):
            raise OpenNGTError("API_ERROR", f"{self._transport.endpoint.url} answered without the list {key!r}")
        return found

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> Json:
        answer = self._send(method, path, body, query=query, timeout=timeout, repeatable=repeatable)
        return self._read(method, path, answer)

    def _send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
        repeatable: bool = True,
    ) -> Answer:
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": f"openngt/{__version__}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        if method in ("POST", "DELETE"):
            headers["Idempotency-Key"] = str(uuid.uuid4())
        target = self._transport.endpoint.prefix + path + (f"?{urlencode(query)}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        request = Request(method, target, content, headers, repeatable)
        return self._transport.send(request, self._timeout if timeout is None else timeout)

    def _read(self, method: str, path: str, answer: Answer) -> Json:
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if isinstance(found, dict) and 200 <= answer.status < 300:
            return found
        error = found.get("error") if isinstance(found, dict) else None
        if isinstance(error, dict) and answer.status >= 400 and "code" in error:
            raise service_error(error)
        message = f"{method} {self._transport.endpoint.url}{path} was answered with status {answer.status}"
        raise OpenNGTError(
            "API_ERROR",
            f"{message}, but not in the form of the API: is another program listening there?",
            {"status": answer.status},
        )


def _given(**values: Any) -> list[tuple[str, Any]]:
    """Those that are not None."""
    return [(name, value) for name, value in values.items() if value is not None]
