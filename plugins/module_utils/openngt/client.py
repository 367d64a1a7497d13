# SPDX-License-Identifier: GPL-3.0-or-later
"""Client of the service's admin API, for the modules and the CLI.

Every call raises OpenNGTError. Codes made here: INVALID_INPUT (endpoint, ca_file), AUTHENTICATION_FAILED (no usable
token), ENDPOINT_UNREACHABLE, TLS_NOT_TRUSTED, API_ERROR (the answer is not the API's), TASK_FAILED and TASK_TIMED_OUT;
all others are the service's own, handed on with its message, remedy and details. No error holds the token.

Verification of the service's certificate cannot be switched off, and proxies of the environment are not used.
"""

from __future__ import annotations

import http.client
import json
import random
import ssl
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from .errors import OpenNGTError
from .version import __version__

__all__ = ["Client"]

Json = dict[str, Any]

ATTEMPTS = 4
BACKOFF_BASE = 0.25
BACKOFF_CAP = 2.0
RETRY_STATUS = (429, 503)
LONG_POLL_SECONDS = 25
PROGRESS_SECONDS = 2
MAX_ANSWER_BYTES = 256 * 1024 * 1024
FINISHED = ("succeeded", "failed", "interrupted")


class Endpoint(NamedTuple):
    host: str
    port: int
    prefix: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}:{self.port}{self.prefix}"


class Request(NamedTuple):
    method: str
    target: str
    body: bytes | None
    headers: Mapping[str, str]
    repeatable: bool


class Answer(NamedTuple):
    status: int
    retry_after: float | None
    body: bytes


def parse_endpoint(endpoint: str) -> Endpoint:
    """`https://host[:port][/prefix]`; anything else is INVALID_INPUT (credentials in a URL end up in logs)."""
    try:
        parts = urlsplit(endpoint)
        port = parts.port or 443
        (parts.hostname or "").encode("idna")
    except ValueError as exc:
        raise OpenNGTError("INVALID_INPUT", f"endpoint is not a URL: {exc}") from exc
    if parts.scheme != "https":
        raise OpenNGTError("INVALID_INPUT", "endpoint must start with https://, as in https://192.0.2.10:2073")
    if parts.username is not None or parts.password is not None:
        raise OpenNGTError("INVALID_INPUT", "endpoint must not hold a user or password; the token is its own option")
    if not parts.hostname or parts.query or parts.fragment or not endpoint.isascii() or not endpoint.isprintable():
        raise OpenNGTError("INVALID_INPUT", "endpoint must be https://host:port, without query or fragment")
    return Endpoint(parts.hostname, port, parts.path.rstrip("/"))


def check_token(token: str) -> str:
    if not token:
        raise OpenNGTError("AUTHENTICATION_FAILED", "token is empty")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise OpenNGTError("AUTHENTICATION_FAILED", "token holds characters that no token has (spaces, line ends?)")
    return token


def trust(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer, name and chain verified against `ca_file`, or against the system's CAs without one."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as exc:
        raise OpenNGTError("INVALID_INPUT", f"ca_file {ca_file} holds no PEM certificate") from exc
    except OSError as exc:
        raise OpenNGTError("INVALID_INPUT", f"ca_file {ca_file} cannot be read: {exc.strerror}") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def backoff(attempt: int, retry_after: float | None) -> float:
    """Full jitter; a server that names a time is obeyed."""
    jitter = random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2**attempt))  # noqa: S311  spreads load, no secret
    return jitter if retry_after is None else retry_after + jitter


def retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header; its date form is not used by the service."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def segment(value: str) -> str:
    return quote(value, safe="")


