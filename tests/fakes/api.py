# SPDX-License-Identifier: GPL-3.0-or-later
"""A small service behind real HTTPS: VMs, enrolment, mounts and tasks in memory, by ARCHITECTURE.md section 6.

For tests of what asks the service. The rules of enrolling and mounting are repeated here in their simplest form; that
the real service keeps them is shown by its own tests and by the guests'.
"""

import datetime
import http.server
import json
import ssl
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority
from openngt.pki.issue import issue_service_certificate

__all__ = ["FakeService"]

Json = dict[str, Any]
STATUS = {"AUTHENTICATION_FAILED": 401, "VM_NOT_FOUND": 404, "NOT_ENROLLED": 404}


class FakeService:
    """`vms` is what the hypervisor has and `records` what is enrolled, both by UUID; a test may change either."""

    def __init__(self, folder: Path) -> None:
        now = datetime.datetime.now(datetime.UTC)
        authority = create_authority(folder / "ca", common_name="fake", now=now)
        server = issue_service_certificate(authority, dns_names=["localhost"], ip_addresses=["127.0.0.1"], now=now)
        assert server.private_key_pem is not None
        (folder / "api.pem").write_bytes(server.private_key_pem + server.certificate_pem)
        self.ca_file = folder / "ca/ca.pem"
        self.ca_sha256 = authority.ca_sha256
        self.token = "canary-" + uuid.uuid4().hex
        self.vms: dict[str, Json] = {}
        self.records: dict[str, Json] = {}
        self.tasks: dict[str, Json] = {}
        self.calls: list[tuple[str, str]] = []
        self.checks: list[Json] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "api.pem")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a play needs to ask this service."""
        return {
            "OPENNGT_ENDPOINT": self.endpoint,
            "OPENNGT_TOKEN": self.token,
            "OPENNGT_CA_FILE": str(self.ca_file),
        }

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_vm(self, name: str, *, power_state: str = "on", holds: str | None = None) -> str:
        """A VM on the hypervisor, with one CD-ROM drive; its UUID."""
        vm_uuid = str(uuid.uuid4())
        drive = {"name": "cd0", "state": "loaded" if holds else "empty", "holds": holds}
        self.vms[vm_uuid] = {
            "vm_uuid": vm_uuid,
            "vm_name": name,
            "power_state": power_state,
            "enrolled": False,
            "cdrom_drives": [drive],
        }
        return vm_uuid

    def changes(self) -> list[tuple[str, str]]:
        """The calls so far that could have changed something."""
        return [call for call in self.calls if call[0] != "GET"]

    def connect(self, vm_uuid: str, *, kind: str = "link") -> None:
        """As if the agent had connected with a certificate of the VM's newest generation."""
        record = self.records[vm_uuid]
        certificate = {"serial": "1a", "state": "current", "kind": kind, "generation": record["generation"]}
        record.update(communication_link_active=True, transport="tls", agent_version="0.1.0", certificate=certificate)

    # What the calls do.

    def find(self, reference: str) -> list[Json]:
        return [vm for vm in self.vms.values() if reference in (vm["vm_uuid"], vm["vm_name"])]

    def one(self, reference: str) -> Json:
        found = self.find(reference)
        if len(found) == 1:
            return found[0]
        raise OpenNGTError("VM_AMBIGUOUS" if found else "VM_NOT_FOUND", f"{len(found)} VMs are {reference}")

    def record(self, reference: str) -> Json:
        vm_uuid = self.one(reference)["vm_uuid"]
        if vm_uuid not in self.records:
            raise OpenNGTError("NOT_ENROLLED", f"{reference} is not enrolled")
        return self.records[vm_uuid]

    def enable(self, reference: str, capabilities: Json) -> Json:
        vm = self.one(reference)
        new = {
            **{key: vm[key] for key in ("vm_uuid", "vm_name", "power_state")},
            "ngt_uuid": str(uuid.uuid4()),
            "ngt_enabled": True,
            "tools_iso_mounted": False,
            "vss_snapshot": True,
            "self_service_restore": True,
            "communication_link_active": False,
            "transport": None,
            "agent_version": None,
            "available_version": "0.1.0",
            "generation": 0,
            "certificate": None,
            "mount": None,
            "link": {"last_refusal": None},
            "vm_info": None,
        }
        record = self.records.setdefault(vm["vm_uuid"], new)
        record.update(capabilities)
        return record

    def disable(self, reference: str) -> Json:
        record = self.record(reference)
        self.empty(record["vm_uuid"])
        del self.records[record["vm_uuid"]]
        return {"vm_uuid": record["vm_uuid"], "revoked": []}

    def mount(self, reference: str, body: Json) -> Json:
        record, vm = self.record(reference), self.one(reference)
        if vm["power_state"] != "on":
            raise OpenNGTError("VM_POWERED_OFF", "the VM is off")
        now = record["mount"]
        if now and now["holder"] not in (body["holder"], body["holder_is_dead"]):
            raise OpenNGTError("VM_BUSY", f"held by {now['holder']}", {"holder": now["holder"]})
        if not now and vm["cdrom_drives"][0]["state"] != "empty":
            raise OpenNGTError("NO_EMPTY_DRIVE", "no empty drive", {"drives": vm["cdrom_drives"]})
        vm["cdrom_drives"][0].update(state="loaded", holds="NUTANIX_TOOLS")
        record["generation"] += 1
        mount = {"drive": "cd0", "generation": record["generation"], "holder": body["holder"]}
        record.update(tools_iso_mounted=True, mount={**mount, "since": "now", "lease_ends": "later"})
        result = {"drive": "cd0", "generation": record["generation"], "serial": "2b", "expires": "later"}
        return self.task("mount", record, {**result, "ca_sha256": self.ca_sha256})

    def eject(self, reference: str, body: Json) -> Json:
        record = self.record(reference)
        if record["mount"] and record["mount"]["holder"] != body["holder"] and not body["force"]:
            raise OpenNGTError("VM_BUSY", "another's mount", {"holder": record["mount"]["holder"]})
        self.empty(record["vm_uuid"])
        return self.task("eject", record, {"ejected": True})

    def empty(self, vm_uuid: str) -> None:
        if self.records[vm_uuid]["mount"]:
            self.vms[vm_uuid]["cdrom_drives"][0].update(state="empty", holds=None)
            self.records[vm_uuid].update(tools_iso_mounted=False, mount=None)

    def task(self, kind: str, record: Json, result: Json) -> Json:
        """Answered as running first, so that callers have to wait for it."""
        task_id = uuid.uuid4().hex
        task = {"task_id": task_id, "kind": kind, "vm_uuid": record["vm_uuid"], "progress": 0, "step": "begin"}
        self.tasks[task_id] = {**task, "state": "succeeded", "progress": 100, "result": result, "error": None}
        return {**task, "state": "running", "result": None, "error": None}

    def answer(self, method: str, target: str, body: Json) -> Json:
        path = [unquote(part) for part in urlsplit(target).path.split("/")[2:]]
        query = parse_qs(urlsplit(target).query)
        match (method, path):
            case "GET", ["hypervisor", "vms"]:
                return {"items": self.find(query["vm"][0]) if "vm" in query else list(self.vms.values())}
            case "GET", ["vms"]:
                wanted = query.get("vm")
                named = [r for r in self.records.values() if not wanted or {r["vm_uuid"], r["vm_name"]} & set(wanted)]
                return {"items": named, "next_page_token": None}
            case "GET", ["vms", vm]:
                return self.record(vm)
            case "PUT", ["vms", vm]:
                return self.enable(vm, body.get("capabilities", {}))
            case "DELETE", ["vms", vm]:
                return self.disable(vm)
            case "POST", ["vms", vm, "mount"]:
                return self.mount(vm, body)
            case "POST", ["vms", vm, "eject"]:
                return self.eject(vm, body)
            case "GET", ["tasks", task_id]:
                return self.tasks[task_id]
            case "GET", ["ca"]:
                return {"ca_sha256": self.ca_sha256}
            case ("GET", ["health"]) | ("POST", ["health", "run"]):
                return {"checks": self.checks}
        raise OpenNGTError("INVALID_INPUT", f"no such call: {method} {target}")


def handler_of(service: FakeService) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            service.calls.append((self.command, self.path))
            try:
                if self.headers.get("Authorization") != f"Bearer {service.token}":
                    raise OpenNGTError("AUTHENTICATION_FAILED", "the token is not known")
                status, answer = 200, service.answer(self.command, self.path, body)
            except OpenNGTError as error:
                status, answer = STATUS.get(error.code, 409), {"error": error.to_dict()}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET: Callable[..., None] = serve
        do_PUT = do_POST = do_DELETE = do_GET

    return Handler
