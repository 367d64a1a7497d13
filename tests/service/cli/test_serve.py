# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole service as a process: start, the way of an agent through it, restart, conflicts, signals, bad settings."""

import asyncio
import http.client
import re
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.fakes.agent_client import AgentClient, client_context
from tests.fakes.service import ServiceProcess
from tests.fakes.waiting import PATIENCE_SECONDS

from openngt import effects
from openngt.client import Client
from openngt.client_transport import trust
from openngt.errors import OpenNGTError
from openngt.pki.authority import create_authority
from openngt.pki.ensure_certificate import CertificateOrder, ensure_certificate

VM = "6f2b1a9c-0d3e-4f5a-8b7c-1234567890ab"
CLIENT_PEM = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END CERTIFICATE-----\n", re.DOTALL)


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def eventually(what: Callable[[], bool]) -> None:
    """Waits as long as a slow machine may need; what never comes true fails."""
    pause = threading.Event()
    for _ in range(600):
        if what():
            return
        pause.wait(0.1)
    raise AssertionError("it never came true")


def failed_start(service: ServiceProcess, **extra: str) -> str:
    """The one error line of a start that must fail."""
    process = service.launch(extra)
    assert process.wait(60) == 1, service.stderr
    assert "Traceback" not in service.stderr
    errors = [line for line in service.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, service.stderr
    return errors[0]


async def live_through(service: ServiceProcess, bootstrap: Path, identity: Path) -> None:
    """What an agent does: comes with the ISO's certificate, is given a better one, comes back, lets go of the disc.

    It is of the release before agents made their own keys.
    """
    name = service.client().ca()["service_name"]
    ca_file = service.state_dir / "ca/ca.pem"
    first = await AgentClient.connect(service.gateway_port, client_context(ca_file, bootstrap), name)
    await first.start()
    assert first.welcome["kind"] == "bootstrap"
    on_the_iso = service.client().vm(VM)["certificate"]
    assert (on_the_iso["kind"], on_the_iso["expiry"]) == ("bootstrap", "PASS"), "a day's life is by design"
    request = await first.read()
    assert request is not None and request["method"] == "identity.request"
    unknown = {"code": -32601, "message": "method not found"}
    first.send({"jsonrpc": "2.0", "id": request["id"], "error": unknown})
    rotate = await first.read()
    assert rotate is not None
    assert rotate["method"] == "identity.rotate"
    identity.write_text(rotate["params"]["client_pem"])
    generation = rotate["params"]["generation"]
    first.send({"jsonrpc": "2.0", "id": rotate["id"], "result": {"generation": generation}})
    second = await AgentClient.connect(service.gateway_port, client_context(ca_file, identity), name)
    assert await second.start() == {"vss_snapshot": True, "self_service_restore": True}
    await second.ask("heartbeat", {"disc_mounted": False})
    while service.client().vm(VM)["tools_iso_mounted"]:
        await asyncio.sleep(0.2)
        await second.ask("heartbeat", {"disc_mounted": False})
    vm = service.client().vm(VM)
    assert (vm["communication_link_active"], vm["transport"], vm["generation"]) == (True, "tls", generation)
    assert (vm["certificate"]["kind"], vm["certificate"]["state"]) == ("link", "current")
    second.close()


def test_from_enabling_to_a_proven_link_and_back_to_nothing(own_service: ServiceProcess, tmp_path: Path) -> None:
    own_service.start()
    client = own_service.client()
    client.enable("web01")
    steps: list[str] = []
    task = client.wait_task(client.mount(VM, "test", 600), 60, lambda now: steps.append(now["step"]))
    assert task["result"]["drive"] == "cd0"
    assert task["result"]["ca_sha256"] == client.ca()["ca_sha256"]
    iso = own_service.state_dir / "iso" / f"{VM}.iso"
    assert own_service.hypervisor.media() == sorted(["/isos/debian.iso", str(iso)])
    bootstrap = CLIENT_PEM.search(iso.read_bytes())
    assert bootstrap is not None
    (tmp_path / "bootstrap.pem").write_bytes(bootstrap.group())

    asyncio.run(live_through(own_service, tmp_path / "bootstrap.pem", tmp_path / "identity.pem"))

    assert own_service.hypervisor.media() == ["/isos/debian.iso"]
    assert not iso.exists()
    eventually(lambda: not client.vm(VM)["communication_link_active"])
    assert len(client.disable(VM)["revoked"]) == 1
    assert [vm["vm_name"] for vm in client.vms()] == []
    verbs = {row["verb"] for row in client.audit()}
    assert {"vm.enable", "vm.mount", "vm.eject", "token.create", "certificate.issue"} <= verbs, verbs


async def use_twice(service: ServiceProcess, pem: Path) -> None:
    """A guest, and then its copy at another address with a wrong clock, both with one identity."""
    context = client_context(service.state_dir / "ca/ca.pem", pem)
    name = service.client().ca()["service_name"]
    original = await AgentClient.connect(service.gateway_port, context, name)
    await original.start(boot_id="boot-1")
    copy = await AgentClient.connect(service.gateway_port, context, name, source="127.0.0.9")
    waits = asyncio.ensure_future(copy.start(boot_id="boot-2"))
    while not waits.done():  # it is not answered before the original shows that it lives, too
        await original.ask("heartbeat", {"disc_mounted": False})
        await asyncio.sleep(0.05)
    assert await waits == {}, "heartbeats and nothing else"
    client = service.client()
    await eventually_async(lambda: not client.vm(VM)["communication_link_active"])
    # F16: named within seconds, without anybody asking for a run.
    await eventually_async(lambda: "127.0.0.9:" in "".join(messages(client, "ngt_duplicate_identity_check")))
    # T1: the VM itself is given a new identity by the one way that a copy has no part in.
    await eventually_async(lambda: [task["kind"] for task in client.tasks(VM)].count("recover") == 1)
    await eventually_async(lambda: any(VM in medium for medium in service.hypervisor.media()))
    assert any("used_twice" in message for message in messages(client, "ngt_identity_recovery_check"))
    for agent in (original, copy):
        agent.close()


def messages(client: Client, name: str) -> list[str]:
    [check] = [check for check in client.health() if check["name"] == name]
    return [item["message"] for item in check["items"]]


async def eventually_async(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.1)


def test_a_clone_is_named_with_its_parent_within_seconds(own_service: ServiceProcess) -> None:
    """F16: in the health check, the list and the command; nobody has asked for a run."""
    own_service.start()
    client = own_service.client()
    client.enable(VM)
    name = client.vm(VM)["vm_name"]
    copy = asyncio.run(own_service.hypervisor.clone(VM, "a-copy"))
    asyncio.run(eventually_async(lambda: "a-copy" in "".join(messages(client, "ngt_duplicate_identity_check"))))
    assert messages(client, "ngt_duplicate_identity_check") == [
        f"VM: a-copy - is a clone of VM {name} and waits to be enabled (clone_pending)"
    ]
    listed = own_service.cli("vm", "clones", "--output", "csv")
    assert listed.stdout.splitlines()[1] == f"{copy},a-copy,clone_pending,{name},{VM},off"
    client.enable(copy)
    assert own_service.cli("vm", "clones", "--output", "json").stdout.strip() == "[]"


async def skewed(service: ServiceProcess, pem: Path) -> None:
    """A guest whose clock is decades behind."""
    context = client_context(service.state_dir / "ca/ca.pem", pem)
    agent = await AgentClient.connect(service.gateway_port, context, service.client().ca()["service_name"])
    await agent.start(time="2001-01-01T00:00:00Z")
    assert service.client().vm(VM)["link"]["clock_offset_seconds"] < -(20 * 365 * 86400)
    [found] = run_checks(service, "ngt_clock_skew_check")
    assert found["state"] == "FAIL" and "s behind the service's" in found["items"][0]["message"]
    agent.send({"jsonrpc": "2.0", "method": "goodbye", "params": {"reason": "stopping"}})
    await agent.closed()


def run_checks(service: ServiceProcess, *names: str) -> list[dict[str, Any]]:
    client = service.client()
    task = client.wait_task(client.run_health(names), 60)
    checks: list[dict[str, Any]] = client.health_report(task["task_id"])["checks"]
    return checks


def test_a_copied_guest_shows_in_the_checks_and_its_alert_outlives_a_restart(
    own_service: ServiceProcess, tmp_path: Path
) -> None:
    own_service.start()
    client = own_service.client()
    client.enable(VM)
    [issued] = client.issue_batch([{"vm_uuid": VM}])
    (tmp_path / "client.pem").write_text(issued["private_key_pem"] + issued["certificate_pem"])
    asyncio.run(skewed(own_service, tmp_path / "client.pem"))
    asyncio.run(use_twice(own_service, tmp_path / "client.pem"))
    [alert] = client.health_alerts(checks=["ngt_duplicate_identity_check"])
    assert (alert["state"], alert["severity"], alert["vm_uuid"]) == ("raised", "FAIL", VM)
    client.acknowledge_alert(alert["alert_id"], "a clone of ours")
    client.close()
    assert own_service.stop() == 0
    own_service.start()
    [check] = run_checks(own_service, "ngt_duplicate_identity_check")
    assert check["state"] == "FAIL" and "127.0.0.9:" in check["items"][0]["message"]
    [same] = own_service.client().health_alerts(checks=["ngt_duplicate_identity_check"])
    assert (same["alert_id"], same["state"], same["acknowledged_by"]) == (alert["alert_id"], "acknowledged", "admin")
    [verdict] = run_checks(own_service, "ngt_link_check")
    assert verdict["state"] == "PASS", "while the service was down nobody could be linked"


def test_a_restart_keeps_everything(own_service: ServiceProcess) -> None:
    own_service.start()
    client = own_service.client()
    client.enable(VM, {"vss_snapshot": False})
    secret = client.create_token("ci", "viewer")["token"]
    before = (client.vms(), client.ca(), list(client.audit()), (own_service.state_dir / "api.pem").read_bytes())
    client.close()
    assert own_service.stop(signal.SIGINT) == 0
    own_service.start()
    client = own_service.client()
    after = (client.vms(), client.ca(), list(client.audit()), (own_service.state_dir / "api.pem").read_bytes())
    assert after == before
    assert own_service.client(secret).vms() == before[0]
    own_service.stop()
    (own_service.state_dir / "ca/ca.key").write_text("no key")
    assert "[CERTIFICATE_INVALID]" in failed_start(own_service)


def test_sigterm_ends_it_though_somebody_waits(own_service: ServiceProcess) -> None:
    own_service.start()
    client = own_service.client()
    client.enable(VM)
    own_service.hypervisor.change(VM, "cd0", holds="/isos/other.iso")
    task = client.mount(VM, "test", 600)
    where = urlsplit(own_service.endpoint)
    waiter = http.client.HTTPSConnection(
        str(where.hostname), where.port, timeout=PATIENCE_SECONDS, context=trust(own_service.ca_file)
    )
    path, bearer = f"/v1/tasks/{task['task_id']}", {"Authorization": f"Bearer {own_service.token}"}
    # The first answer shows that the connection is there: one that comes too late is refused.
    waiter.request("GET", path, headers=bearer)
    assert waiter.getresponse().read()
    waiter.request("GET", f"{path}?wait=30", headers=bearer)
    assert own_service.stop(signal.SIGTERM) == 0
    assert waiter.getresponse().status == 200
    waiter.close()
    assert own_service.process is not None
    assert not Path(f"/proc/{own_service.process.pid}").exists()
    with pytest.raises(OpenNGTError) as caught:
        client.ca()
    assert caught.value.code == "ENDPOINT_UNREACHABLE"


def test_the_announcement_tells_where_the_token_is_and_not_the_token(service: ServiceProcess) -> None:
    assert service.endpoint in service.stdout
    assert str(service.state_dir / "admin.token") in service.stdout
    assert service.client().vms()
    assert service.token not in service.stdout + service.stderr
    assert "PRIVATE KEY" not in service.stdout + service.stderr


def test_what_is_secret_is_closed_to_others(service: ServiceProcess) -> None:
    assert service.state_dir.stat().st_mode & 0o777 == 0o700
    for name in ("admin.token", "api.pem", "gateway.pem", "ca/ca.key", "openngt.db"):
        assert (service.state_dir / name).stat().st_mode & 0o077 == 0, name


def test_the_server_certificates_satisfy_openssl(service: ServiceProcess) -> None:
    ca_file = str(service.state_dir / "ca/ca.pem")
    for name in ("api.pem", "gateway.pem"):
        openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca_file, str(service.state_dir / name))
    names = openssl("x509", "-in", str(service.state_dir / "api.pem"), "-noout", "-ext", "subjectAltName")
    assert {"DNS:localhost", "DNS:guest-tools.example", "IP Address:192.0.2.7"} <= set(re.split(r",\s|\s\s+|\n", names))