class Transport:
    """One kept-alive connection; sends a request until it is answered, may not be repeated, or its time is up."""

    def __init__(self, endpoint: Endpoint, ca_file: str | None, pause: Callable[[float], None]) -> None:
        self.endpoint = endpoint
        self.ca_file = ca_file
        self._context = trust(ca_file)
        self._pause = pause
        self._connection: http.client.HTTPSConnection | None = None

    def send(self, request: Request, timeout: float) -> Answer:
        deadline = time.monotonic() + timeout
        if not request.repeatable:
            self.close()  # an idle connection that the service closed meanwhile would cost the only attempt
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = self._once(request, max(0.001, deadline - time.monotonic()))
            except OpenNGTError as exc:
                wait = self._wait_before_retry(request, attempt, None, deadline)
                if exc.code != "ENDPOINT_UNREACHABLE" or wait is None:
                    raise
            else:
                if answer.status not in RETRY_STATUS:
                    return answer
                wait = self._wait_before_retry(request, attempt, answer.retry_after, deadline)
                if wait is None:
                    return answer
            self._pause(wait)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _wait_before_retry(
        self, request: Request, attempt: int, named_wait: float | None, deadline: float
    ) -> float | None:
        wait = backoff(attempt, named_wait)
        allowed = request.repeatable and attempt < ATTEMPTS and time.monotonic() + wait < deadline
        return wait if allowed else None

    def _once(self, request: Request, timeout: float) -> Answer:
        try:
            connection = self._connect(timeout)
            connection.request(request.method, request.target, request.body, dict(request.headers))
            response = connection.getresponse()
            body = response.read(MAX_ANSWER_BYTES + 1)
        except ssl.SSLCertVerificationError as exc:
            self.close()
            raise self._not_trusted(exc) from exc
        except (OSError, http.client.HTTPException) as exc:
            self.close()
            raise self._unreachable(exc) from exc
        if response.will_close or len(body) > MAX_ANSWER_BYTES:
            self.close()
        if len(body) > MAX_ANSWER_BYTES:
            raise OpenNGTError("API_ERROR", f"{self.endpoint.url} answered with more than {MAX_ANSWER_BYTES} bytes")
        return Answer(response.status, retry_after(response.getheader("Retry-After")), body)

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self.endpoint.host, self.endpoint.port, timeout=timeout, context=self._context
            )
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        self._connection.timeout = timeout
        return self._connection

    def _not_trusted(self, exc: ssl.SSLCertVerificationError) -> OpenNGTError:
        against = f"ca_file {self.ca_file}" if self.ca_file else "the system's CAs (no ca_file is given)"
        message = f"the certificate of {self.endpoint.url} is not trusted by {against}: {exc.verify_message}"
        details = {"endpoint": self.endpoint.url, "ca_file": self.ca_file, "reason": exc.verify_message}
        return OpenNGTError("TLS_NOT_TRUSTED", message, details)

    def _unreachable(self, exc: Exception) -> OpenNGTError:
        reason = (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
        message = f"no answer from {self.endpoint.url}: {reason}"
        return OpenNGTError("ENDPOINT_UNREACHABLE", message, {"endpoint": self.endpoint.url, "reason": reason})


class Client:
    """One method for each call of the API; `vm` is a VM's UUID or name everywhere.

    `timeout` is the time in seconds that one call may take, its retries included. Calls are repeated after a lost
    connection and after 429 or 503; each POST and DELETE carries one Idempotency-Key over its repetitions, so the
    service does the work once. For one thread at a time.
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
        self._timeout = timeout
        self._pause = pause

    def __repr__(self) -> str:
        return f"Client({self._transport.endpoint.url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    # What the hypervisor sees, and enrolment.

    def hypervisor_vms(self, vm: str | None = None) -> list[Json]:
        """All VMs of the hypervisor, or those whose UUID or name is `vm` (none, one or several)."""
        query = [] if vm is None else [("vm", vm)]
        return self._items(self._call("GET", "/v1/hypervisor/vms", query=query))

    def vms(self, vm: Sequence[str] = ()) -> list[Json]:
        """All enrolled VMs, or the named ones; a name that is not enrolled is not in the answer. No cap."""
        return list(self._pages("/v1/vms", [("vm", name) for name in vm]))

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

    # Tasks.

    def task(self, task_id: str, wait: int = 0) -> Json:
        """The task as soon as it has ended, at most `wait` (0 to 30) seconds later."""
        query = [("wait", str(wait))] if wait else []
        return self._call("GET", f"/v1/tasks/{segment(task_id)}", query=query, timeout=self._timeout + wait)

    def tasks(self, vm: str | None = None) -> list[Json]:
        """Newest first."""
        return list(self._pages("/v1/tasks", [] if vm is None else [("vm", vm)]))

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

    def adopt(self, lines: Sequence[str]) -> Json:
        """Lines of an issue log (`issued.jsonl`), without their line ends. -> {"adopted": n, "known": n}"""
        return self._call("POST", "/v1/ca/adopt", {"lines": list(lines)})

    # Health, audit, tokens.

    def health(self) -> list[Json]:
        """The last result of each check."""
        return self._checks(self._call("GET", "/v1/health"))

    def run_health(self, checks: Sequence[str] = ()) -> list[Json]:
        """Run the named checks, or all, now."""
        body = {"checks": list(checks)} if checks else {}
        return self._checks(self._call("POST", "/v1/health/run", body))

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
        answer = self._transport.send(request, self._timeout if timeout is None else timeout)
        return self._read(method, path, answer)

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


def service_error(error: Json) -> OpenNGTError:
    """The service's own error; a code that this library does not know yet is kept."""
    details = dict(error.get("details") or {})
    if error.get("request_id"):
        details["request_id"] = error["request_id"]
    remedy = error.get("remedy")
    return OpenNGTError(str(error["code"]), str(error.get("message")), details, "" if remedy is None else str(remedy))


def succeeded(task: Json) -> Json:
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
    return OpenNGTError(
        "TASK_TIMED_OUT",
        f"task {task['task_id']} ({task['kind']}) did not end within {timeout:g} s; it is at step {task['step']!r}",
        {"task": task},
    )