def test_a_second_service_on_the_folder_is_told_who_holds_it(service: ServiceProcess, tmp_path: Path) -> None:
    assert service.process is not None
    second = ServiceProcess(tmp_path, {"state_dir": str(service.state_dir)})
    error = failed_start(second)
    assert error == f"error: process {service.process.pid} works in {service.state_dir} [SERVICE_CONFLICT]"
    assert service.client().vms()


def test_starts_that_must_fail_say_why_in_one_line_with_the_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases = [
            ({"OPENNGT_API_PORT": port}, "SERVICE_CONFLICT", port),
            ({"OPENNGT_VALIDITY_DAYS": "-1"}, "CONFIG_INVALID", "validity_days"),
            ({"OPENNGT_STATE_DIR": "/proc/openngt"}, "PERMISSION_DENIED", "/proc/openngt"),
        ]
        for number, (settings, code, named) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            error = failed_start(ServiceProcess(folder), **settings)
            assert f"[{code}]" in error
            assert named in error


def test_a_ca_made_without_a_service_is_taken_up_and_its_certificates_adopted(
    own_service: ServiceProcess, tmp_path: Path
) -> None:
    ca_folder = own_service.state_dir / "ca"
    own_service.state_dir.mkdir(mode=0o700)
    create_authority(ca_folder, common_name="made before", now=effects.now())
    client_pem = tmp_path / "client.pem"
    ensure_certificate(CertificateOrder(ca_folder, client_pem, VM, "web01"), check=False, now=effects.now())
    own_service.start()
    adopted = own_service.cli("ca", "adopt", str(ca_folder), "--output", "json")
    assert '"adopted": 1' in adopted.stdout, adopted.stderr
    assert '"adopted": 0' in own_service.cli("ca", "adopt", str(ca_folder), "--output", "json").stdout

    foreign = create_authority(tmp_path / "foreign", common_name="another", now=effects.now())
    (tmp_path / "foreign/issued.jsonl").touch()
    refused = own_service.cli("ca", "adopt", str(tmp_path / "foreign"))
    assert refused.returncode == 1
    assert foreign.ca_sha256 in refused.stderr and "before its first start" in refused.stderr

    async def connect() -> AgentClient:
        name = own_service.client().ca()["service_name"]
        context = client_context(ca_folder / "ca.pem", client_pem)
        agent = await AgentClient.connect(own_service.gateway_port, context, name)
        await agent.start()
        agent.close()
        return agent

    assert asyncio.run(connect()).welcome["kind"] == "external"


def test_a_terminals_limit_does_not_bound_the_fleet(own_service: ServiceProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
        own_service.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert own_service.process is not None
    assert resource.prlimit(own_service.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
